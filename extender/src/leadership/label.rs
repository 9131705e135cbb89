//! The label of the leader's pod, by which the scheduler's Service finds it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch},
};
use privatekube_kubernetes::{patch_params, plain};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// The label's key.
const KEY: &str = "privatekube.dev/leader";
/// The pause after the label could not be written.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is looked at whether the leader's pod has the label, and no other.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a leader that ends waits until its pod has lost the label.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// The pod that this process runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Writes the label.
#[derive(Clone, Debug)]
pub struct Label {
    api: Api<Pod>,
    own: OwnPod,
}

impl Label {
    /// A writer of the label of the pod `own`.
    pub fn new(client: Client, own: OwnPod) -> Self {
        Self {
            api: Api::namespaced(client, &own.namespace),
            own,
        }
    }

    /// Keeps the label on this pod, and on no other, for ever. The pod of a leader that died has it still.
    pub async fn keep(&self) {
        let with_label = ListParams::default().labels(KEY);
        loop {
            let pause = match self.set(&with_label).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    warn!(
                        error = plain(&error),
                        pod = self.own.name,
                        "the leader's pod can't be labelled"
                    );
                    PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    async fn set(&self, with_label: &ListParams) -> Result<(), kube::Error> {
        let labelled = self.api.list_metadata(with_label).await?;
        let (own, others): (Vec<_>, Vec<_>) = labelled
            .into_iter()
            .map(|pod| pod.name_any())
            .partition(|name| *name == self.own.name);
        if own.is_empty() {
            self.write(&self.own.name, Some("true")).await?;
            info!(pod = self.own.name, "the scheduler's Service selects this pod");
        }
        for other in others {
            match self.write(&other, None).await {
                Ok(()) => info!(
                    pod = other,
                    "a pod that doesn't lead any more lost the leader's label"
                ),
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the label away from this pod.
    pub async fn remove(&self) {
        match timeout(LAST_WRITE, self.write(&self.own.name, None)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(
                error = plain(&error),
                "the next leader takes this pod's label away"
            ),
            Err(_) => warn!("the next leader takes this pod's label away"),
        }
    }

    async fn write(&self, pod: &str, value: Option<&str>) -> Result<(), kube::Error> {
        let patch = json!({"metadata": {"labels": {KEY: value}}});
        self.api
            .patch_metadata(pod, &patch_params(), &Patch::Merge(patch))
            .await
            .map(drop)
    }
}
