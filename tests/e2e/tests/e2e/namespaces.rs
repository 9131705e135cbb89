//! A namespace that goes takes its ledgers along, and nothing else.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::DeleteParams,
    runtime::wait::{await_condition, conditions::is_deleted},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{World, block, claim, dataset, pod};
use privatekube_policy::Phase;

async fn prepared(world: &World, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    world
        .create_all([
            dataset("taxi").within(namespace),
            block("taxi", "b").within(namespace),
        ])
        .await
}

async fn runs(world: &World, namespace: &str, name: &str) -> Result<()> {
    world
        .create(pod(name).asks("taxi", "1", "1e-9").within(namespace))
        .await?;
    world.pod_phase(namespace, name, "Running").await?;
    Ok(())
}

/// Deletes the namespace `goes`, and waits until it is gone.
async fn goes(world: &World) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let uid = namespaces.get("goes").await?.metadata.uid.unwrap_or_default();
    namespaces.delete("goes", &DeleteParams::default()).await?;
    await_condition(namespaces, "goes", is_deleted(&uid)).await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_goes_takes_its_ledger_along_and_nothing_else() -> Result<()> {
    let mut world = World::start().await?;
    for namespace in ["goes", "stays"] {
        prepared(&world, namespace).await?;
        runs(&world, namespace, "first").await?;
    }
    // Waits there, too.
    world
        .create(pod("greedy").asks("taxi", "9.5", "1e-9").within("goes"))
        .await?;

    goes(&world).await?;

    runs(&world, "stays", "second").await?;
    let books = world.books("stays", "taxi").await?;
    ensure!(
        books.phase("second") == Some(Phase::Consumed),
        "{:?}",
        books.phases()
    );

    // Made again, it begins anew; also for an extender that starts now.
    prepared(&world, "goes").await?;
    runs(&world, "goes", "again").await?;
    let books = world.books("goes", "taxi").await?;
    ensure!(books.phases().len() == 1, "{:?}", books.phases());
    ensure!(books.entries.first().is_some_and(|entry| entry.sequence == 1));
    world.stop_extender().await?;
    world.start_extender().await?;
    runs(&world, "goes", "later").await?;
    world.block_shows("goes", "b", ("8", "0", "2")).await
}

#[tokio::test]
async fn who_asked_from_another_namespace_asks_again_when_the_datasets_namespace_is_gone() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "goes").await?;
    world.namespace("stays").await?;
    let demand = claim("goes/taxi", "demand").epsilon("9.5", "1e-9");
    world.create(demand.within("stays")).await?;
    world.claim_phase("stays", "demand", ClaimPhase::Granted).await?;
    let waits = pod("waits").asks("goes/taxi", "1", "1e-9");
    world.create(waits.within("stays")).await?;
    world
        .told("stays", "Pod", "waits", "of the 1 epsilon asked")
        .await?;

    goes(&world).await?;
    world
        .wait::<PrivacyBudgetClaim>("stays", "demand", "says that its dataset is gone", |claim| {
            let status = claim.and_then(|claim| claim.status.as_ref());
            status.is_some_and(|status| {
                status.phase == Some(ClaimPhase::Waiting)
                    && status.reason.as_deref() == Some("DatasetUnknown")
            })
        })
        .await?;
    world
        .told("stays", "Pod", "waits", "the dataset has no block")
        .await?;

    prepared(&world, "goes").await?;
    world.claim_phase("stays", "demand", ClaimPhase::Granted).await?;
    let books = world.books("goes", "taxi").await?;
    ensure!(
        books.phase("demand") == Some(Phase::Granted),
        "{:?}",
        books.phases()
    );
    world.delete::<PrivacyBudgetClaim>("stays", "demand").await?;
    world.pod_phase("stays", "waits", "Running").await?;
    Ok(())
}
