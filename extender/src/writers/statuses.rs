//! Writes the statuses of claims, blocks and datasets: copies of the view, behind it by a moment, with frequent changes merged.
//! The claim objects of pods are created here, too, since they are nothing but such copies.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Client,
    api::Patch,
    core::{NamespaceResourceScope, Status},
};
use privatekube_api::{
    ClaimPhase, ClaimPod, DatasetKey, ManagedPod, PodKey, PrivacyBudgetClaim, PrivacyBudgetClaimStatus,
    PrivateDataBlock, PrivateDataBlockStatus, PrivateDataset, PrivateDatasetStatus, Subject, SubjectKind,
    claim_spec, excerpt, field_names,
};
use privatekube_kubernetes::{patch_params, post_params};
use privatekube_policy::ClaimId;
use privatekube_view::View;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::{
    events::{ClaimObject, Events},
    work_queue::{Outcome, Receiver, Sender, unless_leading, work, work_queue},
};
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};
use crate::{leadership::Leadership, metrics::Metrics, pods::Pods};

/// How many statuses are written at the same time.
const MOST_AT_ONCE: usize = 8;
/// How long the status of a waiting claim or a dataset isn't written again.
const REST: Duration = Duration::from_millis(400);
/// How long a block's status isn't written again: it changes with every claim on the block.
const BLOCK_REST: Duration = Duration::from_secs(2);

/// The field of a dataset's status that isn't copied from the view.
const LAST_BLOCK: &str = "lastBlock";
/// How long the refused claim object of a pod isn't tried again, times how many are refused: of all, 20 are tried in a second.
const REFUSED_REST: Duration = Duration::from_millis(50);

/// How many bytes of the API server's reason for a refusal an Event quotes.
const MOST_REFUSAL: usize = 400;
/// How long a status waits that is soon to change again.
const SOON: Duration = Duration::from_secs(1);

/// An object whose status is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StatusKey {
    /// A claim, by its name in the ledger.
    Claim(ClaimId),
    /// A block, by its dataset and name.
    Block(DatasetKey, String),
    /// A dataset.
    Dataset(DatasetKey),
}

/// Queues objects whose status has changed in the view.
#[derive(Clone, Debug)]
pub struct Statuses(Sender<StatusKey>);

impl Statuses {
    /// A handle, and the queue that [`Self::run`] works off.
    pub fn new() -> (Self, Receiver<StatusKey>) {
        let (sender, receiver) = work_queue();
        (Self(sender), receiver)
    }

    /// Queues an object: its status is written soon.
    pub fn write(&self, key: StatusKey) {
        self.0.add(key);
    }

    /// Queues an object before all others: a pod waits until its status is written.
    pub fn write_first(&self, key: StatusKey) {
        self.0.add_first(key);
    }

    /// Queues an object whose status is soon to change again: it is written in a second, unless it is queued before.
    pub fn write_later(&self, key: StatusKey) {
        self.0.add_after(key, SOON);
    }

    /// Works the queue off until all handles are dropped.
    pub async fn run(
        client: Client,
        pods: Arc<Pods>,
        view: Arc<View>,
        metrics: Metrics,
        events: Events,
        leadership: Leadership,
        queue: Receiver<StatusKey>,
    ) {
        let depth = metrics.writers.queue("statuses");
        let writer = Arc::new(Writer {
            client,
            fields: StatusFields::new(),
            pods,
            view,
            metrics,
            events,
        });
        work(queue, MOST_AT_ONCE, depth, |key| {
            let writer = Arc::clone(&writer);
            let leadership = leadership.clone();
            async move {
                if let Some(outcome) = unless_leading(&leadership) {
                    return outcome;
                }
                match key {
                    StatusKey::Claim(id) => writer.claim(&id).await,
                    StatusKey::Block(dataset, name) => writer.block(&dataset, &name).await,
                    StatusKey::Dataset(key) => writer.dataset(&key).await,
                }
            }
        })
        .await;
    }
}

struct Writer {
    client: Client,
    fields: StatusFields,
    pods: Arc<Pods>,
    view: Arc<View>,
    metrics: Metrics,
    events: Events,
}

