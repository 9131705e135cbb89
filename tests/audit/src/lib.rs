//! An audit of a cluster by its API objects alone: ledger entries, datasets, blocks, claims, pods and namespaces, as
//! `kubectl get -o json` prints them.
//!
//! It uses none of PrivateKube's crates and no engine. It doesn't decide again: it follows what the entries say, adds up, and
//! compares. So it finds what a fault of the engine, of the ledger or of the read model would hide from a replay:
//!
//! | finding | means |
//! |---|---|
//! | `chain` | an entry is missing, was changed, is out of order, or is dated before the one before it |
//! | `overspent` | more is granted and consumed of a block than its capacity, or than was unlocked |
//! | `contradiction` | records that don't fit each other: granted twice, consumed without a grant, consumed budget that returned |
//! | `bypassed` | a pod has a node, and its claim was not consumed, or its grant is not what was consumed |
//! | `lost` | a status names an entry that isn't there, or an object is in no ledger and nothing says why |
//! | `wrong` | a status differs from the sums of the ledger at the entry that it names |
//! | `behind` | a status is of an earlier state; normal for a moment |
//! | `hanging` | something could go on and doesn't; normal for a moment |
//! | `unknown` | an entry has a form that this audit doesn't know, or leaves records out |
//!
//! Begin reading at [`audit`]; `ledger.rs` follows one ledger, `book.rs` has its claims and blocks, `statuses.rs` and
//! `subjects.rs` compare them with the objects.
#![forbid(unsafe_code)]

mod amounts;
mod book;
mod canonical;
mod json;
mod ledger;
mod objects;
mod report;
mod rules;
mod statuses;
mod subjects;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use objects::Objects;
pub use report::{Finding, FindingKind, LedgerSummary, Report};

use book::Book;
use report::Findings;

/// Audits a cluster. All objects have to be of about the same moment, the entries of the latest.
#[must_use]
pub fn audit(objects: &Objects) -> Report {
    let mut findings = Findings::default();
    let books: BTreeMap<String, Book> = ledger::follow_all(objects, &mut findings);
    statuses::check(objects, &books, &mut findings);
    subjects::check(objects, &books, &mut findings);
    Report::of(objects, &books, findings)
}
