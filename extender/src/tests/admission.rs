//! The admission webhooks: what they allow, change and deny, and in which words.

use std::sync::Arc;

use axum::{Router, http::StatusCode};
use privatekube_api::{DatasetKey, PrivateDataBlock};
use privatekube_fake_api_server::{FakeApiServer, Fault, LoggedRequest, RequestFilter};
use serde_json::{Value, json};

use super::post;
use crate::{
    admission::{Admission, ClaimLimiter, ClaimLimits, PodTemplates, router},
    bookkeeper::Message,
    registry::Registry,
    testing::{BLOCKS, DATASETS, NAMESPACE, block, claim_object, dataset, epsilon, handles, key, pod_object},
};

pub(super) const EXTENDER: &str = "system:serviceaccount:privatekube-system:privatekube-extender";

/// The webhooks beside an API server with a dataset and a block of epsilon 10 in city nyc.
pub(super) fn webhooks() -> (FakeApiServer, Router) {
    webhooks_with(ClaimLimits::default())
}

/// The same with limits on the claims of a namespace.
fn webhooks_with(limits: ClaimLimits) -> (FakeApiServer, Router) {
    let (server, _, router) = webhooks_and_registry(limits);
    (server, router)
}

fn webhooks_and_registry(limits: ClaimLimits) -> (FakeApiServer, Arc<Registry>, Router) {
    let server = FakeApiServer::default();
    server.put(DATASETS, &*dataset("d", 1, &json!({})));
    let mut block = serde_json::to_value(&*block("a", "a", Some("10"))).unwrap();
    block["spec"]["dimensions"] = json!({"city": "nyc"});
    server.put(BLOCKS, &block);
    let registry = Arc::new(Registry::new(handles(&server).0));
    let admission = Admission {
        registry: Arc::clone(&registry),
        schedulers: vec!["default-scheduler".to_owned()].into(),
        user: EXTENDER.into(),
        limiter: Arc::new(ClaimLimiter::new(limits)),
        templates: Arc::new(PodTemplates::new(&[])),
    };
    (server, registry, router(admission))
}

/// The review of an object that is created by `user`, or updated from `old`.
fn review(object: &Value, old: Option<&Value>, user: &str) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Any"},
            "resource": {"group": "", "version": "v1", "resource": "any"},
            "requestKind": {"group": "", "version": "v1", "kind": "Any"},
            "requestResource": {"group": "", "version": "v1", "resource": "any"},
            "name": object["metadata"]["name"],
            "namespace": NAMESPACE,
            "operation": if old.is_some() { "UPDATE" } else { "CREATE" },
            "userInfo": {"username": user},
            "object": object,
            "oldObject": old,
            "dryRun": false,
        },
    })
    .to_string()
}

/// The answer to the creation of an object in another namespace than the dataset's.
async fn create_elsewhere(router: &Router, webhook: &str, object: &Value) -> Result<Value, String> {
    let mut review: Value = serde_json::from_str(&review(object, None, "mallory")).unwrap();
    review["request"]["namespace"] = json!("other");
    answer(router, webhook, review.to_string()).await
}

/// Whether a webhook allows an object that a user creates, with the message if it doesn't.
pub(super) async fn create(router: &Router, webhook: &str, object: &Value) -> Result<Value, String> {
    answer(router, webhook, review(object, None, "alice")).await
}

/// The same for a user; with the patch if it does.
pub(super) async fn review_by(
    router: &Router,
    webhook: &str,
    user: &str,
    object: &Value,
) -> Result<Value, String> {
    answer(router, webhook, review(object, None, user)).await
}

