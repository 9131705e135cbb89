//! A load that has every case that is measured: claims in every phase, of several namespaces, pods, Renyi and Basic
//! composition, and a dataset that is stopped.

use anyhow::Result;
use futures::{future::try_join_all, try_join};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Patch, PatchParams};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataset};
use privatekube_e2e::{TestEnvironment, block, claim, create_with_retries, dataset, pod};
use serde_json::{Value, json};

/// The namespace of the datasets that work.
pub(super) const DATA: &str = "data";
/// The namespace whose dataset is stopped.
pub(super) const FROZEN: &str = "frozen";
const TEAMS: [&str; 2] = ["team-a", "team-b"];
const DELTA: &str = "1e-9";

/// The alerts that this load may bring about.
pub(super) const ALERTS: [&str; 4] = [
    "PrivateKubeDatasetStopped",
    // Seconds are no days: the rate of a few claims is that of thousands a day.
    "PrivateKubeBudgetSpentTooSoon",
    // A busy machine is slow.
    "PrivateKubeLedgerSlow",
    "PrivateKubeApiRequestsFail",
];

/// Runs it, and returns once everything is in its last phase.
pub(super) async fn run(env: &TestEnvironment) -> Result<()> {
    for namespace in [DATA, FROZEN].into_iter().chain(TEAMS) {
        env.namespace(namespace).await?;
    }
    try_join!(basic(env), renyi(env), frozen(env))?;
    Ok(())
}

async fn granted(env: &TestEnvironment, namespace: &str, name: &str) -> Result<()> {
    env.wait_for_claim_phase(namespace, name, ClaimPhase::Granted)
        .await
        .map(drop)
}

async fn use_all(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    what: &str,
    phase: ClaimPhase,
) -> Result<()> {
    granted(env, namespace, name).await?;
    env.change::<PrivacyBudgetClaim>(namespace, name, json!({"spec": {what: {"all": true}}}))
        .await?;
    env.wait_for_claim_phase(namespace, name, phase).await.map(drop)
}

/// Basic composition under DPF, unlocked by ten arrivals, with claims in every phase.
async fn basic(env: &TestEnvironment) -> Result<()> {
    let rules = dataset("taxi")
        .arrivals(10)
        .open_to_all(0)
        .with("weights", json!([{"namespace": "team-b", "weight": 2}]))
        .within(DATA);
    env.create(rules).await?;
    env.create_all((1..=3).map(|day| block("taxi", &format!("day-{day}")).within(DATA)))
        .await?;
    let [first, second] = TEAMS;
    let request = |name: &str, epsilon: &str| claim("data/taxi", name).on("day-1", epsilon, DELTA);
    env.create_all([
        request("consumed", "0.5").within(first),
        request("released", "0.5").within(second),
        request("granted", "0.25").within(second),
        request("denied", "100").within(first),
    ])
    .await?;
    env.wait_for_claim_phase(first, "denied", ClaimPhase::Denied)
        .await?;
    try_join!(
        use_all(env, first, "consumed", "consume", ClaimPhase::Consumed),
        use_all(env, second, "released", "release", ClaimPhase::Released),
        granted(env, second, "granted"),
    )?;
    env.create_all([
        request("waiting", "9").within(first),
        request("withdrawn", "9").within(second),
        request("expired", "9")
            .with("timeout", json!("1s"))
            .within(second),
    ])
    .await?;
    try_join!(
        env.wait_for_claim_phase(first, "waiting", ClaimPhase::Waiting),
        env.wait_for_claim_phase(second, "withdrawn", ClaimPhase::Waiting),
        env.wait_for_claim_phase(second, "expired", ClaimPhase::Expired),
    )?;
    env.delete::<PrivacyBudgetClaim>(second, "withdrawn").await?;
    // A pod of another namespace, which waits.
    env.create(pod("waits").requests("data/taxi", "9", DELTA).within(first))
        .await?;
    env.wait_for_pod_claim_phase(first, "waits", ClaimPhase::Waiting)
        .await?;
    Ok(())
}

/// Renyi composition, unlocked at once, with pods that run.
async fn renyi(env: &TestEnvironment) -> Result<()> {
    env.create(dataset("books").renyi(&["2", "4", "8"]).within(DATA))
        .await?;
    let capacity = [("2", "4"), ("4", "8"), ("8", "12")];
    env.create_all(["fiction", "poetry"].map(|name| block("books", name).curve(&capacity).within(DATA)))
        .await?;
    let request = |name: &str| {
        pod(name)
            .annotation("dataset", "books")
            .annotation("mechanism", "gaussian(sigma=2)")
            .within(DATA)
    };
    env.create_all([request("runs-1"), request("runs-2")]).await?;
    try_join_all(["runs-1", "runs-2"].map(|name| env.wait_for_pod_phase(DATA, name, "Running"))).await?;
    Ok(())
}

/// Goes on without end: pods run, and claims are granted, consumed, released and denied.
pub(super) async fn go_on(env: &TestEnvironment) -> Result<()> {
    let [first, second] = TEAMS;
    for round in 0.. {
        let name = format!("later-{round}");
        let small = |name: &str| claim("data/taxi", name).on("day-2", "0.001", DELTA);
        let denied = format!("denied-{round}");
        env.create_all([
            pod(&name)
                .annotation("dataset", "books")
                .annotation("mechanism", "gaussian(sigma=200)")
                .within(DATA),
            small(&name).within(first),
            small(&name).within(second),
            claim("data/taxi", &denied)
                .on("day-2", "100", DELTA)
                .within(first),
        ])
        .await?;
        let runs = async { env.wait_for_pod_phase(DATA, &name, "Running").await.map(drop) };
        try_join!(
            runs,
            use_all(env, first, &name, "consume", ClaimPhase::Consumed),
            use_all(env, second, &name, "release", ClaimPhase::Released),
        )?;
    }
    Ok(())
}

/// A dataset that is stopped: a quota keeps its ledger from growing.
async fn frozen(env: &TestEnvironment) -> Result<()> {
    env.create(dataset("ice").within(FROZEN)).await?;
    env.create(block("ice", "core").within(FROZEN)).await?;
    env.wait_for_block_budget(FROZEN, "core", ("10", "0", "0"))
        .await?;
    let hard = json!({"count/privacyledgerentries.privatekube.dev": "0"});
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more-entries", "namespace": FROZEN},
        "spec": {"hard": hard},
    });
    env.create(quota).await?;
    // The quota's controller begins to count a custom resource only after a while.
    let counted =
        json!({"status": {"hard": hard, "used": {"count/privacyledgerentries.privatekube.dev": "1"}}});
    env.api::<ResourceQuota>(FROZEN)
        .patch_status("no-more-entries", &PatchParams::default(), &Patch::Merge(counted))
        .await?;
    create_with_retries(
        &env.client,
        claim("ice", "late").epsilon("1", DELTA).within(FROZEN),
    )
    .await?;
    env.wait(FROZEN, "ice", "stopped", |dataset: Option<&PrivateDataset>| {
        let status = dataset.and_then(|dataset| serde_json::to_value(dataset.status.as_ref()?).ok());
        status.is_some_and(|status| is_stopped(&status))
    })
    .await
    .map(drop)
}

fn is_stopped(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["reason"] == "Stopped")
}