impl Writer {
    async fn claim(&self, id: &ClaimId) -> Outcome {
        let Some(claim) = self.view.claim(id) else {
            return Outcome::Done;
        };
        let Some(subject) = &claim.subject() else {
            return Outcome::Done;
        };
        let name = subject.claim_name();
        let api: Api<PrivacyBudgetClaim> = Api::namespaced(self.client.clone(), &subject.namespace);
        if subject.kind == SubjectKind::Pod && self.events.claim_object(id) != Some(ClaimObject::Exists) {
            let Some(object) = self.object(subject, &name) else {
                return Outcome::Done;
            };
            self.events.creating_claim_object(id);
            let answer = api.create(&post_params(), &object).await;
            self.metrics.writers.count_write("claim", &answer);
            match answer {
                Ok(_) => self.events.claim_object_created(id),
                Err(kube::Error::Api(status)) if status.code == 409 => match api.get_opt(&name).await {
                    // The watch will report it.
                    Ok(Some(object)) if Subject::of_object(&object).as_ref() == Some(subject) => {}
                    // A user's claim has the name: its status is none of the pod's.
                    Ok(_) => return Outcome::Done,
                    Err(error) => return failed("claim object", id.as_str(), &error),
                },
                // It is tried again for as long as the pod exists.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                    debug!(claim = %id, %status, "a pod's claim object is not created yet");
                    if is_refused(&status) && self.events.claim_object_refused(id) {
                        let note = format!(
                            "the claim object {name}, which would show the state of this pod's budget, can't be created: {}. \
                             The pod waits or runs as if it existed, its Events say why; raise the quota or change what \
                             refuses the object",
                            excerpt(&status.message, MOST_REFUSAL)
                        );
                        self.events
                            .about_claim(subject, "BudgetClaimNotShown", true, &note);
                    }
                    // A quota may refuse those of thousands of pods.
                    let refused = self.events.refused_claim_objects();
                    return Outcome::FailedFor(REFUSED_REST.saturating_mul(refused));
                }
                Err(error) => return failed("claim object", id.as_str(), &error),
            }
        }
        let uid = (subject.kind == SubjectKind::Claim).then_some(subject.uid.as_str());
        let rest = if claim.phase == ClaimPhase::Waiting {
            REST
        } else {
            Duration::ZERO
        };
        let status = whole(&claim.status(), &self.fields.claim);
        self.patch(&api, &name, uid, status, "claim status", rest).await
    }

    /// The claim object that shows a pod's own claim, owned by the pod; `None` if the pod is gone.
    fn object(&self, subject: &Subject, name: &str) -> Option<PrivacyBudgetClaim> {
        let pod = self.pods.get(&PodKey {
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
        })?;
        if pod.uid != subject.uid || pod.is_ending {
            return None;
        }
        let mut spec = claim_spec(&pod.annotations)?;
        spec.pod = Some(ClaimPod {
            name: subject.name.clone(),
            uid: subject.uid.clone(),
        });
        let mut object = PrivacyBudgetClaim::new(name, spec);
        object.metadata.owner_references = Some(vec![owner(&pod)]);
        Some(object)
    }

    async fn block(&self, dataset: &DatasetKey, name: &str) -> Outcome {
        let Some(block) = self.view.block(&(dataset.clone(), name.to_owned())) else {
            return Outcome::Done;
        };
        let api: Api<PrivateDataBlock> = Api::namespaced(self.client.clone(), &dataset.namespace);
        let status = whole(&block.status(), &self.fields.block);
        self.patch(&api, name, block.uid(), status, "block status", BLOCK_REST)
            .await
    }

    async fn dataset(&self, key: &DatasetKey) -> Outcome {
        let Some(dataset) = self.view.dataset(key) else {
            return Outcome::Done;
        };
        let api: Api<PrivateDataset> = Api::namespaced(self.client.clone(), &key.namespace);
        let status = whole(&dataset.status, &self.fields.dataset);
        self.patch(
            &api,
            &key.name,
            dataset.uid.as_deref(),
            status,
            "dataset status",
            REST,
        )
        .await
    }

    async fn patch<K>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<&str>,
        status: serde_json::Result<Value>,
        what: &'static str,
        rest: Duration,
    ) -> Outcome
    where
        K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut patch = match status {
            Ok(status) => json!({"status": status}),
            Err(error) => return failed(what, name, &kube::Error::SerdeError(error)),
        };
        if let Some(uid) = uid {
            // The API server refuses the write if another object was created under this name.
            patch["metadata"] = json!({"uid": uid});
        }
        let answer = api
            .patch_status(name, &patch_params(), &Patch::Merge(patch))
            .await;
        self.metrics.writers.count_write(what, &answer);
        match answer {
            #[cfg(test)]
            Ok(_) if planted::is(Planted::WritesUnchanged) => Outcome::FailedFor(Duration::from_secs(60)),
            Ok(_) if rest.is_zero() => Outcome::Done,
            Ok(_) => Outcome::DoneUntil(rest),
            // Deleted, or created again under its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Outcome::Done,
            Err(error) => failed(what, name, &error),
        }
    }
}

/// The fields that the status of each kind can have.
struct StatusFields {
    claim: Vec<String>,
    block: Vec<String>,
    dataset: Vec<String>,
}

impl StatusFields {
    fn new() -> Self {
        let mut dataset = field_names::<PrivateDatasetStatus>();
        // Whoever creates blocks writes it.
        dataset.retain(|field| field != LAST_BLOCK);
        Self {
            claim: field_names::<PrivacyBudgetClaimStatus>(),
            block: field_names::<PrivateDataBlockStatus>(),
            dataset,
        }
    }
}

/// A status as a merge patch that replaces the one before: a field that it doesn't have is null, which removes the field.
fn whole(status: &impl Serialize, fields: &[String]) -> serde_json::Result<Value> {
    let mut status = serde_json::to_value(status)?;
    if let Some(status) = status.as_object_mut() {
        for field in fields {
            status.entry(field.as_str()).or_insert(Value::Null);
        }
    }
    Ok(status)
}

/// Whether a quota or another admission check refused the object, and not a namespace that is being deleted, and the pod with it,
/// or an API server that has only just started and hasn't read any roles yet.
fn is_refused(status: &Status) -> bool {
    let message = &status.message;
    status.code == 403
        && !message.contains("is being terminated")
        && !message.contains("cannot create resource")
}

fn failed(what: &str, name: &str, error: &kube::Error) -> Outcome {
    warn!(what, name, %error, "a write failed and is tried again");
    Outcome::Failed
}

fn owner(pod: &ManagedPod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: pod.key.name.clone(),
        uid: pod.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}
