//! Random workloads: rules, events and the times between them.
#![allow(dead_code, reason = "each test that includes it uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_policy::{
    Amount, Arrival, Budget, Composition, DatasetRules, Demand, Engine, Event, Orders, Policy, Revision,
    Span, Unlocking, Weight,
};
use proptest::{collection::vec, prelude::*};

/// The number of cases: `count`, times `PROPTEST_CASES` over its default of 256.
pub(crate) fn cases(count: u32) -> u32 {
    (count * ProptestConfig::default().cases).div_ceil(256)
}

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) rules: DatasetRules,
    /// Microseconds since the last event, and what happens.
    pub(crate) steps: Vec<(u64, Event)>,
}

/// Indices that become names, so that events often concern blocks and claims that exist.
#[derive(Clone, Debug)]
enum Op {
    AddBlock(u8, Vec<i64>),
    RetireBlock(u8),
    Arrive(Vec<(Vec<u8>, Vec<i64>)>, u32, Option<u64>, i32, u32),
    Match(prop::sample::Index, Vec<(Vec<u8>, Vec<i64>)>),
    ConsumeAll(prop::sample::Index),
    ReleaseAll(prop::sample::Index),
    Consume(prop::sample::Index, Vec<(Vec<u8>, Vec<i64>)>),
    Release(prop::sample::Index, Vec<(Vec<u8>, Vec<i64>)>),
    Withdraw(prop::sample::Index),
    NeverRan(prop::sample::Index),
    WriteOff(Vec<u8>),
    Forget(Vec<prop::sample::Index>, Option<u8>),
}

/// Renyi composition with so many orders, or basic composition if there are none.
pub(crate) fn composition(orders: usize) -> Composition {
    if orders == 0 {
        return Composition::Basic;
    }
    let orders = ["1.5", "3", "8"].iter().take(orders);
    Composition::Renyi(Orders::new(orders.map(|order| order.parse().unwrap()).collect()).unwrap())
}

/// By arrivals (0), by the clock (1), or at once (2).
pub(crate) fn unlocking(kind: u8) -> BoxedStrategy<Unlocking> {
    match kind {
        0 => (1_u32..8).prop_map(Unlocking::Arrivals).boxed(),
        1 => (0_u64..60, 1_u64..9)
            .prop_map(|(lifetime, tick)| Unlocking::Lifetime {
                lifetime: Span::from_micros(lifetime),
                tick: Span::from_micros(tick),
            })
            .boxed(),
        _ => Just(Unlocking::Immediate).boxed(),
    }
}

pub(crate) fn any_rules() -> impl Strategy<Value = DatasetRules> {
    let composition = prop_oneof![Just(composition(0)), Just(composition(1)), Just(composition(3))];
    let unlocking = prop_oneof![3 => unlocking(0), 3 => unlocking(1), 1 => unlocking(2)];
    let revision =
        prop_oneof![1 => Just(Revision::First), 1 => Just(Revision::Second), 2 => Just(Revision::CURRENT)];
    let all = (policies(), unlocking, composition, revision);
    all.prop_map(|(policy, unlocking, composition, revision)| DatasetRules {
        policy,
        unlocking,
        // Round robin needs basic composition.
        composition: if policy == Policy::RoundRobin {
            Composition::Basic
        } else {
            composition
        },
        revision,
    })
}

pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let recompute_after = || prop_oneof![2 => Just(1_u32), 1 => 2_u32..4, 1 => Just(u32::MAX)];
    prop_oneof![
        4 => Just(Policy::Dpf),
        1 => any::<bool>().prop_map(|refusing| Policy::Fcfs { refusing }),
        3 => Just(Policy::RoundRobin),
        3 => recompute_after().prop_map(|recompute_after| Policy::Dpack { recompute_after }),
        3 => (prop_oneof![0_u16..=1000, Just(0), Just(1000)], recompute_after()).prop_map(
            |(fairness, recompute_after)| Policy::Blend { fairness, recompute_after }
        ),
    ]
}

