//! Datasets and blocks.

use super::*;

#[tokio::test]
async fn a_suspicious_block_is_created_with_a_warning() {
    let (server, registry, webhooks) = webhooks_and_registry(ClaimLimits::default());
    server.put(
        DATASETS,
        &*dataset("d", 1, &json!({"guarantee": {"epsilon": 10, "delta": "0"}})),
    );
    let warnings = async |name: &str, epsilon: &str, source: Option<&str>| {
        let mut object = serde_json::to_value(&*block(name, name, Some(epsilon))).unwrap();
        object["spec"]["dataSource"] = json!(source);
        let answer = status_of_creation(&webhooks, "blocks", &object, false).await;
        assert_eq!(answer["allowed"], json!(true), "{answer}");
        answer["warnings"].to_string()
    };
    assert_eq!(warnings("b", "10", None).await, "null");
    let told = warnings("b", "10.5", None).await;
    assert!(
        told.contains("its budget of (10.5, 0) is above (10, 0), the guarantee that its dataset states"),
        "{told}"
    );
    // A block is in the view, and so known.
    let mut seen = privatekube_api::PrivateDataBlock::clone(&block("a", "a", Some("10")));
    seen.spec.data_source = Some("s3://a".to_owned());
    let mut objects = privatekube_view::DatasetObjects::default();
    objects.add_block(Arc::new(seen));
    let key = DatasetKey {
        namespace: NAMESPACE.to_owned(),
        name: "taxi".to_owned(),
    };
    let publisher = privatekube_view::Publisher::new(key, Arc::clone(&registry.handles().view));
    let mut engine =
        privatekube_policy::Engine::new(dataset("d", 1, &json!({})).spec.rules().unwrap()).unwrap();
    let capacity = engine
        .rules()
        .composition
        .capacity("10".parse().unwrap(), "0".parse().unwrap());
    let added = privatekube_policy::Event::AddBlock {
        block: "a".into(),
        capacity: capacity.unwrap(),
    };
    engine.apply(&added).unwrap();
    let state = privatekube_view::CommittedState {
        engine: &engine,
        sequence: 0,
    };
    let change = publisher.publish_block(state, &objects, &"a".into(), privatekube_policy::Time::default());
    assert!(change.is_some());
    let told = warnings("b", "10", Some("s3://a")).await;
    assert!(told.contains("block a has the same dataSource"), "{told}");
    assert_eq!(warnings("b", "10", Some("s3://b")).await, "null");
    // The block itself, applied again.
    assert_eq!(warnings("a", "10", Some("s3://a")).await, "null");
}

#[tokio::test]
async fn a_dataset_whose_rules_cannot_be_used_is_denied() {
    let (_server, webhooks) = webhooks();
    let object = |spec: &Value| serde_json::to_value(&*dataset("d", 1, spec)).unwrap();
    assert!(create(&webhooks, "datasets", &object(&json!({}))).await.is_ok());
    let denied = create(
        &webhooks,
        "datasets",
        &object(&json!({"composition": "Renyi", "orders": [1]})),
    )
    .await;
    assert!(denied.unwrap_err().contains("spec.orders"));
    let typo = json!({"claimants": {"from": "Selected", "namespaceSelector": {"matchLabel": {"a": "b"}}}});
    let denied = create(&webhooks, "datasets", &object(&typo)).await.unwrap_err();
    assert!(denied.contains("spec.claimants.namespaceSelector"), "{denied}");
    let nothing = json!({"guarantee": {"epsilon": 0, "delta": 0}});
    let denied = create(&webhooks, "datasets", &object(&nothing))
        .await
        .unwrap_err();
    assert!(denied.contains("spec.guarantee"), "{denied}");
}

