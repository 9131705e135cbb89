//! Policies with weights of namespaces.

use anyhow::{Context, Result, ensure};
use privatekube_api::{ClaimPhase, PrivateDataset};
use privatekube_e2e::{DatasetBuilder, TestEnvironment, VerifiedLedger, block, claim, dataset, pod};
use serde_json::{Value, json};

use super::{DELTA, wait_for_claim};

fn weights(weights: &[(&str, u32)]) -> Value {
    let weight = |(namespace, weight): &(&str, u32)| json!({"namespace": namespace, "weight": weight});
    weights.iter().map(weight).collect()
}

/// Creates the namespace `data` with a dataset and its block with epsilon 4, and the namespaces of two teams.
async fn prepare(env: &TestEnvironment, taxi: DatasetBuilder, data: &str, teams: [&str; 2]) -> Result<()> {
    for namespace in [data, teams[0], teams[1]] {
        env.namespace(namespace).await?;
    }
    let portion = block("taxi", "b").budget("4", "1e-6");
    env.create_all([taxi.open_to_all(0).within(data), portion.within(data)])
        .await
}

/// A claim's weight in the ledger.
fn weight(ledger: &VerifiedLedger, name: &str) -> Result<u32> {
    let engine = ledger.replay.engine().context("no engine")?;
    let id = engine
        .claims()
        .find(|id| id.as_str().split('/').nth(2) == Some(name));
    let claim = engine.claim(id.context("no claim")?).context("no claim")?;
    Ok(claim.arrival.weight.get())
}

/// Under DPF, the larger claim is granted first if its namespace weighs enough.
pub(super) async fn heavier_claims_are_granted_first(env: &TestEnvironment) -> Result<()> {
    let (data, heavy, light) = ("weighed", "heavy", "light");
    let taxi = dataset("taxi")
        .arrivals(4)
        .with("weights", weights(&[(heavy, 2)]));
    prepare(env, taxi, data, [heavy, light]).await?;
    let request = claim("weighed/taxi", "of-light").epsilon("2.25", DELTA);
    env.create(request.within(light)).await?;
    env.wait_for_claim_phase(light, "of-light", ClaimPhase::Waiting)
        .await?;
    env.create(
        pod("of-heavy")
            .requests("weighed/taxi", "2.5", DELTA)
            .within(heavy),
    )
    .await?;
    let own = env
        .wait_for_pod_claim_phase(heavy, "of-heavy", ClaimPhase::Waiting)
        .await?;
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let ahead = "; one waiting claim goes before it";
    let of_light = wait_for_claim(env, light, "of-light", too_little, ahead).await?;
    let shown = |claim: privatekube_api::PrivacyBudgetClaim| claim.status.and_then(|status| status.weight);
    ensure!(shown(own) == Some(2) && shown(of_light) == Some(1));

    env.create(claim("taxi", "last").epsilon("0.1", DELTA).within(data))
        .await?;
    env.wait_for_pod_phase(heavy, "of-heavy", "Running").await?;
    let too_large = (ClaimPhase::Denied, "TooLarge");
    wait_for_claim(
        env,
        light,
        "of-light",
        too_large,
        "can never give the 2.25 epsilon",
    )
    .await?;
    let ledger = env.ledger(data, "taxi").await?;
    ensure!(ledger.grant_order() == ["last", "of-heavy"]);
    let wide = env
        .cluster
        .kubectl(["get", "pbc", "-n", heavy, "-o", "wide"])
        .await?;
    let at = |line: &str| line.find("WEIGHT");
    let mut lines = wide.lines();
    let column = lines.next().and_then(at).context("no column WEIGHT")?;
    let row = lines.next().and_then(|row| row.get(column..)).unwrap_or_default();
    ensure!(row.starts_with("2 "), "{wide}");
    Ok(())
}

/// Weights are not a part of the rules. They may change, and count for claims that arrive later.
pub(super) async fn weights_count_for_what_arrives_later(env: &TestEnvironment) -> Result<()> {
    let (data, one, two) = ("reweighed", "team-one", "team-two");
    let taxi = dataset("taxi")
        .with("policy", json!("DPack"))
        .with("weights", weights(&[(one, 1_000_000)]));
    prepare(env, taxi, data, [one, two]).await?;
    let taxi = "reweighed/taxi";
    env.create(pod("before").requests(taxi, "0.25", DELTA).within(one))
        .await?;
    env.wait_for_pod_phase(one, "before", "Running").await?;
    let changed = json!({"spec": {"weights": weights(&[(two, 7)])}});
    env.change::<PrivateDataset>(data, "taxi", changed).await?;
    // The weights that were written a moment ago count.
    env.create_all([
        pod("after").requests(taxi, "0.25", DELTA).within(two),
        claim(taxi, "after-too").epsilon("0.25", DELTA).within(two),
        claim(taxi, "no-more").epsilon("0.25", DELTA).within(one),
    ])
    .await?;
    env.wait_for_pod_phase(two, "after", "Running").await?;
    for (namespace, name) in [(two, "after-too"), (one, "no-more")] {
        env.wait_for_claim_phase(namespace, name, ClaimPhase::Granted)
            .await?;
    }
    let ledger = env.ledger(data, "taxi").await?;
    for (name, expected) in [
        ("before", 1_000_000),
        ("after", 7),
        ("after-too", 7),
        ("no-more", 1),
    ] {
        let weight = weight(&ledger, name)?;
        ensure!(weight == expected, "{name} weighs {weight}, not {expected}");
    }
    let ready = |dataset: &PrivateDataset| {
        let conditions = dataset.status.as_ref().map(|status| &status.conditions)?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        Some(ready.status == "True" && ready.reason == "InLedger")
    };
    let taxi: PrivateDataset = env.api(data).get("taxi").await?;
    ensure!(ready(&taxi) == Some(true), "{:?}", taxi.status);
    Ok(())
}
