//! The limit of how far an entry may be dated ahead of another clock.

use futures::executor::block_on;
use privatekube_ledger::{ClockError, ClockLimit, DraftError, Ledger, MemoryStore, Poisoned};
use privatekube_policy::{DatasetRules, Phase, Span, Unlocking};

use crate::build::{at, block, claim, claim_until, commit, open, rules};

fn limit(reference: u64, most_ahead: u64) -> ClockLimit {
    ClockLimit {
        reference: at(reference),
        most_ahead: Span::from_micros(most_ahead),
    }
}

const fn writer_ahead(ahead: u64, most: u64) -> ClockError {
    ClockError::WriterAhead {
        ahead: Span::from_micros(ahead),
        most: Span::from_micros(most),
    }
}

#[test]
fn a_time_may_be_ahead_by_the_limit_and_no_more() {
    let limit = limit(100, 10);
    assert_eq!(limit.check(at(0), at(0)), Ok(()));
    assert_eq!(limit.check(at(100), at(110)), Ok(()));
    assert_eq!(limit.check(at(110), at(5)), Ok(()));
    assert_eq!(limit.check(at(100), at(111)), Err(writer_ahead(11, 10)));
    let ledger_ahead = ClockError::LedgerAhead {
        ahead: Span::from_micros(11),
        most: Span::from_micros(10),
    };
    assert_eq!(limit.check(at(111), at(100)), Err(ledger_ahead));
    assert_eq!(limit.check(at(111), at(200)), Err(ledger_ahead));
}

#[test]
fn the_limits_of_time_do_not_overflow() {
    let largest = limit(u64::MAX, u64::MAX);
    assert_eq!(largest.check(at(u64::MAX), at(u64::MAX)), Ok(()));
    let smallest = limit(0, 0);
    assert_eq!(
        smallest.check(at(0), at(u64::MAX)),
        Err(writer_ahead(u64::MAX, 0))
    );
}

/// A block that unlocks over a long time, and a claim that waits for it and has a timeout.
fn slow() -> Ledger<MemoryStore> {
    let rules = DatasetRules {
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_micros(1_000_000),
            tick: Span::from_micros(10),
        },
        ..rules()
    };
    let mut ledger = block_on(Ledger::open(MemoryStore::new(), "one".to_owned(), rules)).unwrap();
    let events = [block("b1", 100), claim_until("c1", 100, &["b1"], 500)];
    commit(&mut ledger, 10, &events);
    ledger
}

#[test]
fn a_wrong_clock_unlocks_nothing_and_ends_no_wait() {
    let mut ledger = slow();
    let before = ledger.engine().unwrap().block(&"b1".into());
    let refused = ledger.draft_within(at(70_000_000), &limit(20, 100)).map(|_| ());
    assert_eq!(refused, Err(DraftError::Clock(writer_ahead(69_999_980, 100))));
    let engine = ledger.engine().unwrap();
    assert_eq!((engine.now(), engine.block(&"b1".into())), (at(10), before));
    assert_eq!(engine.phase(&"c1".into()), Some(Phase::Waiting));
    // With the right time the ledger goes on, and time counts from there.
    let mut draft = ledger.draft_within(at(30), &limit(20, 100)).unwrap();
    draft.apply(claim("c2", 1, &["b1"])).unwrap();
    assert_eq!(block_on(draft.commit()).unwrap().time, at(30));
}

#[test]
fn a_ledger_whose_last_entry_is_dated_far_ahead_says_so() {
    let mut ledger = open(MemoryStore::new());
    commit(&mut ledger, 70_000_000, &[block("b1", 10)]);
    let refused = ledger
        .draft_within(at(20), &limit(20, 100))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(
        refused,
        DraftError::Clock(ClockError::LedgerAhead { .. })
    ));
    let says = refused.to_string();
    assert!(
        says.starts_with("the ledger's last entry is dated 1m9s"),
        "{says}"
    );
    // Its time comes.
    drop(
        ledger
            .draft_within(at(70_000_000), &limit(69_999_950, 100))
            .unwrap(),
    );
}

#[test]
fn a_clock_that_was_advanced_without_an_entry_counts_as_the_writers() {
    let mut ledger = open(MemoryStore::new());
    commit(&mut ledger, 10, &[block("b1", 10)]);
    drop(ledger.draft(at(1_000)).unwrap());
    let refused = ledger.draft_within(at(20), &limit(20, 100)).map(|_| ());
    assert_eq!(refused, Err(DraftError::Clock(writer_ahead(980, 100))));
}

#[test]
fn a_poisoned_ledger_stays_poisoned() {
    let mut ledger = open(MemoryStore::new());
    let mut draft = ledger.draft(at(10)).unwrap();
    draft.apply(block("b1", 10)).unwrap();
    drop(draft);
    let refused = ledger.draft_within(at(20), &limit(20, 100)).map(|_| ());
    assert_eq!(refused, Err(DraftError::Poisoned(Poisoned)));
}
