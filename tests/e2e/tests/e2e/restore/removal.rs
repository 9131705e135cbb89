//! PrivateKube is removed, and installed again.

use anyhow::{Context, Result, ensure};
use privatekube_api::ClaimPhase;
use privatekube_e2e::{TestEnvironment, block, dataset, manifests};

use super::{DATA, file, prepare, put_back, requesting_pod, run_pod};

#[tokio::test]
async fn removal_keeps_the_ledger_unless_its_definitions_are_deleted_too() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    let all = manifests().join("..");
    let (all, crds) = (all.clone(), all.join("crds"));
    let [all, crds] = [&all, &crds].map(|folder| folder.to_str().context("a path"));
    let (all, crds) = (all?, crds?);
    prepare(&env, &["taxi"]).await?;
    run_pod(&env, "taxi", "ran", "4").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;
    env.stop_extender().await?;
    let export = file(&env, "export.jsonl")?;
    env.cluster.extender_command(["export", &export]).await?;

    let delete = |folder: &str| ["delete", "--ignore-not-found", "-k", folder].map(str::to_owned);
    env.cluster.kubectl(delete(all)).await?;
    let ledger = env.ledger(DATA, "taxi").await?;
    ensure!(!ledger.entries.is_empty(), "the ledger is gone");
    env.cluster.install(&manifests()).await?;
    env.start_extender().await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;

    // Everything is removed, and applied again: the ledger is gone, and a pod runs that it granted.
    env.stop_extender().await?;
    env.cluster.kubectl(delete(all)).await?;
    env.cluster.kubectl(delete(crds)).await?;
    env.cluster.install(&manifests()).await?;
    env.start_extender().await?;
    let note = env.wait_for_event(DATA, "ran", "BudgetUnknown").await?;
    ensure!(note.contains("privatekube-extender restore"), "{note}");

    // Its blocks are applied before the ledger is put back, while no extender is there to begin another one.
    env.stop_extender().await?;
    env.cluster
        .kubectl(["delete", "validatingwebhookconfiguration", "privatekube-extender"])
        .await?;
    env.create_all([dataset("taxi").within(DATA), block("taxi", "taxi-1").within(DATA)])
        .await?;
    let report = put_back(&env, &export, &["--complete"]).await?;
    ensure!(
        report[0]["blocksPresent"] == 1 && report[0]["settled"] == 0,
        "{report:?}"
    );
    env.cluster.install(&manifests()).await?;
    env.start_extender().await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;
    env.wait_for_pod_claim_phase(DATA, "ran", ClaimPhase::Consumed)
        .await?;
    env.create_all([requesting_pod("taxi", "greedy", "7")]).await?;
    env.wait_for_pod_claim_phase(DATA, "greedy", ClaimPhase::Denied)
        .await?;
    run_pod(&env, "taxi", "after", "6").await
}