/// The object as it is after a webhook's patch, if there is one.
pub(super) fn patched(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    if !patch.is_null() {
        // The bytes of a JSON patch, as numbers: the API server reads them like base64.
        let bytes: Vec<u8> = serde_json::from_value(patch.clone()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&bytes).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

pub(super) async fn update(
    router: &Router,
    webhook: &str,
    old: &Value,
    new: &Value,
) -> Result<Value, String> {
    answer(router, webhook, review(new, Some(old), "alice")).await
}

async fn answer(router: &Router, webhook: &str, review: String) -> Result<Value, String> {
    let (status, answer) = post(router, &format!("/webhook/{webhook}"), review).await;
    assert_eq!(status, StatusCode::OK);
    let response = &answer["response"];
    if response["allowed"] == json!(true) {
        return Ok(response["patch"].clone());
    }
    let message = response["status"]["message"].as_str().unwrap_or_default();
    Err(message.to_owned())
}

/// A claim object on every block, unless its spec says which.
fn claim(spec: &Value) -> Value {
    let mut object = serde_json::to_value(claim_object("c", spec)).unwrap();
    if ["selector", "blocks", "perBlock"]
        .iter()
        .all(|field| spec[field].is_null())
    {
        object["spec"]["blocks"] = json!({"min": 1, "which": "all"});
    }
    object
}

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
async fn a_private_pod_gets_its_gate_and_another_pod_is_left_alone() {
    let (_server, webhooks) = webhooks();
    let mut pod = pod_object("train");
    pod["spec"]["schedulingGates"] = json!([]);
    let patch = create(&webhooks, "pods", &pod).await.unwrap();
    // The bytes of a JSON patch, as numbers: the API server reads them like base64.
    let bytes: Vec<u8> = serde_json::from_value(patch).unwrap();
    let patch: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let added = |path: &str| patch.iter().any(|operation| operation["path"] == json!(path));
    assert!(
        added("/spec/schedulingGates/0") && added("/spec/containers/0/resources"),
        "{patch:?}"
    );
    let plain =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
    assert_eq!(create(&webhooks, "pods", &plain).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_pod_with_wrong_annotations_is_denied_with_the_annotation_and_the_remedy() {
    let (_server, webhooks) = webhooks();
    let with = |annotation: &str, value: &str| {
        let mut pod = pod_object("train");
        pod["metadata"]["annotations"][format!("privatekube.dev/{annotation}")] = json!(value);
        pod
    };
    for (annotation, value, remedy) in [
        ("epsilon", "much", "\"much\""),
        ("dataset", "other", "unknown"),
        ("blocks", "block.town == \"nyc\"", "there are city"),
        ("espilon", "1", "epsilon"),
    ] {
        let denied = create(&webhooks, "pods", &with(annotation, value))
            .await
            .unwrap_err();
        assert!(denied.starts_with("PrivateKube: "), "{denied}");
        assert!(
            denied.contains(&format!("privatekube.dev/{annotation}")),
            "{denied}"
        );
        assert!(denied.contains(remedy), "{denied}");
    }
}

/// A pod's spec whose containers may start again, and the field that the message names.
fn restarting() -> Vec<(Value, &'static str)> {
    let container = |fields: &Value| {
        let mut container = json!({"name": "main", "image": "train:1"});
        let fields = fields.as_object().cloned().unwrap_or_default();
        container.as_object_mut().unwrap().extend(fields);
        container
    };
    let plain = container(&json!({}));
    let always = container(&json!({"restartPolicy": "Always"}));
    let on_failure = container(&json!({"restartPolicy": "OnFailure"}));
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let by_rule = container(&json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    vec![
        (json!({"containers": [plain]}), "spec.restartPolicy is \"Always\""),
        (
            json!({"restartPolicy": "OnFailure", "containers": [plain]}),
            "spec.restartPolicy is \"OnFailure\"",
        ),
        (
            json!({"restartPolicy": "Never", "containers": [plain, on_failure]}),
            "spec.containers[1].restartPolicy is \"OnFailure\"",
        ),
        (
            json!({"restartPolicy": "Never", "containers": [plain], "initContainers": [plain, always]}),
            "spec.initContainers[1].restartPolicy is \"Always\"",
        ),
        (
            json!({"restartPolicy": "Never", "containers": [by_rule]}),
            "spec.containers[0].restartPolicyRules is set",
        ),
    ]
}

#[tokio::test]
async fn a_pod_whose_containers_may_start_again_is_denied_unless_it_states_that_this_is_free() {
    let (server, webhooks) = webhooks();
    server.put("privacybudgetclaims", &claim(&json!({"budget": epsilon("1")})));
    for (spec, field) in restarting() {
        for annotations in [
            pod_object("train")["metadata"]["annotations"].clone(),
            json!({"privatekube.dev/claim": "c"}),
        ] {
            let mut pod = pod_object("train");
            pod["metadata"]["annotations"] = annotations;
            pod["spec"] = spec.clone();
            server.put(DATASETS, &*dataset("d", 1, &json!({})));
            let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
            assert!(
                denied.contains(field)
                    && denied.contains("restartPolicy: Never")
                    && denied.contains("privatekube.dev/restarts: free"),
                "{denied}"
            );
            pod["metadata"]["annotations"]["privatekube.dev/restarts"] = json!("free");
            assert!(create(&webhooks, "pods", &pod).await.is_ok(), "{pod}");

            server.put(DATASETS, &*dataset("d", 1, &json!({"restarts": "Forbidden"})));
            let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
            assert!(
                denied.contains(field) && denied.contains("its spec.restarts is Forbidden"),
                "{denied}"
            );
            pod["spec"] = pod_object("train")["spec"].clone();
            assert!(create(&webhooks, "pods", &pod).await.is_ok(), "{pod}");
        }
    }
}

#[tokio::test]
async fn a_pod_that_may_start_again_names_only_claims_that_exist() {
    let (server, webhooks) = webhooks();
    server.put("privacybudgetclaims", &claim(&json!({"budget": epsilon("1")})));
    let mut pod = pod_object("train");
    pod["metadata"]["annotations"] =
        json!({"privatekube.dev/claim": "c, later", "privatekube.dev/restarts": "free"});
    assert!(create(&webhooks, "pods", &pod).await.is_ok());
    pod["spec"]["restartPolicy"] = json!("Always");
    let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
    assert!(denied.contains("claim \"later\" doesn't exist yet"), "{denied}");
}

#[tokio::test]
async fn a_pod_with_keys_that_are_almost_ours_or_with_labels_of_ours_is_denied() {
    let (_server, webhooks) = webhooks();
    for (list, key, words) in [
        (
            "annotations",
            "PrivateKube.dev/epsilon",
            "did you mean privatekube.dev/epsilon?",
        ),
        (
            "annotations",
            "private\u{212a}ube.dev/dataset",
            "did you mean privatekube.dev/dataset?",
        ),
        ("labels", "privatekube.dev/dataset", "labels request no budget"),
    ] {
        let plain = json!({"metadata": {"name": "p"}, "spec": {"containers": []}});
        for mut pod in [pod_object("train"), plain] {
            pod["metadata"][list][key] = json!("taxi");
            let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
            assert!(denied.contains(words), "{denied}");
        }
    }
}

/// A workload's review: its group and resource, and the object as it is and was.
async fn workload(
    router: &Router,
    of: (&str, &str),
    object: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let mut review: Value = serde_json::from_str(&review(object, old, "alice")).unwrap();
    review["request"]["resource"] = json!({"group": of.0, "version": "v1", "resource": of.1});
    answer(router, "workloads", review.to_string()).await.map(|_| ())
}

/// Each built-in kind of workload, with the path of its template, and an object with this template.
fn workloads_with(template: &Value) -> Vec<((&'static str, &'static str), &'static str, Value)> {
    let mut all = Vec::new();
    for (group, resource) in [
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("apps", "replicasets"),
        ("batch", "jobs"),
        ("", "replicationcontrollers"),
    ] {
        let object = json!({"metadata": {"name": "w"}, "spec": {"template": template}});
        all.push(((group, resource), "spec.template", object));
    }
    let object =
        json!({"metadata": {"name": "w"}, "spec": {"jobTemplate": {"spec": {"template": template}}}});
    all.push((("batch", "cronjobs"), "spec.jobTemplate.spec.template", object));
    all
}

#[tokio::test]
async fn the_template_of_a_workload_is_checked_as_its_pods_will_be() {
    let (_server, webhooks) = webhooks();
    let right = pod_object("train");
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut pod = right.clone();
        change(&mut pod);
        pod
    };
    let wrong = [
        (
            wrong(&|pod| pod["metadata"]["annotations"]["privatekube.dev/epsilon"] = json!("much")),
            "privatekube.dev/epsilon: \"much\" is not a number",
        ),
        (
            wrong(&|pod| pod["metadata"]["annotations"]["PrivateKube.dev/epsilon"] = json!("1")),
            "did you mean privatekube.dev/epsilon?",
        ),
        (
            wrong(&|pod| pod["metadata"]["labels"]["privatekube.dev/dataset"] = json!("taxi")),
            "labels request no budget",
        ),
        (
            wrong(&|pod| pod["spec"]["restartPolicy"] = json!("OnFailure")),
            "spec.restartPolicy is \"OnFailure\"",
        ),
        (
            wrong(&|pod| pod["metadata"]["annotations"]["privatekube.dev/dataset"] = json!("other")),
            "annotation privatekube.dev/dataset: \"other\" is unknown",
        ),
    ];
    for (of, _, object) in workloads_with(&right) {
        assert_eq!(workload(&webhooks, of, &object, None).await, Ok(()));
    }
    for (template, words) in wrong {
        for (of, path, object) in workloads_with(&template) {
            let denied = workload(&webhooks, of, &object, None).await.unwrap_err();
            assert!(
                denied.contains(&format!("PrivateKube: {path}: ")) && denied.contains(words),
                "{denied}"
            );
            // What was there before is left alone, and so can be scaled and deleted.
            let mut scaled = object.clone();
            scaled["spec"]["replicas"] = json!(3);
            assert_eq!(workload(&webhooks, of, &scaled, Some(&object)).await, Ok(()));
        }
    }
}

#[tokio::test]
async fn keys_of_ours_on_a_workload_instead_of_its_template_are_denied() {
    let (_server, webhooks) = webhooks();
    let plain = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    for (of, path, object) in workloads_with(&plain) {
        assert_eq!(workload(&webhooks, of, &object, None).await, Ok(()));
        for (list, key) in [
            ("annotations", "privatekube.dev/dataset"),
            ("annotations", "PrivateKube.dev/epsilon"),
            ("labels", "privatekube.dev/dataset"),
        ] {
            let mut wrong = object.clone();
            wrong["metadata"][list] = json!({key: "taxi"});
            let denied = workload(&webhooks, of, &wrong, None).await.unwrap_err();
            assert!(
                denied.contains(&format!("metadata.{list}[{key}]: nothing is requested here"))
                    && denied.contains(&format!("write it in {path}.metadata.annotations")),
                "{denied}"
            );
            assert!(workload(&webhooks, of, &wrong, Some(&object)).await.is_err());
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
async fn one_fault_of_a_pod_never_hides_another() {
    let (_server, webhooks) = webhooks();
    let mut pod = pod_object("copy");
    let annotations = &mut pod["metadata"]["annotations"];
    annotations["privatekube.dev/grant"] = json!("{}");
    annotations["privatekube.dev/grant-variable"] = json!("{}");
    annotations["privatekube.dev/epsilon"] = json!("much");
    pod["metadata"]["labels"] = json!({"privatekube.dev/epsilon": "1"});
    pod["spec"]["nodeName"] = json!("n1");
    pod["spec"]["schedulerName"] = json!("other");
    pod["spec"]["restartPolicy"] = json!("Always");
    let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
    for words in [
        "metadata.labels[privatekube.dev/epsilon]: is a label",
        "privatekube.dev/grant: is written by the system when the budget is granted, as privatekube.dev/grant-variable: \
         leave both out",
        "privatekube.dev/epsilon: \"much\" is not a number",
        "spec.nodeName is \"n1\"",
        "spec.schedulerName is \"other\"",
        "spec.restartPolicy is \"Always\"",
    ] {
        assert!(denied.contains(words), "{words}: {denied}");
    }
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
async fn only_the_extender_binds_a_managed_pod() {
    let (server, webhooks) = webhooks();
    server.put("pods", &pod_object("train"));
    server.put(
        "pods",
        &json!({"metadata": {"namespace": NAMESPACE, "name": "plain"}, "spec": {"containers": []}}),
    );
    let binding = |name: &str| json!({"metadata": {"name": name}, "target": {"name": "n1"}});
    let denied = create(&webhooks, "bindings", &binding("train"))
        .await
        .unwrap_err();
    assert!(denied.contains("only the extender binds it"), "{denied}");
    assert!(create(&webhooks, "bindings", &binding("plain")).await.is_ok());
    let own = review(&binding("train"), None, EXTENDER);
    assert!(answer(&webhooks, "bindings", own).await.is_ok());
}

#[tokio::test]
async fn an_api_server_that_fails_allows_nothing_and_nothing_is_said_to_be_wrong() {
    let (server, registry, webhooks) = webhooks_and_registry(ClaimLimits::default());
    let reads = RequestFilter::any().method("GET");
    let mut restarting = pod_object("restarting");
    restarting["spec"]["restartPolicy"] = json!("Always");
    restarting["metadata"]["annotations"]["privatekube.dev/restarts"] = json!("free");
    let selecting = claim(&json!({"budget": epsilon("1"), "selector": "block.town == 1"}));
    let block = serde_json::to_value(&*block("b", "b", Some("10"))).unwrap();
    for (webhook, object, what) in [
        ("pods", pod_object("train"), "dataset data/taxi can't be read"),
        ("pods", restarting, "dataset data/taxi can't be read"),
        (
            "claims",
            claim(&json!({"budget": epsilon("1")})),
            "dataset data/taxi can't be read",
        ),
        ("claims", selecting, "dataset data/taxi can't be read"),
        ("blocks", block, "dataset data/taxi can't be read"),
        (
            "bindings",
            json!({"metadata": {"name": "train"}, "target": {"name": "n1"}}),
            "the pod can't be read",
        ),
    ] {
        server.inject(&reads, 8, Fault::Refuse(500));
        let answer = status_of_creation(&webhooks, webhook, &object, false).await;
        let status = &answer["status"];
        assert_eq!(answer["allowed"], json!(false), "{answer}");
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&json!(503), &json!("ServiceUnavailable")),
            "{answer}"
        );
        assert!(status["message"].as_str().unwrap().contains(what), "{answer}");
    }
    let metrics = registry.handles().metrics.text().unwrap();
    assert!(
        metrics.contains("{answer=\"unavailable\",webhook=\"bindings\"} 1"),
        "{metrics}"
    );
    // What is wrong whatever the dataset is like is said.
    server.inject(&reads, 8, Fault::Refuse(500));
    let mut wrong = pod_object("wrong");
    wrong["metadata"]["labels"] = json!({"privatekube.dev/leader": "true"});
    let answer = status_of_creation(&webhooks, "pods", &wrong, false).await;
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("privatekube.dev/leader") && !message.contains("can't be read"),
        "{answer}"
    );
    assert_ne!(answer["status"]["code"], json!(503));
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

#[tokio::test]
async fn a_body_that_is_no_review_is_answered_and_denied() {
    let (_server, webhooks) = webhooks();
    for body in ["", "{", "{\"request\": 1}", "[]"] {
        let denied = answer(&webhooks, "pods", body.to_owned()).await;
        assert!(denied.is_err(), "{body}");
    }
}

#[tokio::test]
async fn what_is_denied_is_quoted_in_bounded_length() {
    let (_server, webhooks) = webhooks();
    let large = "x".repeat(277 << 10);
    let mut pods = Vec::new();
    for annotation in ["dataset", "epsilon", "blocks", "claim", "unknown", large.as_str()] {
        let mut pod = pod_object("train");
        pod["metadata"]["annotations"][format!("privatekube.dev/{annotation}")] = json!(large);
        pods.push(pod);
    }
    let mut pod = pod_object("train");
    for at in 0..15_000 {
        pod["metadata"]["annotations"][format!("privatekube.dev/a{at}")] = json!("");
    }
    pods.push(pod);
    let mut pod = pod_object("train");
    pod["spec"]["schedulerName"] = json!(large);
    pods.push(pod);
    for pod in pods {
        let denied = create(&webhooks, "pods", &pod).await.unwrap_err();
        assert!(denied.len() < 1100, "{} bytes: {denied}", denied.len());
    }
    let mut object = claim(&json!({"budget": epsilon("1")}));
    object["spec"][&large] = json!({});
    object["spec"]["selector"] = json!(large);
    let denied = create(&webhooks, "claims", &object).await.unwrap_err();
    assert!(denied.len() < 1100, "{} bytes: {denied}", denied.len());
}

#[tokio::test]
async fn names_that_no_object_can_have_never_reach_the_api_server() {
    let (server, webhooks) = webhooks();
    let before = server.count(&RequestFilter::any());
    let binding = |name: &str| json!({"metadata": {"name": name}, "target": {"name": "n1"}});
    for name in ["../pods/x", "a/b", "a?b", "A", "..", ""] {
        let denied = create(&webhooks, "bindings", &binding(name)).await;
        assert!(denied.is_err(), "{name}");
    }
    let mut object = serde_json::to_value(&*block("b", "b", Some("1"))).unwrap();
    object["spec"]["dataset"] = json!("../privatedatasets/taxi");
    let denied = create(&webhooks, "blocks", &object).await.unwrap_err();
    assert!(denied.contains("is not the name of a dataset"), "{denied}");
    let review = review(&pod_object("train"), None, "alice").replace("\"data\"", "\"data/../x\"");
    let denied = answer(&webhooks, "pods", review).await.unwrap_err();
    assert!(denied.contains("is not the name of a namespace"), "{denied}");
    assert_eq!(server.count(&RequestFilter::any()), before);
}

/// The status of the answer to an object that is made, or tried without being made.
async fn status_of_creation(router: &Router, webhook: &str, object: &Value, dry: bool) -> Value {
    let mut review: Value = serde_json::from_str(&review(object, None, "alice")).unwrap();
    review["request"]["dryRun"] = json!(dry);
    let (_, answer) = post(router, &format!("/webhook/{webhook}"), review.to_string()).await;
    answer["response"].clone()
}

#[tokio::test]
async fn a_namespace_that_makes_too_many_claims_is_told_to_try_again_later() {
    let limits = ClaimLimits {
        waiting: 1000,
        arrivals: 3,
    };
    let (_server, webhooks) = webhooks_with(limits);
    let mut pod = pod_object("train");
    pod["spec"]["schedulingGates"] = json!([]);
    let claim = claim(&json!({"budget": epsilon("1")}));
    let wrong = json!({"dataset": "nope", "budget": epsilon("1"), "blocks": {"max": 1}});
    let wrong = serde_json::to_value(claim_object("c", &wrong)).unwrap();
    // What isn't made doesn't count: a dry run, an object that is refused, an update.
    for _ in 0..5 {
        let dry = status_of_creation(&webhooks, "claims", &claim, true).await;
        assert_eq!(dry["allowed"], json!(true), "{dry}");
        assert!(create(&webhooks, "claims", &wrong).await.is_err());
        assert!(update(&webhooks, "claims", &claim, &claim).await.is_ok());
    }
    assert!(create(&webhooks, "claims", &claim).await.is_ok());
    assert!(create(&webhooks, "pods", &pod).await.is_ok());
    // The API server sends it again after another webhook has changed it.
    let mut gated = pod.clone();
    gated["spec"]["schedulingGates"] = json!([{"name": "privatekube.dev/budget"}]);
    assert!(create(&webhooks, "pods", &gated).await.is_ok());
    assert!(create(&webhooks, "claims", &claim).await.is_ok());
    for (webhook, object) in [("claims", &claim), ("pods", &pod)] {
        for dry in [false, true] {
            let answer = status_of_creation(&webhooks, webhook, object, dry).await;
            assert_eq!(answer["allowed"], json!(false), "{answer}");
            let status = &answer["status"];
            assert_eq!(
                (&status["code"], &status["reason"]),
                (&json!(429), &json!("TooManyRequests"))
            );
            let message = status["message"].as_str().unwrap_or_default();
            assert!(
                message.contains("3 claims of namespace") && message.contains("try again in"),
                "{message}"
            );
        }
    }
    // A pod that names claims makes none, and other namespaces aren't affected.
    let mut naming = pod_object("naming");
    naming["metadata"]["annotations"] = json!({"privatekube.dev/claim": "c"});
    assert!(create(&webhooks, "pods", &naming).await.is_ok());
}

#[tokio::test]
async fn a_namespace_of_which_too_many_claims_wait_is_told_so() {
    let limits = ClaimLimits {
        waiting: 2,
        arrivals: 1000,
    };
    let (_server, webhooks) = webhooks_with(limits);
    let claim = claim(&json!({"budget": epsilon("1")}));
    for _ in 0..2 {
        assert!(create(&webhooks, "claims", &claim).await.is_ok());
    }
    let message = create(&webhooks, "claims", &claim).await.unwrap_err();
    assert!(
        message.contains("2 claims of namespace") && message.contains("or delete some"),
        "{message}"
    );
}
