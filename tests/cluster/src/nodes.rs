//! The fake nodes: large, ready, and without the resource of privacy budget.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// The most nodes that are created at the same time.
const CONCURRENCY: usize = 16;

/// How often a node's lease is renewed, and how long it is valid. Less often than usual, so that many nodes cost little;
/// the controller of nodes is as patient.
const HEARTBEAT: Duration = Duration::from_secs(60);
const LEASE_SECONDS: u32 = 240;

/// The names of `count` nodes.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("node-{number}")).collect()
}

/// Registers the nodes and makes them ready.
///
/// `kubelet` is where their kubelet answers.
pub(crate) async fn register(client: &kube::Client, names: &[String], kubelet: SocketAddr) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    stream::iter(names)
        .map(|name| register_one(&nodes, name, kubelet))
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await
}

async fn register_one(nodes: &Api<Node>, name: &str, kubelet: SocketAddr) -> Result<()> {
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
    let status = json!({"status": status(name, kubelet)});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .with_context(|| format!("can't make {name} ready"))?;
    Ok(())
}

/// Renews the nodes' leases for ever, so that the controller of nodes takes them for alive.
pub(crate) async fn keep_alive(client: kube::Client, names: Vec<String>) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut beats = tokio::time::interval(HEARTBEAT);
    loop {
        beats.tick().await;
        stream::iter(names.clone())
            .map(|name| renew(leases.clone(), name))
            .buffer_unordered(CONCURRENCY)
            .for_each(|renewed| async {
                // The namespace comes a moment after the API server, and tests stop the API server.
                if let Err(error) = renewed {
                    tracing::debug!("can't renew a node's lease: {error}");
                }
            })
            .await;
    }
}

async fn renew(leases: Api<Lease>, name: String) -> kube::Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format!("{:.6}", jiff::Timestamp::now()),
        },
    });
    let manager = PatchParams::apply("privatekube-cluster").force();
    leases
        .patch(&name, &manager, &Patch::Apply(&lease))
        .await
        .map(drop)
}

fn status(name: &str, kubelet: SocketAddr) -> Value {
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
        "addresses": [
            {"type": "InternalIP", "address": kubelet.ip().to_string()},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
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
