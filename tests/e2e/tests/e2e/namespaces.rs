//! A namespace that goes takes its ledgers along, and nothing else.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::DeleteParams,
    runtime::wait::{await_condition, conditions::is_deleted},
};
use privatekube_e2e::{World, block, dataset, pod};
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

    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    let uid = namespaces.get("goes").await?.metadata.uid.unwrap_or_default();
    namespaces.delete("goes", &DeleteParams::default()).await?;
    await_condition(namespaces, "goes", is_deleted(&uid)).await?;

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
