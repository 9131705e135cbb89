//! An engine is restored from its parts: it decides as the original does, whatever happens afterwards, and has
//! the same parts.
#![allow(clippy::unwrap_used, reason = "a test")]

mod generated;

use generated::{Workload, cases, composition, unlocking, workload_under};
use privatekube_policy::{
    ClaimState, DatasetRules, Engine, Phase, Policy, Restoring, Revision, StateError, StatePart, Time,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;

/// The parts as they are stored.
fn stored(engine: &Engine) -> Vec<String> {
    let parts = engine.parts().map(|part| serde_json::to_string(&part).unwrap());
    parts.collect()
}

fn restored(parts: &[String]) -> Result<Engine, StateError> {
    let mut restoring = Restoring::new();
    for part in parts {
        restoring.push(serde_json::from_str(part).unwrap())?;
    }
    restoring.finish()
}

/// Every claim, without the demands of those that ended without a grant before now, which may be forgotten.
fn claims(engine: &Engine) -> Vec<ClaimState<'_>> {
    let claims = engine.claims().map(|name| {
        let mut claim = engine.claim(name).unwrap();
        let without_grant = matches!(claim.phase, Phase::Denied | Phase::Expired | Phase::Withdrawn);
        if without_grant && claim.decided < Some(engine.now()) {
            claim.arrival.demands.clear();
            claim.consumed.clear();
            claim.released.clear();
        }
        // Claims that were forgotten before the engine was restored don't count.
        claim.number = 0;
        claim
    });
    claims.collect()
}

/// Everything that an engine shows, as text. Without the next step: an engine may take one at which nothing is
/// decided.
fn shown(engine: &Engine) -> String {
    let blocks: Vec<_> = engine
        .blocks()
        .map(|block| (block, engine.block(block), engine.is_lost(block)))
        .collect();
    let waits: Vec<_> = engine
        .claims()
        .map(|claim| (engine.explain(claim), engine.standing(claim)))
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {blocks:?} {:?} {waits:?} {:?} {:?}",
        engine.rules(),
        engine.now(),
        engine.next_unlock(),
        engine.last_write_off(),
        claims(engine),
        engine.queue(),
        engine.folded().collect::<Vec<_>>(),
    )
}

/// Runs a workload, restores the engine after each of the steps at `points`, and lets the original and all
/// restored ones go on with the same events at the same times. Ones that were restored are restored again.
fn restore_and_compare(workload: &Workload, points: &[Index]) {
    let points: Vec<usize> = points
        .iter()
        .map(|point| point.index(workload.steps.len() + 1))
        .collect();
    let mut engines = vec![Engine::new(workload.rules.clone()).unwrap()];
    let mut now = 0;
    for (at, (later, event)) in workload.steps.iter().enumerate() {
        if points.contains(&at) {
            let last = engines.last().unwrap();
            engines.push(restored(&stored(last)).unwrap());
        }
        now += later;
        let mut happened = engines
            .iter_mut()
            .map(|engine| (engine.advance(Time::from_micros(now)), engine.apply(event)));
        let original = happened.next().unwrap();
        for restored in happened {
            assert_eq!(restored, original, "at {now}, {event:?}");
        }
        let original = shown(&engines[0]);
        for engine in &engines[1..] {
            assert_eq!(shown(engine), original, "after {event:?}");
        }
    }
    let original = stored(&engines[0]);
    for engine in &engines[1..] {
        assert_eq!(stored(engine), original);
    }
    assert_eq!(stored(&restored(&original).unwrap()), original);
    // The clock decides the same in the end, and each restored engine announces the times at which it decides.
    let end = Time::from_micros(now + 1000);
    let decided = engines[0].advance(end);
    for engine in &mut engines[1..] {
        let mut records = Vec::new();
        while let Some(next) = engine.next_step().filter(|next| *next <= end) {
            records.extend(engine.advance(next));
        }
        assert_eq!(engine.advance(end), []);
        assert_eq!(records, decided);
    }
}

