//! Opens the way for pods whose claims are granted: removes their scheduling gate, which makes the scheduler take
//! them at once. A pod whose gate somebody removed before is touched instead, which makes the scheduler try it again.

use std::{sync::Arc, time::Duration};

use json_patch::{Patch as JsonPatch, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use papaya::HashMap;
use privatekube_api::GATE;
use serde_json::json;
use tracing::{debug, info, warn};

use super::keyed::{Done, Marked, Marker, keyed, work};
use crate::{
    clock,
    metrics::Metrics,
    pods::{PodKey, Pods},
    verdict::Verdict,
    view::View,
};

/// Gates that are removed at the same time.
const MOST_AT_ONCE: usize = 16;
/// On a pod that had no gate any more when it was granted; its only purpose is to be a change.
const ANNOTATION_TOUCHED: &str = "extender.privatekube.dev/granted-at";

/// Opens the way for pods.
#[derive(Clone, Debug)]
pub struct Gates(Marker<PodKey>);

impl Gates {
    /// The gates, and the pods to look at.
    pub fn new() -> (Self, Marked<PodKey>) {
        let (marker, marks) = keyed();
        (Self(marker), marks)
    }

    /// Looks whether the pod may run now, and lets it.
    pub fn look(&self, pod: PodKey) {
        self.0.mark(pod);
    }

    /// Works until all of [`Gates`] are gone.
    pub async fn run(
        client: Client,
        pods: Arc<Pods>,
        view: Arc<View>,
        metrics: Metrics,
        marks: Marked<PodKey>,
    ) {
        let keeper = Arc::new(Keeper {
            client,
            pods,
            view,
            metrics,
            opened: HashMap::new(),
        });
        work(marks, MOST_AT_ONCE, |key| {
            let keeper = Arc::clone(&keeper);
            async move { open(&keeper, &key).await }
        })
        .await;
    }
}

struct Keeper {
    client: Client,
    pods: Arc<Pods>,
    view: Arc<View>,
    metrics: Metrics,
    /// The pods whose gate was removed here, by UID: they need no other wake-up.
    opened: HashMap<PodKey, String>,
}

async fn open(keeper: &Keeper, key: &PodKey) -> Done {
    let Keeper {
        client,
        pods,
        view,
        metrics,
        opened,
    } = keeper;
    let Some(pod) = pods.get(key) else {
        opened.pin().remove(key);
        return Done::Well;
    };
    if is_placed(&pod) || pod.metadata.deletion_timestamp.is_some() {
        opened.pin().remove(key);
        return Done::Well;
    }
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let Verdict::Granted(claims) = Verdict::of(&pod, view) else {
        return Done::Well;
    };
    let api: Api<Pod> = Api::namespaced(client.clone(), &key.0);
    let (patch, what) = match gate_removal(&pod) {
        Some(patch) => (Patch::Json::<Pod>(patch), "gate"),
        None if is_touched(&pod) || opened.pin().get(key) == Some(&uid) => return Done::Well,
        None => {
            let touch = json!({"metadata": {
                "uid": pod.metadata.uid,
                "annotations": {ANNOTATION_TOUCHED: clock::display(clock::now())},
            }});
            match serde_json::from_value(touch) {
                Ok(touch) => (Patch::Merge(touch), "wake-up"),
                Err(_) => return Done::Well,
            }
        }
    };
    let answer = api.patch_metadata(&key.1, &PatchParams::default(), &patch).await;
    metrics.count_write(what, &answer);
    match answer {
        Ok(_) => {
            opened.pin().insert(key.clone(), uid);
            info!(pod = %format!("{}/{}", key.0, key.1), what, "the way is open for a pod");
            if let Some(claim) = claims.first().and_then(|(id, _)| view.claim(id)) {
                let since = claim.status.decided_at.as_ref().map(|at| at.0);
                let took = since.and_then(|at| Duration::try_from(jiff::Timestamp::now() - at).ok());
                if let Some(took) = took {
                    let labels = [claim.dataset.namespace.as_str(), claim.dataset.name.as_str()];
                    metrics
                        .gate_seconds
                        .with_label_values(&labels)
                        .observe(took.as_secs_f64());
                }
            }
            Done::Well
        }
        // Gone, made again under its name, or its gates were changed: the watch tells, and the pod is looked at
        // again.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
            debug!(pod = %format!("{}/{}", key.0, key.1), %status, "a pod changed before its gate was removed");
            Done::Well
        }
        Err(error) => {
            warn!(pod = %format!("{}/{}", key.0, key.1), %error, what, "could not open the way for a pod");
            Done::Failed
        }
    }
}

/// Whether a pod has a node.
pub fn is_placed(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .is_some_and(|node| !node.is_empty())
}

fn is_touched(pod: &Pod) -> bool {
    pod.metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(ANNOTATION_TOUCHED))
}

/// Removes our gate from exactly this pod with exactly these gates; none if it has none of ours.
fn gate_removal(pod: &Pod) -> Option<JsonPatch> {
    let gates = pod.spec.as_ref()?.scheduling_gates.as_ref()?;
    let at = gates.iter().position(|gate| gate.name == GATE)?;
    let path = |path: String| PointerBuf::parse(path).ok();
    Some(JsonPatch(vec![
        PatchOperation::Test(TestOperation {
            path: path("/metadata/uid".to_owned())?,
            value: json!(pod.metadata.uid.as_deref()?),
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
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "train", "uid": "u1"},
            "spec": {"containers": [], "schedulingGates": [{"name": "other.example/gate"}, {"name": GATE}]},
        }))
        .unwrap();
        let patch = serde_json::to_value(gate_removal(&pod).unwrap()).unwrap();
        assert_eq!(
            patch,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "test", "path": "/spec/schedulingGates/1/name", "value": GATE},
                {"op": "remove", "path": "/spec/schedulingGates/1"},
            ])
        );
        let free: Pod =
            serde_json::from_value(json!({"metadata": {"uid": "u1"}, "spec": {"containers": []}})).unwrap();
        assert!(gate_removal(&free).is_none());
    }
}
