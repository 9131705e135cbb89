//! Batches on Renyi curves: many claims wait until the clock unlocks budget for all of them at once. DPack
//! and Blend must decide as their oracle does, which computes everything again after each grant. The best
//! order of a block often changes on the way.
#![allow(clippy::unwrap_used, reason = "a test")]

mod oracle;

use oracle::Oracle;
use privatekube_policy::{
    Arrival, Budget, Composition, DatasetRules, Demand, Engine, Event, Orders, Policy, Revision, Span, Time,
    Unlocking, Weight,
};
use proptest::{collection::vec, prelude::*};

const ORDERS: [&str; 4] = ["2", "3", "5", "8"];
const BLOCKS: u8 = 4;
const TICK: u64 = 10;
const TICKS: u64 = 3;

/// First block and number of blocks; the demand on each; priority and weight.
type Claim = ((u8, u8), Vec<i64>, i32, u32);

fn policies() -> impl Strategy<Value = Policy> {
    let recompute_after = || prop_oneof![3 => Just(1_u32), 2 => 2_u32..5, 1 => Just(u32::MAX)];
    let blend = |(fairness, recompute_after)| Policy::Blend {
        fairness,
        recompute_after,
    };
    prop_oneof![
        2 => recompute_after().prop_map(|recompute_after| Policy::Dpack { recompute_after }),
        1 => (0_u16..600, recompute_after()).prop_map(blend),
    ]
}

/// Claims that demand little at one order and much at the others, or any amounts.
fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let bent = (0..ORDERS.len(), 1_i64..12, 5_i64..40).prop_map(|(best, least, more)| {
        let units = (0..ORDERS.len()).map(|at| least + if at == best { 0 } else { more });
        units.collect()
    });
    let asked = prop_oneof![4 => bent, 1 => vec(0_i64..40, ORDERS.len())];
    let priority = prop_oneof![9 => Just(0), 1 => -1..2];
    let weight = prop_oneof![6 => Just(1_u32), 2 => 2_u32..5];
    vec(((0..BLOCKS, 1..=BLOCKS), asked, priority, weight), 10..60)
}

fn rules(policy: Policy) -> DatasetRules {
    DatasetRules {
        policy,
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_micros(TICK * TICKS),
            tick: Span::from_micros(TICK),
        },
        composition: Composition::Renyi(
            Orders::new(ORDERS.map(|order| order.parse().unwrap()).to_vec()).unwrap(),
        ),
        revision: Revision::CURRENT,
    }
}

fn events(capacities: &[Vec<i64>], claims: &[Claim]) -> Vec<Event> {
    let blocks = (0..)
        .zip(capacities)
        .map(|(at, capacity): (u8, _)| Event::AddBlock {
            block: format!("b{at}").into(),
            capacity: Budget::new(capacity.clone()).unwrap(),
        });
    let arrivals = (0..).zip(claims).map(|(number, claim): (u32, _)| {
        let ((first, count), asked, priority, weight) = claim;
        let last = (first + count).min(BLOCKS);
        // A demand of nothing is refused.
        let asked = asked.iter().map(|units| (*units).max(i64::from(*weight == 1)));
        Event::Arrive(Arrival {
            claim: format!("c{number}").into(),
            demands: vec![Demand {
                blocks: (*first..last).map(|at| format!("b{at}").into()).collect(),
                budget: Budget::new(asked.collect()).unwrap(),
            }],
            min_blocks: 1,
            timeout: None,
            priority: *priority,
            weight: Weight::new(*weight).unwrap(),
        })
    });
    blocks.chain(arrivals).collect()
}

proptest! {
    #[test]
    fn a_batch_is_decided_as_by_computing_everything_again(
        policy in policies(),
        capacities in vec(vec(20_i64..200, ORDERS.len()), usize::from(BLOCKS)),
        claims in claims(),
    ) {
        let mut engine = Engine::new(rules(policy)).unwrap();
        let mut oracle = Oracle::new(rules(policy));
        // Just after a tick, so that all of them arrive before the next.
        engine.advance(Time::from_micros(1));
        oracle.advance(Time::from_micros(1));
        for event in events(&capacities, &claims) {
            prop_assert_eq!(engine.apply(&event).ok(), oracle.try_apply(&event));
        }
        for tick in 1..=TICKS {
            let at = Time::from_micros(tick * TICK);
            prop_assert_eq!(engine.advance(at), oracle.advance(at));
            for name in engine.claims().filter(|name| engine.explain(name).is_some()) {
                let ahead = engine.standing(name).and_then(|standing| standing.ahead);
                prop_assert_eq!(ahead, Some(oracle.ahead(name)));
                let queue = engine.queue().unwrap();
                prop_assert_eq!(queue[oracle.ahead(name)], name);
            }
        }
    }
}
