//! Privacy budget scheduling: which claims are granted the differential-privacy budget of which blocks, and
//! when.
//!
//! This crate holds the vocabulary ([`Budget`], [`Composition`], [`Mechanism`], [`Event`], [`Record`]) and
//! the [`Engine`], which turns events into records. It is pure and deterministic: callers give it events and
//! the time, and the same events at the same times give the same records everywhere. It contains no clock, no
//! thread, no file, no randomness and nothing of Kubernetes.
//!
//! Begin reading at [`Event`] (the inputs), then [`Record`] (the decisions), then [`Engine`].
#![forbid(unsafe_code)]

mod accounting;
mod budget;
mod composition;
mod decimal;
mod engine;
mod event;
pub mod fairness;
mod mechanism;
mod rules;
mod short;
mod time;

pub use accounting::{Conversion, Proven, adaptive_delta};
pub use budget::{Budget, CompositionError, Order, Orders};
pub use composition::{Composition, is_beyond_count};
pub use decimal::{DecimalError, Delta, Epsilon};
pub use engine::{
    BlockState, ClaimOutline, ClaimState, Engine, Explanation, Folded, Lack, Outlook, Phase, Refusal,
    Restoring, Standing, StateError, StatePart, Unlocks,
};
pub use event::{Amount, Arrival, BlockId, ClaimId, Demand, Denial, Event, Record, Weight};
pub use mechanism::{Mechanism, MechanismError, ParameterFault};
pub use rules::{DatasetRules, DatasetRulesError, Policy, Revision, ShareRule, UnknownRevision, Unlocking};
pub use short::Rounding;
pub use time::{Span, SpanError, Time};
