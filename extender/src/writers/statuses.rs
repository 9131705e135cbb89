//! Statuses: views of what is committed, written behind it, coalesced. A pod's own claim object is made here too,
//! since it is such a view.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use privatekube_api::{DatasetKey, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset, claim_spec};
use privatekube_policy::{ClaimId, Phase};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tracing::{debug, warn};

use super::announcer::Announcer;
use super::keyed::{Done, Marked, Marker, keyed, work};
use crate::{
    metrics::Metrics,
    pods::{Pods, written_annotations},
    subject::{Subject, SubjectKind},
    view::View,
};

/// Statuses that are written at the same time.
const MOST_AT_ONCE: usize = 8;
/// How long a status that changes often rests between two writes.
const REST: Duration = Duration::from_millis(400);

/// An object whose status is a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StatusKey {
    /// A claim by its name in the ledger.
    Claim(ClaimId),
    /// A block by its dataset and name.
    Block(DatasetKey, String),
    /// A dataset.
    Dataset(DatasetKey),
}

/// Takes objects whose status changed.
#[derive(Clone, Debug)]
pub struct Statuses(Marker<StatusKey>);

impl Statuses {
    /// The statuses, and what to write.
    pub fn new() -> (Self, Marked<StatusKey>) {
        let (marker, marks) = keyed();
        (Self(marker), marks)
    }

    /// Writes the object's status soon.
    pub fn write(&self, key: StatusKey) {
        self.0.mark(key);
    }

    /// Works until all of [`Statuses`] are gone.
    pub async fn run(
        client: Client,
        pods: Arc<Pods>,
        view: Arc<View>,
        metrics: Metrics,
        announcer: Announcer,
        marks: Marked<StatusKey>,
    ) {
        let writer = Arc::new(Writer {
            client,
            pods,
            view,
            metrics,
            announcer,
        });
        work(marks, MOST_AT_ONCE, |key| {
            let writer = Arc::clone(&writer);
            async move {
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
    pods: Arc<Pods>,
    view: Arc<View>,
    metrics: Metrics,
    announcer: Announcer,
}

impl Writer {
    async fn claim(&self, id: &ClaimId) -> Done {
        let Some(claim) = self.view.claim(id) else {
            return Done::Well;
        };
        let subject = &claim.subject;
        let name = subject.claim_name();
        let api: Api<PrivacyBudgetClaim> = Api::namespaced(self.client.clone(), &subject.namespace);
        if subject.kind == SubjectKind::Pod && !self.announcer.is_made(id) {
            let Some(object) = self.object(subject, &name) else {
                return Done::Well;
            };
            let answer = api.create(&PostParams::default(), &object).await;
            self.metrics.count_write("claim", &answer);
            match answer {
                Ok(made) => self
                    .announcer
                    .made(id, made.metadata.uid.as_deref().unwrap_or_default()),
                // The watch tells its UID.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                // Its namespace is going, and the pod with it; or the API server has only just started, and knows no
                // rights yet. As long as the pod is there, it is tried again.
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                    debug!(claim = %id, %status, "a pod's claim object is not made yet");
                    return Done::Failed;
                }
                Err(error) => return failed("claim object", id.as_str(), &error),
            }
        }
        let uid = (subject.kind == SubjectKind::Claim).then_some(subject.uid.as_str());
        let rest = if claim.phase == Phase::Waiting {
            REST
        } else {
            Duration::ZERO
        };
        self.patch(&api, &name, uid, &claim.status, "claim status", rest)
            .await
    }

    /// The claim object that shows what a pod asks, owned by the pod; none if the pod is gone.
    fn object(&self, subject: &Subject, name: &str) -> Option<PrivacyBudgetClaim> {
        let pod = self
            .pods
            .get(&(subject.namespace.clone(), subject.name.clone()))?;
        if pod.metadata.uid.as_deref() != Some(&subject.uid) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let spec = claim_spec(&written_annotations(&pod))?;
        let mut object = PrivacyBudgetClaim::new(name, spec);
        object.metadata.owner_references = Some(vec![owner(&pod)]);
        Some(object)
    }

    async fn block(&self, dataset: &DatasetKey, name: &str) -> Done {
        let Some(block) = self.view.block(&(dataset.clone(), name.to_owned())) else {
            return Done::Well;
        };
        let api: Api<PrivateDataBlock> = Api::namespaced(self.client.clone(), &dataset.namespace);
        self.patch(&api, name, None, &block.status, "block status", REST)
            .await
    }

    async fn dataset(&self, key: &DatasetKey) -> Done {
        let Some(dataset) = self.view.dataset(key) else {
            return Done::Well;
        };
        let api: Api<PrivateDataset> = Api::namespaced(self.client.clone(), &key.namespace);
        self.patch(&api, &key.name, None, &dataset.status, "dataset status", REST)
            .await
    }

    async fn patch<K, S>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<&str>,
        status: &S,
        what: &'static str,
        rest: Duration,
    ) -> Done
    where
        K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize + Sync,
    {
        let mut patch = json!({"status": status});
        if let Some(uid) = uid {
            // Refused if the object was made again under its name.
            patch["metadata"] = json!({"uid": uid});
        }
        let answer = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        self.metrics.count_write(what, &answer);
        match answer {
            Ok(_) if rest.is_zero() => Done::Well,
            Ok(_) => Done::Rest(rest),
            // Gone, or made again under its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Done::Well,
            Err(error) => failed(what, name, &error),
        }
    }
}

fn failed(what: &str, name: &str, error: &kube::Error) -> Done {
    warn!(what, name, %error, "a write failed and is tried again");
    Done::Failed
}

fn owner(pod: &Pod) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}
