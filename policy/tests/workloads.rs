//! Random workloads: the engine decides as the oracle does, the accounts add up, and time may pass in any
//! steps.
#![allow(clippy::unwrap_used, reason = "a test")]

mod oracle;

use oracle::Oracle;
use privatekube_policy::{
    Amount, Arrival, Budget, Composition, DatasetRules, Demand, Engine, Event, Lack, Orders, Phase, Policy,
    Record, Revision, Span, Time, Unlocking, Weight,
};
use proptest::{collection::vec, prelude::*};

/// The number of cases: `count`, times `PROPTEST_CASES` over its default of 256.
fn cases(count: u32) -> u32 {
    (count * ProptestConfig::default().cases).div_ceil(256)
}

#[derive(Clone, Debug)]
struct Workload {
    rules: DatasetRules,
    /// Microseconds since the last event, and what happens.
    steps: Vec<(u64, Event)>,
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
}

fn any_rules() -> impl Strategy<Value = DatasetRules> {
    let orders = |count: usize| {
        let orders = ["1.5", "3", "8"].iter().take(count);
        Composition::Renyi(Orders::new(orders.map(|order| order.parse().unwrap()).collect()).unwrap())
    };
    let composition = prop_oneof![Just(Composition::Basic), Just(orders(1)), Just(orders(3))];
    let unlocking = prop_oneof![
        3 => (1_u32..8).prop_map(Unlocking::Arrivals),
        3 => (0_u64..60, 1_u64..9).prop_map(|(lifetime, tick)| Unlocking::Lifetime {
            lifetime: Span::from_micros(lifetime),
            tick: Span::from_micros(tick),
        }),
        1 => Just(Unlocking::Immediate),
    ];
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

fn policies() -> impl Strategy<Value = Policy> {
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

fn workloads(length: usize) -> impl Strategy<Value = Workload> {
    any_rules().prop_flat_map(move |rules| {
        let coordinates = rules.composition.coordinates();
        let blocks = vec(vec(prop_oneof![0_i64..15, 0_i64..60], coordinates), 3..5);
        let later = prop_oneof![3 => Just(0_u64), 3 => 0_u64..6, 1 => 0_u64..40];
        let ops = vec((later, ops(coordinates)), 0..length);
        (Just(rules), blocks, ops).prop_map(|(rules, blocks, ops)| workload(rules, blocks, ops))
    })
}

/// Everything that an engine shows, as text.
fn shown(engine: &Engine) -> String {
    let blocks: Vec<_> = engine.blocks().map(|block| engine.block(block)).collect();
    let claims: Vec<_> = engine
        .claims()
        .map(|claim| (engine.claim(claim), engine.explain(claim)))
        .collect();
    format!(
        "{:?} {:?} {blocks:?} {claims:?}",
        engine.now(),
        engine.next_step()
    )
}

fn check_accounts(engine: &Engine, oracle: &Oracle) {
    for name in engine.blocks() {
        let (state, expected) = (engine.block(name).unwrap(), &oracle.blocks[name]);
        assert_eq!(state.locked, expected.locked());
        assert_eq!(state.available, expected.unlocked());
        assert_eq!(state.allocated, expected.allocated);
        assert_eq!(state.consumed, expected.consumed);
        assert_eq!(
            (state.arrivals, state.retired, state.written_off),
            (expected.arrivals, expected.retired, expected.written_off)
        );
        for (at, capacity) in state.capacity.units().iter().enumerate() {
            let parts = [
                state.locked[at],
                state.available[at],
                state.allocated[at],
                state.consumed[at],
            ];
            assert_eq!(parts.iter().sum::<i128>(), i128::from(*capacity));
            assert!(state.locked[at] >= 0 && state.allocated[at] >= 0 && state.consumed[at] >= 0);
            if engine.rules().composition == Composition::Basic {
                assert!(state.available[at] >= 0);
            }
            if let Unlocking::Arrivals(arrivals) = engine.rules().unlocking
                && state.arrivals >= u64::from(arrivals)
            {
                assert_eq!(state.locked[at], 0);
            }
        }
    }
}

fn check_claims(engine: &Engine, oracle: &Oracle) {
    for (name, expected) in engine.claims().zip(&oracle.claims) {
        let claim = engine.claim(name).unwrap();
        assert_eq!(claim.phase, expected.phase);
        assert_eq!(claim.decided.is_some(), claim.phase != Phase::Waiting);
        assert_eq!(claim.denial.is_some(), claim.phase == Phase::Denied);
        let explanation = engine.explain(name);
        assert_eq!(explanation.is_some(), claim.phase == Phase::Waiting);
        if let Some(explanation) = explanation {
            // Too few blocks are matched, or some block lacks budget.
            assert_ne!(explanation.unmatched.is_some(), !explanation.lacks.is_empty());
            assert!(explanation.lacks.iter().all(|lack| lack.missing > 0));
            let standing = engine.standing(name).unwrap();
            assert!(explanation.lacks.iter().all(|lack| {
                let same = |need: &&Lack| need.block == lack.block && need.coordinate == lack.coordinate;
                let need = standing.needs.iter().find(same);
                need.is_some_and(|need| need.missing == lack.missing && need.locked == lack.locked)
            }));
            let has_order = engine.rules().policy != Policy::RoundRobin;
            assert_eq!(
                standing.ahead.is_some(),
                explanation.unmatched.is_none() && has_order
            );
            if let Some(ahead) = standing.ahead {
                assert_eq!(ahead, oracle.ahead(name));
                assert_eq!(engine.queue().unwrap()[ahead], name);
            }
            assert_eq!(engine.queue().is_some(), has_order);
        }
    }
}

fn run_against_oracle(workload: &Workload) {
    let mut engine = Engine::new(workload.rules.clone()).unwrap();
    let mut oracle = Oracle::new(workload.rules.clone());
    let mut now = 0;
    for (later, event) in &workload.steps {
        now += later;
        assert_eq!(
            engine.advance(Time::from_micros(now)),
            oracle.advance(Time::from_micros(now)),
            "until {now}"
        );
        let before = shown(&engine);
        // `would` copies the engine, so it is tested only sometimes.
        let outlook = (now % 4 == 0).then(|| engine.would(event));
        assert_eq!(shown(&engine), before, "a dry run changes nothing");
        let records = engine.apply(event);
        if let Some(outlook) = outlook {
            let expected = outlook.map(|outlook| outlook.records);
            assert_eq!(
                expected, records,
                "{event:?} has the records that would() promised"
            );
        }
        assert_eq!(
            records.clone().ok(),
            oracle.try_apply(event),
            "{event:?} gave {records:?}"
        );
        if records.is_err() {
            assert_eq!(shown(&engine), before, "{event:?}");
        }
        check_accounts(&engine, &oracle);
        check_claims(&engine, &oracle);
    }
    let end = Time::from_micros(now + 1000);
    assert_eq!(engine.advance(end), oracle.advance(end));
    check_accounts(&engine, &oracle);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), ..ProptestConfig::default() })]

    #[test]
    fn the_engine_decides_as_a_walk_over_all_waiting_claims(workload in workloads(60)) {
        run_against_oracle(&workload);
    }

    #[test]
    fn time_may_come_in_any_portions(workload in workloads(40), portions in vec(1_u64..9, 1..20)) {
        let mut whole = Engine::new(workload.rules.clone()).unwrap();
        let mut split = Engine::new(workload.rules.clone()).unwrap();
        let (mut now, mut portions) = (0, portions.iter().cycle());
        for (later, event) in &workload.steps {
            let records = whole.advance(Time::from_micros(now + later));
            let mut split_records = Vec::new();
            let mut at = now;
            now += later;
            while at < now {
                // First to a time before which the engine announces no decision, then on.
                if let Some(next) = split.next_step() && next.micros() > at + 1 {
                    let idle = Time::from_micros(next.micros().min(now + 1) - 1);
                    prop_assert_eq!(split.advance(idle), []);
                }
                at = (at + portions.next().unwrap()).min(now);
                split_records.extend(split.advance(Time::from_micros(at)));
            }
            split_records.extend(split.advance(Time::from_micros(now)));
            prop_assert_eq!(&split_records, &records);
            prop_assert_eq!(split.apply(event), whole.apply(event));
            prop_assert_eq!(shown(&split), shown(&whole));
        }
    }

    #[test]
    fn records_survive_the_ledger(workload in workloads(30)) {
        let mut engine = Engine::new(workload.rules.clone()).unwrap();
        for (_, event) in &workload.steps {
            let text = serde_json::to_string(event).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
            if let Ok(records) = engine.apply(event) {
                let text = serde_json::to_string(&records).unwrap();
                prop_assert_eq!(serde_json::from_str::<Vec<Record>>(&text).unwrap(), records);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(20), ..ProptestConfig::default() })]

    #[test]
    fn long_workloads_are_decided_the_same(workload in workloads(800)) {
        run_against_oracle(&workload);
    }
}
