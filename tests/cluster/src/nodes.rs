//! The fake nodes: large, ready, and without the resource of privacy budget.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The most nodes that are created at the same time.
const CONCURRENCY: usize = 16;

/// The names of `count` nodes.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("node-{number}")).collect()
}

/// Registers the nodes and makes them ready.
pub(crate) async fn register(client: &kube::Client, names: &[String]) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    stream::iter(names)
        .map(|name| register_one(&nodes, name))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await
}

async fn register_one(nodes: &Api<Node>, name: &str) -> Result<()> {
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
    });
    let manager = PatchParams::apply("privatekube-cluster").force();
    nodes
        .patch(name, &manager, &Patch::Apply(&node))
        .await
        .with_context(|| format!("can't create {name}"))?;
    let status = json!({"status": status()});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .with_context(|| format!("can't make {name} ready"))?;
    Ok(())
}

fn status() -> Value {
    let now = jiff::Timestamp::now().to_string();
    // Large enough that pods never wait for these.
    let capacity = json!({"cpu": "1000", "memory": "1000Gi", "ephemeral-storage": "1000Gi", "pods": "10000"});
    json!({
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "the fake kubelet is ready",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }],
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "kubeletVersion": "fake",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "fake://1",
            "kernelVersion": "",
            "osImage": "",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    })
}
