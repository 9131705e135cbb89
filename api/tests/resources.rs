//! Parsing of datasets, blocks and claims, and the messages for wrong ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of a test function"
)]

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use privatekube_api::{
    AmountRequest, BudgetRequest, DemandRequest, FieldErrors, PodRequest, PrivacyBudgetClaim,
    PrivateDataBlock, PrivateDataset, entry_name, pod_request,
};
use privatekube_policy::{Composition, Epsilon, Orders, Policy, Span, Unlocking};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn resource<T: DeserializeOwned>(kind: &str, spec: &Value) -> T {
    let object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x", "namespace": "data"},
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn dataset(spec: &Value) -> PrivateDataset {
    resource("PrivateDataset", spec)
}

fn block(spec: &Value) -> PrivateDataBlock {
    resource("PrivateDataBlock", spec)
}

fn claim(spec: &Value) -> PrivacyBudgetClaim {
    resource("PrivacyBudgetClaim", spec)
}

fn renyi() -> Composition {
    Composition::Renyi(Orders::default())
}

/// A valid claim with `change` applied; null removes a field.
fn claim_with(change: &Value) -> PrivacyBudgetClaim {
    let mut spec = json!({"dataset": "taxi", "budget": {"epsilon": "0.01", "delta": "1e-9"}});
    for (field, value) in change.as_object().unwrap() {
        if value.is_null() {
            spec.as_object_mut().unwrap().remove(field);
        } else {
            spec[field] = value.clone();
        }
    }
    claim(&spec)
}

/// Users copy what the page shows: it must work.
#[test]
fn the_examples_of_the_design_are_accepted() {
    let page = include_str!("../../docs/DESIGN.md");
    let (_, after) = page.split_once("### What a user writes").unwrap();
    let (_, yaml) = after.split_once("```yaml\n").unwrap();
    let (yaml, _) = yaml.split_once("```").unwrap();
    let documents: Vec<&str> = yaml.split("\n---\n").collect();
    let [dataset, block, claim, pod] = documents[..] else {
        panic!("{} documents", documents.len())
    };

    let dataset: PrivateDataset = serde_saphyr::from_str(dataset).unwrap();
    let rules = dataset.spec.rules().unwrap();
    assert_eq!(rules.unlocking, Unlocking::Arrivals(100));
    let guarantee = dataset.spec.guarantee().unwrap();
    assert_eq!(guarantee, Some(("10".parse().unwrap(), "1e-7".parse().unwrap())));

    let block: PrivateDataBlock = serde_saphyr::from_str(block).unwrap();
    let capacity = block.spec.capacity(&rules.composition, None).unwrap();
    assert_eq!(block.spec.capacity(&rules.composition, guarantee), Ok(capacity));

    let claim: PrivacyBudgetClaim = serde_saphyr::from_str(claim).unwrap();
    let request = claim.request().unwrap();
    assert_eq!(request.dataset.to_string(), "data/taxi");
    let DemandRequest::Selected {
        selector: Some(selector),
        min: 1,
        max: Some(7),
        budget,
    } = request.demand
    else {
        panic!()
    };
    assert_eq!(selector.matches(&block.spec.dimensions()), Ok(true));
    assert!(!budget.demand(&rules.composition).unwrap().is_zero());

    let pod: Pod = serde_saphyr::from_str(pod).unwrap();
    let Ok(Some(PodRequest::Inline(request))) = pod_request(pod.annotations(), "data") else {
        panic!()
    };
    assert!(matches!(
        request.demand,
        DemandRequest::Selected { max: Some(5), .. }
    ));
}

#[test]
fn a_dataset_has_its_rules() {
    let unlocking = |spec: Value| {
        dataset(&json!({"unlocking": spec}))
            .spec
            .rules()
            .unwrap()
            .unlocking
    };
    let lifetime = |lifetime, tick| Unlocking::Lifetime {
        lifetime: Span::from_secs(lifetime),
        tick,
    };
    assert_eq!(unlocking(json!({"arrivals": 100})), Unlocking::Arrivals(100));
    assert_eq!(unlocking(json!({"immediate": true})), Unlocking::Immediate);
    assert_eq!(
        unlocking(json!({"lifetime": "1h", "tick": "1m"})),
        lifetime(3600, Span::from_secs(60))
    );
    // The default tick is a thousandth of the lifetime, but at least a second.
    assert_eq!(
        unlocking(json!({"lifetime": "720h"})),
        lifetime(2_592_000, Span::from_micros(2_592_000_000))
    );
    assert_eq!(
        unlocking(json!({"lifetime": "1m"})),
        lifetime(60, Span::from_secs(1))
    );

    let rules = |spec: Value| dataset(&spec).spec.rules().unwrap();
    let plain = rules(json!({"unlocking": {"arrivals": 1}}));
    assert_eq!((plain.policy, plain.composition), (Policy::Dpf, renyi()));
    let basic = rules(json!({"unlocking": {"arrivals": 1}, "composition": "Basic"}));
    assert_eq!(basic.composition, Composition::Basic);
    let orders = rules(json!({"unlocking": {"arrivals": 1}, "orders": [8, "1.5"]}));
    let expected = Orders::new(vec!["1.5".parse().unwrap(), "8".parse().unwrap()]).unwrap();
    assert_eq!(orders.composition, Composition::Renyi(expected));

    let timed = dataset(&json!({"unlocking": {"arrivals": 1}, "timeout": "90s"}));
    assert_eq!(timed.spec.timeout(), Ok(Some(Span::from_secs(90))));
}

#[test]
fn wrong_datasets_are_refused_with_what_is_accepted() {
    let exactly_one = "spec.unlocking: give exactly one of arrivals, lifetime and immediate";
    for (spec, message) in [
        (json!({"unlocking": {}}), exactly_one),
        (
            json!({"unlocking": {"arrivals": 1, "immediate": true}}),
            exactly_one,
        ),
        (
            json!({"unlocking": {"arrivals": 1, "lifetime": "1h"}}),
            exactly_one,
        ),
        (
            json!({"unlocking": {"arrivals": 0}}),
            "spec.unlocking.arrivals: 0 would never unlock anything: write 1 or more",
        ),
        (
            json!({"unlocking": {"arrivals": 1, "tick": "1s"}}),
            "spec.unlocking.tick: goes with lifetime only",
        ),
        (
            json!({"unlocking": {"immediate": false}}),
            "spec.unlocking.immediate: only true is accepted: leave it out for false",
        ),
        (
            json!({"unlocking": {"lifetime": "1 hour"}}),
            "spec.unlocking.lifetime: \"1 hour\" is not a duration: write numbers with units ms, s, m, h or d, like 90s \
             or 1h30m",
        ),
        (
            json!({"unlocking": {"lifetime": "0s"}}),
            "spec.unlocking.lifetime: \"0s\" is no time at all: write a longer duration, like 90s or 1h30m",
        ),
        (
            json!({"unlocking": {"lifetime": "1h", "tick": "0ms"}}),
            "spec.unlocking.tick: \"0ms\" is no time at all: write a longer duration, like 90s or 1h30m",
        ),
        (
            json!({"unlocking": {"arrivals": 1}, "composition": "Basic", "orders": [2]}),
            "spec.orders: orders are of Renyi composition: leave them out, or set composition: Renyi",
        ),
        (
            json!({"unlocking": {"arrivals": 1}, "orders": [2, 1]}),
            "spec.orders[1]: \"1\" is not a Renyi order: write a number above 1 and below 1000000000 with at most 6 decimals, like 1.5 or 64",
        ),
        (
            json!({"unlocking": {"arrivals": 1}, "orders": [1, 2, "x"]}),
            "spec.orders[0]: \"1\" is not a Renyi order: write a number above 1 and below 1000000000 with at most 6 decimals, like 1.5 or 64; \
             spec.orders[2]: \"x\" is not a Renyi order: write a number above 1 and below 1000000000 with at most 6 decimals, like 1.5 or 64",
        ),
        (
            json!({"unlocking": {"arrivals": 1}, "orders": [2, "2.0"]}),
            "spec.orders: the Renyi order 2 is given twice",
        ),
        (
            json!({"unlocking": {"arrivals": 1}, "orders": []}),
            "spec.orders: no Renyi order is given: at least one is needed",
        ),
    ] {
        assert_eq!(
            dataset(&spec).spec.rules().unwrap_err().to_string(),
            message,
            "{spec}"
        );
    }
    let several = dataset(&json!({
        "unlocking": {"arrivals": 0}, "orders": [1], "timeout": "0s", "guarantee": {"epsilon": "x", "delta": 2},
        "claimants": {"from": "All", "maxPriority": 9999},
    }));
    let refusal = several.spec.check().unwrap_err();
    let fields: Vec<&str> = refusal.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.unlocking.arrivals",
            "spec.orders[0]",
            "spec.guarantee.epsilon",
            "spec.guarantee.delta",
            "spec.timeout",
            "spec.claimants.maxPriority",
        ]
    );
    let nothing =
        dataset(&json!({"unlocking": {"arrivals": 1}, "guarantee": {"epsilon": "0.1", "delta": "1e-7"}}));
    assert_eq!(
        nothing.spec.check().unwrap_err().to_string(),
        "spec.guarantee: allows nothing at any coordinate: epsilon must be larger"
    );
    let guarantee =
        dataset(&json!({"unlocking": {"arrivals": 1}, "guarantee": {"epsilon": "x", "delta": 0}}));
    assert_eq!(
        guarantee.spec.guarantee().unwrap_err().to_string(),
        "spec.guarantee.epsilon: \"x\" is not a number: write a decimal like 0.5 or 1e-9"
    );
}

