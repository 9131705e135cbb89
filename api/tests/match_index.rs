//! The index of waiting requests: it selects what `match_blocks` selects, and evaluates what changed alone.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{
    Candidate, ClaimRequest, Dimension, Dimensions, MatchIndex, PrivacyBudgetClaim, are_enough,
    left_out_blocks, match_blocks,
};
use privatekube_policy::Composition;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

/// A request of which `spec` is the spec, but for its dataset and budget.
fn request(spec: Value) -> ClaimRequest {
    let mut object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivacyBudgetClaim",
        "metadata": {"namespace": "data", "name": "c"},
        "spec": {"dataset": "taxi"},
    });
    let Value::Object(spec) = spec else {
        unreachable!("a spec is an object")
    };
    if !spec.contains_key("perBlock") && !spec.contains_key("budget") {
        object["spec"]["budget"] = json!({"epsilon": "1", "delta": "0"});
    }
    object["spec"].as_object_mut().unwrap().extend(spec);
    let object: PrivacyBudgetClaim = serde_json::from_value(object).unwrap();
    object.request().unwrap()
}

fn selecting(selector: &str, min: u32) -> ClaimRequest {
    request(json!({"selector": selector, "blocks": {"min": min}}))
}

fn naming(blocks: &[&str]) -> ClaimRequest {
    let budgets = blocks
        .iter()
        .map(|name| ((*name).to_owned(), json!({"epsilon": "1", "delta": "0"})));
    request(json!({"perBlock": budgets.collect::<serde_json::Map<_, _>>()}))
}

/// A mechanism that draws batches of this size.
fn batch(size: u64) -> Value {
    json!({"mechanism": format!("subsampled-laplace(scale=1,batch-size={size})")})
}

fn day(day: i64) -> Dimensions {
    Dimensions::from([("day".to_owned(), Dimension::Number(day))])
}

fn candidate<'a>(name: &'a str, dimensions: &'a Dimensions) -> Candidate<'a> {
    Candidate {
        name,
        dimensions,
        created: None,
        time: None,
        records: None,
    }
}

#[test]
fn a_block_is_evaluated_once_for_each_distinct_selector_that_waits() {
    let mut index = MatchIndex::default();
    for number in 0..1000 {
        let selector = ["block.day >= 5", "block.day >= 7"][number % 2];
        assert!(!index.add_request(number, &selecting(selector, 3)));
    }
    assert_eq!(index.evaluations(), 0);
    for number in 0..10 {
        let enough = index.add_block(candidate(&format!("b{number}"), &day(number)));
        match number {
            // The third block from 5 on, and each one after it.
            7 | 8 => assert!(enough.len() == 500 && enough.iter().all(|key| key % 2 == 0)),
            9 => assert_eq!(enough.len(), 1000),
            _ => assert!(enough.is_empty()),
        }
    }
    assert_eq!(index.evaluations(), 20);
    // What is known is not evaluated again: the same block, more requests, the demands of each.
    assert!(index.add_block(candidate("b9", &day(9))).is_empty());
    assert!(index.add_request(1000, &selecting("block.day >= 5", 3)));
    for _ in 0..1000 {
        let request = selecting("block.day >= 5", 3);
        assert_eq!(
            index.demands(&request, &Composition::Basic).unwrap()[0]
                .blocks
                .len(),
            5
        );
    }
    index.remove_block("b9");
    assert_eq!(index.evaluations(), 20);
    // A new selector is evaluated for each block that is left, once.
    assert!(!index.add_request(1001, &selecting("block.day == 1", 2)));
    assert_eq!(index.evaluations(), 29);
}

