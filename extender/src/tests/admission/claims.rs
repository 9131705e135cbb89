//! Claim objects, and what is checked of each request.

use super::*;

#[tokio::test]
async fn what_does_not_say_on_which_blocks_it_is_is_denied_with_how_to_say_it() {
    let (_server, webhooks) = webhooks();
    let said = "spec.blocks: doesn't say on which blocks";
    // The API server has removed what was misspelt: selectr, blocks.mx.
    for blocks in [
        json!(null),
        json!({}),
        json!({"min": 3}),
        json!({"which": "newest"}),
    ] {
        let mut object = claim(&json!({"budget": epsilon("1")}));
        object["spec"]["blocks"] = blocks;
        let denied = create(&webhooks, "claims", &object).await.unwrap_err();
        assert!(
            denied.contains(said) && denied.contains("blocks: {which: all}"),
            "{denied}"
        );
        // One that exists can be consumed.
        let mut consumed = object.clone();
        consumed["spec"]["consume"] = json!({"all": true});
        assert!(update(&webhooks, "claims", &object, &consumed).await.is_ok());
    }
    for (change, right) in [
        (json!({}), false),
        (json!({"min-blocks": "1"}), false),
        (json!({"max-blocks": "7"}), true),
        (json!({"blocks": "all"}), true),
        (json!({"blocks": " all ", "max-blocks": "7"}), true),
        (json!({"blocks": "block.city == 'nyc'"}), true),
    ] {
        let mut pod = pod_object("train");
        let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
        annotations.remove("privatekube.dev/blocks");
        for (name, value) in change.as_object().unwrap() {
            annotations.insert(format!("privatekube.dev/{name}"), value.clone());
        }
        let answer = create(&webhooks, "pods", &pod).await;
        match answer {
            Ok(_) => assert!(right, "{change}"),
            Err(denied) => {
                assert!(!right, "{denied}");
                assert!(
                    denied.contains("privatekube.dev/blocks: is missing")
                        && denied.contains("write all for every block"),
                    "{denied}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_would_wait_in_vain_is_warned_of() {
    let (server, webhooks) = webhooks();
    let warnings = async |webhook: &str, object: &Value, dry: bool| {
        let answer = status_of_creation(&webhooks, webhook, object, dry).await;
        assert_eq!(answer["allowed"], json!(true), "{answer}");
        answer["warnings"].clone()
    };
    let asking = |change: &[(&str, &str)]| {
        let mut pod = pod_object("train");
        for (name, value) in change {
            pod["metadata"]["annotations"][format!("privatekube.dev/{name}")] = json!(value);
        }
        pod
    };
    let none = "in dataset data/taxi, ";
    for (change, words) in [
        (
            &[("epsilon", "10.5")][..],
            "it demands 10.5 of block a, of which 10 is left",
        ),
        (&[("min-blocks", "2")], none),
        (&[("blocks", "block.city == \"rome\"")], none),
    ] {
        let told = warnings("pods", &asking(change), true).await.to_string();
        assert!(told.contains(words), "{told}");
        assert_eq!(warnings("pods", &asking(change), false).await, Value::Null);
    }
    assert_eq!(warnings("pods", &asking(&[]), true).await, Value::Null);
    for (spec, words) in [
        (json!({"budget": epsilon("11")}), "it can never be granted"),
        (
            json!({"budget": epsilon("1"), "blocks": {"min": 2, "which": "all"}}),
            none,
        ),
        (
            json!({"perBlock": {"a": epsilon("1"), "y": epsilon("1"), "z": epsilon("1")}}),
            "dataset data/taxi has no block y, z, which perBlock names",
        ),
    ] {
        let told = warnings("claims", &claim(&spec), true).await.to_string();
        assert!(told.contains(words), "{told}");
    }
    let mut naming = pod_object("train");
    naming["metadata"]["annotations"] = json!({"privatekube.dev/claim": "c"});
    for dry in [false, true] {
        let told = warnings("pods", &naming, dry).await.to_string();
        assert!(
            told.contains("claim \\\"c\\\" doesn't exist in namespace data"),
            "{told}"
        );
    }
    server.put("privacybudgetclaims", &claim(&json!({"budget": epsilon("1")})));
    assert_eq!(warnings("pods", &naming, false).await, Value::Null);
}

#[tokio::test]
async fn a_claim_is_checked_against_its_dataset_and_blocks() {
    let (_server, webhooks) = webhooks();
    let ok = json!({"budget": epsilon("1"), "selector": "block.city == \"nyc\""});
    assert!(create(&webhooks, "claims", &claim(&ok)).await.is_ok());
    for (spec, words) in [
        (
            json!({"budget": epsilon("1"), "selector": "block.town == 1"}),
            "town",
        ),
        (
            json!({"budget": {"renyi": [{"order": 4, "epsilon": "1"}]}}),
            "spec.budget",
        ),
        (json!({"budget": epsilon("1"), "priority": 5000}), "spec.priority"),
        (json!({"budget": epsilon("1"), "dataset": "other"}), "unknown"),
    ] {
        let denied = create(&webhooks, "claims", &claim(&spec)).await.unwrap_err();
        assert!(denied.contains(words), "{denied}");
    }
}

/// Claims and pods of another namespace: what they are denied with must not depend on what the dataset is like.
#[tokio::test]
async fn a_dataset_that_is_not_open_to_a_namespace_is_not_told_from_one_that_does_not_exist() {
    let (server, webhooks) = webhooks();
    let invalid = json!({"composition": "Renyi", "orders": [1]});
    let mut broken = serde_json::to_value(&*dataset("broken", 1, &invalid)).unwrap();
    broken["metadata"]["name"] = json!("broken");
    server.put(DATASETS, &broken);
    let mut said = Vec::new();
    for name in ["taxi", "broken", "nowhere"] {
        let named = format!("{NAMESPACE}/{name}");
        for spec in [
            json!({"budget": epsilon("9.9"), "consume": {"all": true}}),
            json!({"budget": epsilon("1e6"), "selector": "block.town == 1"}),
            json!({"budget": {"renyi": [{"order": 4, "epsilon": "1"}]}, "priority": 1000}),
            json!({"perBlock": {"a": epsilon("1")}, "consume": {"perBlock": {"a": epsilon("2")}}}),
        ] {
            let mut object = claim(&spec);
            object["spec"]["dataset"] = json!(named);
            said.push((
                name,
                create_elsewhere(&webhooks, "claims", &object).await.unwrap_err(),
            ));
        }
        let mut pod = pod_object("train");
        pod["metadata"]["annotations"]["privatekube.dev/dataset"] = json!(named);
        pod["metadata"]["annotations"]["privatekube.dev/blocks"] = json!("block.town == 1");
        let denied = create_elsewhere(&webhooks, "pods", &pod).await.unwrap_err();
        said.push((name, denied.replace("annotation privatekube.dev/", "spec.")));
    }
    for (name, said) in said {
        assert_eq!(
            said,
            format!(
                "PrivateKube: spec.dataset: dataset {NAMESPACE}/{name} isn't open to namespace other, or doesn't exist: \
                 ask its owner to add the namespace to spec.claimants, and create this again after that"
            )
        );
    }
}

#[tokio::test]
async fn a_dataset_is_open_to_those_that_it_names_and_up_to_its_priority() {
    let (server, webhooks) = webhooks();
    let mut object = claim(&json!({"budget": epsilon("1"), "priority": 5}));
    object["spec"]["dataset"] = json!(format!("{NAMESPACE}/taxi"));
    let open = |claimants: &Value| {
        server.put(DATASETS, &*dataset("d", 2, &json!({"claimants": claimants})));
    };
    open(&json!({"from": "Selected", "namespaces": ["other"], "maxPriority": 5}));
    assert!(create_elsewhere(&webhooks, "claims", &object).await.is_ok());
    assert!(create(&webhooks, "claims", &object).await.is_err());
    open(&json!({"from": "All", "maxPriority": 4}));
    for denied in [
        create_elsewhere(&webhooks, "claims", &object).await,
        create(&webhooks, "claims", &object).await,
    ] {
        let denied = denied.unwrap_err();
        assert!(
            denied.contains("spec.priority: priority 5 is above 4"),
            "{denied}"
        );
    }

    let selector = json!({"matchLabels": {"privacy": "approved"}});
    open(&json!({"from": "Selected", "namespaceSelector": selector, "maxPriority": 5}));
    assert!(create_elsewhere(&webhooks, "claims", &object).await.is_err());
    let namespace = |value: &str| json!({"metadata": {"name": "other", "labels": {"privacy": value}}});
    server.put("namespaces", &namespace("approved"));
    assert!(create_elsewhere(&webhooks, "claims", &object).await.is_ok());
    let reads = RequestFilter::any().method("GET").resource("namespaces");
    server.inject(&reads, 8, Fault::Refuse(500));
    let denied = create_elsewhere(&webhooks, "claims", &object).await.unwrap_err();
    assert!(denied.contains("namespace other can't be read"), "{denied}");
}

/// A claim that was accepted can be consumed and released, whatever its dataset's claimants are by then.
#[tokio::test]
async fn a_claim_that_exists_is_changed_without_asking_whether_it_may_claim() {
    let (_server, webhooks) = webhooks();
    let at = |spec: &Value| {
        let mut object = claim(spec);
        object["spec"]["dataset"] = json!(format!("{NAMESPACE}/taxi"));
        object
    };
    let before = at(&json!({"budget": epsilon("1")}));
    let after = at(&json!({"budget": epsilon("1"), "release": {"all": true}}));
    let mut review: Value = serde_json::from_str(&review(&after, Some(&before), "alice")).unwrap();
    review["request"]["namespace"] = json!("other");
    assert!(answer(&webhooks, "claims", review.to_string()).await.is_ok());
}

#[tokio::test]
async fn what_a_claim_consumes_may_grow_to_what_it_demands_and_never_shrink() {
    let (_server, webhooks) = webhooks();
    let using = |consume: &str, release: &str| {
        claim(&json!({
            "budget": epsilon("1"),
            "consume": {"perBlock": {"a": epsilon(consume)}},
            "release": {"perBlock": {"a": epsilon(release)}},
        }))
    };
    let before = using("0.3", "0.1");
    assert!(
        update(&webhooks, "claims", &before, &using("0.5", "0.5"))
            .await
            .is_ok()
    );
    let denied = update(&webhooks, "claims", &before, &using("0.2", "0.1"))
        .await
        .unwrap_err();
    assert!(
        denied.contains("spec.consume.perBlock[a]: is less than before"),
        "{denied}"
    );
    let denied = update(&webhooks, "claims", &before, &using("0.6", "0.5"))
        .await
        .unwrap_err();
    assert!(denied.contains("is more than the claim asks"), "{denied}");
}

#[tokio::test]
async fn only_the_extender_creates_the_claim_object_of_a_pod() {
    let (_server, webhooks) = webhooks();
    let mut object = claim(&json!({"budget": epsilon("1")}));
    object["metadata"]["name"] = json!("train-uid");
    object["spec"]["pod"] = json!({"name": "train", "uid": "uid"});
    let denied = create(&webhooks, "claims", &object).await.unwrap_err();
    assert!(
        denied.contains("spec.pod: is written by the system")
            && denied.contains("pod train gets its claim by itself"),
        "{denied}"
    );
    assert!(
        answer(&webhooks, "claims", review(&object, None, EXTENDER))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn blocks_that_are_all_known_are_not_read_again_for_a_claim_that_is_refused() {
    let (server, registry, webhooks) = webhooks_and_registry(ClaimLimits::default());
    let wrong = claim(&json!({"budget": epsilon("1"), "selector": "block.town == 1"}));
    let lists = || {
        let of_blocks = server.requests(&RequestFilter::any().method("GET").resource(BLOCKS));
        let is_whole = |request: &&LoggedRequest| request.query.contains("sendInitialEvents=true");
        of_blocks.iter().filter(is_whole).count()
    };
    // Nothing runs that would know a block.
    let denied = create(&webhooks, "claims", &wrong).await.unwrap_err();
    assert!(denied.contains("town"), "{denied}");
    assert_eq!(lists(), 1);
    tokio::select! {
        ended = registry.run() => panic!("a bookkeeper ended: {ended:?}"),
        () = async {
            let object: PrivateDataBlock = serde_json::from_value(server.get(BLOCKS, "a").unwrap()).unwrap();
            registry.send(&key(), Message::BlockApplied(Arc::new(object)));
            registry.flush().await;
            let before = lists();
            let denied = create(&webhooks, "claims", &wrong).await.unwrap_err();
            assert!(denied.contains("town"), "{denied}");
            assert_eq!(lists(), before);
            // Another block has what the selector reads.
            let mut other = server.get(BLOCKS, "a").unwrap();
            other["metadata"]["name"] = json!("b");
            other["spec"]["dimensions"] = json!({"town": 1});
            server.put(BLOCKS, &other);
            assert!(create(&webhooks, "claims", &wrong).await.is_ok());
            assert_eq!(lists(), before + 1);
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn blocks_that_do_not_come_in_time_are_no_mistake_of_the_claim() {
    let (server, registry, webhooks) = webhooks_and_registry(ClaimLimits::default());
    let wrong = claim(&json!({"budget": epsilon("1"), "selector": "block.town == 1"}));
    tokio::select! {
        ended = registry.run() => panic!("a bookkeeper ended: {ended:?}"),
        () = async {
            let object: PrivateDataBlock = serde_json::from_value(server.get(BLOCKS, "a").unwrap()).unwrap();
            registry.send(&key(), Message::BlockApplied(Arc::new(object)));
            registry.flush().await;
            let _held = server.hold(&RequestFilter::any().method("GET").resource(BLOCKS));
            let answer = status_of_creation(&webhooks, "claims", &wrong, false).await;
            assert_eq!(answer["status"]["code"], json!(503), "{answer}");
            let message = answer["status"]["message"].as_str().unwrap();
            assert!(message.contains("can't be read within 4s"), "{message}");
        } => {}
    }
}
