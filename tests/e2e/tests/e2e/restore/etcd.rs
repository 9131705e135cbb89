//! etcd is put back under a running extender.

use std::process::Command;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use privatekube_api::{ClaimPhase, PrivateDataset};
use privatekube_cluster::Part;
use privatekube_e2e::TestEnvironment;
use serde_json::json;

use super::{
    DATA, ensure_unbound, file, grant, prepare, put_back, requesting_pod, run_pod, wait_until_dataset,
};

/// Stops the scheduler, the API server and etcd, as whoever restores etcd has to, copies etcd's files, and starts all again.
/// An extender that runs goes on running.
pub(super) async fn with_etcd_stopped(env: &TestEnvironment, change: [&str; 3]) -> Result<()> {
    env.cluster.stop_scheduler().await?;
    env.cluster.stop_part(Part::KubeApiserver).await?;
    env.cluster.stop_part(Part::Etcd).await?;
    let changed = Command::new("bash")
        .args(["-euc", "rm -rf \"$2\"; cp -a \"$1\" \"$2\"", "copy"])
        .args(&change[1..])
        .status()?;
    ensure!(changed.success(), "{}: {changed}", change[0]);
    env.cluster.start_part(Part::Etcd).await?;
    env.cluster.start_part(Part::KubeApiserver).await?;
    env.cluster.start_scheduler(true).await
}

/// Creates a pod that requests epsilon of a dataset, and waits until it has a node. The nodes' kubelets may not see it, since
/// their watches went on from a version that the old store doesn't have.
pub(super) async fn bind_pod(env: &TestEnvironment, dataset: &str, name: &str, epsilon: &str) -> Result<()> {
    env.create_all([requesting_pod(dataset, name, epsilon)]).await?;
    env.wait(DATA, name, "bound", |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_ref())
            .is_some()
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn an_etcd_that_was_put_back_stops_the_datasets_that_went_on_and_no_other() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, &["taxi", "bikes", "idle"]).await?;
    for name in ["taxi", "bikes", "idle"] {
        run_pod(&env, name, &format!("{name}-before"), "1").await?;
        env.wait_for_block_budget(DATA, &format!("{name}-1"), ("9", "0", "1"))
            .await?;
    }
    let (data, copy) = (file(&env, "etcd")?, file(&env, "etcd-copy")?);
    with_etcd_stopped(&env, ["copy", &data, &copy]).await?;
    for name in ["taxi", "bikes"] {
        run_pod(&env, name, &format!("{name}-after"), "3").await?;
        env.wait_for_block_budget(DATA, &format!("{name}-1"), ("6", "0", "4"))
            .await?;
    }
    grant(&env, "taxi", "granted", "2").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("4", "2", "4")).await?;
    let export = file(&env, "export.jsonl")?;
    env.cluster.extender_command(["export", &export]).await?;

    with_etcd_stopped(&env, ["put back", &copy, &data]).await?;
    for name in ["taxi", "bikes"] {
        wait_until_dataset(&env, name, "Stopped", "put the entries of namespace data back").await?;
        let event = env.wait_for_event(DATA, name, "DatasetStopped").await?;
        ensure!(event.contains("was deleted"), "{event}");
        // The old store has enough for it.
        env.create_all([requesting_pod(name, &format!("{name}-greedy"), "8")])
            .await?;
    }
    // A dataset that had not gone on goes on.
    bind_pod(&env, "idle", "idle-after", "1").await?;
    for name in ["taxi", "bikes"] {
        wait_until_dataset(&env, name, "Stopped", "").await?;
        ensure_unbound(&env, &format!("{name}-greedy")).await?;
    }

    // The entries are put back. The claim that lost its object counts as consumed.
    let report = put_back(&env, &export, &["--complete", "--dataset", "data/taxi"]).await?;
    ensure!(report[0]["settled"] == 1, "{report:?}");
    wait_until_dataset(&env, "taxi", "InLedger", "").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("4", "0", "6")).await?;
    env.wait_for_pod_claim_phase(DATA, "taxi-greedy", ClaimPhase::Denied)
        .await?;
    bind_pod(&env, "taxi", "taxi-small", "4").await?;

    // The other one goes on by the owner's word.
    let ledger = env.ledger(DATA, "bikes").await?;
    let recovery = json!({"writeOffAfter": ledger.entries.len(), "reason": "etcd was put back"});
    env.change::<PrivateDataset>(DATA, "bikes", json!({"spec": {"recovery": recovery}}))
        .await?;
    env.wait_for_block_budget(DATA, "bikes-1", ("0", "0", "10"))
        .await?;
    // No block is left that it could match.
    env.wait_for_pod_claim_phase(DATA, "bikes-greedy", ClaimPhase::Waiting)
        .await?;
    ensure_unbound(&env, "bikes-greedy").await?;
    for name in ["taxi", "bikes", "idle"] {
        env.ledger(DATA, name).await?;
    }
    Ok(())
}
