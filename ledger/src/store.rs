//! Where entries are kept: four verbs and what they promise.

use thiserror::Error;

use crate::Entry;

/// A place that keeps a ledger's entries.
///
/// All safety rests on [`create`](Self::create): of all who create an entry with the same sequence number, at any time
/// and from any place, one succeeds at most. It need not be told so, and reading may be out of date: then a writer
/// repeats, or finds itself fenced.
///
/// An entry comes back as it was created: the same text, and integers (all of them fit an `i64`) to the last digit. The
/// order of keys
/// in its JSON is free.
pub trait Store: Send + Sync {
    /// Creates `entry` if there is none with its sequence number. `Ok` only if it was created and is durable.
    fn create(&self, entry: &Entry) -> impl Future<Output = Result<(), CreateError>> + Send;

    /// The entry with this sequence number, if there is one.
    fn read(&self, sequence: u64) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Entries with a sequence number above `after`, ascending and without gaps: all, or the first of them (a page).
    /// None at all means that there is none.
    fn read_after(&self, after: u64) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;

    /// Waits before something is asked for the `attempt`-th time again, from 1. A simulated store returns at once.
    fn pause(&self, attempt: u32) -> impl Future<Output = ()> + Send;
}

/// Why an entry was not, or not surely, created.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CreateError {
    /// There is one with its sequence number. It may be the very same, created by an attempt whose answer was lost.
    #[error("there is an entry with this sequence number")]
    Exists,
    /// Surely not created by this attempt, and repeating doesn't help: too large, forbidden.
    #[error("the store refuses the entry: {0}")]
    Refused(String),
    /// Created or not, now or later: a timeout, a lost answer, a server's error.
    #[error("whether the entry was created is unknown: {0}")]
    Unknown(String),
}

/// Why nothing was read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// No answer, or none that says anything: asked again, the store may answer.
    #[error("the store could not be read: {0}")]
    Unreachable(String),
    /// What the store holds is no entry, or was changed: it stays so, however often it is asked.
    #[error("the store holds what no writer wrote: {0}")]
    Corrupt(String),
}
