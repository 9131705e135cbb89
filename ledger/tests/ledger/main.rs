//! The ledger from outside: chains that were tampered with, rounds and what is left of them, and a simulated world of
//! writers and faults.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod build;
mod cancellation;
mod chain;
mod drafts;
mod grouping;
mod simulation;
