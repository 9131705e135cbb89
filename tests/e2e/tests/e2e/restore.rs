//! Ledgers are put back: in another cluster, after everything was removed, and after etcd went back. What was spent stays
//! spent.

mod etcd;
mod export_directory;
mod other_cluster;
mod removal;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::{ClaimPhase, PrivateDataset};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use serde_json::Value;

const DATA: &str = "data";

/// Creates datasets, each with a block of epsilon 10.
async fn prepare(env: &TestEnvironment, datasets: &[&str]) -> Result<()> {
    env.namespace(DATA).await?;
    for name in datasets {
        env.create_all([
            dataset(name).within(DATA),
            block(name, &format!("{name}-1")).within(DATA),
        ])
        .await?;
    }
    Ok(())
}

fn requesting_pod(dataset: &str, name: &str, epsilon: &str) -> Value {
    pod(name).requests(dataset, epsilon, "0").within(DATA)
}

/// Runs a pod that requests epsilon of a dataset.
async fn run_pod(env: &TestEnvironment, dataset: &str, name: &str, epsilon: &str) -> Result<()> {
    env.create_all([requesting_pod(dataset, name, epsilon)]).await?;
    env.wait_for_pod_phase(DATA, name, "Running").await.map(drop)
}

/// Creates a claim, and waits until it is granted.
async fn grant(env: &TestEnvironment, dataset: &str, name: &str, epsilon: &str) -> Result<()> {
    env.create(claim(dataset, name).epsilon(epsilon, "0").within(DATA))
        .await?;
    env.wait_for_claim_phase(DATA, name, ClaimPhase::Granted)
        .await
        .map(drop)
}

/// Waits until a dataset has a condition with this reason and message.
async fn wait_until_dataset(env: &TestEnvironment, name: &str, reason: &str, words: &str) -> Result<()> {
    let what = format!("{reason}, {words}");
    env.wait::<PrivateDataset>(DATA, name, &what, |dataset| {
        let status = dataset.and_then(|dataset| dataset.status.as_ref());
        let conditions = status.map(|status| &status.conditions);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition.reason == reason && condition.message.contains(words))
    })
    .await
    .map(drop)
}

/// Checks that a pod has no node.
async fn ensure_unbound(env: &TestEnvironment, name: &str) -> Result<()> {
    let pod: Pod = env.api(DATA).get(name).await?;
    let node = pod.spec.and_then(|spec| spec.node_name);
    ensure!(node.is_none(), "{name} is on {node:?}");
    Ok(())
}

/// A file beside the cluster's, which is removed with it.
fn file(env: &TestEnvironment, name: &str) -> Result<String> {
    let path = env.cluster.description().dir.join(name);
    path.to_str().map(str::to_owned).context("a path")
}

/// Runs `privatekube-extender restore` and returns what it reports of each dataset.
async fn put_back(env: &TestEnvironment, file: &str, options: &[&str]) -> Result<Vec<Value>> {
    let arguments = ["restore", file, "--output", "json"];
    let output = env
        .cluster
        .extender_command(arguments.iter().chain(options))
        .await?;
    let mut report: Value = serde_json::from_str(&output)?;
    let datasets = report["datasets"].take();
    datasets.as_array().cloned().context("no datasets")
}
