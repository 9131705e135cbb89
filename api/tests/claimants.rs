//! Which namespaces may claim on a dataset, up to which priority, and the messages for wrong claimants.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a test function")]

use std::collections::BTreeMap;

use privatekube_api::{ClaimReason, Claimants, DatasetKey, PrivateDatasetSpec};
use serde_json::{Value, json};

fn spec(claimants: &Value) -> PrivateDatasetSpec {
    let mut spec = json!({"unlocking": {"immediate": true}});
    if !claimants.is_null() {
        spec["claimants"] = claimants.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn claimants(fields: &Value) -> Claimants {
    spec(fields).claimants().unwrap()
}

fn taxi() -> DatasetKey {
    DatasetKey::parse("data/taxi", "").unwrap()
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

/// Why a claim is refused, if it is.
fn refusal(
    claimants: &Claimants,
    namespace: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Option<ClaimReason> {
    let refused = claimants.check(&taxi(), namespace, labels, 0).err();
    refused.map(|refusal| refusal.reason())
}

#[test]
fn a_dataset_that_says_nothing_is_open_to_its_own_namespace_up_to_priority_0() {
    for claimants in [
        Claimants::default(),
        claimants(&Value::Null),
        claimants(&json!({})),
        claimants(&json!({"from": "Same"})),
    ] {
        assert_eq!(refusal(&claimants, "data", None), None);
        assert_eq!(refusal(&claimants, "other", None), Some(ClaimReason::NotAllowed));
        assert!(!claimants.depend_on_labels("other"));
        assert!(claimants.check(&taxi(), "data", None, -7).is_ok());
        let high = claimants.check(&taxi(), "data", None, 1).unwrap_err();
        assert_eq!(high.reason(), ClaimReason::PriorityTooHigh);
        assert!(
            high.to_string()
                .contains("priority 1 is above 0, the highest that dataset data/taxi accepts"),
            "{high}"
        );
        // Somebody else learns nothing of the limit.
        let other = claimants.check(&taxi(), "other", None, 1).unwrap_err();
        assert_eq!(other.reason(), ClaimReason::NotAllowed);
    }
}

#[test]
fn a_dataset_is_open_to_all_or_to_those_that_are_listed_or_selected() {
    let all = claimants(&json!({"from": "All", "maxPriority": 1000}));
    assert_eq!(refusal(&all, "other", None), None);
    assert!(all.check(&taxi(), "other", None, 1000).is_ok());

    let listed = claimants(&json!({"from": "Selected", "namespaces": ["research", "reports"]}));
    assert_eq!(refusal(&listed, "research", None), None);
    for other in ["data", "researc", "research2"] {
        assert_eq!(refusal(&listed, other, None), Some(ClaimReason::NotAllowed));
    }

    let both = claimants(&json!({
        "from": "Selected",
        "namespaces": ["data"],
        "namespaceSelector": {"matchLabels": {"privacy": "approved"}},
    }));
    assert!(!both.depend_on_labels("data") && both.depend_on_labels("other"));
    assert_eq!(refusal(&both, "data", None), None);
    let approved = labels(&[("privacy", "approved"), ("team", "x")]);
    assert_eq!(refusal(&both, "other", Some(&approved)), None);
    for wrong in [labels(&[]), labels(&[("privacy", "pending")])] {
        assert_eq!(
            refusal(&both, "other", Some(&wrong)),
            Some(ClaimReason::NotAllowed)
        );
    }
    // A namespace that doesn't exist is not selected.
    assert_eq!(refusal(&both, "other", None), Some(ClaimReason::NotAllowed));
}

#[test]
fn requirements_hold_as_those_of_other_selectors_in_kubernetes() {
    let selects = |expressions: &Value, have: &[(&str, &str)]| {
        let selector = json!({"matchExpressions": expressions});
        let claimants = claimants(&json!({"from": "Selected", "namespaceSelector": selector}));
        refusal(&claimants, "other", Some(&labels(have))).is_none()
    };
    let one = |operator: &str, values: &[&str]| match values {
        [] => json!([{"key": "team", "operator": operator}]),
        values => json!([{"key": "team", "operator": operator, "values": values}]),
    };
    for (expressions, with_a, with_c, without) in [
        (one("In", &["a", "b"]), true, false, false),
        (one("NotIn", &["a", "b"]), false, true, true),
        (one("Exists", &[]), true, true, false),
        (one("DoesNotExist", &[]), false, false, true),
    ] {
        assert_eq!(selects(&expressions, &[("team", "a")]), with_a, "{expressions}");
        assert_eq!(selects(&expressions, &[("team", "c")]), with_c, "{expressions}");
        assert_eq!(selects(&expressions, &[("other", "a")]), without, "{expressions}");
    }
    // All of them have to hold.
    let two = json!([
        {"key": "team", "operator": "Exists"}, {"key": "example.com/privacy", "operator": "In", "values": ["on"]}
    ]);
    assert!(selects(&two, &[("team", ""), ("example.com/privacy", "on")]));
    assert!(!selects(&two, &[("team", "")]) && !selects(&two, &[("example.com/privacy", "on")]));
}

#[test]
fn wrong_claimants_are_refused_with_what_is_accepted() {
    let selected = |selector: Value| json!({"from": "Selected", "namespaceSelector": selector});
    let requirement = |requirement: Value| selected(json!({"matchExpressions": [requirement]}));
    let many: Vec<String> = (0..1001).map(|at| format!("n{at}")).collect();
    let labels: BTreeMap<String, String> = (0..65).map(|at| (format!("n{at}"), String::new())).collect();
    for (fields, message) in [
        (
            json!({"namespaces": ["a"]}),
            "spec.claimants.from: namespaces and namespaceSelector go with from: Selected",
        ),
        (
            json!({"from": "All", "namespaceSelector": {"matchLabels": {"a": "b"}}}),
            "spec.claimants.from: namespaces and namespaceSelector go with from: Selected",
        ),
        (
            json!({"from": "Selected"}),
            "spec.claimants.from: Selected needs namespaces, namespaceSelector, or both",
        ),
        (
            json!({"from": "Selected", "namespaces": ["a", "A"]}),
            "spec.claimants.namespaces[1]: \"A\" is not the name of a namespace: write at most 63 lower-case letters, \
             digits and '-', like research",
        ),
        (
            json!({
                "from": "Selected",
                "namespaces": ["A", "a", "B"],
                "namespaceSelector": {
                    "matchLabels": {"a b": "c"},
                    "matchExpressions": [{"key": "/a", "operator": "In"}]
                },
                "maxPriority": 1001,
            }),
            "spec.claimants.maxPriority: 1001 is out of range: write an integer between -1000 and 1000; \
             spec.claimants.namespaces[0]: \"A\" is not the name of a namespace: write at most 63 lower-case letters, \
             digits and '-', like research; spec.claimants.namespaces[2]: \"B\" is not the name of a namespace: write at \
             most 63 lower-case letters, digits and '-', like research; spec.claimants.namespaceSelector.matchLabels: \
             \"a b\": \"c\" is not a label: write a key and a value, like privacy: approved; \
             spec.claimants.namespaceSelector.matchExpressions[0].key: \"/a\" is not the key of a label: write one like \
             team; spec.claimants.namespaceSelector.matchExpressions[0].values: values go with the operators In and \
             NotIn, which need some",
        ),
        (
            json!({"from": "Selected", "namespaces": many}),
            "spec.claimants.namespaces: are 1001: at most 1000 are accepted",
        ),
        // What a mistyped field leaves must not select every namespace.
        (
            selected(json!({"matchLabel": {"a": "b"}})),
            "spec.claimants.namespaceSelector: selects nothing: give matchLabels, matchExpressions, or both (to accept \
             every namespace, write from: All)",
        ),
        (
            selected(json!({"matchLabels": {"a b": "c"}})),
            "spec.claimants.namespaceSelector.matchLabels: \"a b\": \"c\" is not a label: write a key and a value, like \
             privacy: approved",
        ),
        (
            selected(json!({"matchLabels": labels})),
            "spec.claimants.namespaceSelector.matchLabels: are 65: at most 64 are accepted",
        ),
        (
            requirement(json!({"key": "/a", "operator": "Exists"})),
            "spec.claimants.namespaceSelector.matchExpressions[0].key: \"/a\" is not the key of a label: write one like \
             team",
        ),
        (
            requirement(json!({"key": "a", "operator": "In"})),
            "spec.claimants.namespaceSelector.matchExpressions[0].values: values go with the operators In and NotIn, \
             which need some",
        ),
        (
            requirement(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            "spec.claimants.namespaceSelector.matchExpressions[0].values: values go with the operators In and NotIn, \
             which need some",
        ),
        (
            requirement(json!({"key": "a", "operator": "In", "values": ["b "]})),
            "spec.claimants.namespaceSelector.matchExpressions[0].values: \"b \" is not the value of a label: write at \
             most 63 letters, digits, '-', '_' and '.', like research",
        ),
        (
            json!({"maxPriority": 1001}),
            "spec.claimants.maxPriority: 1001 is out of range: write an integer between -1000 and 1000",
        ),
    ] {
        let spec = spec(&fields);
        assert_eq!(spec.claimants().unwrap_err().to_string(), message, "{fields}");
        assert_eq!(spec.check().unwrap_err().to_string(), message, "{fields}");
    }
}

#[test]
fn claimants_are_none_of_the_rules() {
    let open = spec(&json!({"from": "All", "maxPriority": 5}));
    assert_eq!(open.rules(), spec(&Value::Null).rules());
}
