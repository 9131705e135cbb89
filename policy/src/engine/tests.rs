//! The index of waiting claims holds exactly the claims that wait, whatever events happen.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Engine, Phase, Refusal, blocks::FitRule};
use crate::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Event, Orders, Policy,
    Revision, Span, Time, Unlocking, Weight,
};

const BLOCKS: usize = 3;

fn engine(policy: Policy, renyi: bool, unlocking: Unlocking) -> Engine {
    let orders = || Orders::new(vec!["2".parse().unwrap(), "4".parse().unwrap()]).unwrap();
    let composition = if renyi {
        Composition::Renyi(orders())
    } else {
        Composition::Basic
    };
    Engine::new(DatasetRules {
        policy,
        unlocking,
        composition,
        revision: Revision::CURRENT,
    })
    .unwrap()
}

/// Checks that each waiting class is listed where it has to be, and that nothing else is listed.
fn check(engine: &Engine) {
    let mut kept: Vec<_> = Vec::new();
    let waiting = engine.state.claims.known();
    let waiting = waiting.filter(|(_, claim)| claim.phase == Phase::Waiting && claim.matched);
    let mut classes = BTreeSet::new();
    for (number, claim) in waiting {
        let class = claim.class.unwrap();
        assert!(
            engine
                .state
                .waiting
                .has_member(class, u32::try_from(number).unwrap())
        );
        classes.insert(class);
    }
    for class in &classes {
        let watch = engine
            .state
            .waiting
            .watched_by(*class, &engine.state.demand_store);
        let entries =
            engine
                .state
                .waiting
                .feasible_at(*class, engine.state.blocks.list(), &engine.state.demand_store);
        let mut block = engine.state.blocks.get(watch.0).clone();
        block.settle(engine.state.now);
        let demands = engine
            .state
            .demands_of(engine.state.waiting.class(*class).unwrap());
        let demand = demands.get(demands.at(watch.0).unwrap());
        assert!(block.lacking(demand.amounts, engine.state.fit_rule).is_some());
        for coordinate in &watch.1 {
            let demanded = demand.amounts[*coordinate];
            assert!(
                i128::from(demanded) > block.accounts[*coordinate].available
                    || block.accounts[*coordinate].capacity == 0
            );
            kept.push((watch.0, "watching", *coordinate, demanded, *class));
        }
        for (number, coordinate) in entries {
            let demand = demands.get(demands.at(number).unwrap());
            let (demanded, account) = (
                demand.amounts[coordinate],
                &engine.state.blocks.get(number).accounts[coordinate],
            );
            assert!(
                i128::from(demanded) <= account.left()
                    && (engine.state.fit_rule == FitRule::EveryCoordinate || account.capacity > 0)
            );
            kept.push((number, "feasible", coordinate, demanded, *class));
        }
    }
    kept.sort_unstable();
    assert_eq!(
        engine
            .state
            .waiting
            .all_kept(engine.state.blocks.list(), &engine.state.demand_store),
        kept
    );
    assert_eq!(engine.state.waiting.count(), classes.len());
}