#[tokio::test]
async fn a_dataset_whose_blocks_could_not_come_by_themselves_is_denied() {
    let (_server, webhooks) = webhooks();
    let object = |spec: &Value| serde_json::to_value(&*dataset("d", 1, spec)).unwrap();
    let guarantee = json!({"epsilon": 10, "delta": 0});
    let declared = json!([{"name": "day", "type": "Integer"}]);
    let daily = |periods: Value| json!({"daily": periods});
    for (spec, words) in [
        (
            json!({"guarantee": guarantee, "blocks": daily(json!({"from": "today"}))}),
            "spec.blocks.daily.from: \"today\" is not a day",
        ),
        (
            json!({"guarantee": guarantee, "blocks": daily(json!({"from": "1980-01-01"}))}),
            "spec.blocks.daily.from: lets ",
        ),
        (
            json!({"blocks": daily(json!({"from": "2026-11-01"}))}),
            "block taxi-2026-11-01 could not be used: spec.initialBudget: is missing",
        ),
        (
            json!({"guarantee": guarantee, "dimensions": declared, "blocks": daily(json!({"from": "2026-11-01"}))}),
            "block taxi-2026-11-01 could not be used: spec.dimensions.day: is missing",
        ),
    ] {
        let denied = create(&webhooks, "datasets", &object(&spec)).await.unwrap_err();
        assert!(denied.contains(words), "{denied}");
    }
    let dimensions = json!({"from": "2026-11-01", "dimensions": {"day": "{epoch-day}"}});
    let right = json!({"guarantee": guarantee, "dimensions": declared, "blocks": daily(dimensions)});
    assert_eq!(create(&webhooks, "datasets", &object(&right)).await.err(), None);
}

#[tokio::test]
async fn a_block_without_a_budget_is_denied_unless_its_dataset_states_one() {
    let (server, webhooks) = webhooks();
    let object = serde_json::to_value(&*block("b", "b", None)).unwrap();
    let denied = create(&webhooks, "blocks", &object).await.unwrap_err();
    assert!(denied.contains("spec.initialBudget: is missing"), "{denied}");
    let guarantee = json!({"guarantee": {"epsilon": 10, "delta": 0}});
    server.put(DATASETS, &*dataset("d", 2, &guarantee));
    assert!(create(&webhooks, "blocks", &object).await.is_ok());
}

#[tokio::test]
async fn what_was_spent_of_a_block_before_is_checked() {
    let (server, webhooks) = webhooks();
    server.put(DATASETS, &*dataset("d", 2, &json!({})));
    let mut object = serde_json::to_value(&*block("b", "b", Some("10"))).unwrap();
    for (spent, words) in [
        (
            json!({"budget": {"epsilon": 10, "delta": 0}, "reason": "a count"}),
            "spec.spent.budget: is all of the budget",
        ),
        (
            json!({"budget": {"mechanism": "17*laplace(scale=0)"}, "reason": "a count"}),
            "spec.spent.budget.mechanism",
        ),
        (
            json!({"budget": {"mechanism": "laplace(scale=10)"}, "reason": " "}),
            "spec.spent.reason: has 1 characters",
        ),
        (
            json!({"budget": {"mechanism": "dp-sgd(noise-multiplier=1,batch-size=10,steps=10)"}, "reason": "x"}),
            "spec.spent.budget.mechanism: depends on how many records",
        ),
    ] {
        object["spec"]["spent"] = spent;
        let denied = create(&webhooks, "blocks", &object).await.unwrap_err();
        assert!(denied.contains(words), "{denied}");
    }
    object["spec"]["spent"] =
        json!({"budget": {"mechanism": "17*laplace(scale=100)"}, "reason": "the count of users"});
    assert_eq!(create(&webhooks, "blocks", &object).await.err(), None);
    object["spec"]["retires"] = json!("soon");
    let denied = create(&webhooks, "blocks", &object).await.unwrap_err();
    assert!(
        denied.contains("spec.retires: \"soon\" is no time that is accepted"),
        "{denied}"
    );
}

#[tokio::test]
async fn a_block_that_misses_a_declared_dimension_or_has_another_type_is_denied() {
    let (server, webhooks) = webhooks();
    let declares =
        json!({"dimensions": [{"name": "day", "type": "Integer"}, {"name": "zip", "type": "String"}]});
    server.put(DATASETS, &*dataset("d", 2, &declares));
    let mut object = serde_json::to_value(&*block("b", "b", Some("10"))).unwrap();
    for (dimensions, words) in [
        (json!({"zip": "01234"}), "spec.dimensions.day: is missing"),
        (
            json!({"zip": "01234", "day": "20779"}),
            "spec.dimensions.day: \"20779\" is a string",
        ),
        (
            json!({"zip": 668, "day": 20779}),
            "spec.dimensions.zip: 668 is an integer",
        ),
    ] {
        object["spec"]["dimensions"] = dimensions;
        let denied = create(&webhooks, "blocks", &object).await.unwrap_err();
        assert!(denied.contains(words), "{denied}");
    }
    object["spec"]["dimensions"] = json!({"zip": "01234", "day": 20779});
    assert!(create(&webhooks, "blocks", &object).await.is_ok());
}
