//! The commit protocol of the ledger as a model, checked in every state that can be reached.
//!
//! The model (`protocol.rs`) is not the code: the simulation in `tests/ledger` runs the code, in random worlds. The model
//! is small enough that all interleavings are tried, with any number of crashes, delays, lost answers, repeated requests
//! and reads that are out of date. Its bounds are the numbers of writers, entries, claims and different creates; each test
//! prints them with the number of states. `make soak` runs the larger ones as well.
//!
//! What it shows:
//! - The protocol as it is never overspends, never publishes two entries of one number, and never loses what was
//!   published. Each of its rules is needed: without it the model finds a violation, and the test prints the steps.
//! - For the compaction of old entries, which isn't built yet, it shows which rules are needed and suffice (see
//!   `compaction.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests"
)]

mod chain;
mod commit;
mod compaction;
mod explore;
mod protocol;

use explore::explore;
use protocol::{Protocol, Violation};

/// The most states of a test that always runs.
const MOST_STATES: usize = 400_000;
/// The most states of a test of `make soak`.
const MOST_SOAK_STATES: usize = 4_000_000;

/// Checks that nothing can violate anything.
fn holds(protocol: Protocol) {
    holds_within(protocol, MOST_STATES);
}

fn holds_within(protocol: Protocol, most: usize) {
    let explored = explore(&protocol, most);
    println!(
        "{}: holds in {} states ({} steps, at most {} in a row)",
        bounds(&protocol),
        explored.states,
        explored.steps,
        explored.depth
    );
    if let Some((violation, way)) = explored.violation {
        panic!("{violation:?}:\n{}", numbered(&way));
    }
}

/// Checks that `violation` is found, and prints how it comes about.
fn breaks(protocol: Protocol, violation: Violation) {
    let explored = explore(&protocol, MOST_STATES);
    let (found, way) = explored
        .violation
        .unwrap_or_else(|| panic!("nothing is violated in {} states", explored.states));
    println!(
        "{}: {found:?} after {} steps ({} states seen):\n{}",
        bounds(&protocol),
        way.len(),
        explored.states,
        numbered(&way)
    );
    assert_eq!(found, violation);
}

fn bounds(protocol: &Protocol) -> String {
    let Protocol {
        writers,
        entries,
        claims,
        sends,
        budget,
        ..
    } = protocol;
    format!("{writers} writers, {entries} entries, {claims} claims, {sends} creates, a budget for {budget}")
}

fn numbered(way: &[String]) -> String {
    let lines = way.iter().enumerate();
    let lines = lines.map(|(at, step)| format!("  {:2}. {step}", at + 1));
    lines.collect::<Vec<_>>().join("\n")
}
