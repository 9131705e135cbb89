//! Parsing of a pod's annotations, and the messages for wrong ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, outside of a test function"
)]

use std::collections::BTreeMap;

use privatekube_api::{
    BudgetRequest, DemandRequest, PodRequest, Selector, check_labels, claim_spec, pod_request,
};

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| {
            let name = if name.contains('/') {
                (*name).to_owned()
            } else {
                format!("privatekube.dev/{name}")
            };
            (name, (*value).to_owned())
        })
        .collect()
}

/// Valid annotations with `change` applied; an empty value removes the annotation.
fn with(change: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut all = annotations(&[("dataset", "taxi"), ("epsilon", "0.5"), ("delta", "1e-9")]);
    for (name, value) in annotations(change) {
        if value.is_empty() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    all
}

fn refusal(annotations: &BTreeMap<String, String>) -> String {
    match pod_request(annotations, "data") {
        Ok(request) => panic!("{annotations:?} is accepted as {request:?}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn a_pod_without_annotations_of_ours_requests_nothing() {
    for pairs in [
        &[][..],
        &[
            ("fake-kubelet.privatekube.dev/run", "1s"),
            ("privatekube.devs/epsilon", "1"),
        ],
    ] {
        assert_eq!(pod_request(&annotations(pairs), "data"), Ok(None));
    }
}

#[test]
fn a_demand_is_parsed() {
    let all = with(&[
        ("dataset", "lake/taxi"),
        ("blocks", "block.startTime >= 20770"),
        ("min-blocks", "2"),
        ("max-blocks", "5"),
        ("timeout", "1h30m"),
        ("priority", "-7"),
    ]);
    let Ok(Some(PodRequest::Inline(request))) = pod_request(&all, "data") else {
        panic!()
    };
    assert_eq!(request.dataset.to_string(), "lake/taxi");
    assert_eq!(request.timeout.unwrap().micros(), 5_400_000_000);
    assert_eq!(request.priority, -7);
    let DemandRequest::Selected {
        selector,
        min,
        max,
        budget,
    } = request.demand
    else {
        panic!()
    };
    assert_eq!(selector.unwrap().source(), "block.startTime >= 20770");
    assert_eq!((min, max), (2, Some(5)));
    let (epsilon, delta) = ("0.5".parse().unwrap(), "1e-9".parse().unwrap());
    assert_eq!(budget, BudgetRequest::Guarantee { epsilon, delta });
}

#[test]
fn what_is_left_out_has_its_default() {
    let Ok(Some(PodRequest::Inline(request))) = pod_request(&with(&[]), "data") else {
        panic!()
    };
    assert_eq!(request.dataset.to_string(), "data/taxi");
    assert_eq!((request.timeout, request.priority), (None, 0));
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

#[test]
fn a_mechanism_is_parsed_and_kept_as_written() {
    let all = with(&[
        ("epsilon", ""),
        ("delta", ""),
        ("mechanism", "gaussian(sigma=2.1)"),
    ]);
    let Ok(Some(PodRequest::Inline(request))) = pod_request(&all, "data") else {
        panic!()
    };
    let DemandRequest::Selected {
        budget: BudgetRequest::Mechanism(_, written),
        ..
    } = request.demand
    else {
        panic!()
    };
    assert_eq!(written, "gaussian(sigma=2.1)");
}

#[test]
fn a_sample_rate_needs_a_fixed_number_of_blocks_and_a_batch_size_does_not() {
    let accepted = |mechanism: &str, bounds: &[(&str, &str)]| {
        let mut all = with(&[("epsilon", ""), ("delta", ""), ("mechanism", mechanism)]);
        all.extend(annotations(bounds));
        pod_request(&all, "data")
            .map(drop)
            .map_err(|errors| errors.to_string())
    };
    let by_rate = "dp-sgd(noise-multiplier=1,sample-rate=0.01,steps=10)";
    let three = [("min-blocks", "3"), ("max-blocks", "3")];
    for bounds in [
        &[][..],
        &[("min-blocks", "3")],
        &[("min-blocks", "2"), ("max-blocks", "3")],
    ] {
        let error = accepted(by_rate, bounds).unwrap_err();
        let advice = "write the same number in privatekube.dev/min-blocks and privatekube.dev/max-blocks, or batch-size";
        assert!(
            error.starts_with("privatekube.dev/mechanism: ") && error.contains(advice),
            "{error}"
        );
    }
    assert_eq!(accepted(by_rate, &three), Ok(()));
    assert_eq!(accepted(by_rate, &[("max-blocks", "1")]), Ok(()));
    for any in ["batch-size=256", "sample-rate=1"] {
        let mechanism = format!("dp-sgd(noise-multiplier=1,{any},steps=10)");
        assert_eq!(accepted(&mechanism, &[]), Ok(()));
    }
    let both = accepted(
        "dp-sgd(noise-multiplier=1,sample-rate=0.1,batch-size=2,steps=1)",
        &three,
    );
    assert!(both.unwrap_err().contains("write one of the two"));
}

#[test]
fn claims_are_named() {
    let all = annotations(&[("claim", "weekly-count, monthly.v2")]);
    let claims = ["weekly-count", "monthly.v2"].map(str::to_owned).to_vec();
    assert_eq!(
        pod_request(&all, "data"),
        Ok(Some(PodRequest::Claims(claims.clone())))
    );
    let free = annotations(&[("claim", "weekly-count, monthly.v2"), ("restarts", "free")]);
    assert_eq!(pod_request(&free, "data"), Ok(Some(PodRequest::Claims(claims))));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_annotations_are_refused_with_what_is_accepted() {
    const KNOWN: &str = "known are privatekube.dev/dataset, privatekube.dev/epsilon, privatekube.dev/delta, \
        privatekube.dev/mechanism, privatekube.dev/blocks, privatekube.dev/min-blocks, privatekube.dev/max-blocks, \
        privatekube.dev/timeout, privatekube.dev/priority, privatekube.dev/claim, privatekube.dev/restarts, privatekube.dev/purpose";
    let unknown = |rest: &str| format!("{rest}{KNOWN}");
    for (change, message) in [
        (
            &[("epsilonn", "1")][..],
            unknown("privatekube.dev/epsilonn: is not known: did you mean privatekube.dev/epsilon? "),
        ),
        (&[("Max-Blocks", "1")], unknown("privatekube.dev/Max-Blocks: is not known: did you mean privatekube.dev/max-blocks? ")),
        (
            &[("PrivateKube.dev/epsilon", "1")],
            unknown("PrivateKube.dev/epsilon: is not known: did you mean privatekube.dev/epsilon? "),
        ),
        // The API server checks an annotation's key in lower case, where the Kelvin sign is a k and the dotted I an i.
        (
            &[("private\u{212a}ube.dev/delta", "1")],
            unknown("private\u{212a}ube.dev/delta: is not known: did you mean privatekube.dev/delta? "),
        ),
        (
            &[("pr\u{130}vatekube.dev/timeout", "1s")],
            unknown("pr\u{130}vatekube.dev/timeout: is not known: did you mean privatekube.dev/timeout? "),
        ),
        (&[("weather", "1")], unknown("privatekube.dev/weather: is not known: ")),
        (
            &[("grant", "{}")],
            "privatekube.dev/grant: is written by the system when the budget is granted: leave it out, as a copy of a pod \
             requests budget of its own (from an exported pod, apply only what you wrote; instead of kubectl debug \
             --copy-to, debug the pod itself)"
                .to_owned(),
        ),
        (
            &[("dataset", "")],
            "privatekube.dev/dataset: is missing: write the dataset's name, or namespace/name".to_owned(),
        ),
        (
            &[("dataset", "Taxi")],
            "privatekube.dev/dataset: \"Taxi\" is not a dataset: write its name, or namespace/name, each at most 63 \
             lower-case letters, digits and '-', like taxi or data/taxi"
                .to_owned(),
        ),
        (
            &[("dataset", "a/b/c")],
            "privatekube.dev/dataset: \"a/b/c\" is not a dataset: write its name, or namespace/name, each at most 63 \
             lower-case letters, digits and '-', like taxi or data/taxi"
                .to_owned(),
        ),
        (
            &[("delta", "")],
            "privatekube.dev/delta: is missing: privatekube.dev/epsilon goes with a delta, like 1e-9 (it may be 0)"
                .to_owned(),
        ),
        (
            &[("epsilon", "")],
            "privatekube.dev/epsilon: is missing: privatekube.dev/delta goes with an epsilon, like 0.5".to_owned(),
        ),
        (
            &[("epsilon", ""), ("delta", "")],
            "privatekube.dev/epsilon: is missing: say how much budget the pod needs on each block, with \
             privatekube.dev/epsilon and privatekube.dev/delta, or with privatekube.dev/mechanism"
                .to_owned(),
        ),
        (
            &[("mechanism", "laplace(scale=10)")],
            "privatekube.dev/mechanism: doesn't go with privatekube.dev/epsilon and privatekube.dev/delta: leave out \
             one of the two"
                .to_owned(),
        ),
        (
            &[("epsilon", "0")],
            "privatekube.dev/epsilon: \"0\" asks for nothing: epsilon must be above 0".to_owned(),
        ),
        (
            &[("epsilon", "0.000")],
            "privatekube.dev/epsilon: \"0.000\" asks for nothing: epsilon must be above 0".to_owned(),
        ),
        (
            &[("epsilon", "-1")],
            "privatekube.dev/epsilon: \"-1\" is negative: it must be zero or more".to_owned(),
        ),
        (
            &[("epsilon", "inf")],
            "privatekube.dev/epsilon: \"inf\" is not finite: write a decimal like 0.5 or 1e-9".to_owned(),
        ),
        (
            &[("epsilon", "NaN")],
            "privatekube.dev/epsilon: \"NaN\" is not finite: write a decimal like 0.5 or 1e-9".to_owned(),
        ),
        (
            &[("epsilon", "a lot")],
            "privatekube.dev/epsilon: \"a lot\" is not a number: write a decimal like 0.5 or 1e-9".to_owned(),
        ),
        (
            &[("epsilon", "0.0000000000001")],
            "privatekube.dev/epsilon: \"0.0000000000001\" has too many digits: at most 12 decimals are exact".to_owned(),
        ),
        (
            &[("epsilon", "1e7")],
            "privatekube.dev/epsilon: \"1e7\" is too large: at most 9000000".to_owned(),
        ),
        (
            &[("delta", "1.5")],
            "privatekube.dev/delta: \"1.5\" is too large: at most 1".to_owned(),
        ),
        (
            &[("epsilon", ""), ("delta", ""), ("mechanism", "sparse-vector(x=1)")],
            "privatekube.dev/mechanism: \"sparse-vector\" is not a known mechanism: use gaussian(sigma=...), \
             laplace(scale=...), dp-sgd(noise-multiplier=...,sample-rate=...,steps=...), \
             subsampled-laplace(scale=...,sample-rate=...), tree-aggregation(noise-multiplier=...,steps=...), \
             randomized-response(noise-probability=...,categories=...), exponential(epsilon=...), \
             pure(epsilon=...), zcdp(rho=...) or guarantee(epsilon=...,delta=...)"
                .to_owned(),
        ),
        (
            &[("blocks", "block.city = 1")],
            "privatekube.dev/blocks: \"block.city = 1\" is not a CEL expression: at column 12: = is no operator: \
             write == to compare"
                .to_owned(),
        ),
        (
            &[("blocks", "city == 'nyc'")],
            "privatekube.dev/blocks: city is not known: only block is, whose fields are a block's dimensions, like \
             block.city"
                .to_owned(),
        ),
        (
            &[("min-blocks", "0")],
            "privatekube.dev/min-blocks: \"0\" is not a number of blocks: write an integer between 1 and 100000"
                .to_owned(),
        ),
        (
            &[("max-blocks", "all")],
            "privatekube.dev/max-blocks: \"all\" is not a number of blocks: write an integer between 1 and 100000"
                .to_owned(),
        ),
        (
            &[("max-blocks", "99999999999")],
            "privatekube.dev/max-blocks: \"99999999999\" is not a number of blocks: write an integer between 1 and \
             100000"
                .to_owned(),
        ),
        (
            &[("min-blocks", "3"), ("max-blocks", "2")],
            "privatekube.dev/min-blocks: 3 is above the 2 of privatekube.dev/max-blocks: write 2 or less".to_owned(),
        ),
        (
            &[("timeout", "10")],
            "privatekube.dev/timeout: \"10\" is not a duration: write numbers with units ms, s, m, h or d, like 90s \
             or 1h30m"
                .to_owned(),
        ),
        (
            &[("timeout", "0s")],
            "privatekube.dev/timeout: \"0s\" is no time at all: write a longer duration, like 90s or 1h30m".to_owned(),
        ),
        (
            &[("restarts", "Free")],
            "privatekube.dev/restarts: \"Free\" is not accepted: write free if a container that starts again spends \
             nothing new, or leave it out"
                .to_owned(),
        ),
        (
            &[("priority", "high")],
            "privatekube.dev/priority: \"high\" is not a priority: write an integer between -1000 and 1000".to_owned(),
        ),
        (
            &[("priority", "1001")],
            "privatekube.dev/priority: 1001 is out of range: write an integer between -1000 and 1000".to_owned(),
        ),
        (
            &[("claim", "a")],
            [
                "privatekube.dev/dataset: doesn't go with privatekube.dev/claim, whose claims say it: leave out one of the two",
                "privatekube.dev/epsilon: doesn't go with privatekube.dev/claim, whose claims say it: leave out one of the two",
                "privatekube.dev/delta: doesn't go with privatekube.dev/claim, whose claims say it: leave out one of the two",
            ]
            .join("; "),
        ),
    ] {
        assert_eq!(refusal(&with(change)), message, "{change:?}");
    }
}

/// None of them requests anything of itself, and each would run uncharged without a word.
#[test]
fn keys_that_are_almost_ours_are_refused_alone() {
    for key in [
        "PrivateKube.dev/dataset",
        "PRIVATEKUBE.DEV/dataset",
        "private\u{212a}ube.dev/dataset",
        "PR\u{130}VATEKUBE.dev/dataset",
    ] {
        let text = refusal(&annotations(&[(key, "taxi")]));
        assert!(text.contains("did you mean privatekube.dev/dataset?"), "{text}");
    }
}

#[test]
fn labels_request_nothing_and_are_refused() {
    let labels = |key: &str| check_labels([key]).map_err(|errors| errors.to_string());
    for key in [
        "app",
        "privatekube.dev/managed",
        "privatekube.devs/dataset",
        "x.privatekube.dev/dataset",
    ] {
        assert_eq!(labels(key), Ok(()));
    }
    assert_eq!(
        labels("privatekube.dev/dataset").unwrap_err(),
        "metadata.labels[privatekube.dev/dataset]: is a label, and labels request no budget: write it in \
         metadata.annotations"
    );
    for key in [
        "PrivateKube.dev/dataset",
        "privatekube.dev/Managed",
        "privatekube.dev/grant",
    ] {
        assert!(labels(key).is_err());
    }
}

#[test]
fn names_of_claims_are_names() {
    let name = |name: &str| {
        format!(
            "privatekube.dev/claim: {name:?} is not a name: write lower-case letters, digits, '-' and '.', at most 253, \
             like weekly-count"
        )
    };
    for (claims, message) in [
        ("", name("")),
        ("a,,b", name("")),
        ("Weekly", name("Weekly")),
        ("data/weekly", name("data/weekly")),
        ("-a", name("-a")),
        (
            "a,a",
            "privatekube.dev/claim: \"a\" is named twice: write each claim once".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&annotations(&[("claim", claims)])), message, "{claims}");
    }
    let many: Vec<String> = (0..33).map(|number| format!("c{number}")).collect();
    assert_eq!(
        refusal(&annotations(&[("claim", &many.join(","))])),
        "privatekube.dev/claim: 33 claims are too many: write at most 32"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let message = refusal(&with(&[
        ("epsilon", "x"),
        ("delta", "y"),
        ("timeout", "z"),
        ("tiemout", "1s"),
    ]));
    let fields: Vec<&str> = message
        .split("; ")
        .map(|part| part.split(':').next().unwrap())
        .collect();
    let named = ["tiemout", "epsilon", "delta", "timeout"].map(|name| format!("privatekube.dev/{name}"));
    assert_eq!(fields, named);
}

#[test]
fn the_claim_of_a_pod_requests_what_the_pod_requests() {
    let all = with(&[
        ("blocks", " block.city == 'nyc' "),
        ("epsilon", " 0.5 "),
        ("max-blocks", "5"),
        ("timeout", "1h"),
        ("priority", "3"),
    ]);
    let spec = claim_spec(&all).unwrap();
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        serde_json::json!({
            "dataset": "taxi",
            "selector": "block.city == 'nyc'",
            "blocks": {"min": 1, "max": 5},
            "budget": {"epsilon": "0.5", "delta": "1e-9"},
            "timeout": "1h",
            "priority": 3,
        })
    );
    let mut claim = privatekube_api::PrivacyBudgetClaim::new("c", spec);
    claim.metadata.namespace = Some("data".to_owned());
    let Ok(Some(PodRequest::Inline(mut request))) = pod_request(&all, "data") else {
        panic!()
    };
    // They differ only in the blanks around the value.
    let DemandRequest::Selected { selector, .. } = &mut request.demand else {
        panic!()
    };
    *selector = Some(Selector::parse("block.city == 'nyc'").unwrap());
    assert_eq!(claim.request(), Ok(request));

    // Every block is said in another way in a claim.
    for (change, blocks) in [
        (
            &[("blocks", "all")][..],
            serde_json::json!({"min": 1, "which": "all"}),
        ),
        (
            &[("blocks", " all "), ("max-blocks", "7")],
            serde_json::json!({"min": 1, "max": 7}),
        ),
    ] {
        let spec = claim_spec(&with(change)).unwrap();
        assert_eq!(spec.selector, None);
        assert_eq!(serde_json::to_value(&spec.blocks).unwrap(), blocks);
    }

    for none in [
        annotations(&[("claim", "a")]),
        annotations(&[]),
        with(&[("epsilon", "x")]),
    ] {
        assert_eq!(claim_spec(&none), None);
    }
}

#[test]
fn the_claim_of_a_pod_has_room_for_all_that_is_accepted() {
    let zeros = format!("{}.5", "0".repeat(62));
    let minutes = "1m".repeat(16);
    let all = with(&[("epsilon", &zeros), ("delta", "-0"), ("timeout", &minutes)]);
    let spec = serde_json::to_value(claim_spec(&all).unwrap()).unwrap();
    assert_eq!(
        spec["budget"],
        serde_json::json!({"epsilon": zeros, "delta": "0"})
    );
    assert_eq!(spec["timeout"], minutes);
    let (longer, even_longer) = (format!("0{zeros}"), "x".repeat(2001));
    assert_eq!(
        refusal(&with(&[("epsilon", &longer), ("timeout", &"1m".repeat(17))])),
        "privatekube.dev/epsilon: has 65 characters: at most 64 are accepted; \
         privatekube.dev/timeout: has 34 characters: at most 32 are accepted"
    );
    assert_eq!(
        refusal(&with(&[("priority", &even_longer), ("dataset", "Wrong")])),
        "privatekube.dev/priority: has 2001 characters: at most 2000 are accepted"
    );
}

#[test]
fn what_is_wrong_is_told_in_bounded_length() {
    let keys: Vec<String> = (0..15_000).map(|at| format!("a{at}")).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "x")).collect();
    let text = refusal(&with(&many));
    assert!(text.len() < 1100, "{} bytes: {text}", text.len());
    assert!(text.ends_with("more"), "{text}");
    let large = "x".repeat(277 << 10);
    let text = refusal(&with(&[(&large, "x")]));
    assert!(text.len() < 1100, "{} bytes: {text}", text.len());
}

#[test]
fn a_purpose_is_one_line_and_goes_into_the_claim_object() {
    let all = with(&[("purpose", " weekly report of fares ")]);
    assert!(matches!(
        pod_request(&all, "data"),
        Ok(Some(PodRequest::Inline(_)))
    ));
    assert_eq!(
        claim_spec(&all).unwrap().purpose.as_deref(),
        Some("weekly report of fares")
    );
    assert_eq!(claim_spec(&with(&[])).unwrap().purpose, None);
    for (purpose, why) in [
        ("two\nlines", "control character"),
        (" ", "is empty"),
        (&*"x".repeat(257), "at most 256"),
    ] {
        let refused = refusal(&with(&[("purpose", purpose)]));
        assert!(
            refused.contains("privatekube.dev/purpose") && refused.contains(why),
            "{refused}"
        );
    }
    let named = annotations(&[("claim", "weekly"), ("purpose", "a report")]);
    assert!(refusal(&named).contains("privatekube.dev/purpose: doesn't go with privatekube.dev/claim"));
}

/// Admission writes over what a copied pod or a template has of it.
#[test]
fn who_made_a_pod_is_no_part_of_its_request() {
    let all = with(&[("requested-by", "alice\n")]);
    assert_eq!(pod_request(&all, "data"), pod_request(&with(&[]), "data"));
    let named = annotations(&[("claim", "weekly"), ("requested-by", "alice")]);
    assert!(matches!(
        pod_request(&named, "data"),
        Ok(Some(PodRequest::Claims(_)))
    ));
    assert!(refusal(&with(&[("requested-bi", "alice")])).contains("is not known"));
}
