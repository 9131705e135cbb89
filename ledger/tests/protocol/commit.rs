//! The protocol as the code has it, and what happens without each of its rules.

use crate::{
    MOST_SOAK_STATES, breaks, holds, holds_within,
    protocol::{Compaction, Compare, Exists, Fenced, Guard, NEVER, Protocol, Unknown, Violation},
};

pub(crate) const PROTOCOL: Protocol = Protocol {
    writers: 2,
    entries: 3,
    claims: 3,
    sends: 8,
    budget: 1,
    one_name: false,
    unknown: Unknown::ReadBack,
    exists: Exists::ReadBack,
    compare: Compare::Hash,
    fenced: Fenced::Reopen,
    publishes_after: true,
    creates_once: true,
    compaction: Compaction::Never,
    guard: Guard::Nothing,
    checks_opening: false,
    watched: NEVER,
};

/// Also, that no writer takes its own entry for another's.
const ALWAYS: &[Violation] = &[
    Violation::TwoOfOneNumber,
    Violation::NotInLaterLedger,
    Violation::Lost,
    Violation::Overspent,
    Violation::GrantedTwice,
    Violation::Blocked,
    Violation::FencedByItself,
];

#[test]
fn two_writers_never_overspend() {
    for budget in [1, 2] {
        holds(Protocol {
            budget,
            watched: ALWAYS,
            ..PROTOCOL
        });
    }
}

#[test]
fn two_writers_with_one_name_never_overspend() {
    holds(Protocol {
        one_name: true,
        watched: ALWAYS,
        ..PROTOCOL
    });
}

#[test]
fn three_writers_never_overspend() {
    holds(Protocol {
        writers: 3,
        entries: 2,
        claims: 2,
        watched: ALWAYS,
        ..PROTOCOL
    });
}

#[test]
#[ignore = "make soak runs it"]
fn soak_three_writers_with_three_entries_never_overspend() {
    let protocol = Protocol {
        writers: 3,
        watched: ALWAYS,
        ..PROTOCOL
    };
    holds_within(protocol, MOST_SOAK_STATES);
}

#[test]
fn without_a_read_back_after_a_lost_answer_an_entry_is_lost() {
    let unknown = Unknown::Success;
    breaks(Protocol { unknown, ..PROTOCOL }, Violation::Lost);
    let watched = &[Violation::Overspent];
    let protocol = Protocol {
        unknown,
        watched,
        ..PROTOCOL
    };
    breaks(protocol, Violation::Overspent);
}

/// The other guess is safe: the writer is fenced by its own entry, and reads the ledger again.
#[test]
fn to_take_a_lost_answer_for_a_refusal_costs_only_time() {
    holds(Protocol {
        unknown: Unknown::Failure,
        entries: 2,
        ..PROTOCOL
    });
}

#[test]
fn an_entry_that_exists_and_is_not_compared_is_lost_or_fences_its_own_writer() {
    let exists = Exists::Success;
    breaks(Protocol { exists, ..PROTOCOL }, Violation::Lost);
    let watched = &[Violation::Overspent];
    let protocol = Protocol {
        exists,
        watched,
        ..PROTOCOL
    };
    breaks(protocol, Violation::Overspent);
    let protocol = Protocol {
        exists: Exists::Fenced,
        watched: ALWAYS,
        ..PROTOCOL
    };
    breaks(protocol, Violation::FencedByItself);
}

/// Two lives of one process have one name.
#[test]
fn to_compare_names_and_not_hashes_loses_an_entry() {
    let compare = Compare::Name;
    breaks(Protocol { compare, ..PROTOCOL }, Violation::Lost);
    let watched = &[Violation::Overspent];
    let protocol = Protocol {
        compare,
        watched,
        ..PROTOCOL
    };
    breaks(protocol, Violation::Overspent);
}

#[test]
fn a_fenced_writer_that_does_not_read_the_ledger_again_overspends() {
    let fenced = Fenced::NotReread;
    breaks(Protocol { fenced, ..PROTOCOL }, Violation::Overspent);
}

#[test]
fn a_fenced_writer_that_keeps_its_own_decision_grants_a_claim_twice() {
    let protocol = Protocol {
        fenced: Fenced::GoOn,
        budget: 2,
        ..PROTOCOL
    };
    breaks(protocol, Violation::GrantedTwice);
}

#[test]
fn to_publish_before_the_create_overspends() {
    let protocol = Protocol {
        publishes_after: false,
        ..PROTOCOL
    };
    breaks(protocol, Violation::Overspent);
}

#[test]
fn a_store_that_creates_an_entry_twice_loses_one() {
    let protocol = Protocol {
        creates_once: false,
        ..PROTOCOL
    };
    breaks(protocol, Violation::Lost);
}
