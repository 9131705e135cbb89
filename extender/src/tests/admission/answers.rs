//! What every webhook does: with an API server that fails, with bodies and names that make no sense, and with long messages.

use super::*;

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
