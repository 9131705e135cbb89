//! Parsing of a dataset's policy, its parameters and weights, and the messages for wrong ones.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a test function")]

use privatekube_api::{PrivateDataset, PrivateDatasetSpec};
use privatekube_policy::{Policy, Unlocking, Weight};
use serde_json::{Value, json};

/// A dataset with Basic composition and these fields.
fn spec(fields: &Value) -> PrivateDatasetSpec {
    let mut spec = json!({"unlocking": {"immediate": true}, "composition": "Basic"});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn policy(fields: &Value) -> Policy {
    spec(fields).rules().unwrap().policy
}

fn said(problem: Result<impl std::fmt::Debug, impl std::error::Error>) -> String {
    problem.unwrap_err().to_string()
}

#[test]
fn each_policy_is_parsed_with_its_parameters() {
    let blend = |fairness, recompute_after| Policy::Blend {
        fairness,
        recompute_after,
    };
    for (fields, expected) in [
        (json!({}), Policy::Dpf),
        (json!({"policy": "DPF"}), Policy::Dpf),
        (json!({"policy": "RoundRobin"}), Policy::RoundRobin),
        (json!({"policy": "FCFS"}), Policy::Fcfs { refusing: false }),
        (
            json!({"policy": "FCFS", "fcfs": {}}),
            Policy::Fcfs { refusing: false },
        ),
        (
            json!({"policy": "FCFS", "fcfs": {"refusing": true}}),
            Policy::Fcfs { refusing: true },
        ),
        (json!({"policy": "DPack"}), Policy::Dpack { recompute_after: 1 }),
        (
            json!({"policy": "DPack", "dpack": {}}),
            Policy::Dpack { recompute_after: 1 },
        ),
        (
            json!({"policy": "DPack", "dpack": {"recomputeAfter": 100}}),
            Policy::Dpack { recompute_after: 100 },
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "0.5"}}),
            blend(500, 1),
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "0.125", "recomputeAfter": 7}}),
            blend(125, 7),
        ),
        (json!({"policy": "Blend", "blend": {"fairness": 0}}), blend(0, 1)),
        (
            json!({"policy": "Blend", "blend": {"fairness": 1}}),
            blend(1000, 1),
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "1.000"}}),
            blend(1000, 1),
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "1e-3"}}),
            blend(1, 1),
        ),
    ] {
        assert_eq!(policy(&fields), expected, "{fields}");
    }
}

/// Users copy what the page shows: it must work.
#[test]
fn the_examples_of_the_page_on_policies_are_accepted() {
    let page = include_str!("../../docs/policies.md");
    let examples = page.split("```yaml\n").skip(1);
    let policies = examples.map(|example| {
        let (manifest, _) = example.split_once("```").unwrap();
        let dataset: PrivateDataset = serde_saphyr::from_str(manifest).unwrap();
        dataset.spec.check().unwrap().policy
    });
    let shown: Vec<Policy> = policies.collect();
    assert_eq!(
        shown,
        [
            Policy::Dpf,
            Policy::Fcfs { refusing: true },
            Policy::RoundRobin,
            Policy::Dpack { recompute_after: 1 },
            Policy::Blend {
                fairness: 500,
                recompute_after: 1
            },
            // With weights.
            Policy::Dpack { recompute_after: 1 },
        ]
    );
}

#[test]
fn parameters_of_another_policy_are_refused() {
    for (fields, message) in [
        (
            json!({"fcfs": {"refusing": true}}),
            "spec.fcfs: goes with policy FCFS, and policy is DPF: leave it out, or set policy: FCFS",
        ),
        (
            json!({"policy": "RoundRobin", "dpack": {}}),
            "spec.dpack: goes with policy DPack, and policy is RoundRobin: leave it out, or set policy: DPack",
        ),
        (
            json!({"policy": "DPack", "blend": {"fairness": 1}}),
            "spec.blend: goes with policy Blend, and policy is DPack: leave it out, or set policy: Blend",
        ),
        (
            json!({"policy": "Blend"}),
            "spec.blend: policy Blend needs the part that goes by DPF: write blend: {fairness: \"0.5\"}",
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "1.001"}}),
            "spec.blend.fairness: \"1.001\" is above 1: write a part between 0 and 1 with at most 3 decimals, like \"0.5\"",
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": 500}}),
            "spec.blend.fairness: \"500\" is above 1: write a part between 0 and 1 with at most 3 decimals, like \"0.5\"",
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "0.0005"}}),
            "spec.blend.fairness: \"0.0005\" has too many digits: write a part between 0 and 1 with at most 3 decimals, \
             like \"0.5\"",
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": "half"}}),
            "spec.blend.fairness: \"half\" is not a number: write a decimal like 0.5 or 1e-9",
        ),
        (
            json!({"policy": "Blend", "blend": {"fairness": 1, "recomputeAfter": 0}}),
            "spec.blend.recomputeAfter: 0 would never work anything out: write 1 or more",
        ),
        (
            json!({"policy": "DPack", "dpack": {"recomputeAfter": 0}}),
            "spec.dpack.recomputeAfter: 0 would never work anything out: write 1 or more",
        ),
        (
            json!({"policy": "RoundRobin", "composition": "Renyi"}),
            "spec.composition: policy RoundRobin needs composition: Basic, since a Renyi curve can't be divided order by \
             order",
        ),
        (
            json!({"policy": "RoundRobin", "unlocking": {"lifetime": "720h", "tick": "1ms"}}),
            "spec.unlocking.tick: makes 2592000000 ticks of the lifetime: policy RoundRobin takes at most 1000000, so \
             write a longer tick",
        ),
    ] {
        assert_eq!(said(spec(&fields).rules()), message, "{fields}");
    }
    let as_many_ticks_as_may_be = json!({"lifetime": "1000s", "tick": "1ms"});
    let most = spec(&json!({"policy": "RoundRobin", "unlocking": as_many_ticks_as_may_be}));
    assert!(matches!(
        most.rules().unwrap().unlocking,
        Unlocking::Lifetime { .. }
    ));
}