fn ops(coordinates: usize) -> impl Strategy<Value = Op> {
    // Few different numbers make many ties; a rare huge one tests the limits.
    let units = prop_oneof![20 => 0_i64..10, 1 => Just(i64::MAX), 1 => 0..i64::MAX];
    let capacity = prop_oneof![9 => 0_i64..30, 1 => Just(i64::MAX)];
    let demands = || {
        let budget = prop_oneof![30 => vec(units.clone(), coordinates), 1 => vec(units.clone(), 0..5)];
        vec((vec(0_u8..5, 0..4), budget), 0..3)
    };
    let one_demand = (vec(0_u8..5, 1..5), vec(units.clone(), coordinates)).prop_map(|(mut blocks, units)| {
        blocks.sort_unstable();
        blocks.dedup();
        vec![(blocks, units)]
    });
    // Claims with equal demands.
    let again = (
        prop_oneof![Just(vec![0]), Just(vec![0, 1]), Just(vec![1, 0])],
        1_i64..6,
    )
        .prop_map(move |(blocks, units)| vec![(blocks, vec![units; coordinates])]);
    let arrival = prop_oneof![4 => one_demand.clone(), 4 => again, 1 => demands()];
    let claim = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0_u8..5, vec(capacity, coordinates)).prop_map(|(block, capacity)| Op::AddBlock(block, capacity)),
        1 => (0_u8..5).prop_map(Op::RetireBlock),
        20 => (
            arrival,
            prop_oneof![8 => Just(1_u32), 2 => 0_u32..4],
            prop::option::of(0_u64..40),
            prop_oneof![4 => Just(0), 1 => -1..2],
            prop_oneof![4 => Just(1_u32), 2 => 1_u32..4, 1 => Just(u32::MAX)],
        )
            .prop_map(|(demands, min, timeout, priority, weight)| {
                Op::Arrive(demands, min, timeout, priority, weight)
            }),
        2 => (claim(), one_demand).prop_map(|(claim, demands)| Op::Match(claim, demands)),
        7 => claim().prop_map(Op::ConsumeAll),
        5 => claim().prop_map(Op::ReleaseAll),
        2 => (claim(), demands()).prop_map(|(claim, demands)| Op::Consume(claim, demands)),
        2 => (claim(), demands()).prop_map(|(claim, demands)| Op::Release(claim, demands)),
        3 => claim().prop_map(Op::Withdraw),
        2 => claim().prop_map(Op::NeverRan),
        5 => (vec(claim(), 0..3), prop::option::of(0_u8..2)).prop_map(|(claims, of)| Op::Forget(claims, of)),
        1 => (0_u8..4, vec(0_u8..5, 0..3)).prop_map(|(rarely, unknown)| match rarely {
            0 => Op::WriteOff(unknown),
            block => Op::RetireBlock(block),
        }),
    ]
}

fn demands(given: Vec<(Vec<u8>, Vec<i64>)>) -> Vec<Demand> {
    let demand = |(blocks, units): (Vec<u8>, Vec<i64>)| Demand {
        blocks: blocks
            .into_iter()
            .map(|block| format!("b{block}").into())
            .collect(),
        budget: Budget::new(units).unwrap(),
    };
    given.into_iter().map(demand).collect()
}

