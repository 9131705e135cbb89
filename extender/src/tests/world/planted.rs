//! Deliberate faults, which the simulation must find. Those of the extender's inside are in its code, where tests alone compile
//! them; the others are faults of the store.

use std::cell::Cell;

/// One of them. It is in a world from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A store that says that an entry is durable, and has forgotten some: what follows was told before it is true.
    ForgetsEntries,
    /// A store in which the last to create an entry wins: writers trust in leading alone.
    LastEntryWins,
    /// A store that says that a checkpoint is published, and has forgotten it: what an earlier one needs is removed all the same.
    ForgetsCheckpoints,
    /// No policy refuses what writers of a deleted namespace still write into the one that was made again.
    NamespacesMixed,
    /// A watch that begins again where it ended loses what happened meanwhile.
    WatchesForget,
    /// A pod that is deleted on its node counts as one that never ran.
    ReleasesBeforeProof,
    /// A pod is bound before its budget is consumed.
    BindsBeforeCommit,
    /// A pod's gate is removed before its budget is granted.
    OpensGatesEarly,
    /// A pod that was bound by an attempt whose answer was lost counts as one that never was.
    TakesLostBindForRefusal,
    /// A claim whose object is gone after a start is kept.
    ForgetsAbsence,
    /// Statuses are written whether or not anything has changed.
    WritesUnchanged,
}

impl Planted {
    /// All of them.
    pub(super) const ALL: [Self; 11] = [
        Self::ForgetsEntries,
        Self::LastEntryWins,
        Self::ForgetsCheckpoints,
        Self::NamespacesMixed,
        Self::WatchesForget,
        Self::ReleasesBeforeProof,
        Self::BindsBeforeCommit,
        Self::OpensGatesEarly,
        Self::TakesLostBindForRefusal,
        Self::ForgetsAbsence,
        Self::WritesUnchanged,
    ];
}

thread_local! {
    static ACTIVE: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a fault on this thread.
pub(super) fn plant(planted: Option<Planted>) {
    ACTIVE.set(planted);
}

/// Whether this fault is planted on this thread.
pub(crate) fn is(planted: Planted) -> bool {
    ACTIVE.get() == Some(planted)
}
