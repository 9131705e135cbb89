//! Replays of the simulator of the OSDI'21 paper: the engine grants the same claims at the same times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeMap, fs};

use privatekube_policy::{
    Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Delta, Demand, Engine, Epsilon, Event,
    Mechanism, Orders, Phase, Policy, Revision, Span, Time, Unlocking, Weight,
};
use serde_json::Value;

const ORDERS: [&str; 15] = [
    "1.000001", "1.0001", "1.5", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048",
    "20480",
];

/// Seconds to microseconds, exactly: the traces have six decimals at most.
fn micros(seconds: &Value) -> Option<u64> {
    let text = seconds.as_f64()?.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    assert!(fraction.len() <= 6, "{text}");
    Some(format!("{whole}{fraction:0<6}").parse().unwrap())
}

fn epsilon(value: &Value) -> Epsilon {
    value.as_f64().unwrap().to_string().parse().unwrap()
}

fn delta(value: &Value) -> Delta {
    value.as_f64().unwrap().to_string().parse().unwrap()
}

fn rules(trace: &Value) -> DatasetRules {
    let composition = match trace["composition"].as_str().unwrap() {
        "renyi" => {
            Composition::Renyi(Orders::new(ORDERS.map(|order| order.parse().unwrap()).to_vec()).unwrap())
        }
        _ => Composition::Basic,
    };
    let policy = match trace["policy"].as_str().unwrap() {
        "fcfs" => Policy::Fcfs { refusing: true },
        "rr-n" | "rr-t" => Policy::RoundRobin,
        "dpf-n" | "dpf-t" => Policy::Dpf,
        other => panic!("{other}"),
    };
    let unlocking = match trace["n"].as_u64() {
        _ if policy == (Policy::Fcfs { refusing: true }) => Unlocking::Immediate,
        Some(arrivals) => Unlocking::Arrivals(arrivals.try_into().unwrap()),
        None => Unlocking::Lifetime {
            lifetime: Span::from_micros(micros(&trace["lifetime"]).unwrap()),
            tick: Span::from_micros(micros(&trace["tick"]).unwrap()),
        },
    };
    DatasetRules {
        policy,
        unlocking,
        composition,
        revision: Revision::First,
    }
}

/// A block's capacity, and the demand of a task. Deltas count only in Renyi curves.
fn budgets(trace: &Value, composition: &Composition) -> (Budget, impl Fn(&Value) -> Budget + use<>) {
    let is_renyi = *composition != Composition::Basic;
    let task_delta = if is_renyi {
        delta(&trace["task_delta"])
    } else {
        Delta::ZERO
    };
    let block_delta = if is_renyi {
        delta(&trace["block"]["delta"])
    } else {
        Delta::ZERO
    };
    let capacity = composition
        .capacity(epsilon(&trace["block"]["epsilon"]), block_delta)
        .unwrap();
    let composition = composition.clone();
    let demand = move |value: &Value| {
        let mechanism = Mechanism::for_guarantee(epsilon(value), task_delta).unwrap();
        mechanism.demand(&composition).unwrap()
    };
    (capacity, demand)
}

/// Checks the grants of one trace. Returns their number.
fn replay(name: &str, trace: &Value) -> usize {
    let rules = rules(trace);
    let (capacity, demand) = budgets(trace, &rules.composition);
    let mut engine = Engine::new(rules).unwrap();
    let block = |at: u64| BlockId::from(format!("b{at}"));
    for at in 0..trace["blocks"].as_u64().unwrap() {
        let capacity = capacity.clone();
        engine
            .apply(&Event::AddBlock {
                block: block(at),
                capacity,
            })
            .unwrap();
    }
    let mut expected = BTreeMap::new();
    for (at, task) in trace["tasks"].as_array().unwrap().iter().enumerate() {
        let claim = ClaimId::from(format!("c{at}"));
        engine.advance(Time::from_micros(micros(&task[0]).unwrap()));
        let blocks = task[1].as_u64().unwrap()..=task[2].as_u64().unwrap();
        let arrival = Arrival {
            claim: claim.clone(),
            demands: vec![Demand {
                blocks: blocks.map(block).collect(),
                budget: demand(&task[3]),
            }],
            min_blocks: 1,
            timeout: micros(&trace["timeout"]).map(Span::from_micros),
            priority: 0,
            weight: Weight::default(),
        };
        engine.apply(&Event::Arrive(arrival)).unwrap();
        expected.insert(claim, micros(&task[4]).map(Time::from_micros));
    }
    engine.advance(Time::from_micros(micros(&trace["end"]).unwrap()));
    for (claim, granted_at) in &expected {
        let state = engine.claim(claim).unwrap();
        let granted = state.decided.filter(|_| state.phase == Phase::Granted);
        assert_eq!(granted, *granted_at, "{name}: {claim}");
    }
    expected.values().flatten().count()
}

#[test]
fn grants_are_those_of_the_papers_simulator() {
    let (mut files, mut grants) = (0, 0);
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/traces")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let trace: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            files += 1;
            grants += replay(&path.display().to_string(), &trace);
        }
    }
    assert_eq!(files, 48);
    assert!(grants > 1000, "{grants}");
}
