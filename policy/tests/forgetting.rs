//! Claims that ended are forgotten. Nothing that is decided later changes, and what they consumed is counted.
#![allow(clippy::unwrap_used, reason = "a test")]

mod generated;

use std::collections::{BTreeMap, BTreeSet};

use generated::{cases, check_sums, workloads};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Engine, Event, Phase,
    Policy, Refusal, Revision, Time, Unlocking, Weight,
};
use proptest::prelude::*;

/// The claims that an event is about.
fn claims(event: &Event) -> Vec<&ClaimId> {
    match event {
        Event::Match { claim, .. }
        | Event::Consume { claim, .. }
        | Event::Release { claim, .. }
        | Event::Withdraw { claim }
        | Event::NeverRan { claim } => vec![claim],
        Event::Forget { claims, .. } => claims.iter().collect(),
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), ..ProptestConfig::with_source_file(file!()) })]

    /// Two engines, one of which forgets nothing, with the same other events about claims that are known.
    #[test]
    fn what_is_decided_later_does_not_change(workload in workloads(60)) {
        let mut forgets = Engine::new(workload.rules.clone()).unwrap();
        let mut remembers = forgets.clone();
        let mut forgotten = BTreeSet::new();
        let mut now = 0;
        for (later, event) in &workload.steps {
            now += later;
            let time = Time::from_micros(now);
            prop_assert_eq!(forgets.advance(time), remembers.advance(time));
            if let Event::Forget { claims, .. } = event {
                let known: Vec<ClaimId> = claims.iter().filter(|claim| forgets.phase(claim).is_some()).cloned().collect();
                let ended = |claim: &ClaimId| !matches!(forgets.phase(claim), Some(Phase::Waiting | Phase::Granted));
                let all_ended = known.iter().all(ended);
                match forgets.apply(event) {
                    Ok(records) => {
                        prop_assert!(all_ended && records.is_empty());
                        forgotten.extend(known);
                    }
                    Err(refusal) => {
                        let is_wrong_phase = matches!(refusal, Refusal::WrongPhase { .. });
                        prop_assert!(!all_ended && is_wrong_phase);
                    }
                }
                // A repetition changes nothing.
                let before: Vec<_> = forgets.parts().collect();
                let _ = forgets.apply(event);
                prop_assert_eq!(forgets.parts().collect::<Vec<_>>(), before);
            } else if claims(event).iter().any(|claim| forgotten.contains(*claim)) {
                prop_assert!(matches!(forgets.apply(event), Err(Refusal::UnknownClaim(_))));
                continue;
            } else {
                prop_assert_eq!(forgets.apply(event), remembers.apply(event));
            }
            check_sums(&forgets);
            prop_assert_eq!(forgets.next_step(), remembers.next_step());
            prop_assert_eq!(forgets.queue(), remembers.queue());
            prop_assert_eq!(forgets.arrived(), remembers.claims().len());
            for block in remembers.blocks() {
                prop_assert_eq!(forgets.block(block), remembers.block(block));
            }
            let known: Vec<&ClaimId> = remembers.claims().filter(|claim| !forgotten.contains(*claim)).collect();
            prop_assert_eq!(forgets.claims().collect::<Vec<_>>(), known.clone());
            prop_assert_eq!(forgets.claims().len(), known.len());
            for claim in known {
                prop_assert_eq!(format!("{:?}", forgets.standing(claim)), format!("{:?}", remembers.standing(claim)));
                prop_assert_eq!(forgets.explain(claim), remembers.explain(claim));
                prop_assert_eq!(forgets.claim(claim).unwrap().number, remembers.claim(claim).unwrap().number);
            }
            for claim in &forgotten {
                prop_assert!(forgets.claim(claim).is_none() && forgets.phase(claim).is_none());
                prop_assert!(forgets.explain(claim).is_none() && forgets.standing(claim).is_none());
                prop_assert_eq!(forgets.blocks_of(claim).count(), 0);
            }
            consumed_by_claims_and_sums(&forgets);
        }
    }
}

