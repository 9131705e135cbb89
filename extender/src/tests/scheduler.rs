//! The scheduler's verbs, over HTTP bodies as the kube-scheduler sends them.

use std::sync::Arc;

use axum::{Router, http::StatusCode};
use privatekube_fake_api_server::FakeApiServer;
use serde_json::{Value, json};

use super::post;
use crate::{
    registry::Registry,
    scheduler::router,
    testing::{handles, pod_object},
};

fn scheduler(complete: bool) -> Router {
    let handles = handles(&FakeApiServer::default()).0;
    if complete {
        handles.view.set_complete();
    }
    router(Arc::new(Registry::new(handles)))
}

async fn filter(router: &Router, pod: &Value) -> Value {
    let args = json!({"Pod": pod, "Nodes": null, "NodeNames": ["n1", "n2"]});
    let (status, answer) = post(router, "/scheduler/filter", args.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    answer
}

#[tokio::test]
async fn until_the_view_is_complete_filter_answers_with_an_error() {
    let answer = filter(&scheduler(false), &pod_object("train")).await;
    assert!(
        answer["Error"].as_str().unwrap().contains("are being read"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_pod_whose_claim_is_unknown_fits_no_node_and_says_which_claim() {
    let answer = filter(&scheduler(true), &pod_object("train")).await;
    assert_eq!(answer["NodeNames"], json!([]));
    let message = answer["FailedAndUnresolvableNodes"]["n2"].as_str().unwrap();
    assert_eq!(
        message,
        "privacy budget claim data/train-train does not exist yet"
    );
}

#[tokio::test]
async fn a_pod_whose_annotations_cannot_be_read_fits_no_node_and_says_why() {
    let mut pod = pod_object("train");
    pod["metadata"]["annotations"] = json!({});
    let answer = filter(&scheduler(true), &pod).await;
    let message = answer["FailedAndUnresolvableNodes"]["n1"].as_str().unwrap();
    assert!(message.contains("neither annotation"), "{message}");
}

#[tokio::test]
async fn a_pod_that_may_not_run_evicts_nobody() {
    let victims = json!({"n1": {"Pods": [{"UID": "v"}], "NumPDBViolations": 0}});
    let args = json!({"Pod": pod_object("train"), "NodeNameToMetaVictims": victims});
    let (_, answer) = post(&scheduler(true), "/scheduler/preempt", args.to_string()).await;
    assert_eq!(answer["NodeNameToMetaVictims"], json!({}));
}

#[tokio::test]
async fn a_pod_that_may_not_run_is_not_bound() {
    let server = FakeApiServer::default();
    server.put("pods", &pod_object("train"));
    let handles = handles(&server).0;
    handles.view.set_complete();
    let router = router(Arc::new(Registry::new(handles)));
    let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
    let (status, answer) = post(&router, "/scheduler/bind", args.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        answer["Error"].as_str().unwrap().contains("does not exist yet"),
        "{answer}"
    );
    assert!(server.get("pods", "train").unwrap()["spec"]["nodeName"].is_null());
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_answered_with_an_error() {
    let router = scheduler(true);
    for path in ["/scheduler/filter", "/scheduler/bind"] {
        let (status, answer) = post(&router, path, "{").await;
        assert_eq!(status, StatusCode::OK);
        let error = answer["Error"].as_str().unwrap();
        assert!(
            error.contains("not understood") && !error.contains('%'),
            "{error}"
        );
    }
}

#[tokio::test]
async fn names_that_no_object_can_have_are_not_bound() {
    let scheduler = scheduler(true);
    let args = |namespace: &str, name: &str, node: &str| {
        json!({"PodName": name, "PodNamespace": namespace, "PodUID": "u", "Node": node}).to_string()
    };
    for (args, field) in [
        (args("data/../x", "train", "n1"), "PodNamespace"),
        (args("data", "train/status", "n1"), "PodName"),
        (args("data", "train", "N 1"), "Node"),
        (args("data", &"x".repeat(1 << 20), "n1"), "PodName"),
    ] {
        let (status, answer) = post(&scheduler, "/scheduler/bind", args).await;
        assert_eq!(status, StatusCode::OK);
        let error = answer["Error"].as_str().unwrap();
        assert!(
            error.starts_with(field) && error.contains("is not the name of an object"),
            "{error}"
        );
        assert!(error.len() < 1100, "{} bytes", error.len());
    }
}

#[tokio::test]
async fn the_message_for_each_node_has_a_bounded_length() {
    let mut pod = pod_object("train");
    pod["metadata"]["annotations"] = json!({"privatekube.dev/dataset": "%".repeat(277 << 10)});
    let answer = filter(&scheduler(true), &pod).await;
    let message = answer["FailedAndUnresolvableNodes"]["n1"].as_str().unwrap();
    assert!(
        message.len() <= 512 && !message.contains('%'),
        "{} bytes",
        message.len()
    );
}
