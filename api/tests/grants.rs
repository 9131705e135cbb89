//! The grant that a pod's containers read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use privatekube_api::{
    BlockBudget, BudgetRequest, ClaimToGrant, Dimension, GRANT_FILE, GRANT_VERSION, Grant, GrantAnnotations,
    GrantedBlock, GrantedBudget, GrantedClaim, MOST_VARIABLE_BYTES, RenyiAmount, RequestedBudget,
    most_own_annotation_bytes,
};
use serde_json::json;

/// What the API server accepts of a pod's annotations.
const MOST_ANNOTATION_BYTES: usize = 256 << 10;

fn block(name: &str) -> GrantedBlock {
    GrantedBlock {
        name: name.to_owned(),
        data_source: Some(format!("s3://lake/taxi/{name}")),
        dimensions: [
            ("startTime".to_owned(), Dimension::Number(20_778)),
            ("endTime".to_owned(), Dimension::Number(20_779)),
            ("city".to_owned(), Dimension::Text("nyc".to_owned())),
        ]
        .into(),
    }
}

/// A claim on daily blocks with a budget of 12 Renyi orders, each as long as it is in practice.
fn claim(blocks: usize) -> GrantedClaim {
    let point = |order: usize| RenyiAmount {
        order: order.to_string(),
        epsilon: Some("0.059676098984".to_owned()),
    };
    GrantedClaim {
        claim: "data/train-ed64100f".to_owned(),
        dataset: "data/taxi".to_owned(),
        privacy_unit: Some(privatekube_api::PrivacyUnit::UserTime),
        requested: Some(RequestedBudget::Mechanism {
            mechanism: "gaussian(sigma=20)".to_owned(),
        }),
        block_count: blocks as u64,
        budgets: vec![BlockBudget {
            budget: GrantedBudget::Curve {
                renyi: (2..14).map(point).collect(),
            },
            blocks: (0..blocks).map(|at| block(&format!("taxi-{at:010}"))).collect(),
        }],
        blocks_from: None,
    }
}

fn listed(claim: GrantedClaim) -> ClaimToGrant {
    ClaimToGrant {
        claim,
        is_listed: true,
    }
}

