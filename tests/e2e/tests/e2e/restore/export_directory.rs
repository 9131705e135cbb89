//! Ledgers are exported to a directory: what it has and the cluster lacks is noticed at a start, and put back from it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use privatekube_api::ClaimPhase;
use privatekube_cluster::ExtenderOptions;
use privatekube_e2e::{TestEnvironment, eventually, manifests};

use super::{
    DATA, ensure_unbound,
    etcd::{bind_pod, with_etcd_stopped},
    file, prepare, put_back, requesting_pod, run_pod, wait_until_dataset,
};

/// Starts an extender that exports to `root`.
async fn start_exporting(env: &mut TestEnvironment, root: &Path) -> Result<()> {
    let mut export = std::ffi::OsString::from("--export=");
    export.push(root);
    let options = ExtenderOptions {
        arguments: vec![export.into_string().ok().context("a path")?.into()],
        ..ExtenderOptions::default()
    };
    env.extender = Some(env.cluster.start_extender_with(&options).await?);
    Ok(())
}

/// Waits until all of a dataset's ledger is exported.
async fn wait_until_exported(env: &TestEnvironment) -> Result<()> {
    eventually("the ledger is exported", || async {
        let of =
            |metric: &str| format!("privatekube_ledger_{metric}{{dataset=\"taxi\",namespace=\"{DATA}\"}}");
        let last = env.extender_count(&of("sequence")).await?;
        let exported = env.extender_count(&of("exported_sequence")).await?;
        let is_behind = last == 0 || exported < last;
        Ok(if is_behind {
            Err(format!("{exported} of {last}"))
        } else {
            Ok(())
        })
    })
    .await
}

#[tokio::test]
async fn an_etcd_put_back_under_a_stopped_extender_is_noticed_and_a_lost_cluster_put_back_exactly()
-> Result<()> {
    let root = tempfile::tempdir()?;
    let directory = root.path().to_str().context("a path")?;
    let mut env = TestEnvironment::start_bare().await?;
    env.cluster.install(&manifests()).await?;
    start_exporting(&mut env, root.path()).await?;
    prepare(&env, &["taxi"]).await?;
    run_pod(&env, "taxi", "before", "1").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("9", "0", "1")).await?;
    env.stop_extender().await?;
    let (data, copy) = (file(&env, "etcd")?, file(&env, "etcd-copy")?);
    with_etcd_stopped(&env, ["copy", &data, &copy]).await?;
    start_exporting(&mut env, root.path()).await?;
    bind_pod(&env, "taxi", "after", "3").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;
    wait_until_exported(&env).await?;
    env.stop_extender().await?;

    // No process runs that could know, and all statuses go back with the entries.
    with_etcd_stopped(&env, ["put back", &copy, &data]).await?;
    start_exporting(&mut env, root.path()).await?;
    wait_until_dataset(&env, "taxi", "Stopped", "of its export in").await?;
    wait_until_dataset(&env, "taxi", "Stopped", "privatekube-extender restore").await?;
    // The old store has enough for it.
    env.create_all([requesting_pod("taxi", "greedy", "8")]).await?;
    ensure_unbound(&env, "greedy").await?;

    put_back(&env, directory, &["--complete"]).await?;
    wait_until_dataset(&env, "taxi", "InLedger", "").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;
    env.wait_for_pod_claim_phase(DATA, "greedy", ClaimPhase::Denied)
        .await?;
    wait_until_exported(&env).await?;
    env.stop_extender().await?;
    let before = env.ledger(DATA, "taxi").await?.entries;
    env.cluster.stop().await?;

    // All that is left is the directory.
    let mut other = TestEnvironment::start_bare().await?;
    other.cluster.install(&manifests().join("../crds")).await?;
    other.namespace(DATA).await?;
    let report = put_back(&other, directory, &["--complete"]).await?;
    ensure!(report[0]["entriesCreated"] == before.len(), "{report:?}");
    ensure!(report[0]["blocksCreated"] == 1, "{report:?}");
    let after = other.ledger(DATA, "taxi").await?.entries;
    ensure!(after == before, "{after:?}\n{before:?}");
    other.cluster.install(&manifests()).await?;
    start_exporting(&mut other, root.path()).await?;
    other
        .wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4"))
        .await?;
    run_pod(&other, "taxi", "goes-on", "6").await
}