#[test]
fn a_result_is_kept_while_a_request_has_its_selector_and_for_a_while_after() {
    let mut index = MatchIndex::default();
    index.add_block(candidate("b1", &day(1)));
    assert!(index.add_request("one", &selecting("block.day == 1", 1)));
    assert!(index.add_request("two", &selecting("block.day == 1", 1)));
    index.remove_request(&"one");
    assert!(index.add_request("three", &selecting("block.day == 1", 1)));
    assert_eq!(index.evaluations(), 1);
    index.remove_request(&"two");
    index.remove_request(&"three");
    // Nobody waits, and the result is still kept.
    index.add_block(candidate("b2", &day(1)));
    assert!(index.add_request("four", &selecting("block.day == 1", 2)));
    assert_eq!(index.evaluations(), 2);
    // Selectors that are used once push out each other, not one that a request has.
    for number in 0..1000 {
        let request = selecting(&format!("block.day == {number}"), 1);
        index.demands(&request, &Composition::Basic).unwrap();
    }
    let before = index.evaluations();
    index.add_block(candidate("b3", &day(1)));
    assert_eq!(index.evaluations() - before, 33);
    index.remove_request(&"four");
    assert!(index.add_request("five", &selecting("block.day == 1", 3)));
    assert_eq!(index.evaluations() - before, 33);
}

#[test]
fn requests_without_a_selector_and_those_that_name_blocks_evaluate_nothing() {
    let mut index = MatchIndex::default();
    assert!(!index.add_request("all", &request(json!({"blocks": {"min": 2}}))));
    assert!(!index.add_request("named", &naming(&["b1", "b3"])));
    assert!(index.add_block(candidate("b1", &day(1))).is_empty());
    assert_eq!(index.add_block(candidate("b2", &day(1))), ["all"]);
    assert_eq!(index.add_block(candidate("b3", &day(1))), ["all", "named"]);
    index.remove_block("b1");
    index.remove_block("unknown");
    assert_eq!(index.add_block(candidate("b4", &day(1))), ["all"]);
    index.remove_request(&"all");
    index.remove_request(&"unknown");
    assert_eq!(index.add_block(candidate("b1", &day(1))), ["named"]);
    assert_eq!(index.evaluations(), 0);
}

/// What is known of a block.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    dimensions: Dimensions,
    created: Option<v1::Time>,
    records: Option<u64>,
}

impl Known {
    /// A block as matching needs it: the dimension `time` says how new it is.
    fn candidate<'a>(&'a self, name: &'a str) -> Candidate<'a> {
        Candidate {
            name,
            dimensions: &self.dimensions,
            created: self.created.as_ref(),
            time: self.dimensions.get("time"),
            records: self.records,
        }
    }
}

/// Blocks in 4 days, one of which is a text, of 5 times or none, created at 3 times or none, with 3 numbers of records or none.
fn known() -> impl Strategy<Value = Known> {
    let time = prop_oneof![
        Just(None),
        (0_i64..3).prop_map(|time| Some(Dimension::Number(time))),
        (9_i64..11).prop_map(|time| Some(Dimension::Text(format!("t{time}")))),
    ];
    let records = prop::option::of(100_u64..103);
    (0_i64..4, time, prop::option::of(0_i64..3), records).prop_map(|(number, time, created, records)| {
        let mut dimensions = day(number);
        if number == 3 {
            dimensions.insert("day".to_owned(), Dimension::Text("3".to_owned()));
        }
        dimensions.extend(time.map(|time| ("time".to_owned(), time)));
        let created = created.map(|at| v1::Time(jiff::Timestamp::from_second(at).unwrap()));
        Known {
            dimensions,
            created,
            records,
        }
    })
}

