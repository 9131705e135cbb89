//! The admission webhooks. Each is a pure function of the review and of what is known; what it answers is counted
//! here, once.

mod bindings;
mod pods;
mod resources;

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use tracing::{info, warn};

use crate::{json_body::JsonBody, registry::Registry};

/// What webhooks look things up in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What is known.
    pub registry: Arc<Registry>,
    /// Schedulers that call this extender.
    pub schedulers: Arc<[String]>,
    /// The user that the extender is.
    pub user: Arc<str>,
}

/// What a webhook answers, before it becomes a response.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    /// As it is.
    Allow,
    /// With this changed.
    Change(json_patch::Patch),
    /// No, and why.
    Deny(String),
}

/// The webhooks below `/webhook`.
pub fn router(admission: Admission) -> Router {
    Router::new()
        .route("/webhook/pods", post(pods))
        .route("/webhook/bindings", post(bindings))
        .route("/webhook/claims", post(claims))
        .route("/webhook/blocks", post(blocks))
        .route("/webhook/datasets", post(datasets))
        .with_state(admission)
}

type Review = JsonBody<AdmissionReview<DynamicObject>>;

macro_rules! webhook {
    ($name:ident, $review:path) => {
        async fn $name(
            State(admission): State<Admission>,
            JsonBody(review): Review,
        ) -> Json<AdmissionReview<DynamicObject>> {
            let request = match request(review) {
                Ok(request) => request,
                Err(response) => return Json(response.into_review()),
            };
            let answer = $review(&admission, &request).await;
            Json(answered(&admission, stringify!($name), &request, answer))
        }
    };
}

webhook!(pods, pods::review);
webhook!(bindings, bindings::review);
webhook!(claims, resources::claim);
webhook!(blocks, resources::block);
webhook!(datasets, resources::dataset);

fn request(
    review: Result<AdmissionReview<DynamicObject>, String>,
) -> Result<AdmissionRequest<DynamicObject>, Box<AdmissionResponse>> {
    let review = review.map_err(|error| Box::new(AdmissionResponse::invalid(error)))?;
    review
        .try_into()
        .map_err(|error| Box::new(AdmissionResponse::invalid(format!("{error}"))))
}

fn answered(
    admission: &Admission,
    webhook: &str,
    request: &AdmissionRequest<DynamicObject>,
    answer: Answer,
) -> AdmissionReview<DynamicObject> {
    let object = format!(
        "{}/{}",
        request.namespace.as_deref().unwrap_or_default(),
        request.name
    );
    let response = AdmissionResponse::from(request);
    let (label, response) = match answer {
        Answer::Allow => ("allowed", response),
        Answer::Change(patch) => match response.with_patch(patch) {
            Ok(response) => ("changed", response),
            Err(error) => {
                warn!(webhook, object, %error, "a patch can't be written");
                ("failed", AdmissionResponse::invalid(error))
            }
        },
        Answer::Deny(why) => {
            info!(
                webhook,
                object,
                user = request.user_info.username.as_deref(),
                why,
                "denied at admission"
            );
            ("denied", response.deny(format!("PrivateKube: {why}")))
        }
    };
    admission
        .registry
        .handles()
        .metrics
        .admission_requests
        .with_label_values(&[webhook, label])
        .inc();
    response.into_review()
}

/// The object under review as its own type.
fn object<K: serde::de::DeserializeOwned>(request: &AdmissionRequest<DynamicObject>) -> Result<K, Answer> {
    let understood = match &request.object {
        None => Err("the request has no object".to_owned()),
        Some(object) => serde_json::to_value(object)
            .and_then(serde_json::from_value)
            .map_err(|error| format!("the object is not understood: {error}")),
    };
    understood.map_err(Answer::Deny)
}