proptest! {
    #[test]
    fn the_index_holds_exactly_the_claims_that_wait(
        policy in prop_oneof![
            2 => Just(Policy::Dpf),
            1 => any::<bool>().prop_map(|refusing| Policy::Fcfs { refusing }),
            1 => (1_u32..3).prop_map(|recompute_after| Policy::Dpack { recompute_after }),
            1 => (0_u16..=1000).prop_map(|fairness| Policy::Blend { fairness, recompute_after: 1 }),
        ],
        renyi: bool,
        unlocking in prop_oneof![
            (1_u32..5).prop_map(Unlocking::Arrivals),
            Just(Unlocking::Immediate),
            Just(Unlocking::Lifetime { lifetime: Span::from_micros(40), tick: Span::from_micros(4) }),
        ],
        capacities in vec([0_i64..20, 1_i64..20], BLOCKS),
        steps in vec((0_u64..3, 0_u8..12, any::<Index>(), [0_i64..9, 1_i64..9], 1_usize..8), 1..80),
    ) {
        let mut engine = engine(policy, renyi, unlocking);
        let block = |at: usize| BlockId::from(format!("b{at}"));
        let add = |at: usize| Event::AddBlock {
            block: block(at),
            capacity: Budget::new(capacities[at].to_vec()).unwrap(),
        };
        for at in 0..BLOCKS {
            engine.apply(&add(at)).unwrap();
        }
        let mut now = 0;
        for (number, (later, kind, index, units, blocks)) in steps.into_iter().enumerate() {
            now += later;
            engine.advance(Time::from_micros(now));
            check(&engine);
            let claim = format!("c{}", index.index(number + 1)).into();
            let event = match kind {
                0..=5 => Event::Arrive(Arrival {
                    claim: format!("c{number}").into(),
                    demands: vec![Demand {
                        blocks: (0..BLOCKS).filter(|at| blocks & (1 << at) != 0).map(block).collect(),
                        budget: Budget::new(units.to_vec()).unwrap(),
                    }],
                    min_blocks: 1,
                    timeout: (units[0] == 1).then_some(Span::from_micros(5)),
                    priority: 0,
                    weight: Weight::default(),
                }),
                6 | 7 => Event::Consume { claim, amount: Amount::All },
                8 => Event::Release { claim, amount: Amount::All },
                9 => Event::NeverRan { claim },
                10 if blocks == 1 => Event::RetireBlock { block: block(index.index(BLOCKS)) },
                10 => add(index.index(BLOCKS)),
                _ => Event::Withdraw { claim },
            };
            let _ = engine.apply(&event);
            check(&engine);
        }
        let all: Vec<_> = engine.claims().cloned().collect();
        for claim in all {
            engine.apply(&Event::Withdraw { claim }).unwrap();
        }
        check(&engine);
        prop_assert_eq!(engine.state.waiting.count(), 0);
        prop_assert!(engine.state.timeouts.is_empty() && engine.state.wakes.is_empty());
    }
}

fn budget(units: [i64; 2]) -> Budget {
    Budget::new(units.to_vec()).unwrap()
}

fn add(block: &str, units: [i64; 2]) -> Event {
    Event::AddBlock {
        block: block.into(),
        capacity: budget(units),
    }
}

