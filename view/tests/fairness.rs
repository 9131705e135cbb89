//! The measures of fairness of a dataset follow entries: they say the same whether they look at a whole entry or at each of
//! its events, and the same as after a replay.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use privatekube_api::{Subject, SubjectKind};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Orders,
    Policy, Record, Revision, Span, Time, Unlocking, Weight,
};
use privatekube_view::{Claimant, Fairness, Step};
use proptest::{collection::vec, prelude::*, sample::select};

const BLOCKS: [&str; 3] = ["a", "b", "c"];
const CAPACITY: [i64; 2] = [10, 20];

/// A claim's id by its number: those of three namespaces take turns.
fn claim(number: usize) -> ClaimId {
    let subject = Subject {
        kind: SubjectKind::Claim,
        namespace: ["one", "two", "three"][number % 3].into(),
        name: format!("c{number}"),
        uid: number.to_string(),
    };
    subject.id()
}

fn demands(amounts: &[(usize, [i64; 2])]) -> Vec<Demand> {
    let mut demands: Vec<Demand> = Vec::new();
    for (block, amounts) in amounts {
        let block = BlockId::from(BLOCKS[*block]);
        if !demands.iter().any(|demand| demand.blocks.contains(&block)) {
            demands.push(Demand {
                blocks: vec![block],
                budget: Budget::new(amounts.to_vec()).unwrap(),
            });
        }
    }
    demands
}

/// An event in few words: what happens, to which claim or block, and amounts of blocks.
type Word = (u8, usize, Vec<(usize, [i64; 2])>);

fn event((what, number, amounts): &Word, arrived: &mut usize) -> Event {
    let demands = demands(amounts);
    let claim_id = claim(*number % (*arrived).max(1));
    match what {
        0..=6 => {
            *arrived += 1;
            Event::Arrive(Arrival {
                claim: claim(*arrived - 1),
                min_blocks: if *what == 0 { 3 } else { 1 },
                timeout: (*what == 1).then_some(Span::from_micros(2)),
                priority: 0,
                weight: Weight::new(1 + u32::from(*what) % 2).unwrap(),
                demands,
            })
        }
        7 => Event::Match {
            claim: claim_id,
            demands: BLOCKS
                .iter()
                .map(|block| Demand {
                    blocks: vec![BlockId::from(*block)],
                    budget: Budget::new(vec![1, 2]).unwrap(),
                })
                .collect(),
        },
        8 => Event::Consume {
            claim: claim_id,
            amount: Amount::All,
        },
        9 => Event::Release {
            claim: claim_id,
            amount: Amount::All,
        },
        10 => Event::Release {
            claim: claim_id,
            amount: Amount::InAll(demands),
        },
        11 => Event::Consume {
            claim: claim_id,
            amount: Amount::InAll(demands),
        },
        12 => Event::Withdraw { claim: claim_id },
        13 => Event::NeverRan { claim: claim_id },
        _ => Event::RetireBlock {
            block: BlockId::from(BLOCKS[number % 3]),
        },
    }
}

/// Whom an event lets arrive or matches.
fn of_claim(event: &Event) -> Option<&ClaimId> {
    match event {
        Event::Arrive(arrival) => Some(&arrival.claim),
        Event::Match { claim, .. } => Some(claim),
        _ => None,
    }
}

fn all(fairness: &Fairness) -> Vec<(&str, Claimant)> {
    fairness.claimants().collect()
}

/// The measures after a replay, once every claim was looked at, in pieces of `most`.
fn replayed(engine: &Engine, most: usize) -> Fairness {
    let mut fairness = Fairness::after_replay(engine);
    while fairness.is_catching_up() {
        fairness.catch_up(engine, most);
    }
    fairness
}

