//! Removes the scheduling gate of pods whose claims are granted, which makes the scheduler take them at once. A pod whose
//! gate somebody removed before is changed instead, which makes the scheduler try it again. A pod whose own claim can't be
//! granted any more is deleted, if its dataset says so.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use json_patch::{Patch as JsonPatch, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, Preconditions},
};
use papaya::HashMap;
use privatekube_api::{
    ANNOTATION_WOKEN, ClaimPhase, DatasetKey, GATE, ManagedPod, PodKey, RefusedPods, rfc3339,
};
use privatekube_kubernetes::patch_params;
use privatekube_view::{ClaimView, Verdict, View};
use serde_json::json;
use tracing::{debug, info, warn};

use super::{
    events::Events,
    work_queue::{Outcome, Receiver, Sender, unless_leading, work, work_queue},
};
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};
use crate::{clock, leadership::Leadership, metrics::Metrics, pods::Pods};

/// How many gates are removed at the same time.
const MOST_AT_ONCE: usize = 16;

/// Queues pods whose gate may have to be removed.
#[derive(Clone, Debug)]
pub struct Gates(Sender<PodKey>);

impl Gates {
    /// A handle, and the queue that [`Self::run`] works off.
    pub fn new() -> (Self, Receiver<PodKey>) {
        let (sender, receiver) = work_queue();
        (Self(sender), receiver)
    }

    /// Queues a pod: if its claims are granted, its gate is removed; if its own claim was denied or expired, it may be
    /// deleted.
    pub fn check(&self, pod: PodKey) {
        self.0.add(pod);
    }

    /// Works the queue off until all handles are dropped.
    pub async fn run(
        client: Client,
        pods: Arc<Pods>,
        view: Arc<View>,
        metrics: Metrics,
        events: Events,
        leadership: Leadership,
        queue: Receiver<PodKey>,
    ) {
        let depth = metrics.writers.queue("gates");
        let remover = Arc::new(GateRemover {
            client,
            pods,
            view,
            metrics,
            events,
            opened: HashMap::new(),
        });
        work(queue, MOST_AT_ONCE, depth, |key| {
            let remover = Arc::clone(&remover);
            let leadership = leadership.clone();
            async move {
                match unless_leading(&leadership) {
                    Some(outcome) => outcome,
                    None => remover.check(&key).await,
                }
            }
        })
        .await;
    }
}

/// A pod whose gate was removed.
#[derive(Debug)]
struct Opened {
    uid: String,
    at: Instant,
    /// That of its first claim.
    dataset: Option<Arc<DatasetKey>>,
}

struct GateRemover {
    client: Client,
    pods: Arc<Pods>,
    view: Arc<View>,
    metrics: Metrics,
    events: Events,
    /// The pods whose gate was removed here, or that were woken up.
    opened: HashMap<PodKey, Opened>,
}

impl GateRemover {
    async fn check(&self, key: &PodKey) -> Outcome {
        let pod = self.pods.get(key);
        let Some(pod) = pod.filter(|pod| !pod.is_bound() && !pod.is_ending) else {
            let opened = self.opened.pin();
            let removed = opened.remove(key);
            let pod = self.pods.get(key).filter(|pod| pod.is_bound());
            if let Some((opened, pod)) = removed.zip(pod)
                && let Some(dataset) = &opened.dataset
                && opened.uid == pod.uid
            {
                self.metrics.writers.bound(dataset, opened.at.elapsed());
            }
            return Outcome::Done;
        };
        let claims = match Verdict::of(&pod.source, &key.namespace, &self.view) {
            Verdict::Granted(claims) => claims,
            #[cfg(test)]
            Verdict::Held { .. } if planted::is(Planted::OpensGatesEarly) => Vec::new(),
            Verdict::Held {
                phase: ClaimPhase::Denied | ClaimPhase::Expired,
                ..
            } => return self.refused(&pod).await,
            _ => return Outcome::Done,
        };
        // The watch may not have told of that yet, and no gate is ever added to a pod.
        if self
            .opened
            .pin()
            .get(key)
            .is_some_and(|opened| opened.uid == pod.uid)
        {
            return Outcome::Done;
        }
        let (patch, what) = match gate_removal(&pod) {
            Some(patch) => (Patch::Json::<Pod>(patch), "gate"),
            None if pod.was_woken => return Outcome::Done,
            None => (Patch::Merge(wake_up(&pod)), "wake-up"),
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let answer = api.patch_metadata(&key.name, &patch_params(), &patch).await;
        self.metrics.writers.count_write(what, &answer);
        match answer {
            Ok(_) => {
                info!(pod = %key, what, "a pod may be scheduled now");
                let claim = claims.first();
                if let Some(claim) = claim {
                    self.measure(claim);
                }
                let opened = Opened {
                    uid: pod.uid.clone(),
                    at: Instant::now(),
                    dataset: claim.map(|claim| Arc::clone(&claim.dataset)),
                };
                self.opened.pin().insert(key.clone(), opened);
                Outcome::Done
            }
            // The pod was deleted, or created again under its name, or its gates were changed. The watch reports it, and the
            // pod is checked again.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
                debug!(pod = %key, %status, "a pod changed before its gate was removed");
                Outcome::Done
            }
            Err(error) => {
                warn!(pod = %key, %error, what, "a pod's gate could not be removed");
                Outcome::Failed
            }
        }
    }

