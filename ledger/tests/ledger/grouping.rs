//! The decisions don't depend on how events are grouped into entries.

use futures::executor::block_on;
use privatekube_ledger::{Ledger, MemoryStore, verify};
use privatekube_policy::{DatasetRules, Event, Policy, Record, Span, Unlocking};
use proptest::{collection::vec, prelude::*};

use crate::build::{Snapshot, at, block, claim, claim_until, consume, release, rules, snapshot};

fn events() -> impl Strategy<Value = Event> {
    let block_name = prop::sample::select(vec!["b1", "b2", "b3"]);
    let blocks = prop::sample::subsequence(vec!["b1", "b2", "b3"], 1..=3);
    let name = (0..30u32).prop_map(|number| format!("c{number}"));
    prop_oneof![
        1 => (block_name, 1..60i64).prop_map(|(name, epsilon)| block(name, epsilon)),
        4 => (name.clone(), 1..40i64, blocks.clone()).prop_map(|(name, epsilon, blocks)| claim(&name, epsilon, &blocks)),
        2 => (name.clone(), 1..40i64, blocks, 1..40u64)
            .prop_map(|(name, epsilon, blocks, timeout)| claim_until(&name, epsilon, &blocks, timeout)),
        1 => name.clone().prop_map(|name| consume(&name)),
        1 => name.clone().prop_map(|name| release(&name)),
        1 => name.prop_map(|name| Event::Withdraw { claim: name.as_str().into() }),
    ]
}

fn any_rules() -> impl Strategy<Value = DatasetRules> {
    let unlocking = prop_oneof![
        Just(Unlocking::Immediate),
        (1..6u32).prop_map(Unlocking::Arrivals),
        (1..80u64, 1..20u64).prop_map(|(lifetime, tick)| Unlocking::Lifetime {
            lifetime: Span::from_micros(lifetime),
            tick: Span::from_micros(tick),
        }),
    ];
    unlocking.prop_map(|unlocking| DatasetRules {
        policy: Policy::Dpf,
        unlocking,
        ..rules()
    })
}

/// Applies `timeline` (events, and the time that passes before each), ending an entry where `ends` says.
fn run(
    rules: &DatasetRules,
    timeline: &[(u64, Event)],
    ends: impl Fn(usize) -> bool,
) -> (Snapshot, Vec<Record>) {
    let store = MemoryStore::new();
    let mut ledger = block_on(Ledger::open(store.clone(), "w".to_owned(), rules.clone())).unwrap();
    let mut records = Vec::new();
    let mut now = 0;
    // An event at a later time is in a later entry.
    let mut place = 0;
    for group in timeline.chunk_by(|_, (passes, _)| {
        place += 1;
        *passes == 0 && !ends(place)
    }) {
        now += group[0].0;
        let mut draft = ledger.draft(at(now)).unwrap();
        for (_, event) in group {
            // Refused alike in every grouping.
            draft.apply(event.clone()).ok();
        }
        let committed = block_on(draft.commit()).unwrap();
        records.extend_from_slice(committed.records());
    }
    // The clocks must agree before blocks are compared.
    let last = block_on(ledger.draft(at(now + 1_000)).unwrap().commit()).unwrap();
    records.extend_from_slice(last.records());
    let summary = verify(store.entries()).unwrap();
    assert_eq!(summary.records, records.len() as u64);
    let snapshot = snapshot(ledger.engine().unwrap());
    (snapshot, records)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_grouping_decides_the_same(
        rules in any_rules(),
        timeline in vec((prop_oneof![3 => Just(0), 1 => 1..15u64], events()), 1..60),
        ends in vec(any::<bool>(), 60),
    ) {
        let together = run(&rules, &timeline, |_| false);
        let apart = run(&rules, &timeline, |_| true);
        let anyhow = run(&rules, &timeline, |place| ends[place]);
        prop_assert_eq!(&together, &apart);
        prop_assert_eq!(&together, &anyhow);
    }
}
