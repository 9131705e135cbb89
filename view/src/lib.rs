//! What PrivateKube's ledgers say, as people and the scheduler see it.
//!
//! The [`Publisher`] turns committed ledger entries into the [`View`], an in-memory read model of claims, blocks and
//! datasets, and says what changed. Statuses, the [explanation](PhaseReason) of a claim in a sentence and the [`Verdict`] on
//! a pod are functions of what is committed. The extender publishes its own entries; a replica, a command-line tool or a
//! status page can follow a ledger and publish it in the same way.
//!
//! No I/O and no clock live here: objects and entries come in as values. How a request is matched with blocks is in
//! `privatekube-api`, how a claim is decided in `privatekube-policy`.
//!
//! Begin reading at [`Publisher`], then [`View`], then [`Verdict`].
#![forbid(unsafe_code)]

mod block;
mod block_warnings;
mod claim;
mod claim_counts;
mod data_sources;
mod explain;
mod fairness;
mod history;
mod objects;
mod publisher;
mod shared;
mod shown_budget;
mod status;
mod verdict;
mod view;
mod what_if;

pub use block::{BlockView, BudgetParts};
pub use block_warnings::{above_guarantee, shared_data_source};
pub use claim::ClaimView;
pub use claim_counts::ClaimCount;
pub use data_sources::SourceId;
pub use explain::{
    PhaseReason, blocks_left_out, too_few_blocks, too_large_for_a_status, too_large_for_an_entry, why_denied,
};
pub use fairness::{Claimant, Fairness, Measured, Step};
pub use history::{event_of_claim, record_of_claim};
pub use objects::{BlockObject, DatasetObjects};
pub use publisher::{Change, CommittedState, PhaseChange, Publisher, Touched};
pub use shown_budget::{STATES, ShownBudget, StateAmounts};
pub use status::{condition, shown_coordinate};
pub use verdict::Verdict;
pub use view::{BlockKey, DatasetView, NotForPods, View};
pub use what_if::{BlockAfter, Outcome, Trial, TrialError, WhatIf};