#[test]
fn a_policy_that_is_not_known_is_refused_with_those_that_are() {
    for name in ["dpf", "Fcfs", "DPack ", ""] {
        let spec = json!({"unlocking": {"immediate": true}, "policy": name});
        let error = serde_json::from_value::<PrivateDatasetSpec>(spec).unwrap_err();
        let known = "expected one of `DPF`, `FCFS`, `RoundRobin`, `DPack`, `Blend`";
        assert!(error.to_string().contains(known), "{error}");
    }
}

#[test]
fn a_namespace_counts_what_the_dataset_says_and_else_one() {
    let weigh = |policy: &str, fields: &Value| {
        let mut fields = fields.clone();
        fields["policy"] = json!(policy);
        fields["weights"] = json!([
            {"namespace": "team-a", "weight": 3}, {"namespace": "team-b", "weight": 1_000_000}
        ]);
        spec(&fields)
    };
    for (policy, fields) in [
        ("DPF", json!({})),
        ("DPack", json!({})),
        ("Blend", json!({"blend": {"fairness": "0.5"}})),
    ] {
        let weights = weigh(policy, &fields).weights().unwrap();
        let of = |namespace| weights.of(namespace).get();
        assert_eq!((of("team-a"), of("team-b"), of("team")), (3, 1_000_000, 1));
    }
    assert_eq!(
        spec(&json!({})).weights().unwrap().of("team-a"),
        Weight::default()
    );

    let mut other = weigh("DPF", &json!({}));
    other.weights.clear();
    let rules = weigh("DPF", &json!({})).rules();
    assert_eq!(rules, other.rules(), "weights are none of the rules");
}

#[test]
fn wrong_weights_are_refused_with_what_is_accepted() {
    let weight = |namespace: &str, weight: u32| json!({"namespace": namespace, "weight": weight});
    let many: Vec<Value> = (0..1001).map(|at| weight(&format!("n{at}"), 1)).collect();
    for (fields, message) in [
        (
            json!({"weights": [weight("a", 1), weight("b", 0)]}),
            "spec.weights[1].weight: 0 is out of range: write an integer between 1 and 1000000",
        ),
        (
            json!({"weights": [weight("a", 1_000_001)]}),
            "spec.weights[0].weight: 1000001 is out of range: write an integer between 1 and 1000000",
        ),
        (
            json!({"weights": [weight("a", 1), weight("a", 2)]}),
            "spec.weights[1].namespace: \"a\" is given twice: write each namespace once",
        ),
        (
            json!({"weights": [weight("Team", 1)]}),
            "spec.weights[0].namespace: \"Team\" is not the name of a namespace: write at most 63 lower-case letters, \
             digits and '-', like team-a",
        ),
        // All that is wrong is told at once.
        (
            json!({"weights": [weight("a", 0), weight("b", 1), weight("b", 1)]}),
            "spec.weights[0].weight: 0 is out of range: write an integer between 1 and 1000000; spec.weights[2].namespace: \
             \"b\" is given twice: write each namespace once",
        ),
        (
            json!({"weights": many}),
            "spec.weights: are 1001: at most 1000 are accepted",
        ),
        (
            json!({"policy": "FCFS", "weights": [weight("a", 2)]}),
            "spec.weights: weights count with policy DPF, DPack and Blend, and policy is FCFS: leave them out",
        ),
        (
            json!({"policy": "RoundRobin", "weights": [weight("a", 2)]}),
            "spec.weights: weights count with policy DPF, DPack and Blend, and policy is RoundRobin: leave them out",
        ),
    ] {
        assert_eq!(said(spec(&fields).weights()), message, "{fields}");
    }
    // Many faults are counted.
    let wrong: Vec<Value> = (0..1000).map(|at| weight(&format!("n{at}"), 0)).collect();
    let message = said(spec(&json!({"weights": wrong})).weights());
    assert!(message.len() < 1100 && message.ends_with(" more"), "{message}");
}
