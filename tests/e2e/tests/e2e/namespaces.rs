//! Deleted namespaces: their ledgers are deleted with them, and no others.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::DeleteParams,
    runtime::wait::{await_condition, conditions::is_deleted},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use privatekube_policy::Phase;

async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").within(namespace),
        block("taxi", "b").within(namespace),
    ])
    .await
}

async fn run_pod(env: &TestEnvironment, namespace: &str, name: &str) -> Result<()> {
    env.create(pod(name).requests("taxi", "1", "1e-9").within(namespace))
        .await?;
    env.wait_for_pod_phase(namespace, name, "Running").await?;
    Ok(())
}

/// Deletes the namespace `deleted`, and waits until it is removed.
async fn delete_namespace(env: &TestEnvironment) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(env.client.clone());
    let uid = namespaces.get("deleted").await?.metadata.uid.unwrap_or_default();
    namespaces.delete("deleted", &DeleteParams::default()).await?;
    await_condition(namespaces, "deleted", is_deleted(&uid)).await?;
    Ok(())
}

#[tokio::test]
async fn deleting_a_namespace_deletes_its_ledgers_and_no_others() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    for namespace in ["deleted", "kept"] {
        prepare(&env, namespace).await?;
        run_pod(&env, namespace, "first").await?;
    }
    // This pod waits for budget when its namespace is deleted.
    env.create(pod("greedy").requests("taxi", "9.5", "1e-9").within("deleted"))
        .await?;

    delete_namespace(&env).await?;

    run_pod(&env, "kept", "second").await?;
    let ledger = env.ledger("kept", "taxi").await?;
    ensure!(
        ledger.phase("second") == Some(Phase::Consumed),
        "{:?}",
        ledger.phases()
    );

    // When the namespace is created again, its ledger begins anew, also for an extender that starts
    // afterwards.
    prepare(&env, "deleted").await?;
    run_pod(&env, "deleted", "again").await?;
    let ledger = env.ledger("deleted", "taxi").await?;
    ensure!(ledger.phases().len() == 1, "{:?}", ledger.phases());
    ensure!(ledger.entries.first().is_some_and(|entry| entry.sequence == 1));
    env.stop_extender().await?;
    env.start_extender().await?;
    run_pod(&env, "deleted", "later").await?;
    env.wait_for_block_budget("deleted", "b", ("8", "0", "2")).await
}

/// A dataset that is created again is another one, which may be open to others than the one before: claims of other
/// namespaces are denied meanwhile as on every dataset that doesn't exist, and have to be created again.
#[tokio::test]
async fn claims_of_other_namespaces_are_denied_when_the_datasets_namespace_is_deleted() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("deleted").await?;
    env.create_all([
        dataset("taxi").open_to_all(0).within("deleted"),
        block("taxi", "b").within("deleted"),
    ])
    .await?;
    env.namespace("kept").await?;
    let demand = claim("deleted/taxi", "demand").epsilon("9.5", "1e-9");
    env.create(demand.within("kept")).await?;
    env.wait_for_claim_phase("kept", "demand", ClaimPhase::Granted)
        .await?;
    let waits = pod("waits").requests("deleted/taxi", "1", "1e-9");
    env.create(waits.within("kept")).await?;
    env.wait_for_event_containing("kept", "Pod", "waits", "of the 1 epsilon asked")
        .await?;

    delete_namespace(&env).await?;
    env.wait::<PrivacyBudgetClaim>("kept", "demand", "says that its dataset is gone", |claim| {
        let status = claim.and_then(|claim| claim.status.as_ref());
        status.is_some_and(|status| {
            status.phase == Some(ClaimPhase::Denied) && status.reason.as_deref() == Some("NotAllowed")
        })
    })
    .await?;
    env.wait_for_event_containing("kept", "Pod", "waits", "or doesn't exist")
        .await?;

    prepare(&env, "deleted").await?;
    let refused = env.refusal(demand.within("kept")).await?;
    ensure!(
        refused.contains("isn't open to namespace kept, or doesn't exist"),
        "{refused}"
    );
    run_pod(&env, "deleted", "own").await?;
    let ledger = env.ledger("deleted", "taxi").await?;
    ensure!(ledger.phases().len() == 1, "{:?}", ledger.phases());
    Ok(())
}
