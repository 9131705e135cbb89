//! What the extender's tests share: handles to an in-process API server, and builders of objects in one dataset.

use std::sync::Arc;

use privatekube_api::{DatasetKey, ManagedPod, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset};
use privatekube_fake_api_server::FakeApiServer;
use privatekube_policy::{Composition, DatasetRules, Policy, Revision, Unlocking};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    bookkeeper::CheckpointSettings,
    handles::{Handles, MeasuredBlocks},
    metrics::Metrics,
    writers::{Events, Gates, QueuedEvent, Statuses},
};

pub const NAMESPACE: &str = "data";
pub const DATASET: &str = "taxi";
pub const BLOCKS: &str = "privatedatablocks";
pub const CLAIMS: &str = "privacybudgetclaims";
pub const DATASETS: &str = "privatedatasets";
pub const ENTRIES: &str = "privacyledgerentries";

/// Handles to `server`, and the queue of Events. Statuses and gates are queued for nobody.
pub fn handles(server: &FakeApiServer) -> (Handles, mpsc::Receiver<QueuedEvent>) {
    let metrics = Metrics::new().unwrap();
    let (events, queue) = Events::new(metrics.clone());
    let handles = Handles {
        client: server.client(),
        view: Arc::default(),
        server_clock: Arc::default(),
        pods: Arc::default(),
        known_blocks: Arc::default(),
        decisions: Arc::new(crate::status_page::Decisions::kept()),
        bookkeepers: tokio::runtime::Handle::current(),
        statuses: Statuses::new().0,
        gates: Gates::new().0,
        events,
        requeue: mpsc::unbounded_channel().0,
        leadership: crate::leadership::Leadership::alone(),
        metrics,
        defaults: Some(DatasetRules {
            policy: Policy::Dpf,
            unlocking: Unlocking::Immediate,
            composition: Composition::Basic,
            revision: Revision::CURRENT,
        }),
        writer: "test".into(),
        entry_version: privatekube_ledger::ENTRY_VERSION,
        measured: MeasuredBlocks {
            most_blocks: 10,
            orders: false,
        },
        checkpoints: CheckpointSettings::default(),
        export: None,
    };
    (handles, queue)
}

pub fn key() -> DatasetKey {
    DatasetKey {
        namespace: NAMESPACE.into(),
        name: DATASET.into(),
    }
}

/// A block with epsilon 10, if that is its `budget`.
pub fn block(name: &str, uid: &str, budget: Option<&str>) -> Arc<PrivateDataBlock> {
    let budget = budget.map(|epsilon| json!({"epsilon": epsilon, "delta": "0"}));
    let object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataBlock",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": uid},
        "spec": {"dataset": DATASET, "initialBudget": budget},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

/// The dataset's object: DPF, Basic, everything unlocked at once, but for what `spec` says.
pub fn dataset(uid: &str, generation: i64, spec: &Value) -> Arc<PrivateDataset> {
    let mut object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataset",
        "metadata": {"namespace": NAMESPACE, "name": DATASET, "uid": uid, "generation": generation},
        "spec": {"policy": "DPF", "unlocking": {"immediate": true}, "composition": "Basic"},
    });
    let spec = spec.as_object().unwrap().clone();
    object["spec"].as_object_mut().unwrap().extend(spec);
    Arc::new(serde_json::from_value(object).unwrap())
}

/// A claim object on every block, with more in its spec.
pub fn claim_object(name: &str, spec: &Value) -> PrivacyBudgetClaim {
    let mut object = json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivacyBudgetClaim",
        "metadata": {"namespace": NAMESPACE, "name": name, "uid": name},
        "spec": {"dataset": DATASET},
    });
    let spec = spec.as_object().unwrap().clone();
    object["spec"].as_object_mut().unwrap().extend(spec);
    serde_json::from_value(object).unwrap()
}

/// The name of a claim object at which its bookkeeper panics.
pub const PANICS: &str = "panics";

/// A budget of so much epsilon.
pub fn epsilon(epsilon: &str) -> Value {
    json!({"epsilon": epsilon, "delta": "0"})
}

/// A managed pod with a gate that requests epsilon 1 of every block.
pub fn pod_object(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": name,
            "labels": {"privatekube.dev/managed": "true"},
            "annotations": {
                "privatekube.dev/dataset": DATASET,
                "privatekube.dev/epsilon": "1",
                "privatekube.dev/delta": "0",
                "privatekube.dev/blocks": "all",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "train:1"}],
            "schedulingGates": [{"name": "privatekube.dev/budget"}],
        },
    })
}

/// The same pod, read.
pub fn managed_pod(name: &str) -> ManagedPod {
    ManagedPod::read(&serde_json::from_value(pod_object(name)).unwrap(), None)
}