#[test]
fn floats_are_refused() {
    for epsilon in [json!(0.5), json!(1e-3), json!(true), json!([1]), Value::Null] {
        let guarantee = json!({"epsilon": epsilon, "delta": 0});
        let error = serde_json::from_value::<privatekube_api::Guarantee>(guarantee)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected an integer, or a decimal in quotes (a float isn't exact)"),
            "{error}"
        );
    }
}

#[test]
fn a_blocks_capacity_is_its_own_or_its_datasets() {
    let units = |spec: Value, composition: &Composition| {
        block(&spec)
            .spec
            .capacity(composition, None)
            .unwrap()
            .units()
            .to_vec()
    };
    let basic = json!({"dataset": "taxi", "initialBudget": {"epsilon": 10, "delta": "0"}});
    assert_eq!(units(basic, &Composition::Basic), [10_000_000_000_000, 0]);
    let curve = json!({"dataset": "taxi", "initialBudget": {"renyi": [{"order": 64, "epsilon": "4.5"}]}});
    let last = units(curve, &renyi());
    assert_eq!((last[10], last[11]), (0, 4_500_000_000_000));
    let (epsilon, delta) = ("10".parse().unwrap(), "1e-7".parse().unwrap());
    let none = block(&json!({"dataset": "taxi"}));
    let capacity = none.spec.capacity(&renyi(), Some((epsilon, delta))).unwrap();
    assert_eq!(capacity, renyi().capacity(epsilon, delta).unwrap());
}

