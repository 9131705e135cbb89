//! Random workloads: the engine decides as the oracle does, the accounts add up, and time may pass in any
//! steps.
#![allow(clippy::unwrap_used, reason = "a test")]

mod generated;
mod oracle;

use generated::{Workload, cases, workloads};
use std::collections::BTreeMap;

use oracle::Oracle;
use privatekube_policy::{Composition, Engine, Event, Lack, Phase, Policy, Record, Time, Unlocking};
use proptest::{collection::vec, prelude::*};

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
    let folded = engine.folded().map(|sum| {
        let key = (sum.block.cloned(), sum.group.map(str::to_owned), sum.phase);
        (key, (sum.claims, sum.consumed.to_vec()))
    });
    assert_eq!(folded.collect::<BTreeMap<_, _>>(), oracle.folded);
    assert_eq!(engine.claims().len(), oracle.claims.len());
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
