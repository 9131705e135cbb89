//! Datasets whose rules differ from their ledger's, and datasets with invalid rules that were created without
//! the webhook that refuses them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use privatekube_api::{ClaimPhase, PrivacyLedgerEntry, PrivateDataset};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, eventually, refused};
use serde_json::json;

use super::{DELTA, wait_for_claim};

/// Waits until the dataset `taxi` isn't ready for this reason, and returns the condition's message.
async fn wait_until_not_ready(env: &TestEnvironment, namespace: &str, reason: &str) -> Result<String> {
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
    let dataset = env
        .wait(namespace, "taxi", &what, |dataset: Option<&PrivateDataset>| {
            dataset.is_some_and(is_not)
        })
        .await?;
    let ready = dataset.as_ref().and_then(ready).context("no condition")?;
    Ok(ready.message)
}

/// The ledger keeps the rules of its first entry.
pub(super) async fn a_dataset_created_again_keeps_its_policy(env: &TestEnvironment) -> Result<()> {
    let namespace = "again";
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").within(namespace),
        block("taxi", "b").within(namespace),
    ])
    .await?;
    let request = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, DELTA).within(namespace);
    env.create(request("first", "6")).await?;
    env.wait_for_claim_phase(namespace, "first", ClaimPhase::Granted)
        .await?;
    env.delete::<PrivateDataset>(namespace, "taxi").await?;
    let other = dataset("taxi")
        .with("policy", json!("FCFS"))
        .with("fcfs", json!({"refusing": true}));
    env.create(other.within(namespace)).await?;
    let message = wait_until_not_ready(env, namespace, "RulesDiffer").await?;
    ensure!(
        message.contains("its ledger began with other rules, policy DPF among them, which stay in force"),
        "{message}"
    );
    env.create(request("second", "5")).await?;
    let waits = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let lacks = "block b has 4 of the 5 epsilon asked: 1 is missing, only budget that other claims release can fill that";
    wait_for_claim(env, namespace, "second", waits, lacks).await?;
    Ok(())
}

#[tokio::test]
async fn a_dataset_with_invalid_rules_is_refused_or_reports_it_and_starts_no_ledger() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    let ticks = json!({"lifetime": "720h", "tick": "1ms"});
    let taxi = dataset("taxi")
        .with("policy", json!("RoundRobin"))
        .with("unlocking", ticks)
        .within("team");
    let problem = "spec.unlocking.tick: makes 2592000000 ticks of the lifetime: policy RoundRobin takes at most 1000000";
    refused(env.create(taxi.clone()).await, &[problem])?;

    Api::<ValidatingWebhookConfiguration>::all(env.client.clone())
        .delete("privatekube-extender", &DeleteParams::default())
        .await?;
    eventually("the API server forgets the webhook", async || {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let taxi: PrivateDataset = serde_json::from_value(taxi.clone())?;
        let made = env.api::<PrivateDataset>("team").create(&dry, &taxi).await;
        Ok(made.map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    let request = claim("taxi", "asks").epsilon("1", DELTA);
    env.create_all([taxi, block("taxi", "b").within("team"), request.within("team")])
        .await?;
    let message = wait_until_not_ready(&env, "team", "Invalid").await?;
    ensure!(message.starts_with(problem), "{message}");
    ensure!(message.contains("make another dataset"), "{message}");
    let waits = (ClaimPhase::Waiting, "DatasetInvalid");
    wait_for_claim(&env, "team", "asks", waits, problem).await?;
    let entries = env.api::<PrivacyLedgerEntry>("team");
    let entries = entries.list(&ListParams::default()).await?.items;
    ensure!(entries.is_empty(), "{entries:?}");

    // Another dataset is not affected.
    let request = claim("bus", "asks-bus").epsilon("1", DELTA);
    env.create_all([
        dataset("bus").within("team"),
        block("bus", "bus-b").within("team"),
        request.within("team"),
    ])
    .await?;
    env.wait_for_claim_phase("team", "asks-bus", ClaimPhase::Granted)
        .await?;
    let ledger = env.ledger("team", "bus").await?;
    ledger.block("bus-b").context("no block")?;
    Ok(())
}