#[test]
fn wrong_blocks_are_refused_with_what_is_accepted() {
    let budget = |budget: Value| json!({"dataset": "taxi", "initialBudget": budget});
    for (spec, message) in [
        (
            json!({"dataset": "taxi"}),
            "spec.initialBudget: is missing, and dataset \"taxi\" states no guarantee: give epsilon and delta, or renyi",
        ),
        (
            json!({"dataset": "data/taxi"}),
            "spec.dataset: \"data/taxi\" is not the name of a dataset: write at most 63 lower-case letters, digits and \
             '-', like taxi",
        ),
        (
            budget(json!({"epsilon": 1})),
            "spec.initialBudget.delta: is missing: epsilon goes with a delta, like \"1e-9\" (it may be 0)",
        ),
        (
            budget(json!({"delta": 1})),
            "spec.initialBudget.epsilon: is missing: delta goes with an epsilon, like \"0.5\"",
        ),
        (
            budget(json!({"epsilon": "x", "delta": 2})),
            "spec.initialBudget.epsilon: \"x\" is not a number: write a decimal like 0.5 or 1e-9; \
             spec.initialBudget.delta: \"2\" is too large: at most 1",
        ),
        (
            budget(json!({"renyi": [{"order": 1, "epsilon": "x"}, {"order": 4, "epsilon": -1}]})),
            "spec.initialBudget.renyi[0].order: \"1\" is not a Renyi order: write a number above 1 and below 1000000000 \
             with at most 6 decimals, like 1.5 or 64; spec.initialBudget.renyi[0].epsilon: \"x\" is not a number: write a \
             decimal like 0.5 or 1e-9; spec.initialBudget.renyi[1].epsilon: \"-1\" is negative: it must be zero or more",
        ),
        (
            budget(json!({})),
            "spec.initialBudget: give exactly one of: epsilon and delta, renyi",
        ),
        (
            budget(json!({"epsilon": 1, "delta": 0, "renyi": [{"order": 2, "epsilon": 1}]})),
            "spec.initialBudget: give exactly one of: epsilon and delta, renyi",
        ),
        (
            budget(json!({"epsilon": -1, "delta": 0})),
            "spec.initialBudget.epsilon: \"-1\" is negative: it must be zero or more",
        ),
        (
            budget(json!({"epsilon": 1, "delta": 0})),
            "spec.initialBudget: delta is 0, but a Renyi block's epsilon needs a delta above 0",
        ),
        (
            budget(json!({"epsilon": "0.1", "delta": "1e-7"})),
            "spec.initialBudget: allows nothing at any Renyi order: epsilon must be above ln(1/delta) / (order - 1) at \
             one at least",
        ),
        (
            budget(json!({"renyi": []})),
            "spec.initialBudget.renyi: is empty: write an epsilon at each Renyi order, like [{order: 4, epsilon: \
             \"4.6273\"}]",
        ),
        (
            budget(json!({"renyi": [{"order": 7, "epsilon": 1}]})),
            "spec.initialBudget: the Renyi order 7 is not one of the dataset's orders: 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, \
             16, 32, 64",
        ),
        (
            budget(json!({"renyi": [{"order": 4, "epsilon": 1}, {"order": "4.0", "epsilon": 1}]})),
            "spec.initialBudget.renyi[1].order: 4 is given twice: write each order once",
        ),
        (
            budget(json!({"renyi": [{"order": 4, "epsilon": "1e-13"}]})),
            "spec.initialBudget.renyi[0].epsilon: \"1e-13\" has too many digits: at most 12 decimals are exact",
        ),
    ] {
        let refusal = block(&spec).spec.capacity(&renyi(), None).unwrap_err();
        assert_eq!(refusal.to_string(), message, "{spec}");
    }
    let nothing = block(&budget(json!({"epsilon": 0, "delta": 0})));
    assert_eq!(
        nothing
            .spec
            .capacity(&Composition::Basic, None)
            .unwrap_err()
            .to_string(),
        "spec.initialBudget: allows nothing: epsilon must be above 0"
    );
    let curve = block(&budget(json!({"renyi": [{"order": 4, "epsilon": 1}]})));
    assert_eq!(
        curve
            .spec
            .capacity(&Composition::Basic, None)
            .unwrap_err()
            .to_string(),
        "spec.initialBudget: a Renyi curve is given, but the dataset's composition is Basic: give epsilon and delta"
    );
}

