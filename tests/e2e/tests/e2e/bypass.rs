//! Attempts to bypass the budget, by a user of the namespace and, where that makes sense, by the
//! administrator. All fail.

mod bindings;
mod extender;
mod installation;
mod objects;
mod pods;

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use privatekube_api::ClaimPhase;
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, block, claim, dataset};
use serde_json::{Value, json};

const DELTA: &str = "1e-9";
const RESOURCE: &str = "privatekube.dev/privacy-budget";

/// Creates a namespace with a dataset whose one block has epsilon 10, all of it available.
async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").within(namespace),
        block("taxi", "b1").within(namespace),
    ])
    .await
}

/// Creates a claim that is granted 9 of the block's 10, so that a pod that requests more than 1 waits.
async fn allocate_nine(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.create(claim("taxi", "holder").epsilon("9", DELTA).within(namespace))
        .await?;
    env.wait_for_claim_phase(namespace, "holder", ClaimPhase::Granted)
        .await?;
    Ok(())
}

/// Clients of a user of the namespace and of the administrator.
async fn users(env: &TestEnvironment) -> Result<[(User, Client); 2]> {
    Ok([
        (User::Tenant, env.client_as(User::Tenant).await?),
        (User::Admin, env.client.clone()),
    ])
}

fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

/// Removes a pod's first scheduling gate, as every user who may update the pod can.
async fn remove_gate(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let patch: json_patch::Patch = serde_json::from_value(json!([
        {"op": "test", "path": "/spec/schedulingGates", "value": [{"name": "privatekube.dev/budget"}]},
        {"op": "remove", "path": "/spec/schedulingGates/0"},
    ]))?;
    pods(client, namespace)
        .patch(name, &PatchParams::default(), &Patch::Json::<Pod>(patch))
        .await?;
    Ok(())
}

/// A Binding, as a scheduler creates it.
fn binding(namespace: &str, pod: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod, "namespace": namespace},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

/// Creates the Binding at the pod's subresource `binding`.
async fn bind(client: &Client, binding: &Value) -> Result<Value, kube::Error> {
    let text = |field: &str| binding["metadata"][field].as_str().unwrap_or_default();
    pods(client, text("namespace"))
        .create_subresource("binding", text("name"), &PostParams::default(), binding)
        .await
}
