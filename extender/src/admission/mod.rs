//! The admission webhooks. Each reads an admission review and returns an [`Answer`]; this module turns the answer into
//! the response, counts it, and logs denials. Webhooks write nothing, so a review may be repeated.

mod bindings;
mod keys;
mod limits;
mod metrics;
mod pods;
mod refusal;
mod requesters;
mod resources;
mod restarts;
mod warnings;
mod workloads;

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{
    DynamicObject, ObjectMeta, Status,
    admission::{AdmissionResponse, AdmissionReview},
};
use privatekube_api::{
    DatasetKey, PrivacyBudgetClaim, PrivacyBudgetClaimSpec, PrivateDataBlock, PrivateDataBlockSpec,
    PrivateDataset, PrivateDatasetSpec, excerpt, is_label_name, is_object_name,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::{
    limits::{Attempt, LimitReached},
    workloads::ReviewedResource,
};
pub use self::{
    limits::{ClaimLimiter, ClaimLimits},
    metrics::AdmissionMetrics,
    workloads::{PodTemplate, PodTemplates},
};
use crate::{
    json_body::{JsonBody, MOST_MESSAGE, parse},
    registry::Registry,
};

/// The most bytes of a name that a message quotes: enough for every valid name.
const MOST_NAME: usize = 253;

/// The most warnings of an answer, and the most bytes of each: the API server cuts longer ones.
const MOST_WARNINGS: usize = 8;
const MOST_WARNING: usize = 240;

/// What all webhooks share.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Gives access to the API server and the view.
    pub registry: Arc<Registry>,
    /// The names of the schedulers that call this extender.
    pub schedulers: Arc<[String]>,
    /// The user name that the API server knows the extender by.
    pub user: Arc<str>,
    /// Limits how many claims a namespace makes on a dataset.
    pub limiter: Arc<ClaimLimiter>,
    /// Where workloads carry pod templates.
    pub templates: Arc<PodTemplates>,
}

/// The decision of a webhook, before it becomes a response.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    /// Admits the object unchanged.
    Allow,
    /// Admits the object with a patch.
    Change(json_patch::Patch),
    /// Admits the object as the answer within does, with warnings for the user.
    Warn(Box<Self>, Vec<String>),
    /// Denies the object, with a message for the user.
    Deny(String),
    /// Denies the object, since the API server could not be asked what an answer takes.
    Unavailable(String),
    /// Denies the object for now: it may be made again later.
    Later(LimitReached),
}

impl Answer {
    /// The same answer with warnings, if there are any.
    fn with_warnings(self, warnings: Vec<String>) -> Self {
        if warnings.is_empty() {
            self
        } else {
            Self::Warn(Box::new(self), warnings)
        }
    }
}

/// The webhooks below `/webhook`.
pub fn router(admission: Admission) -> Router {
    Router::new()
        .route("/webhook/pods", post(pods))
        .route("/webhook/bindings", post(bindings))
        .route("/webhook/claims", post(claims))
        .route("/webhook/requesters", post(requesters))
        .route("/webhook/blocks", post(blocks))
        .route("/webhook/datasets", post(datasets))
        .route("/webhook/workloads", post(workloads))
        .with_state(admission)
}

/// A review as the API server sends it, without the fields that no webhook reads. Its objects stay text until a webhook
/// parses the fields that it needs, because a whole parsed object takes up to a hundred times the memory of its text.
#[derive(Debug, Deserialize)]
struct Review {
    request: Option<AdmissionRequest>,
}

/// The request of a review. Webhooks get it only after its names were checked, so they may use the names in paths.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AdmissionRequest {
    uid: String,
    #[serde(default)]
    resource: ReviewedResource,
    /// Empty for an object with `generateName`, whose name the API server generates later.
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    user_info: UserInfo,
    #[serde(default, deserialize_with = "shared")]
    object: Option<Arc<RawValue>>,
    #[serde(default, deserialize_with = "shared")]
    old_object: Option<Arc<RawValue>>,
    #[serde(default)]
    dry_run: bool,
}

/// Reads a text that another thread may parse.
fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<RawValue>>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(text.map(Arc::from))
}