#[test]
fn a_claim_requests_selected_blocks_or_blocks_by_name() {
    let request = claim_with(&json!({
        "dataset": "lake/taxi", "selector": "block.a == 1", "blocks": {"max": 7}, "timeout": "1h", "priority": 3,
    }))
    .request()
    .unwrap();
    assert_eq!(request.dataset.to_string(), "lake/taxi");
    assert_eq!(
        (request.timeout, request.priority),
        (Some(Span::from_secs(3600)), 3)
    );
    assert!(matches!(
        request.demand,
        DemandRequest::Selected {
            selector: Some(_),
            min: 1,
            max: Some(7),
            ..
        }
    ));

    for blocks in [json!({}), json!({"which": "all"}), json!({"which": "newest"})] {
        let request = claim_with(&json!({"blocks": blocks})).request().unwrap();
        assert!(matches!(
            request.demand,
            DemandRequest::Selected {
                selector: None,
                min: 1,
                max: None,
                ..
            }
        ));
    }

    let per_block = json!({"a.b": {"epsilon": 1, "delta": 0}, "c": {"mechanism": "laplace(scale=10)"}});
    let DemandRequest::PerBlock(blocks) = claim_with(&json!({"budget": null, "perBlock": per_block}))
        .request()
        .unwrap()
        .demand
    else {
        panic!()
    };
    assert!(blocks.keys().eq(["a.b", "c"]));
    assert!(matches!(blocks["c"], BudgetRequest::Mechanism(..)));
}

