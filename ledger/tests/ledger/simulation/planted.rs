//! Deliberate faults of a store, of a writer or of whoever repairs a ledger, which the simulation must find.

/// One of them. It is in a world from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A commit that takes `Exists` for success.
    ExistsIsSuccess,
    /// A commit that takes `Unknown` for success, and doesn't read back.
    UnknownIsSuccess,
    /// A commit that takes any entry that it reads back for its own.
    AnyEntryIsOurs,
    /// A commit that takes an entry of its writer's name for its own.
    ComparesNames,
    /// A store in which the last to create an entry wins.
    CreatesTwice,
    /// A store that loses an entry after it said that it is durable.
    Forgets,
    /// A ledger that is opened from the first page of its entries.
    ReadsOnePage,
    /// A writer that publishes an entry before it creates it.
    PublishesFirst,
    /// A ledger that goes on after a commit that failed.
    GoesOn,
    /// A ledger whose engine isn't rolled back after a draft was dropped.
    KeepsDropped,
    /// A writer whose entries have its own clock's time, though that may be before the entry before.
    TimeGoesBack,
    /// A writer that ignores the limit of its clock.
    TimeUnlimited,
    /// A replay that doesn't compare records with what follows from the events.
    TrustsRecords,
    /// A replay that skips the last of several events of an entry.
    SkipsEvent,
    /// A hash that doesn't cover events.
    HashWithoutEvents,
    /// A writer that goes on with a ledger that lacks an entry that statuses name.
    IgnoresStatuses,
    /// A writer that doesn't read its last entry back.
    IgnoresLastEntry,
    /// A writer that lets the clock decide what is due before it writes all budget off.
    WritesOffLate,
    /// An entry that is deleted by hand while a create of its number is on its way.
    DeletedWhilePending,
    /// A writer that doesn't look at the checkpoint after it has created an entry.
    IgnoresCheckpointAfterCreate,
    /// A reader that doesn't look at the checkpoint again after it has read entries.
    IgnoresCheckpointAfterReading,
    /// A process that remembers the checkpoint instead of reading it.
    RemembersCheckpoint,
    /// A checkpoint that lacks a claim that waits.
    CheckpointForgetsWaiting,
    /// A checkpoint that lacks what was consumed last.
    CheckpointForgetsConsumed,
    /// A store in which an earlier checkpoint replaces a later one.
    EarlierCheckpointReplaces,
    /// Entries that are removed before the checkpoint is published.
    RemovesBeforePublished,
    /// A removal that takes the entry along that the checkpoint stands at, and those after it.
    RemovesTooMuch,
}

impl Planted {
    /// Whether it is a fault of a writer's inside, so that all writers are [naive](super::naive::Naive) ones.
    pub(crate) const fn is_inside(self) -> bool {
        matches!(
            self,
            Self::PublishesFirst
                | Self::GoesOn
                | Self::KeepsDropped
                | Self::TimeGoesBack
                | Self::TrustsRecords
                | Self::SkipsEvent
                | Self::HashWithoutEvents
        )
    }

    /// Whether it only matters where writers publish checkpoints.
    pub(crate) const fn is_about_checkpoints(self) -> bool {
        matches!(
            self,
            Self::IgnoresCheckpointAfterCreate
                | Self::IgnoresCheckpointAfterReading
                | Self::RemembersCheckpoint
                | Self::CheckpointForgetsWaiting
                | Self::CheckpointForgetsConsumed
                | Self::EarlierCheckpointReplaces
                | Self::RemovesBeforePublished
                | Self::RemovesTooMuch
        )
    }

    /// Whether it only matters where somebody deletes or edits entries.
    pub(crate) const fn is_about_tampering(self) -> bool {
        matches!(
            self,
            Self::TrustsRecords
                | Self::IgnoresStatuses
                | Self::IgnoresLastEntry
                | Self::WritesOffLate
                | Self::DeletedWhilePending
        )
    }
}