fn read(text: &str) -> Grant {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_grant_is_read_as_it_is_written() {
    let (epsilon, delta) = ("0.5".parse().unwrap(), "1e-9".parse().unwrap());
    let guarantee = BudgetRequest::Guarantee { epsilon, delta };
    let text = "laplace(scale=10)";
    let mechanism = BudgetRequest::Mechanism(text.parse().unwrap(), text.to_owned());
    let curve = BudgetRequest::Curve(vec![("2".parse().unwrap(), epsilon)]);
    assert_eq!(RequestedBudget::of(&curve), None);
    let grant = Grant {
        version: GRANT_VERSION,
        claims: vec![GrantedClaim {
            claim: "data/train".to_owned(),
            dataset: "data/taxi".to_owned(),
            privacy_unit: Some(privatekube_api::PrivacyUnit::UserTime),
            requested: RequestedBudget::of(&guarantee),
            block_count: 2,
            budgets: vec![
                BlockBudget {
                    budget: GrantedBudget::Guarantee {
                        epsilon: "0.5".to_owned(),
                        delta: "0.000000001".to_owned(),
                    },
                    blocks: vec![block("b1")],
                },
                BlockBudget {
                    budget: GrantedBudget::Curve {
                        renyi: vec![RenyiAmount {
                            order: "2".to_owned(),
                            epsilon: Some("0.5".to_owned()),
                        }],
                    },
                    blocks: vec![block("b2")],
                },
            ],
            blocks_from: None,
        }],
        file: None,
    };
    let written = serde_json::to_value(&grant).unwrap();
    let dimensions = json!({"city": "nyc", "endTime": 20779, "startTime": 20778});
    let block = |name| json!({"name": name, "dataSource": format!("s3://lake/taxi/{name}"), "dimensions": dimensions});
    assert_eq!(
        written,
        json!({"version": 1, "claims": [{
            "claim": "data/train",
            "dataset": "data/taxi",
            "privacyUnit": "UserTime",
            "requested": {"epsilon": "0.5", "delta": "0.000000001"},
            "blockCount": 2,
            "budgets": [
                {"epsilon": "0.5", "delta": "0.000000001", "blocks": [block("b1")]},
                {"renyi": [{"order": "2", "epsilon": "0.5"}], "blocks": [block("b2")]},
            ],
        }]})
    );
    let names: Vec<&str> = grant.claims[0]
        .blocks()
        .map(|(block, _)| block.name.as_str())
        .collect();
    assert_eq!(names, ["b1", "b2"]);
    assert_eq!(serde_json::from_value::<Grant>(written).unwrap(), grant);
    let requested = serde_json::to_value(RequestedBudget::of(&mechanism)).unwrap();
    assert_eq!(requested, json!({"mechanism": text}));
}

#[test]
fn a_year_of_days_is_in_the_variable_and_in_the_file() {
    let annotations = GrantAnnotations::of(vec![listed(claim(365))], 10_000).unwrap();
    assert_eq!(annotations.variable, annotations.grant);
    assert_eq!(read(&annotations.grant).claims, [claim(365)]);
    // Of a block only its name, data source and dimensions are repeated: a curve has some 500 bytes.
    let bytes = annotations.grant.len() / 365;
    assert!(bytes < 150, "{bytes} bytes for each block");
}

#[test]
fn what_is_too_large_for_the_variable_is_in_the_file_and_the_variable_names_it() {
    let annotations = GrantAnnotations::of(vec![listed(claim(1000))], 10_000).unwrap();
    assert_eq!(read(&annotations.grant).claims, [claim(1000)]);
    let variable = read(&annotations.variable);
    assert_eq!(
        (variable.claims, variable.file.as_deref()),
        (vec![], Some(GRANT_FILE))
    );
}

#[test]
fn what_is_too_large_for_the_file_names_the_object_that_lists_the_blocks() {
    let annotations = GrantAnnotations::of(vec![listed(claim(10_000)), listed(claim(3))], 10_000).unwrap();
    assert_eq!(annotations.variable, annotations.grant);
    let grant = read(&annotations.grant);
    let [large, small] = grant.claims.as_slice() else {
        panic!("two claims are granted")
    };
    assert_eq!(*small, claim(3));
    let from = large.blocks_from.as_ref().unwrap();
    assert_eq!(
        (
            from.namespace.as_str(),
            from.name.as_str(),
            from.field_path.as_str()
        ),
        ("data", "train-ed64100f", "status.blocks")
    );
    assert_eq!((large.block_count, large.blocks().count()), (10_000, 0));
    assert_eq!(annotations.references, [(from.clone(), 10_000)]);
    assert_eq!(large.budgets[0].budget, claim(1).budgets[0].budget);
}

#[test]
fn what_the_object_does_not_list_is_refused_with_the_sizes() {
    let unlisted = ClaimToGrant {
        claim: claim(10_000),
        is_listed: false,
    };
    let error = GrantAnnotations::of(vec![unlisted], 10_000).unwrap_err();
    assert!(error.bytes > 1_000_000 && error.own == 10_000, "{error}");
    assert!(error.to_string().contains("request fewer blocks"), "{error}");
    // With two budgets the list doesn't tell which block has which.
    let mut two = claim(10_000);
    let mut other = two.budgets[0].clone();
    other.budget = GrantedBudget::Curve { renyi: Vec::new() };
    two.budgets.push(other);
    GrantAnnotations::of(vec![listed(two)], 10_000).unwrap_err();
}

#[test]
fn a_pod_whose_own_annotations_leave_no_room_is_refused_and_told_to_take_some_out() {
    let error = GrantAnnotations::of(vec![listed(claim(1))], 262_000).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("beside the 262000 bytes that the pod has")
            && error.to_string().contains("take annotations of its own out"),
        "{error}"
    );
}

#[test]
fn whatever_a_pod_may_have_and_request_its_annotations_stay_within_the_limit() {
    for claims in [1, 2, 32] {
        let own = most_own_annotation_bytes(claims);
        for blocks in [1, 100, 700, 1900] {
            for own in [0, 50_000, own] {
                // Names, data sources and a mechanism as long as they may be.
                let mut longest = claim(blocks);
                longest.claim = format!("{}/{}", "n".repeat(63), "c".repeat(253));
                longest.dataset = format!("{0}/{0}", "d".repeat(63));
                longest.requested = Some(RequestedBudget::Mechanism {
                    mechanism: "m".repeat(2000),
                });
                let point = RenyiAmount {
                    order: "123.456789".to_owned(),
                    epsilon: Some("1234567.123456789012".to_owned()),
                };
                longest.budgets[0].budget = GrantedBudget::Curve {
                    renyi: vec![point; 32],
                };
                let annotations = GrantAnnotations::of(vec![listed(longest); claims], own).unwrap();
                let (grant, variable) = (annotations.grant.len(), annotations.variable.len());
                assert!(variable <= MOST_VARIABLE_BYTES, "{variable} bytes");
                assert!(
                    own + grant + variable + 100 <= MOST_ANNOTATION_BYTES,
                    "{claims} claims on {blocks} blocks beside {own} bytes: {grant} and {variable}"
                );
            }
        }
    }
}