#[test]
fn wrong_claims_are_refused_with_what_is_accepted() {
    let one_budget =
        "spec: give exactly one of budget (the same on each block) and perBlock (for each block by name)";
    let one_of = "spec.budget: give exactly one of: epsilon and delta, mechanism, renyi";
    let together = "spec.budget.delta: is missing: epsilon goes with a delta, like \"1e-9\" (it may be 0)";
    let names_its_blocks = "spec.perBlock: perBlock names its blocks: leave out selector and blocks";
    let good = json!({"epsilon": 1, "delta": 0});
    for (change, message) in [
        (json!({"budget": null}), one_budget),
        (json!({"perBlock": {"b": good}}), one_budget),
        (
            json!({"budget": null, "perBlock": {"b": good}, "selector": "true"}),
            names_its_blocks,
        ),
        (
            json!({"budget": null, "perBlock": {"b": good}, "blocks": {}}),
            names_its_blocks,
        ),
        (
            json!({"budget": null, "perBlock": {}}),
            "spec.perBlock: is empty: name one block at least",
        ),
        (
            json!({"budget": null, "perBlock": {"B": good}}),
            "spec.perBlock[B]: \"B\" is not a name: write lower-case letters, digits, '-' and '.', at most 253, like \
             weekly-count",
        ),
        (
            json!({"budget": null, "perBlock": {"b": {"epsilon": 0, "delta": 0}}}),
            "spec.perBlock[b].epsilon: \"0\" asks for nothing: epsilon must be above 0",
        ),
        (json!({"budget": {}}), one_of),
        (
            json!({"budget": {"epsilon": 1, "delta": 0, "mechanism": "laplace(scale=1)"}}),
            one_of,
        ),
        (json!({"budget": {"epsilon": 1}}), together),
        (
            json!({"budget": {"delta": 1}}),
            "spec.budget.epsilon: is missing: delta goes with an epsilon, like \"0.5\"",
        ),
        (
            json!({"budget": {"mechanism": "laplace(scale=0)"}}),
            "spec.budget.mechanism: scale is \"0\": it must be a finite number above 0, like 2.1 or 1e3",
        ),
        (
            json!({"budget": {"renyi": [{"order": 2, "epsilon": 0}]}}),
            "spec.budget.renyi: asks for nothing: epsilon must be above 0 at one order at least",
        ),
        (
            json!({"dataset": ""}),
            "spec.dataset: is empty: write the dataset's name, or namespace/name",
        ),
        (
            json!({"selector": "city"}),
            "spec.selector: city is not known: only block is, whose fields are a block's dimensions, like block.city",
        ),
        (
            json!({"blocks": {"min": 0}}),
            "spec.blocks.min: 0 blocks would ask for nothing: write 1 or more",
        ),
        (
            json!({"blocks": {"max": 0}}),
            "spec.blocks.max: 0 blocks would ask for nothing: write 1 or more",
        ),
        (
            json!({"blocks": {"min": 3, "max": 2}}),
            "spec.blocks.min: 3 is above the 2 of spec.blocks.max: write 2 or less",
        ),
        (
            json!({"blocks": {"max": 2, "which": "all"}}),
            "spec.blocks.which: all takes every block: leave out max, or write which: newest",
        ),
        (
            json!({"priority": -1001}),
            "spec.priority: -1001 is out of range: write an integer between -1000 and 1000",
        ),
        (
            json!({"timeout": "0s"}),
            "spec.timeout: \"0s\" is no time at all: write a longer duration, like 90s or 1h30m",
        ),
        (
            json!({"priority": 9999, "selector": "", "dataset": "?"}),
            "spec.dataset: \"?\" is not a dataset: write its name, or namespace/name, each at most 63 lower-case letters, \
             digits and '-', like taxi or data/taxi; spec.selector: is empty: write a CEL expression like block.city == \
             \"nyc\", or leave it out for every block; spec.priority: 9999 is out of range: write an integer between \
             -1000 and 1000",
        ),
    ] {
        assert_eq!(
            claim_with(&change).request().unwrap_err().to_string(),
            message,
            "{change}"
        );
    }
}