/// Parses the text of an object.
async fn parse_object<T: DeserializeOwned + Send + 'static>(object: &Arc<RawValue>) -> Result<T, String> {
    parse(Arc::clone(object), |object| object.get().as_bytes()).await
}

/// The user who sent the object to the API server.
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
            let began = Instant::now();
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
            Json(answered(
                &admission,
                stringify!($name),
                &request,
                answer,
                began,
            ))
        }
    };
}

webhook!(pods, pods::review);
webhook!(bindings, bindings::review);
webhook!(claims, resources::claim);
webhook!(requesters, requesters::review);
webhook!(blocks, resources::block);
webhook!(datasets, resources::dataset);
webhook!(workloads, workloads::review);

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
    async fn object<K: Reviewed>(&self) -> Result<K, Answer> {
        let Some(object) = &self.object else {
            return Err(Answer::Deny("the request has no object".to_owned()));
        };
        let read = read(object).await;
        read.map_err(|error| Answer::Deny(format!("the object is not understood: {error}")))
    }

    /// Reads the object as it was before an update.
    async fn old_object<K: Reviewed>(&self) -> Option<Result<K, String>> {
        match &self.old_object {
            Some(object) => Some(read(object).await),
            None => None,
        }
    }
}

impl Admission {
    /// Counts a claim that a namespace makes on a dataset, or refuses it because a limit is reached. This comes after all other
    /// checks, so that nothing is counted that isn't made.
    fn count_claim(
        &self,
        dataset: &DatasetKey,
        namespace: &str,
        attempt: Attempt,
    ) -> Result<(), LimitReached> {
        let handles = self.registry.handles();
        let count = handles.view.claim_count(dataset, namespace);
        let admitted = self
            .limiter
            .admit(dataset, namespace, count, attempt, Instant::now());
        if let Err(reached) = &admitted {
            handles.metrics.admission.limited(reached);
        }
        admitted
    }
}

/// A kind that a webhook reviews.
trait Reviewed: Sized {
    /// Its spec.
    type Spec: DeserializeOwned + Send + 'static;
    /// Builds the object from the parts that webhooks read.
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
async fn read<K: Reviewed>(object: &Arc<RawValue>) -> Result<K, String> {
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
    let Object { metadata, spec } = parse_object::<Object<K::Spec>>(object).await?;
    let metadata = ObjectMeta {
        name: metadata.name,
        uid: metadata.uid,
        owner_references: metadata.owner_references,
        ..ObjectMeta::default()
    };
    Ok(K::of(metadata, spec))
}

/// Turns an answer into a response, counts it, and logs a denial.
fn answered(
    admission: &Admission,
    webhook: &str,
    request: &AdmissionRequest,
    answer: Answer,
    began: Instant,
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
    let (answer, warnings) = match answer {
        Answer::Warn(answer, warnings) => (*answer, warnings),
        answer => (answer, Vec::new()),
    };
    if !warnings.is_empty() {
        let most = warnings.into_iter().take(MOST_WARNINGS);
        response.warnings = Some(
            most.map(|warning| format!("PrivateKube: {}", excerpt(&warning, MOST_WARNING)))
                .collect(),
        );
    }
    let (label, response) = match answer {
        // Warnings are not within warnings.
        Answer::Allow | Answer::Warn(..) => ("allowed", allowed(response)),
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
        Answer::Unavailable(why) => {
            let why = excerpt(&why, MOST_MESSAGE);
            warn!(webhook, %namespace, %name, %why, "no answer at admission");
            let mut response = response.deny(format!("PrivateKube: {why}"));
            response.result.code = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            "ServiceUnavailable".clone_into(&mut response.result.reason);
            ("unavailable", response)
        }
        // At debug level, since it is the answer to whoever repeats it too often.
        Answer::Later(reached) => {
            debug!(webhook, %namespace, %name, %reached, "denied for now at admission");
            let mut response = response.deny(format!("PrivateKube: {reached}"));
            response.result.code = StatusCode::TOO_MANY_REQUESTS.as_u16();
            "TooManyRequests".clone_into(&mut response.result.reason);
            ("limited", response)
        }
    };
    admission
        .registry
        .handles()
        .metrics
        .admission
        .count(webhook, label, began.elapsed());
    response.into_review()
}
