//! What the controllers make of what happens to objects.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use privatekube_api::{ClaimPhase, ManagedPod};
use privatekube_policy::ClaimId;
use serde_json::json;
use tokio::sync::oneshot;

use super::{follow::Follower, pods::ManagedPods};
use crate::{
    bookkeeper::{
        Message,
        tests::{ApiServer, BLOCKS, NAMESPACE, block, handles, key},
    },
    registry::Registry,
};

/// Runs `what` with bookkeepers that work.
async fn with_bookkeepers(registry: &Registry, what: impl Future<Output = ()>) {
    tokio::select! {
        ended = registry.run() => panic!("a bookkeeper ended: {ended:?}"),
        () = what => {}
    }
}

/// A pod that asks for epsilon 1 of every block.
fn pod(name: &str) -> Pod {
    let object = json!({
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": name,
            "annotations": {"privatekube.dev/dataset": key().name, "privatekube.dev/epsilon": "1", "privatekube.dev/delta": "0"},
        },
        "spec": {"containers": []},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn what_is_being_spent_for_a_pod_that_goes_without_a_node_returns() {
    let server = ApiServer::default();
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    let registry = Arc::new(Registry::new(handles(&server).0));
    let phase = |id: &ClaimId| registry.handles().view.claim(id).map(|claim| claim.phase);
    with_bookkeepers(&registry, async {
        let mut pods = ManagedPods::new(Arc::clone(&registry));
        let pod = pod("train");
        let id = ManagedPod::read(&pod, None).own().unwrap().0.id();
        pods.applied(pod.clone());
        registry.flush().await;
        assert_eq!(phase(&id), Some(ClaimPhase::Granted));
        // On one thread, nobody works on a message before this task waits.
        let (reply, spent) = oneshot::channel();
        let claim = id.clone();
        registry.send(&key(), Message::Consume { claim, reply });
        pods.deleted(pod, true);
        assert_eq!(phase(&id), Some(ClaimPhase::Granted));
        assert_eq!(spent.await.unwrap(), Ok(()));
        // The API server is asked whether the pod is gone; that takes some turns, of which each makes a flush.
        for _ in 0..1000 {
            registry.flush().await;
            if phase(&id) == Some(ClaimPhase::Released) {
                return;
            }
        }
        panic!("it stays spent: {:?}", phase(&id));
    })
    .await;
}
