//! Writing all budget off after entries were lost.

use futures::executor::block_on;
use privatekube_ledger::{Ledger, MemoryStore};
use privatekube_policy::{DatasetRules, Event, Phase, Span, Unlocking};

use crate::build::{at, block, claim, commit, rules};

/// A ledger whose second entry granted `lost` half of the block, and is lost. A claim for more waits since the first.
fn without_its_last_entry() -> Ledger<MemoryStore> {
    let rules = DatasetRules {
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_micros(100),
            tick: Span::from_micros(10),
        },
        ..rules()
    };
    let store = MemoryStore::new();
    let open = |store| block_on(Ledger::open(store, "w".to_owned(), rules.clone())).unwrap();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 0, &[block("b1", 100), claim("waits", 60, &["b1"])]);
    commit(&mut ledger, 50, &[claim("lost", 50, &["b1"])]);
    assert_eq!(
        ledger.engine().unwrap().phase(&"lost".into()),
        Some(Phase::Granted)
    );
    open(store.entries().into_iter().take(1).collect())
}

fn write_off() -> Event {
    Event::WriteOff {
        after: 1,
        unknown_blocks: Vec::new(),
        reason: "lost".to_owned(),
    }
}

#[test]
fn a_write_off_dated_as_the_last_entry_grants_nothing_more() {
    let mut ledger = without_its_last_entry();
    let now = ledger.head().time.micros();
    commit(&mut ledger, now, &[write_off()]);
    assert!(ledger.draft(at(100)).unwrap().is_empty());
    let engine = ledger.engine().unwrap();
    assert_ne!(engine.phase(&"waits".into()), Some(Phase::Granted));
    assert_eq!(engine.block(&"b1".into()).unwrap().consumed, [100, 0]);
}

/// A draft at a later time lets the clock decide first, from a state that lacks what was lost: 60 and 50 of 100 are granted.
#[test]
fn a_write_off_dated_later_comes_after_what_the_clock_grants() {
    let mut ledger = without_its_last_entry();
    commit(&mut ledger, 100, &[write_off()]);
    let engine = ledger.engine().unwrap();
    assert_eq!(engine.phase(&"waits".into()), Some(Phase::Granted));
}
