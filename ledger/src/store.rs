//! The interface to where entries are kept, and what it has to guarantee.

use thiserror::Error;

use crate::{Checkpoint, ENTRY_VERSION, Entry};

/// Keeps the entries of one ledger, and its checkpoint.
///
/// All safety rests on [`create`](Self::create): of all attempts to create an entry with the same sequence
/// number, at any time and from any process, at most one succeeds. The caller need not learn that it
/// succeeded, and reads may be out of date: then a writer tries again, or finds that it is fenced.
///
/// A store returns an entry as it was created: the same strings, and integers (all of which fit an `i64`) to
/// the last digit. The order of keys in its JSON may change.
///
/// Entries that a checkpoint covers may be removed, after which their names can be created again. So a writer
/// reads [`checkpoint`](Self::checkpoint) after it has read entries, and again after each create: see
/// [`Ledger::open`](crate::Ledger::open) and [`EntryDraft::commit`](crate::EntryDraft::commit).
pub trait Store: Send + Sync {
    /// The version of the format in which entries are written, and the newest one that is read. A newer entry is
    /// [`StoreError::Newer`]: it is refused before anything else of it is read.
    fn entry_version(&self) -> u32 {
        ENTRY_VERSION
    }

    /// Creates `entry` if there is none with its sequence number. Returns `Ok` only if this call created it
    /// and it is durable.
    fn create(&self, entry: &Entry) -> impl Future<Output = Result<(), CreateError>> + Send;

    /// Returns the entry with this sequence number, if there is one.
    fn read(&self, sequence: u64) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Returns entries with sequence numbers above `after`, ascending and without gaps: all of them, or a
    /// first page, so that whoever reads a long ledger holds little of it at a time. An empty list means that
    /// there are none.
    fn read_after(&self, after: u64) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;

    /// Returns the checkpoint that was published last, if there is one. This read is linearizable: what was
    /// published before it began is returned, or something later.
    fn checkpoint(&self) -> impl Future<Output = Result<Option<Checkpoint>, StoreError>> + Send;

    /// Returns a piece of a checkpoint's content, from 0; none if there is no such piece any more.
    fn read_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Waits before the `attempt`-th repetition of a request, from 1. A simulated store returns at once.
    fn pause(&self, attempt: u32) -> impl Future<Output = ()> + Send;
}

/// A store whose ledger's old entries are summed up in checkpoints, and may be removed then.
pub trait CheckpointStore: Store {
    /// Creates a piece of a checkpoint's content. A piece that exists already is left as it is: pieces of the
    /// same [`Checkpoint`] are equal.
    fn create_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
        content: &[u8],
    ) -> impl Future<Output = Result<(), CreateError>> + Send;

    /// Publishes a checkpoint all of whose pieces exist, in place of an earlier one. It is durable when this returns
    /// `Ok`. Never replaces a checkpoint that stands at the same entry or a later one: that is
    /// [`CreateError::Exists`], also if several processes try at once.
    fn publish(&self, checkpoint: &Checkpoint) -> impl Future<Output = Result<(), CreateError>> + Send;

    /// Removes the pieces of all checkpoints that stand before `checkpoint`.
    fn remove_pieces_before(
        &self,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the first entries that there are, ascending: at most a page.
    fn read_first(&self) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;

    /// Removes an entry, if there is one with this sequence number.
    fn remove(&self, sequence: u64) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why an entry was not created, or may not have been.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CreateError {
    /// There is an entry with its sequence number. It may be the same one, created by an attempt whose answer
    /// was lost.
    #[error("there is an entry with this sequence number")]
    Exists,
    /// This attempt did not create it, and repeating it doesn't help: the entry is too large, or creating is
    /// forbidden.
    #[error("the store refuses the entry: {0}")]
    Refused(String),
    /// It may have been created, or may yet be: a timeout, a lost answer, a server's error.
    #[error("whether the entry was created is unknown: {0}")]
    Unknown(String),
}

/// Why a read failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// No answer, or an error of the server: a repetition may succeed.
    #[error("the store could not be read: {0}")]
    Unreachable(String),
    /// What is stored is not an entry, or was changed after it was written: a repetition doesn't help.
    #[error("the store holds what no writer wrote: {0}")]
    Corrupt(String),
    /// What is stored has a format that a later version of PrivateKube wrote: whoever reads it has to be updated.
    #[error(
        "{what} has version {version} of its format, which a later version of PrivateKube wrote: this one reads up to version \
         {newest}"
    )]
    Newer {
        /// What is stored: an entry, or a checkpoint.
        what: String,
        /// The version of its format.
        version: u32,
        /// The newest version that is read.
        newest: u32,
    },
}