fn arrive(claim: &str, blocks: &[&str], units: [i64; 2]) -> Event {
    Event::Arrive(Arrival {
        claim: claim.into(),
        demands: vec![Demand {
            blocks: blocks.iter().map(|block| BlockId::from(*block)).collect(),
            budget: budget(units),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

fn apply_and_check(engine: &mut Engine, events: impl IntoIterator<Item = Event>) {
    for event in events {
        engine.apply(&event).unwrap();
        check(engine);
    }
}

#[test]
fn an_order_without_capacity_keeps_no_claim_feasible() {
    let mut engine = engine(Policy::Dpf, true, Unlocking::Immediate);
    let consume = Event::Consume {
        claim: "consumed".into(),
        amount: Amount::All,
    };
    let before = [
        add("b", [0, 10]),
        arrive("consumed", &["b"], [0, 5]),
        arrive("waits", &["b"], [0, 8]),
    ];
    apply_and_check(&mut engine, before);
    assert_eq!(engine.phase(&"waits".into()), Some(Phase::Waiting));
    apply_and_check(&mut engine, [consume]);
    assert_eq!(engine.phase(&"waits".into()), Some(Phase::Denied));
}

#[test]
fn a_family_that_no_one_block_keeps_waiting_is_split() {
    let mut engine = engine(Policy::Dpf, true, Unlocking::Immediate);
    let release = |claim: &str| Event::Release {
        claim: claim.into(),
        amount: Amount::All,
    };
    // The first block lacks at one order, the second at the other. A claim that demands much at the order of
    // a block waits for that block, and fits the other one.
    let before = [
        add("one", [10, 10]),
        add("two", [10, 10]),
        arrive("holds one", &["one"], [8, 2]),
        arrive("holds two", &["two"], [2, 8]),
        arrive("lacks one", &["one", "two"], [3, 9]),
        arrive("lacks two", &["one", "two"], [9, 3]),
    ];
    apply_and_check(&mut engine, before);
    let phases =
        |engine: &Engine| ["lacks one", "lacks two"].map(|claim| engine.phase(&claim.into()).unwrap());
    assert_eq!(phases(&engine), [Phase::Waiting; 2]);
    apply_and_check(&mut engine, [release("holds one")]);
    assert_eq!(phases(&engine), [Phase::Granted, Phase::Waiting]);
    apply_and_check(&mut engine, [release("lacks one"), release("holds two")]);
    assert_eq!(phases(&engine), [Phase::Released, Phase::Granted]);
}

#[test]
fn what_nothing_needs_any_more_is_forgotten_and_no_claim_arrives_twice() {
    let mut engine = engine(Policy::Dpf, false, Unlocking::Immediate);
    engine.apply(&add("b", [1_000_000, 1])).unwrap();
    engine.apply(&arrive("granted", &["b"], [1_000, 0])).unwrap();
    let mut most = 0;
    for number in 0..1_000 {
        engine.advance(Time::from_micros(number));
        let claim = format!("c{number}");
        let asked = 999_001 + i64::try_from(number % 900).unwrap();
        engine.apply(&arrive(&claim, &["b"], [asked, 0])).unwrap();
        let claim = ClaimId::from(claim);
        engine.apply(&Event::Withdraw { claim }).unwrap();
        most = most.max(engine.state.demand_store.len());
    }
    // Each of these demands takes 3 words.
    assert!(most < 200, "{most}");
    let again = engine.apply(&arrive("c1", &["b"], [1, 0]));
    assert!(matches!(again, Err(Refusal::ClaimExists(_))), "{again:?}");
    // What was granted has its demands.
    let amount = Amount::All;
    let claim = ClaimId::from("granted");
    engine.apply(&Event::Consume { claim, amount }).unwrap();
    assert_eq!(engine.block(&"b".into()).unwrap().consumed, [1_000, 0]);
    assert_eq!(engine.claim(&"granted".into()).unwrap().consumed.len(), 1);
}

#[test]
fn a_forgotten_claim_leaves_its_number_and_nothing_else() {
    let mut engine = engine(Policy::Dpf, false, Unlocking::Immediate);
    engine.apply(&add("b", [1_000_000, 1])).unwrap();
    let mut most = 0;
    for number in 0..1_000 {
        let claim = format!("c{number}");
        engine.apply(&arrive(&claim, &["b"], [number + 1, 0])).unwrap();
        let (claim, amount) = (ClaimId::from(claim), Amount::All);
        let consume = Event::Consume {
            claim: claim.clone(),
            amount,
        };
        engine.apply(&consume).unwrap();
        engine
            .apply(&Event::Forget {
                claims: vec![claim],
                of: None,
            })
            .unwrap();
        most = most.max(engine.state.demand_store.len());
    }
    assert!(most < 200, "{most}");
    assert_eq!(engine.state.claims.known_from(0).count(), 0);
    assert_eq!(engine.claims().len(), 0);
    assert_eq!(engine.state.claims.numbered(), 1_000);
}

#[test]
fn equal_demands_are_kept_once() {
    let mut engine = engine(Policy::Dpf, false, Unlocking::Immediate);
    for block in ["a", "b"] {
        engine.apply(&add(block, [1_000, 1])).unwrap();
    }
    engine.apply(&arrive("first", &["a", "b"], [1, 0])).unwrap();
    let words = engine.state.demand_store.len();
    engine.apply(&arrive("equal", &["a", "b"], [1, 0])).unwrap();
    assert_eq!(engine.state.demand_store.len(), words);
    // Another amount on the same blocks takes the number of the blocks and the amounts.
    engine.apply(&arrive("other", &["a", "b"], [2, 0])).unwrap();
    assert_eq!(engine.state.demand_store.len(), words + 3);
}