    /// Deletes a pod whose own claim was denied or expired, if its dataset says so.
    async fn refused(&self, pod: &ManagedPod) -> Outcome {
        let own = pod.own().filter(|(_, dataset)| {
            let dataset = self.view.dataset(dataset);
            dataset.is_some_and(|dataset| dataset.refused_pods == RefusedPods::Delete)
        });
        let Some(claim) = own.and_then(|(subject, _)| self.view.claim(&subject.id())) else {
            return Outcome::Done;
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.key.namespace);
        match api.delete(&pod.key.name, &params).await {
            Ok(_) => {
                let (why, reason) = (claim.message(), claim.phase.event_reason());
                info!(pod = %pod.key, why, "a pod is deleted, since its privacy budget is refused");
                let note = format!(
                    "pod {} is deleted, since its privacy budget is refused: {why}",
                    pod.key.name
                );
                for about in [Some(pod.object_ref()), pod.controller.clone()]
                    .into_iter()
                    .flatten()
                {
                    self.events.about_object(about, reason, true, &note);
                }
                Outcome::Done
            }
            // It was deleted, or created again under its name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Outcome::Done,
            Err(error) => {
                warn!(pod = %pod.key, %error, "a pod whose privacy budget is refused could not be deleted");
                Outcome::Failed
            }
        }
    }

    /// Measures how long ago a pod's claim was granted.
    fn measure(&self, claim: &ClaimView) {
        let Some(granted) = claim.decided() else {
            return;
        };
        let took = Duration::from_micros(clock::now().micros().saturating_sub(granted.micros()));
        self.metrics.writers.gate_removed(&claim.dataset, took);
    }
}

/// A change of exactly this pod that has no other purpose than to wake the scheduler up.
fn wake_up(pod: &ManagedPod) -> Pod {
    let mut patch = Pod::default();
    patch.metadata.uid = Some(pod.uid.clone());
    patch.metadata.annotations = Some([(ANNOTATION_WOKEN.to_owned(), rfc3339(clock::now()))].into());
    patch
}

/// Removes our gate from exactly this pod with exactly these gates; `None` if it doesn't have our gate.
fn gate_removal(pod: &ManagedPod) -> Option<JsonPatch> {
    let at = pod.gate?;
    let path = |path: String| PointerBuf::parse(path).ok();
    Some(JsonPatch(vec![
        PatchOperation::Test(TestOperation {
            path: path("/metadata/uid".to_owned())?,
            value: json!(pod.uid),
        }),
        PatchOperation::Test(TestOperation {
            path: path(format!("/spec/schedulingGates/{at}/name"))?,
            value: json!(GATE),
        }),
        PatchOperation::Remove(RemoveOperation {
            path: path(format!("/spec/schedulingGates/{at}"))?,
        }),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_gate_is_removed_and_only_from_this_pod() {
        let read = |object| ManagedPod::read(&serde_json::from_value(object).unwrap(), None);
        let pod = read(json!({
            "metadata": {"name": "train", "uid": "u1"},
            "spec": {"containers": [], "schedulingGates": [{"name": "other.example/gate"}, {"name": GATE}]},
        }));
        let patch = serde_json::to_value(gate_removal(&pod).unwrap()).unwrap();
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "test", "path": "/spec/schedulingGates/1/name", "value": GATE},
                {"op": "remove", "path": "/spec/schedulingGates/1"},
            ])
        );
        let free = read(json!({"metadata": {"uid": "u1"}, "spec": {"containers": []}}));
        assert!(gate_removal(&free).is_none());
    }
}
