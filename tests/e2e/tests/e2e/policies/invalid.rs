//! Rules that make no sense, and come in without the webhook that refuses them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use privatekube_api::{ClaimPhase, PrivacyLedgerEntry, PrivateDataset};
use privatekube_e2e::{World, block, claim, dataset, eventually, refused};
use serde_json::json;

use super::{DELTA, says};

#[tokio::test]
async fn a_dataset_with_senseless_rules_is_refused_and_else_says_so_and_begins_no_ledger() -> Result<()> {
    let world = World::start().await?;
    world.namespace("team").await?;
    let ticks = json!({"lifetime": "720h", "tick": "1ms"});
    let taxi = dataset("taxi")
        .with("policy", json!("RoundRobin"))
        .with("unlocking", ticks)
        .within("team");
    let problem = "spec.unlocking.tick: makes 2592000000 ticks of the lifetime: policy RoundRobin takes at most 1000000";
    refused(world.create(taxi.clone()).await, &[problem])?;

    Api::<ValidatingWebhookConfiguration>::all(world.client.clone())
        .delete("privatekube-extender", &DeleteParams::default())
        .await?;
    eventually("the API server forgets the webhook", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let taxi: PrivateDataset = serde_json::from_value(taxi.clone())?;
        let made = world.api::<PrivateDataset>("team").create(&dry, &taxi).await;
        Ok(made.is_ok().then_some(()))
    })
    .await?;
    let asks = claim("taxi", "asks").epsilon("1", DELTA);
    world
        .create_all([taxi, block("taxi", "b").within("team"), asks.within("team")])
        .await?;
    let not_ready = |dataset: &PrivateDataset| {
        let conditions = dataset.status.as_ref().map(|status| &status.conditions)?;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
        let said = ready.status == "False" && ready.reason == "Invalid";
        Some(said && ready.message.contains(problem) && ready.message.contains("make another dataset"))
    };
    world
        .wait("team", "taxi", "not ready", |dataset: Option<&PrivateDataset>| {
            dataset.and_then(not_ready) == Some(true)
        })
        .await?;
    let waits = (ClaimPhase::Waiting, "DatasetInvalid");
    says(&world, "team", "asks", waits, problem).await?;
    let entries = world.api::<PrivacyLedgerEntry>("team");
    let entries = entries.list(&ListParams::default()).await?.items;
    ensure!(entries.is_empty(), "{entries:?}");

    // Another dataset is not concerned.
    let asks = claim("bus", "asks-bus").epsilon("1", DELTA);
    world
        .create_all([
            dataset("bus").within("team"),
            block("bus", "bus-b").within("team"),
            asks.within("team"),
        ])
        .await?;
    world.claim_phase("team", "asks-bus", ClaimPhase::Granted).await?;
    let books = world.books("team", "bus").await?;
    books.block("bus-b").context("no block")?;
    Ok(())
}
