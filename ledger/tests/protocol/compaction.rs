//! The compaction of old entries, which isn't built yet: a checkpoint that covers all entries up to one becomes durable,
//! and then they are deleted. What it endangers is that the name of a deleted entry can be created again, by a writer
//! that is behind or by a request that was delayed for however long.
//!
//! Two rules together suffice, and neither does alone:
//! - **Before it publishes** (or otherwise relies on its entry), and after it has seen that its entry is in the store, by
//!   an answer or by reading it back, a writer reads the checkpoint linearizably. If that covers the entry, it is fenced.
//! - **After it has read entries, and before it decides anything**, a writer reads the checkpoint linearizably. If that is
//!   not at an entry that it knows, with the same hash, it opens the ledger again.
//!
//! They rest on the store: a checkpoint is durable before what it covers is deleted, and is never replaced by an earlier
//! one. Entries may be deleted in any order. The same holds without either rule if the content of entries is removed and
//! their names are kept. To look at the entry before, whether it is there and whether it is the same, does not suffice.

use crate::{
    MOST_SOAK_STATES, breaks,
    commit::PROTOCOL,
    holds, holds_within,
    protocol::{Compaction, DELETION, Deletion, Guard, Protocol, Violation},
};

const COMPACTED: Protocol = Protocol {
    entries: 2,
    claims: 2,
    sends: 3,
    compaction: Compaction::Delete(DELETION),
    guard: Guard::Floor,
    checks_opening: true,
    ..PROTOCOL
};

const fn deletion(deletion: Deletion) -> Protocol {
    Protocol {
        compaction: Compaction::Delete(deletion),
        ..COMPACTED
    }
}

const fn guarded(guard: Guard) -> Protocol {
    Protocol { guard, ..COMPACTED }
}

#[test]
fn with_both_looks_at_the_checkpoint_nothing_is_lost_or_overspent() {
    holds(COMPACTED);
}

#[test]
#[ignore = "make soak runs it"]
fn soak_with_both_looks_at_the_checkpoint_and_more_creates_nothing_is_lost() {
    let protocol = Protocol {
        sends: 8,
        ..COMPACTED
    };
    holds_within(protocol, MOST_SOAK_STATES);
}

#[test]
#[ignore = "make soak runs it"]
fn soak_three_entries_are_compacted_and_nothing_is_lost() {
    let protocol = Protocol {
        entries: 3,
        claims: 3,
        ..COMPACTED
    };
    holds_within(protocol, MOST_SOAK_STATES);
}

#[test]
#[ignore = "make soak runs it"]
fn soak_the_order_of_deletions_makes_no_difference() {
    let protocol = deletion(Deletion {
        ascending: false,
        ..DELETION
    });
    holds_within(protocol, MOST_SOAK_STATES);
}

/// Entries whose content is removed and whose names stay can't be created again.
#[test]
fn entries_that_keep_their_names_need_no_look_at_the_checkpoint() {
    holds(Protocol {
        compaction: Compaction::Empty,
        guard: Guard::Nothing,
        checks_opening: false,
        ..COMPACTED
    });
}

#[test]
fn a_deleted_name_that_is_created_again_overspends() {
    breaks(guarded(Guard::Nothing), Violation::Overspent);
}

#[test]
fn a_look_at_the_checkpoint_before_the_create_does_not_suffice() {
    breaks(guarded(Guard::FloorBefore), Violation::Overspent);
}

#[test]
fn a_look_at_the_checkpoint_that_may_be_out_of_date_does_not_suffice() {
    breaks(guarded(Guard::FloorOutOfDate), Violation::Overspent);
}

#[test]
fn an_entry_that_was_read_back_needs_a_look_at_the_checkpoint_too() {
    breaks(guarded(Guard::FloorAfterCreated), Violation::Overspent);
}

/// A request that was delayed has created a deleted name again, and a writer that starts with an outdated checkpoint reads
/// that entry as the ledger.
#[test]
fn without_a_look_at_the_checkpoint_after_reading_a_wrong_ledger_goes_on() {
    let unchecked = Protocol {
        checks_opening: false,
        ..COMPACTED
    };
    breaks(unchecked, Violation::Blocked);
    let watched = &[Violation::NotInLaterLedger];
    breaks(Protocol { watched, ..unchecked }, Violation::NotInLaterLedger);
}

/// Even if the look before the publication compares the checkpoint's hash: the entry after the wrong one stays in the way
/// of the right one, and may get a checkpoint of its own.
#[test]
fn to_compare_the_checkpoint_only_before_the_publication_does_not_suffice() {
    let unchecked = Protocol {
        checks_opening: false,
        ..guarded(Guard::FloorInChain)
    };
    breaks(unchecked, Violation::Blocked);
    let watched = &[Violation::Lost];
    breaks(Protocol { watched, ..unchecked }, Violation::Lost);
}

/// The entry before has been deleted, too, if entries are deleted in order; but a delayed request may have created it
/// again, exactly as it was.
#[test]
fn a_look_at_the_entry_before_does_not_suffice() {
    breaks(guarded(Guard::PredecessorExists), Violation::TwoOfOneNumber);
    breaks(guarded(Guard::PredecessorSame), Violation::TwoOfOneNumber);
}

#[test]
fn a_deletion_before_the_checkpoint_is_durable_loses_an_entry() {
    let protocol = deletion(Deletion {
        after_checkpoint: false,
        ..DELETION
    });
    breaks(protocol, Violation::Lost);
}

#[test]
fn a_checkpoint_that_an_earlier_one_replaces_loses_an_entry() {
    let protocol = deletion(Deletion {
        checkpoint_rises: false,
        ..DELETION
    });
    breaks(protocol, Violation::Lost);
}
