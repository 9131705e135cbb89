//! Weights of namespaces.

use anyhow::{Context, Result, ensure};
use privatekube_api::{ClaimPhase, PrivateDataset};
use privatekube_e2e::{Books, DatasetBuilder, World, block, claim, dataset, pod};
use serde_json::{Value, json};

use super::{DELTA, granted_in_order, says};

fn weights(weights: &[(&str, u32)]) -> Value {
    let weight = |(namespace, weight): &(&str, u32)| json!({"namespace": namespace, "weight": weight});
    weights.iter().map(weight).collect()
}

/// A namespace with a dataset and its block with epsilon 4, and two others whose claims ask for it.
async fn prepared(world: &World, taxi: DatasetBuilder, data: &str, teams: [&str; 2]) -> Result<()> {
    for namespace in [data, teams[0], teams[1]] {
        world.namespace(namespace).await?;
    }
    let portion = block("taxi", "b").budget("4", "1e-6");
    world.create_all([taxi.within(data), portion.within(data)]).await
}

/// What a claim weighs in the ledger.
fn weight(books: &Books, name: &str) -> Result<u32> {
    let engine = books.replay.engine().context("no engine")?;
    let id = engine
        .claims()
        .find(|id| id.as_str().split('/').nth(2) == Some(name));
    let claim = engine.claim(id.context("no claim")?).context("no claim")?;
    Ok(claim.arrival.weight.get())
}

/// The larger claim, which is of the heavier namespace, goes first under DPF.
pub(super) async fn heavier_claims_go_first(world: &World) -> Result<()> {
    let (data, heavy, light) = ("weighed", "heavy", "light");
    let taxi = dataset("taxi")
        .arrivals(4)
        .with("weights", weights(&[(heavy, 2)]));
    prepared(world, taxi, data, [heavy, light]).await?;
    let asks = claim("weighed/taxi", "of-light").epsilon("2.25", DELTA);
    world.create(asks.within(light)).await?;
    world.claim_phase(light, "of-light", ClaimPhase::Waiting).await?;
    world
        .create(pod("of-heavy").asks("weighed/taxi", "2.5", DELTA).within(heavy))
        .await?;
    let own = world
        .pod_claim_phase(heavy, "of-heavy", ClaimPhase::Waiting)
        .await?;
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let ahead = "; one waiting claim goes before it";
    let of_light = says(world, light, "of-light", too_little, ahead).await?;
    let shown = |claim: privatekube_api::PrivacyBudgetClaim| claim.status.and_then(|status| status.weight);
    ensure!(shown(own) == Some(2) && shown(of_light) == Some(1));

    world
        .create(claim("taxi", "last").epsilon("0.1", DELTA).within(data))
        .await?;
    world.pod_phase(heavy, "of-heavy", "Running").await?;
    let spent = (ClaimPhase::Denied, "TooLarge");
    says(world, light, "of-light", spent, "can never give the 2.25 epsilon").await?;
    let books = world.books(data, "taxi").await?;
    ensure!(granted_in_order(&books) == ["last", "of-heavy"]);
    let wide = world
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

/// Weights are none of the rules: they may change, and count for what arrives later.
pub(super) async fn weights_count_for_what_arrives_later(world: &World) -> Result<()> {
    let (data, one, two) = ("reweighed", "team-one", "team-two");
    let taxi = dataset("taxi")
        .with("policy", json!("DPack"))
        .with("weights", weights(&[(one, 1_000_000)]));
    prepared(world, taxi, data, [one, two]).await?;
    let taxi = "reweighed/taxi";
    world
        .create(pod("before").asks(taxi, "0.25", DELTA).within(one))
        .await?;
    world.pod_phase(one, "before", "Running").await?;
    let changed = json!({"spec": {"weights": weights(&[(two, 7)])}});
    world.change::<PrivateDataset>(data, "taxi", changed).await?;
    // What was written a moment ago counts.
    world
        .create_all([
            pod("after").asks(taxi, "0.25", DELTA).within(two),
            claim(taxi, "after-too").epsilon("0.25", DELTA).within(two),
            claim(taxi, "no-more").epsilon("0.25", DELTA).within(one),
        ])
        .await?;
    world.pod_phase(two, "after", "Running").await?;
    for (namespace, name) in [(two, "after-too"), (one, "no-more")] {
        world.claim_phase(namespace, name, ClaimPhase::Granted).await?;
    }
    let books = world.books(data, "taxi").await?;
    for (name, expected) in [
        ("before", 1_000_000),
        ("after", 7),
        ("after-too", 7),
        ("no-more", 1),
    ] {
        let weight = weight(&books, name)?;
        ensure!(weight == expected, "{name} weighs {weight}, not {expected}");
    }
    let ready = |dataset: &PrivateDataset| {
        let conditions = dataset.status.as_ref().map(|status| &status.conditions)?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        Some(ready.status == "True" && ready.reason == "InLedger")
    };
    let taxi: PrivateDataset = world.api(data).get("taxi").await?;
    ensure!(ready(&taxi) == Some(true), "{:?}", taxi.status);
    Ok(())
}
