//! The admission webhooks: what they allow, change and deny, and in which words.

mod answers;
mod claims;
mod datasets;
mod limits;
mod pods;
mod workloads;

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

/// The status of the answer to an object that is made, or tried without being made.
async fn status_of_creation(router: &Router, webhook: &str, object: &Value, dry: bool) -> Value {
    let mut review: Value = serde_json::from_str(&review(object, None, "alice")).unwrap();
    review["request"]["dryRun"] = json!(dry);
    let (_, answer) = post(router, &format!("/webhook/{webhook}"), review.to_string()).await;
    answer["response"].clone()
}