/// Runs entries; returns the measures that followed whole entries, those that followed each event, those after a replay, and
/// those after a replay of the first `opened_after` entries, which looked at the claims in pieces between the other entries.
fn run(rules: DatasetRules, entries: &[Vec<Word>], opened_after: usize) -> [Fairness; 4] {
    let mut engine = Engine::new(rules).unwrap();
    for block in BLOCKS {
        let (block, capacity) = (block.into(), Budget::new(CAPACITY.to_vec()).unwrap());
        engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    }
    let [mut by_entry, mut by_event] = [(); 2].map(|()| Fairness::after_replay(&engine));
    let mut arrived = 0;
    let mut catching_up = None;
    for ((time, words), entry) in (1..).zip(entries).zip(0..) {
        if entry == opened_after {
            catching_up = Some(Fairness::after_replay(&engine));
        }
        let records = engine.advance(Time::from_micros(time));
        let clock = Step {
            claim: None,
            records: &records,
        };
        by_event.follow(&engine, [clock].into_iter());
        let mut decided: Vec<(Event, Vec<Record>)> = Vec::new();
        for word in words {
            let event = event(word, &mut arrived);
            // What is refused is in no entry.
            if let Ok(records) = engine.apply(&event) {
                let step = Step {
                    claim: of_claim(&event),
                    records: &records,
                };
                by_event.follow(&engine, [step].into_iter());
                decided.push((event, records));
            }
        }
        let steps = decided.iter().map(|(event, records)| Step {
            claim: of_claim(event),
            records,
        });
        let steps = std::iter::once(clock).chain(steps);
        if let Some(fairness) = &mut catching_up {
            fairness.follow(&engine, steps.clone());
            fairness.catch_up(&engine, 3);
        }
        by_entry.follow(&engine, steps);
    }
    let mut catching_up = catching_up.unwrap_or_else(|| Fairness::after_replay(&engine));
    while catching_up.is_catching_up() {
        catching_up.catch_up(&engine, 3);
    }
    let mut all = [by_entry, by_event, replayed(&engine, usize::MAX), catching_up];
    for fairness in &mut all {
        fairness.look(&engine);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_events_and_a_replay_agree(
        policy in select(vec![Policy::Dpf, Policy::Fcfs { refusing: false }, Policy::RoundRobin]),
        renyi in any::<bool>(),
        by_arrivals in any::<bool>(),
        entries in vec(vec((0_u8..16, 0_usize..20, vec((0_usize..3, [0_i64..6, 1..8]), 1..3)), 1..5), 1..12),
        opened_after in 0_usize..12,
    ) {
        // Round robin divides amounts, which Renyi curves can't be.
        let renyi = renyi && policy != Policy::RoundRobin;
        let orders = ["2", "4"].map(|order| order.parse().unwrap());
        let rules = DatasetRules {
            policy,
            unlocking: if by_arrivals { Unlocking::Arrivals(4) } else { Unlocking::Immediate },
            composition: if renyi { Composition::Renyi(Orders::new(orders.to_vec()).unwrap()) } else { Composition::Basic },
            revision: Revision::CURRENT,
        };
        let [by_entry, by_event, replayed, caught_up] = run(rules, &entries, opened_after);
        prop_assert_eq!(all(&by_entry), all(&by_event));
        prop_assert_eq!(all(&by_entry), all(&replayed));
        prop_assert_eq!(by_entry.measured(), by_event.measured());
        prop_assert_eq!(by_entry.measured(), replayed.measured());
        prop_assert_eq!(all(&by_entry), all(&caught_up));
        prop_assert_eq!(by_entry.measured(), caught_up.measured());
        prop_assert_eq!(by_entry.fair_claims(), by_event.fair_claims());
        prop_assert_eq!(by_entry.envied(), by_event.envied());
        if policy == Policy::Dpf && !renyi {
            prop_assert_eq!(by_entry.envied(), 0);
        }
    }
}

/// Capacity 10 and 20, four arrivals unlock it: a fair share is 2 and 5. The second claim of "one" is larger and waits.
#[test]
fn who_waits_and_what_each_namespace_has() {
    let rules = DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Arrivals(4),
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    };
    let word = |amounts| (2, 0, vec![(0, amounts)]);
    let entries = [
        vec![word([2, 5]), word([2, 4])],
        vec![word([1, 1])],
        vec![word([9, 1])],
    ];
    let [fairness, _, replayed, _] = run(rules, &entries, 0);
    let claimant = |dominant_share, waiting, oldest: Option<u64>| Claimant {
        dominant_share,
        waiting,
        oldest: oldest.map(Time::from_micros),
    };
    let expected = [
        ("one", claimant(0.25, 1, Some(3))),
        ("two", claimant(0.2, 0, None)),
        ("three", claimant(0.1, 0, None)),
    ];
    assert_eq!(all(&fairness), expected);
    assert_eq!(all(&replayed), expected);
    let fair = fairness.fair_claims().unwrap();
    assert_eq!((fair.at_once, fair.not_at_once), (3, 0));
    // Block a has 5 of 10 and 10 of 20 left, of no use to whoever waits for 9; b and c are locked.
    assert_eq!(fairness.measured().unused, Some(0.5 / 3.0));
}

/// Claims that demand nearly nothing of one block are two for each look: the claim, and its block.
#[test]
fn a_replay_is_looked_at_in_pieces() {
    let mut engine = Engine::new(DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Arrivals(1_000_000),
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    })
    .unwrap();
    for block in BLOCKS {
        let (block, capacity) = (block.into(), Budget::new(CAPACITY.to_vec()).unwrap());
        engine.apply(&Event::AddBlock { block, capacity }).unwrap();
    }
    let mut arrived = 0;
    for _ in 0..100 {
        let word = (2, 0, vec![(0, [1, 1])]);
        engine.apply(&event(&word, &mut arrived)).unwrap();
    }
    let waiting =
        |fairness: &Fairness| -> usize { all(fairness).iter().map(|(_, claimant)| claimant.waiting).sum() };
    let mut fairness = Fairness::after_replay(&engine);
    let mut seen = vec![waiting(&fairness)];
    while fairness.is_catching_up() {
        fairness.catch_up(&engine, 50);
        seen.push(waiting(&fairness));
    }
    assert_eq!(seen, [0, 25, 50, 75, 100]);
    // A claim with more blocks than a piece has is looked at all the same.
    assert_eq!(waiting(&replayed(&engine, 0)), 100);
}
