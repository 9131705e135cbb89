//! Rules that aren't those of the ledger, and rules that make no sense and come in without the webhook that refuses them.

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

/// Waits until the dataset `taxi` isn't ready for this reason, and returns what is said.
async fn not_ready(world: &World, namespace: &str, reason: &str) -> Result<String> {
    let ready = |dataset: &PrivateDataset| {
        let conditions = dataset.status.as_ref().map(|status| &status.conditions)?;
        conditions
            .iter()
            .find(|condition| condition.type_ == "Ready")
            .cloned()
    };
    let is_not = |dataset: &PrivateDataset| {
        let ready = ready(dataset);
        ready.is_some_and(|ready| ready.status == "False" && ready.reason == reason)
    };
    let what = format!("not ready: {reason}");
    let dataset = world
        .wait(namespace, "taxi", &what, |dataset: Option<&PrivateDataset>| {
            dataset.is_some_and(is_not)
        })
        .await?;
    let ready = dataset.as_ref().and_then(ready).context("no condition")?;
    Ok(ready.message)
}

/// Its ledger goes on by the rules that it began with.
pub(super) async fn a_dataset_made_again_keeps_its_policy(world: &World) -> Result<()> {
    let namespace = "again";
    world.namespace(namespace).await?;
    world
        .create_all([
            dataset("taxi").within(namespace),
            block("taxi", "b").within(namespace),
        ])
        .await?;
    let asks = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, DELTA).within(namespace);
    world.create(asks("first", "6")).await?;
    world.claim_phase(namespace, "first", ClaimPhase::Granted).await?;
    world.delete::<PrivateDataset>(namespace, "taxi").await?;
    let other = dataset("taxi")
        .with("policy", json!("FCFS"))
        .with("fcfs", json!({"refusing": true}));
    world.create(other.within(namespace)).await?;
    let message = not_ready(world, namespace, "RulesDiffer").await?;
    ensure!(
        message.contains("its ledger began with other rules, policy DPF among them, which stay in force"),
        "{message}"
    );
    world.create(asks("second", "5")).await?;
    let waits = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let lacks = "block b has 4 of the 5 epsilon asked: 1 is missing, only budget that other claims release can fill that";
    says(world, namespace, "second", waits, lacks).await?;
    Ok(())
}

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
        Ok(made.map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    let asks = claim("taxi", "asks").epsilon("1", DELTA);
    world
        .create_all([taxi, block("taxi", "b").within("team"), asks.within("team")])
        .await?;
    let message = not_ready(&world, "team", "Invalid").await?;
    ensure!(message.starts_with(problem), "{message}");
    ensure!(message.contains("make another dataset"), "{message}");
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