/// What known claims have consumed and what the sums say is what the blocks say, unless budget was written off.
fn consumed_by_claims_and_sums(engine: &Engine) {
    let mut consumed: BTreeMap<BlockId, Vec<i128>> = BTreeMap::new();
    let mut add = |block: &BlockId, units: &[i128]| {
        let sum = consumed
            .entry(block.clone())
            .or_insert_with(|| vec![0; units.len()]);
        for (sum, units) in sum.iter_mut().zip(units) {
            *sum += units;
        }
    };
    for claim in engine.claims() {
        for (block, budget) in engine.claim(claim).unwrap().consumed {
            let units: Vec<i128> = budget.units().iter().copied().map(i128::from).collect();
            add(block, &units);
        }
    }
    for sum in engine.folded() {
        assert_eq!(sum.consumed.is_empty(), sum.block.is_none());
        if let Some(block) = sum.block {
            add(block, sum.consumed);
        }
    }
    for block in engine.blocks() {
        let state = engine.block(block).unwrap();
        if !state.written_off {
            let none = vec![0; state.consumed.len()];
            assert_eq!(state.consumed, *consumed.get(block).unwrap_or(&none), "{block}");
        }
    }
}

fn engine() -> Engine {
    let mut engine = Engine::new(DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    })
    .unwrap();
    let capacity = Budget::new(vec![100, 100]).unwrap();
    engine
        .apply(&Event::AddBlock {
            block: "b".into(),
            capacity,
        })
        .unwrap();
    engine
}

fn arrive(claim: &str, units: [i64; 2]) -> Event {
    Event::Arrive(Arrival {
        claim: claim.into(),
        demands: vec![Demand {
            blocks: vec!["b".into()],
            budget: Budget::new(units.to_vec()).unwrap(),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

fn forget(claims: &[&str], of: &str) -> Event {
    Event::Forget {
        claims: claims.iter().map(|claim| ClaimId::from(*claim)).collect(),
        of: Some(of.to_owned()),
    }
}

#[test]
fn a_forgotten_name_is_as_one_that_never_arrived() {
    let mut engine = engine();
    for round in 1..=3 {
        engine.apply(&arrive("c", [10, 1])).unwrap();
        let (claim, amount) = ("c".into(), Amount::All);
        engine.apply(&Event::Consume { claim, amount }).unwrap();
        engine.apply(&forget(&["c"], "team")).unwrap();
        assert_eq!(engine.block(&"b".into()).unwrap().consumed, [10 * round, round]);
        let sums: Vec<_> = engine.folded().collect();
        assert_eq!(sums.len(), 2);
        assert_eq!(sums[1].consumed, [10 * round, round]);
    }
    assert_eq!((engine.claims().len(), engine.arrived()), (0, 3));
    assert_eq!(engine.claims_from(0).count(), 0);
    let claim = "c".into();
    assert!(matches!(
        engine.apply(&Event::NeverRan { claim }),
        Err(Refusal::UnknownClaim(_))
    ));
}

#[test]
fn an_event_that_names_one_claim_that_has_not_ended_forgets_none() {
    let mut engine = engine();
    engine.apply(&arrive("denied", [101, 1])).unwrap();
    engine.apply(&arrive("granted", [10, 1])).unwrap();
    let refusal = engine.apply(&forget(&["denied", "granted"], "team")).unwrap_err();
    assert_eq!(refusal.to_string(), "claim granted is Granted");
    assert_eq!(engine.claims().len(), 2);
    assert_eq!(engine.folded().count(), 0);
}

#[test]
fn the_sums_are_bounded_however_many_claims_are_forgotten() {
    let mut engine = engine();
    for number in 0..1_000 {
        let claim = format!("c{number}");
        engine.apply(&arrive(&claim, [101, 1])).unwrap();
        let group = ["one", "two"][number % 2];
        engine.apply(&forget(&[&claim, &claim], group)).unwrap();
    }
    let sums: Vec<_> = engine
        .folded()
        .map(|sum| (sum.block, sum.group, sum.phase, sum.claims))
        .collect();
    assert_eq!(
        sums,
        [
            (None, Some("one"), Phase::Denied, 500),
            (None, Some("two"), Phase::Denied, 500)
        ]
    );
    // A head, a block and the sums.
    assert_eq!(engine.parts().count(), 4);
}

#[test]
fn the_event_has_its_stored_form() {
    let event = forget(&["c1", "c2"], "research");
    let text = r#"{"forget":{"claims":["c1","c2"],"of":"research"}}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
    assert_eq!(serde_json::from_str::<Event>(text).unwrap(), event);
    let without_group: Event = serde_json::from_str(r#"{"forget":{"claims":[]}}"#).unwrap();
    assert!(matches!(without_group, Event::Forget { of: None, .. }));
}