/// Each policy, with random parameters.
fn policies() -> [(&'static str, BoxedStrategy<Policy>); 6] {
    let recompute_after = || prop_oneof![2 => Just(1_u32), 1 => 2_u32..4];
    [
        ("dpf", Just(Policy::Dpf).boxed()),
        ("fcfs", Just(Policy::Fcfs { refusing: false }).boxed()),
        ("fcfs refusing", Just(Policy::Fcfs { refusing: true }).boxed()),
        ("round robin", Just(Policy::RoundRobin).boxed()),
        (
            "dpack",
            recompute_after()
                .prop_map(|recompute_after| Policy::Dpack { recompute_after })
                .boxed(),
        ),
        (
            "blend",
            (0_u16..=1000, recompute_after())
                .prop_map(|(fairness, recompute_after)| Policy::Blend {
                    fairness,
                    recompute_after,
                })
                .boxed(),
        ),
    ]
}

/// For each policy, unlocking, composition and revision that go together: random workloads.
#[test]
fn a_restored_engine_decides_as_the_original_under_all_rules() {
    let mut combinations = 0;
    for (name, policy) in policies() {
        for kind in 0..3 {
            for orders in [0, 1, 3] {
                for revision in 1..=u32::from(Revision::CURRENT) {
                    let revision = Revision::try_from(revision).unwrap();
                    let rules =
                        (policy.clone(), unlocking(kind)).prop_map(move |(policy, unlocking)| DatasetRules {
                            policy,
                            unlocking,
                            composition: composition(orders),
                            revision,
                        });
                    if name == "round robin" && orders > 0 {
                        continue;
                    }
                    combinations += 1;
                    let config = ProptestConfig {
                        cases: cases(20),
                        ..ProptestConfig::with_source_file(file!())
                    };
                    let workloads = rules.prop_flat_map(|rules| workload_under(rules, 40));
                    proptest!(config, |(workload in workloads, points in vec(any::<Index>(), 1..4))| {
                        restore_and_compare(&workload, &points);
                    });
                }
            }
        }
    }
    assert_eq!(combinations, (5 * 3 + 1) * 3 * 3);
}

/// The engine after a workload, and its stored parts.
fn after(workload: &Workload) -> (Engine, Vec<String>) {
    let mut engine = Engine::new(workload.rules.clone()).unwrap();
    let mut now = 0;
    for (later, event) in &workload.steps {
        now += later;
        engine.advance(Time::from_micros(now));
        let _ = engine.apply(event);
    }
    let parts = stored(&engine);
    (engine, parts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), ..ProptestConfig::with_source_file(file!()) })]

    /// A part that is missing, or there twice, or moved.
    #[test]
    fn a_sequence_with_a_part_less_or_more_is_refused(
        workload in generated::workloads(30),
        at in any::<Index>(),
        to in any::<Index>(),
    ) {
        let (_, parts) = after(&workload);
        let at = at.index(parts.len());
        let mut less = parts.clone();
        let part = less.remove(at);
        prop_assert!(restored(&less).is_err(), "{part}");
        let mut twice = parts.clone();
        twice.insert(at, part.clone());
        prop_assert!(restored(&twice).is_err(), "{part}");
        let mut moved = less;
        moved.insert(to.index(parts.len()), part.clone());
        match restored(&moved) {
            Err(_) => {}
            // Blocks without claims, claims of the same time, and blocks that are lost may go in any order.
            Ok(engine) => prop_assert_eq!(stored(&engine).len(), parts.len()),
        }
    }

    /// A part is missing, and the head doesn't announce it. What is allocated or consumed, or named by a claim
    /// that is left, is missed; a claim that holds nothing isn't, but the engine is another one.
    #[test]
    fn a_part_that_is_left_out_and_not_announced_is_missed(
        workload in generated::workloads(30),
        at in any::<Index>(),
    ) {
        let (engine, mut parts) = after(&workload);
        let kinds = [("block", "blocks"), ("folded", "folded"), ("claim", "claims")];
        let kind_of = |part: &Value| kinds.into_iter().find(|(kind, _)| part.get(kind).is_some());
        let values = parts.iter().map(|part| kind_of(&serde_json::from_str(part).unwrap()));
        let some: Vec<usize> = (0..).zip(values).filter_map(|(at, kind)| kind.map(|_| at)).collect();
        let part: Value = serde_json::from_str(&parts.remove(some[at.index(some.len())])).unwrap();
        let (kind, field) = kind_of(&part).unwrap();
        let mut head: Value = serde_json::from_str(&parts[0]).unwrap();
        let count = &mut head["head"][field];
        *count = (count.as_u64().unwrap() - 1).into();
        parts[0] = head.to_string();
        if let Ok(other) = restored(&parts) {
            prop_assert_ne!(shown(&other), shown(&engine));
            let name = part[kind][kind].as_str().unwrap_or_default();
            match kind {
                "claim" => prop_assert_ne!(engine.phase(&name.into()), Some(Phase::Granted)),
                "block" => {
                    let mut demanded = other.claims().flat_map(|claim| other.blocks_of(claim));
                    prop_assert!(demanded.all(|block| block.as_str() != name));
                }
                _ => {
                    let consumed = part[kind]["consumed"].as_array().into_iter().flatten();
                    let block = part[kind]["block"].as_str().map(|block| engine.block(&block.into()).unwrap());
                    prop_assert!(block.is_none_or(|block| block.written_off) || consumed.into_iter().all(|units| units == "0"));
                }
            }
        }
    }

    /// A number or a text of a part is changed: the state is refused, or is one that an engine may have.
    #[test]
    fn whatever_a_part_says_no_engine_overspends(
        workload in generated::workloads(30),
        changes in vec((any::<Index>(), any::<Index>(), -2_i64..3), 1..4),
    ) {
        let (_, parts) = after(&workload);
        let mut parts: Vec<Value> = parts.iter().map(|part| serde_json::from_str(part).unwrap()).collect();
        for (part, leaf, by) in changes {
            let at = part.index(parts.len());
            let mut leaves = Vec::new();
            find_leaves(&mut parts[at], &mut leaves);
            if !leaves.is_empty() {
                let at = leaf.index(leaves.len());
                change(leaves.swap_remove(at), by);
            }
        }
        let parts: Result<Vec<StatePart>, _> = parts.into_iter().map(serde_json::from_value).collect();
        let Ok(parts) = parts else { return Ok(()) };
        let mut restoring = Restoring::new();
        for part in parts {
            if let Err(error) = restoring.push(part) {
                prop_assert!(!error.to_string().is_empty());
                prop_assert_eq!(restoring.finish().unwrap_err(), error);
                return Ok(());
            }
        }
        let Ok(mut engine) = restoring.finish() else { return Ok(()) };
        generated::check_sums(&engine);
        let again = stored(&engine);
        prop_assert_eq!(stored(&restored(&again).unwrap()), again);
        let mut now = engine.now().micros();
        for (later, event) in &workload.steps {
            now = now.saturating_add(*later);
            engine.advance(Time::from_micros(now));
            let _ = engine.apply(event);
            generated::check_sums(&engine);
        }
    }
}

/// The numbers, texts and flags in a value.
fn find_leaves<'a>(value: &'a mut Value, leaves: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| find_leaves(value, leaves)),
        Value::Object(values) => values.values_mut().for_each(|value| find_leaves(value, leaves)),
        leaf => leaves.push(leaf),
    }
}

fn change(leaf: &mut Value, by: i64) {
    let changed = match &*leaf {
        Value::Bool(flag) => (!*flag).into(),
        Value::String(text) => match (text.parse::<i128>(), text.strip_prefix('b')) {
            (Ok(units), _) => (units + i128::from(by)).to_string().into(),
            (_, Some(block)) => format!("b{}", block.parse::<i64>().unwrap_or(0) + by).into(),
            _ => return,
        },
        number => match number.as_i64() {
            Some(number) => number.saturating_add(by).into(),
            None => return,
        },
    };
    *leaf = changed;
}
