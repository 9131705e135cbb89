//! A cluster is lost, and its ledgers are put back in another one.

use anyhow::{Context, Result, ensure};
use kube::Api;
use privatekube_api::{ClaimPhase, PrivateDataBlock};
use privatekube_e2e::{TestEnvironment, claim, eventually, manifests};
use privatekube_policy::Phase;

use super::{
    DATA, ensure_unbound, file, grant, prepare, put_back, requesting_pod, run_pod, wait_until_dataset,
};

/// A cluster in which two datasets were used, its exported ledgers, and their entries as JSON.
async fn lose_a_cluster(export: &str) -> Result<Vec<String>> {
    let mut env = TestEnvironment::start().await?;
    prepare(&env, &["taxi", "bikes"]).await?;
    run_pod(&env, "taxi", "ran", "1").await?;
    run_pod(&env, "bikes", "rode", "2").await?;
    grant(&env, "taxi", "granted", "3").await?;
    grant(&env, "bikes", "kept", "4").await?;
    env.create(claim("taxi", "waits").epsilon("8", "0").within(DATA))
        .await?;
    env.wait_for_claim_phase(DATA, "waits", ClaimPhase::Waiting)
        .await?;
    env.stop_extender().await?;
    env.cluster.extender_command(["export", export]).await?;
    let ledger = env.ledger(DATA, "taxi").await?;
    let entries = ledger.entries.iter().map(serde_json::to_string);
    let entries = entries.collect::<Result<_, _>>()?;
    env.cluster.stop().await?;
    Ok(entries)
}

#[tokio::test]
async fn a_lost_cluster_s_ledger_goes_on_in_another_one() -> Result<()> {
    let mut env = TestEnvironment::start_bare().await?;
    let export = file(&env, "export.jsonl")?;
    let before = lose_a_cluster(&export).await?;

    // Before the rest is installed, and with the administrator's own rights.
    let definitions = manifests().join("../crds");
    env.cluster.install(&definitions).await?;
    let refused = put_back(&env, &export, &["--complete"]).await.err();
    let refused = refused.context("restored without a namespace")?.to_string();
    ensure!(refused.contains("kubectl create namespace data"), "{refused}");
    env.namespace(DATA).await?;
    let complete = ["--complete", "--dataset", "data/taxi"];
    let dry = put_back(&env, &export, &[&complete[..], &["--dry-run"]].concat()).await?;
    ensure!(env.ledger(DATA, "taxi").await?.entries.is_empty());
    let report = put_back(&env, &export, &complete).await?;
    ensure!(dry == report, "{dry:?}\n{report:?}");
    ensure!(report[0]["entriesCreated"] == before.len(), "{report:?}");
    let granted = report[0]["settledClaims"][0].as_str().unwrap_or_default();
    ensure!(granted.starts_with("claim/data/granted/"), "{report:?}");

    env.cluster.install(&manifests()).await?;
    env.start_extender().await?;
    // 1 was consumed by the pod, and 3 were granted to a claim that is gone.
    env.wait_for_block_budget(DATA, "taxi-1", ("6", "0", "4")).await?;
    let ledger = env.ledger(DATA, "taxi").await?;
    for (entry, before) in ledger.entries.iter().zip(&before) {
        ensure!(serde_json::to_string(entry)? == *before);
    }
    ensure!(
        ledger.phase("ran") == Some(Phase::Consumed),
        "{:?}",
        ledger.phases()
    );
    ensure!(
        ledger.phase("granted") == Some(Phase::Consumed),
        "{:?}",
        ledger.phases()
    );
    env.create_all([requesting_pod("taxi", "greedy", "7")]).await?;
    env.wait_for_pod_claim_phase(DATA, "greedy", ClaimPhase::Denied)
        .await?;
    run_pod(&env, "taxi", "after", "5").await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("1", "0", "9")).await?;

    // The other one is put back while the extender runs, and as if later decisions were lost.
    let write_off = ["--write-off", "lost with the cluster", "--dataset", "data/bikes"];
    put_back(&env, &export, &write_off).await?;
    // What is granted stays so, or is withdrawn if the claim has lost its object, which returns nothing.
    let api: Api<PrivateDataBlock> = env.api(DATA);
    eventually("all budget is spent or granted", async || {
        let status = api.get("bikes-1").await?.status.unwrap_or_default();
        let amounts = [status.available, status.allocated, status.consumed];
        let epsilons = amounts.map(|amounts| amounts.unwrap_or_default().epsilon);
        let is_right = [["0", "4", "6"], ["0", "0", "10"]].contains(&epsilons.each_ref().map(String::as_str));
        Ok(if is_right {
            Ok(())
        } else {
            Err(format!("{epsilons:?}"))
        })
    })
    .await?;
    wait_until_dataset(&env, "bikes", "InLedger", "").await?;
    env.create_all([requesting_pod("bikes", "late", "1")]).await?;
    // No block is left that it could match.
    env.wait_for_pod_claim_phase(DATA, "late", ClaimPhase::Waiting)
        .await?;

    // Once more changes nothing, and no ledger is mixed with another one.
    let again = put_back(&env, &export, &complete).await?;
    ensure!(
        again[0]["entriesCreated"] == 0 && again[0]["settled"] == 0,
        "{again:?}"
    );
    // The next start withdraws the claim that has lost its object: that returns nothing.
    env.stop_extender().await?;
    env.start_extender().await?;
    env.wait_for_block_budget(DATA, "taxi-1", ("1", "0", "9")).await?;
    env.wait_for_block_budget(DATA, "bikes-1", ("0", "0", "10"))
        .await?;
    env.ledger(DATA, "taxi").await?;
    ensure_unbound(&env, "late").await
}

#[tokio::test]
async fn a_dataset_that_began_anew_is_not_mixed_with_its_old_ledger() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    let export = file(&env, "export.jsonl")?;
    lose_a_cluster(&export).await?;
    prepare(&env, &["taxi"]).await?;
    run_pod(&env, "taxi", "first", "1").await?;
    let refused = put_back(&env, &export, &["--complete", "--dataset", "data/taxi"])
        .await
        .err();
    let refused = refused.context("two ledgers were mixed")?.to_string();
    ensure!(refused.contains("a ledger of its own here"), "{refused}");
    env.stop_extender().await?;
    env.ledger(DATA, "taxi").await?;
    Ok(())
}
