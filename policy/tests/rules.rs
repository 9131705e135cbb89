//! The stored form of a dataset's rules and of a claim's weight, and the rules that are refused.
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_policy::{
    Arrival, Composition, DatasetRules, DatasetRulesError, Engine, Event, Orders, Policy, Revision, Span,
    Unlocking, Weight,
};

fn rules(policy: Policy) -> DatasetRules {
    DatasetRules {
        policy,
        unlocking: Unlocking::Arrivals(4),
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    }
}

#[test]
fn a_policy_is_stored_by_its_name() {
    let dpack = Policy::Dpack { recompute_after: 50 };
    let blend = Policy::Blend {
        fairness: 250,
        recompute_after: 1,
    };
    for (policy, text) in [
        (Policy::Dpf, r#""dpf""#),
        (Policy::Fcfs { refusing: true }, r#"{"fcfs":{"refusing":true}}"#),
        (Policy::RoundRobin, r#""roundRobin""#),
        (dpack, r#"{"dpack":{"recomputeAfter":50}}"#),
        (blend, r#"{"blend":{"fairness":250,"recomputeAfter":1}}"#),
    ] {
        assert_eq!(serde_json::to_string(&policy).unwrap(), text);
        assert_eq!(serde_json::from_str::<Policy>(text).unwrap(), policy);
        assert!(Engine::new(rules(policy)).is_ok());
    }
}

#[test]
fn a_weight_of_one_is_not_stored() {
    let old = r#"{"arrive":{"claim":"c1","demands":[],"minBlocks":1}}"#;
    let event: Event = serde_json::from_str(old).unwrap();
    let arrival = Arrival {
        claim: "c1".into(),
        demands: Vec::new(),
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    };
    assert_eq!(event, Event::Arrive(arrival.clone()));
    assert_eq!(serde_json::to_string(&event).unwrap(), old);
    let heavy = Event::Arrive(Arrival {
        weight: Weight::new(3).unwrap(),
        ..arrival
    });
    let new = r#"{"arrive":{"claim":"c1","demands":[],"minBlocks":1,"weight":3}}"#;
    assert_eq!(serde_json::to_string(&heavy).unwrap(), new);
    assert_eq!(serde_json::from_str::<Event>(new).unwrap(), heavy);
}

#[test]
fn there_is_no_weight_of_zero() {
    assert_eq!(Weight::new(0), None);
    assert!(serde_json::from_str::<Weight>("0").is_err());
}

#[test]
fn round_robin_needs_basic_composition_and_at_most_a_million_ticks() {
    let orders = Orders::default();
    let renyi = DatasetRules {
        composition: Composition::Renyi(orders),
        ..rules(Policy::RoundRobin)
    };
    assert_eq!(renyi.check(), Err(DatasetRulesError::RoundRobinRenyi));
    let over = |seconds: u64, policy: Policy| DatasetRules {
        unlocking: Unlocking::Lifetime {
            lifetime: Span::from_secs(seconds),
            tick: Span::from_micros(1),
        },
        ..rules(policy)
    };
    assert_eq!(over(1, Policy::RoundRobin).check(), Ok(()));
    assert_eq!(
        over(2, Policy::RoundRobin).check(),
        Err(DatasetRulesError::TooManyTicks)
    );
    assert_eq!(over(2, Policy::Dpf).check(), Ok(()));
}

#[test]
fn parameters_out_of_range_are_refused() {
    let blend = |fairness, recompute_after| Policy::Blend {
        fairness,
        recompute_after,
    };
    let check = |policy| rules(policy).check();
    assert_eq!(
        check(Policy::Dpack { recompute_after: 0 }),
        Err(DatasetRulesError::NoRecomputation)
    );
    assert_eq!(check(blend(500, 0)), Err(DatasetRulesError::NoRecomputation));
    assert_eq!(check(blend(1001, 1)), Err(DatasetRulesError::TooFair(1001)));
    assert_eq!(check(blend(1000, 1)), Ok(()));
}

#[test]
fn the_first_revision_is_not_stored_and_later_ones_are_numbers() {
    let current = rules(Policy::Dpf);
    let first = DatasetRules {
        revision: Revision::First,
        ..current.clone()
    };
    let text = r#"{"policy":"dpf","unlocking":{"arrivals":4},"composition":"basic"}"#;
    assert_eq!(serde_json::to_string(&first).unwrap(), text);
    assert_eq!(serde_json::from_str::<DatasetRules>(text).unwrap(), first);
    let with_number = text.replacen(r#""basic"}"#, r#""basic","revision":3}"#, 1);
    assert_eq!(serde_json::to_string(&current).unwrap(), with_number);
    assert_eq!(
        serde_json::from_str::<DatasetRules>(&with_number).unwrap(),
        current
    );
    assert!(current.agrees_with(&first) && current != first);
    assert!(!current.agrees_with(&rules(Policy::RoundRobin)));
}

#[test]
fn a_revision_of_a_later_version_is_refused() {
    let later = r#"{"policy":"dpf","unlocking":{"arrivals":4},"composition":"basic","revision":4}"#;
    let error = serde_json::from_str::<DatasetRules>(later)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("revision 4 of the rules is unknown"), "{error}");
}
