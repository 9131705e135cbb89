//! The admission webhooks. Each is a pure function of the review and of what is known; what it answers is counted
//! here, once.

mod bindings;
mod pods;
mod resources;

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::post};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{
    DynamicObject, ObjectMeta, Status,
    admission::{AdmissionResponse, AdmissionReview},
};
use privatekube_api::{
    PrivacyBudgetClaim, PrivacyBudgetClaimSpec, PrivateDataBlock, PrivateDataBlockSpec, PrivateDataset,
    PrivateDatasetSpec, excerpt, is_label_name, is_object_name,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::{info, warn};

use crate::{
    json_body::{JsonBody, MOST_MESSAGE},
    registry::Registry,
};

/// How much of a name a message quotes, in bytes: any name that is one.
const MOST_NAME: usize = 253;

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

/// A review as the API server sends it, without what no webhook reads. The objects stay text until a webhook reads what it
/// needs of them: whole trees of values take up to a hundred times the text.
#[derive(Debug, Deserialize)]
struct Review {
    request: Option<AdmissionRequest>,
}

/// What is reviewed. Its names were checked: they are those of objects, so they may become parts of paths.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdmissionRequest {
    uid: String,
    /// Empty for an object whose name the API server makes.
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    user_info: UserInfo,
    #[serde(default)]
    object: Option<Box<RawValue>>,
    #[serde(default)]
    old_object: Option<Box<RawValue>>,
}

/// Who sent the object.
#[derive(Debug, Default, Deserialize)]
struct UserInfo {
    username: Option<String>,
}

macro_rules! webhook {
    ($name:ident, $review:path) => {
        async fn $name(
            State(admission): State<Admission>,
            JsonBody(review): JsonBody<Review>,
        ) -> Json<AdmissionReview<DynamicObject>> {
            let request = match review.map(|review| review.request) {
                Ok(Some(request)) => request,
                Ok(None) => {
                    return Json(AdmissionResponse::invalid("the review has no request").into_review())
                }
                Err(problem) => return Json(AdmissionResponse::invalid(problem).into_review()),
            };
            let answer = match request.check_names() {
                Ok(()) => $review(&admission, &request).await,
                Err(why) => Answer::Deny(why),
            };
            Json(answered(&admission, stringify!($name), &request, answer))
        }
    };
}

webhook!(pods, pods::review);
webhook!(bindings, bindings::review);
webhook!(claims, resources::claim);
webhook!(blocks, resources::block);
webhook!(datasets, resources::dataset);

impl AdmissionRequest {
    /// Refuses names that no object can have, before they become parts of paths.
    fn check_names(&self) -> Result<(), String> {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        if !is_label_name(namespace) {
            let namespace = excerpt(namespace, MOST_NAME);
            return Err(format!("{namespace:?} is not the name of a namespace"));
        }
        if !self.name.is_empty() && !is_object_name(&self.name) {
            let name = excerpt(&self.name, MOST_NAME);
            return Err(format!("{name:?} is not the name of an object"));
        }
        Ok(())
    }

    /// Reads the object as its own type.
    fn object<K: Reviewed>(&self) -> Result<K, Answer> {
        let Some(object) = &self.object else {
            return Err(Answer::Deny("the request has no object".to_owned()));
        };
        read(object).map_err(|error| Answer::Deny(format!("the object is not understood: {error}")))
    }

    /// Reads the object as it was before an update.
    fn old_object<K: Reviewed>(&self) -> Option<Result<K, serde_json::Error>> {
        self.old_object.as_deref().map(read)
    }
}

/// A kind that a webhook reviews.
trait Reviewed: Sized {
    /// Its spec.
    type Spec: DeserializeOwned;
    /// Makes the object of the parts that webhooks read.
    fn of(metadata: ObjectMeta, spec: Self::Spec) -> Self;
}

macro_rules! reviewed {
    ($kind:ty, $spec:ty) => {
        impl Reviewed for $kind {
            type Spec = $spec;
            fn of(metadata: ObjectMeta, spec: Self::Spec) -> Self {
                let mut object = Self::new("", spec);
                object.metadata = metadata;
                object
            }
        }
    };
}

reviewed!(PrivateDataset, PrivateDatasetSpec);
reviewed!(PrivateDataBlock, PrivateDataBlockSpec);
reviewed!(PrivacyBudgetClaim, PrivacyBudgetClaimSpec);

/// Reads an object without its status and managed fields, which no webhook needs and which can be large.
fn read<K: Reviewed>(object: &RawValue) -> Result<K, serde_json::Error> {
    #[derive(Deserialize)]
    struct Object<S> {
        #[serde(default)]
        metadata: Metadata,
        spec: S,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        name: Option<String>,
        uid: Option<String>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let Object { metadata, spec } = serde_json::from_str::<Object<K::Spec>>(object.get())?;
    let metadata = ObjectMeta {
        name: metadata.name,
        uid: metadata.uid,
        owner_references: metadata.owner_references,
        ..ObjectMeta::default()
    };
    Ok(K::of(metadata, spec))
}

/// Makes the response of an answer, counts it, and logs it if it denies.
fn answered(
    admission: &Admission,
    webhook: &str,
    request: &AdmissionRequest,
    answer: Answer,
) -> AdmissionReview<DynamicObject> {
    let namespace = excerpt(request.namespace.as_deref().unwrap_or_default(), MOST_NAME);
    let name = excerpt(&request.name, MOST_NAME);
    let mut response = AdmissionResponse::invalid("");
    response.uid.clone_from(&request.uid);
    response.result = Status::default();
    let allowed = |mut response: AdmissionResponse| {
        response.allowed = true;
        response
    };
    let (label, response) = match answer {
        Answer::Allow => ("allowed", allowed(response)),
        Answer::Change(patch) => match allowed(response.clone()).with_patch(patch) {
            Ok(response) => ("changed", response),
            Err(error) => {
                warn!(webhook, %namespace, %name, %error, "a patch can't be written");
                ("failed", response.deny(error))
            }
        },
        Answer::Deny(why) => {
            let why = excerpt(&why, MOST_MESSAGE);
            let user = request.user_info.username.as_deref();
            let user = user.map(|user| excerpt(user, MOST_NAME));
            info!(webhook, %namespace, %name, user = user.as_deref(), %why, "denied at admission");
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