#[derive(Clone, Debug)]
enum Step {
    AddBlock(u8, Known),
    RemoveBlock(u8),
    AddRequest(u8, usize),
    RemoveRequest(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(
        prop_oneof![
            4 => (8_u8..12, known()).prop_map(|(name, known)| Step::AddBlock(name, known)),
            1 => (8_u8..12).prop_map(Step::RemoveBlock),
            3 => (0_u8..12, 0_usize..12).prop_map(|(key, kind)| Step::AddRequest(key, kind)),
            1 => (0_u8..12).prop_map(Step::RemoveRequest),
        ],
        0..40,
    )
}

/// Some requests: with and without a selector, limits and names, one whose selector errs on some blocks, and some whose
/// budgets depend on the blocks' records.
fn kind(kind: usize) -> ClaimRequest {
    match kind {
        0 => request(json!({})),
        1 => request(json!({"blocks": {"min": 2, "max": 3}})),
        2 => selecting("block.day >= 1", 2),
        3 => request(json!({"selector": "block.day >= 1", "blocks": {"max": 1}})),
        4 => request(json!({"selector": "block.day >= 2", "blocks": {"min": 2, "max": 2}})),
        5 => selecting("6 / block.day == 2", 1),
        6 => naming(&["b8", "b9"]),
        7 => naming(&["b9"]),
        9 => request(json!({"selector": "block.day >= 1", "blocks": {"max": 2}, "budget": batch(50)})),
        10 => request(json!({"budget": batch(120)})),
        11 => request(json!({"perBlock": {"b8": batch(120), "b9": {"epsilon": "1", "delta": "0"}}})),
        _ => selecting("block.none == 1", 1),
    }
}

proptest! {
    /// The oracle is `match_blocks` with every block, for every request.
    #[test]
    fn the_index_matches_as_a_look_at_every_block_does(steps in steps()) {
        let mut index = MatchIndex::default();
        let mut blocks: BTreeMap<String, Known> = BTreeMap::new();
        let mut requests: BTreeMap<u8, ClaimRequest> = BTreeMap::new();
        for step in steps {
            let matches = |request: &ClaimRequest, blocks: &BTreeMap<String, Known>| {
                let candidates = blocks.iter().map(|(name, known)| known.candidate(name));
                match_blocks(request, candidates, &Composition::Basic).unwrap()
            };
            let is_enough = |request: &ClaimRequest, blocks: &_| {
                // Not limited by `max`, which is never below `min`.
                are_enough(&matches(request, blocks), request.min_blocks())
            };
            match step {
                Step::AddBlock(name, added) => {
                    let name = format!("b{name}");
                    let enough: BTreeSet<u8> = index.add_block(added.candidate(&name)).into_iter().collect();
                    let alone = BTreeMap::from([(name.clone(), added.clone())]);
                    let is_new = blocks.insert(name, added.clone()) != Some(added);
                    let gained = |request: &ClaimRequest| is_new && !matches(request, &alone).is_empty();
                    let expected = requests.iter().filter(|(_, request)| gained(request) && is_enough(request, &blocks));
                    prop_assert_eq!(enough, expected.map(|(key, _)| *key).collect());
                }
                Step::RemoveBlock(name) => {
                    let name = format!("b{name}");
                    index.remove_block(&name);
                    blocks.remove(&name);
                }
                Step::AddRequest(key, number) => {
                    let request = kind(number);
                    prop_assert_eq!(index.add_request(key, &request), is_enough(&request, &blocks));
                    requests.insert(key, request);
                }
                Step::RemoveRequest(key) => {
                    index.remove_request(&key);
                    requests.remove(&key);
                }
            }
            let before = index.evaluations();
            for (key, request) in &requests {
                prop_assert_eq!(index.demands(request, &Composition::Basic).unwrap(), matches(request, &blocks));
                let left_out = left_out_blocks(request, blocks.iter().map(|(name, known)| known.candidate(name)));
                let found = index.left_out(request).map(|found| (found.count, found.names));
                let named = left_out.iter().take(8).cloned().collect();
                prop_assert_eq!(found, (!left_out.is_empty()).then_some((left_out.len(), named)));
                for block in &left_out {
                    prop_assert!(index.leaving_out(block.as_str()).contains(key));
                }
            }
            prop_assert_eq!(index.evaluations(), before);
            for number in 0..12 {
                let request = kind(number);
                prop_assert_eq!(index.demands(&request, &Composition::Basic).unwrap(), matches(&request, &blocks));
            }
        }
    }
}
