//! The OSDI paper's example (Figure 4): two blocks, a fair share of 1, three pipelines. The second is granted when it
//! comes, the first when the third comes, the third waits.

use anyhow::{Result, ensure};
use privatekube_e2e::{World, block, claim, dataset, pod};
use privatekube_policy::{Phase, Record};

const DELTA: &str = "1e-9";

async fn prepared(world: &World, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    world
        .create_all([
            dataset("taxi").arrivals(4).within(namespace),
            block("taxi", "b1").budget("4", "1e-6").within(namespace),
            block("taxi", "b2").budget("4", "1e-6").within(namespace),
        ])
        .await
}

/// The claims granted, in order, as the last parts of their names in the ledger say.
async fn granted_in_order(world: &World, namespace: &str) -> Result<Vec<String>> {
    let books = world.books(namespace, "taxi").await?;
    let records = books.entries.iter().flat_map(|entry| &entry.records);
    let granted = records.filter_map(|record| match record {
        Record::Granted { claim, .. } => claim.as_str().split('/').nth(2).map(str::to_owned),
        _ => None,
    });
    Ok(granted.collect())
}

async fn with_claims(world: &World) -> Result<()> {
    let namespace = "paper-claims";
    prepared(world, namespace).await?;
    let demands = [("0.5", "1.5"), ("1", "1"), ("1.5", "1")];
    for (at, (b1, b2)) in demands.into_iter().enumerate() {
        let name = format!("p{}", at + 1);
        let claim = claim("taxi", &name).on("b1", b1, DELTA).on("b2", b2, DELTA).within(namespace);
        let pod = pod(&name).annotation("claim", &name).within(namespace);
        world.create_all([claim, pod]).await?;
        // In the paper they come one after the other.
        world.event(namespace, &name, if at == 1 { "BudgetGranted" } else { "BudgetWaiting" }).await?;
    }
    decided(world, namespace).await
}

async fn decided(world: &World, namespace: &str) -> Result<()> {
    world.pod_phase(namespace, "p2", "Running").await?;
    world.pod_phase(namespace, "p1", "Running").await?;
    ensure!(granted_in_order(world, namespace).await? == ["p2", "p1"]);
    let books = world.books(namespace, "taxi").await?;
    ensure!(books.phase("p3") == Some(Phase::Waiting), "{:?}", books.phases());
    world.block_shows(namespace, "b1", ("1.5", "0", "1.5")).await?;
    world.block_shows(namespace, "b2", ("0.5", "0", "2.5")).await?;
    let described = world.cluster.kubectl(["describe", "pod", "p3", "-n", namespace]).await?;
    for part in ["BudgetWaiting", "block b2 has 0.5 of the 1 epsilon asked", "0.5 is missing"] {
        ensure!(described.contains(part), "{part} is not in:\n{described}");
    }
    Ok(())
}

#[tokio::test]
async fn the_papers_example_with_claim_objects() -> Result<()> {
    let world = World::start().await?;
    with_claims(&world).await?;
    ensure!(world.scheduled_after_flush().await? == 0.0);
    Ok(())
}