/// A workload that adds `blocks` at its start, so that claims have blocks to demand.
fn workload(rules: DatasetRules, blocks: Vec<Vec<i64>>, ops: Vec<(u64, Op)>) -> Workload {
    let mut steps = Vec::new();
    for (at, capacity) in blocks.into_iter().enumerate() {
        let capacity = Budget::new(capacity).unwrap();
        let block = format!("b{at}").into();
        steps.push((0, Event::AddBlock { block, capacity }));
    }
    let mut arrived = 0_usize;
    for (later, op) in ops {
        // Sometimes a claim that never arrived.
        let name = |index: &prop::sample::Index| format!("c{}", index.index(arrived + 1)).into();
        let event = match op {
            Op::AddBlock(block, capacity) => Event::AddBlock {
                block: format!("b{block}").into(),
                capacity: Budget::new(capacity).unwrap(),
            },
            Op::RetireBlock(block) => Event::RetireBlock {
                block: format!("b{block}").into(),
            },
            Op::Arrive(given, min_blocks, timeout, priority, weight) => {
                arrived += 1;
                Event::Arrive(Arrival {
                    claim: format!("c{}", arrived - 1).into(),
                    demands: demands(given),
                    min_blocks,
                    timeout: timeout.map(Span::from_micros),
                    priority,
                    weight: Weight::new(weight).unwrap(),
                })
            }
            Op::Match(claim, given) => Event::Match {
                claim: name(&claim),
                demands: demands(given),
            },
            Op::ConsumeAll(claim) => Event::Consume {
                claim: name(&claim),
                amount: Amount::All,
            },
            Op::ReleaseAll(claim) => Event::Release {
                claim: name(&claim),
                amount: Amount::All,
            },
            Op::Consume(claim, given) => Event::Consume {
                claim: name(&claim),
                amount: Amount::InAll(demands(given)),
            },
            Op::Release(claim, given) => Event::Release {
                claim: name(&claim),
                amount: Amount::InAll(demands(given)),
            },
            Op::Withdraw(claim) => Event::Withdraw { claim: name(&claim) },
            Op::NeverRan(claim) => Event::NeverRan { claim: name(&claim) },
            Op::Forget(claims, of) => Event::Forget {
                claims: claims.iter().map(name).collect(),
                of: of.map(|group| format!("g{group}")),
            },
            Op::WriteOff(unknown) => Event::WriteOff {
                after: 7,
                unknown_blocks: unknown
                    .into_iter()
                    .map(|block| format!("b{block}").into())
                    .collect(),
                reason: "etcd was restored".to_owned(),
            },
        };
        steps.push((later, event));
    }
    Workload { rules, steps }
}

pub(crate) fn workloads(length: usize) -> impl Strategy<Value = Workload> {
    any_rules().prop_flat_map(move |rules| workload_under(rules, length))
}

pub(crate) fn workload_under(rules: DatasetRules, length: usize) -> impl Strategy<Value = Workload> {
    let coordinates = rules.composition.coordinates();
    let blocks = vec(vec(prop_oneof![0_i64..15, 0_i64..60], coordinates), 3..5);
    let later = prop_oneof![3 => Just(0_u64), 3 => 0_u64..6, 1 => 0_u64..40];
    let ops = vec((later, ops(coordinates)), 0..length);
    (Just(rules), blocks, ops).prop_map(|(rules, blocks, ops)| workload(rules, blocks, ops))
}

/// Checks that the budget of each block adds up, and that no more is taken of it than it guarantees: at each
/// coordinate (basic composition), or at one order at least (Renyi).
pub(crate) fn check_sums(engine: &Engine) {
    for name in engine.blocks() {
        let state = engine.block(name).unwrap();
        let capacity = state.capacity.units();
        for (at, capacity) in capacity.iter().enumerate() {
            let parts = [
                state.locked[at],
                state.available[at],
                state.allocated[at],
                state.consumed[at],
            ];
            assert_eq!(parts.iter().sum::<i128>(), i128::from(*capacity));
            assert!(state.locked[at] >= 0 && state.allocated[at] >= 0 && state.consumed[at] >= 0);
        }
        let is_kept = |at: usize| state.available[at] >= 0;
        let mut taken = state.allocated.iter().chain(&state.consumed);
        if engine.rules().composition == Composition::Basic {
            assert!((0..capacity.len()).all(is_kept), "{state:?}");
        } else if taken.any(|taken| *taken > 0) {
            assert!(
                (0..capacity.len()).any(|at| capacity[at] > 0 && is_kept(at)),
                "{state:?}"
            );
        }
    }
}
