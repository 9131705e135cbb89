//! Tests of the ledger's public interface: tampered chains, drafts, dropped commits, grouping of events, and
//! a simulation of writers and faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod build;
mod cancellation;
mod chain;
mod checkpoints;
mod clock;
mod drafts;
mod grouping;
mod requesters;
mod simulation;
mod write_off;