#[test]
fn a_request_is_charged_by_its_datasets_composition() {
    let demand = |budget: Value, composition: &Composition| {
        let DemandRequest::Selected { budget, .. } =
            claim_with(&json!({"budget": budget})).request().unwrap().demand
        else {
            panic!()
        };
        budget
            .demand(composition)
            .map(|demand| demand.units().to_vec())
            .map_err(|error| error.to_string())
    };
    let guarantee = json!({"epsilon": "0.5", "delta": "1e-9"});
    assert_eq!(
        demand(guarantee.clone(), &Composition::Basic),
        Ok(vec![500_000_000_000, 1_000_000_000])
    );
    assert_eq!(demand(guarantee, &renyi()).unwrap().len(), 12);
    assert_eq!(
        demand(json!({"mechanism": "gaussian(sigma=2)"}), &Composition::Basic).unwrap_err(),
        "gaussian has no epsilon and delta of its own: on a dataset with Basic composition give epsilon and delta, or use \
         a dataset with Renyi composition"
    );
    let curve = json!({"renyi": [{"order": 2, "epsilon": "0.5"}]});
    assert_eq!(
        demand(curve.clone(), &renyi()).unwrap_err(),
        "the Renyi curve has no epsilon at orders 1.5, 1.75, 2.5, 3, 4, 5, 6, 8, 16, 32, 64; it needs one at each \
         of 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 16, 32, 64"
    );
    let two = Composition::Renyi(Orders::new(vec!["2".parse().unwrap()]).unwrap());
    assert_eq!(demand(curve, &two), Ok(vec![500_000_000_000]));
}

#[test]
fn consumption_and_release_are_parsed() {
    let all = claim_with(&json!({"consume": {"all": true}}));
    assert_eq!(all.consume(), Ok(Some(AmountRequest::All)));
    assert_eq!(all.release(), Ok(None));
    let some = claim_with(&json!({"release": {"perBlock": {"b": {"epsilon": "0.5", "delta": 0}}}}));
    let Ok(Some(AmountRequest::PerBlock(blocks))) = some.release() else {
        panic!()
    };
    assert!(
        matches!(blocks["b"], BudgetRequest::Guarantee { epsilon, .. } if epsilon == Epsilon::from_units(500_000_000_000))
    );

    let refusal =
        |spec: Value| -> FieldErrors { claim_with(&json!({"consume": spec})).consume().unwrap_err() };
    for (consume, message) in [
        (json!({}), "spec.consume: give exactly one of: all, perBlock"),
        (
            json!({"all": false}),
            "spec.consume.all: only true is accepted: leave it out for false",
        ),
        (
            json!({"all": true, "perBlock": {"b": {"epsilon": 1, "delta": 0}}}),
            "spec.consume: give exactly one of: all, perBlock",
        ),
        (
            json!({"perBlock": {}}),
            "spec.consume.perBlock: is empty: name one block at least",
        ),
        (
            json!({"perBlock": {"b": {}}}),
            "spec.consume.perBlock[b]: give exactly one of: epsilon and delta, renyi",
        ),
        (
            json!({"perBlock": {"b": {"epsilon": "-1", "delta": 0}}}),
            "spec.consume.perBlock[b].epsilon: \"-1\" is negative: it must be zero or more",
        ),
    ] {
        assert_eq!(refusal(consume.clone()).to_string(), message, "{consume}");
    }
}

#[test]
fn entries_are_named_in_their_order() {
    assert_eq!(entry_name("taxi", 1), "taxi-0000000001");
    assert!(entry_name("taxi", 99) < entry_name("taxi", 100));
}
