//! Pods and their bindings.

use super::*;

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
