//! The OSDI paper's example (Figure 4): two blocks, a fair share of 1, three pipelines. The second is granted when it
//! comes, the first when the third comes, the third waits.

use anyhow::{Result, ensure};
use futures::try_join;
use privatekube_e2e::{World, block, claim, dataset, pod};
use privatekube_policy::{Phase, Record};

const DELTA: &str = "1e-9";

async fn prepared(world: &World, namespace: &str) -> Result<()> {
    world.namespace(namespace).await?;
    let budget = ("4", "1e-6");
    let day = |name, day| {
        block("taxi", name)
            .budget(budget.0, budget.1)
            .dimension("day", day)
    };
    world
        .create_all([
            dataset("taxi").arrivals(4).within(namespace),
            day("b1", 1).dimension("city", "nyc").within(namespace),
            day("b2", 2).dimension("city", "nyc").within(namespace),
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

/// In the paper they come one after the other: the second is granted at once, the others wait at first.
async fn decided_at_first(world: &World, namespace: &str, at: usize) -> Result<()> {
    let reason = if at == 1 { "BudgetGranted" } else { "BudgetWaiting" };
    world.event(namespace, &format!("p{}", at + 1), reason).await?;
    Ok(())
}

async fn with_claims(world: &World) -> Result<()> {
    let namespace = "paper-claims";
    prepared(world, namespace).await?;
    let demands = [("0.5", "1.5"), ("1", "1"), ("1.5", "1")];
    for (at, (b1, b2)) in demands.into_iter().enumerate() {
        let name = format!("p{}", at + 1);
        let claim = claim("taxi", &name)
            .on("b1", b1, DELTA)
            .on("b2", b2, DELTA)
            .within(namespace);
        let pod = pod(&name).annotation("claim", &name).within(namespace);
        world.create_all([claim, pod]).await?;
        decided_at_first(world, namespace, at).await?;
    }
    let why = "block b2 has 0.5 of the 1 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
               unlocks that";
    decided(world, namespace, [("1.5", "0", "1.5"), ("0.5", "0", "2.5")], why).await
}

/// A pod asks the same of each block that it selects, so the first asks of one block only: it has the third's dominant
/// share, no second one, and so goes before it.
async fn with_annotations(world: &World) -> Result<()> {
    let namespace = "paper-pods";
    prepared(world, namespace).await?;
    let demands = [
        ("1.5", "block.day >= 2"),
        ("1", "block.day in [1, 2]"),
        ("1.5", "block.city == 'nyc'"),
    ];
    for (at, (epsilon, blocks)) in demands.into_iter().enumerate() {
        let pod = pod(&format!("p{}", at + 1))
            .asks("taxi", epsilon, DELTA)
            .annotation("blocks", blocks);
        world.create(pod.within(namespace)).await?;
        decided_at_first(world, namespace, at).await?;
    }
    let why = "block b1 has 1 of the 1.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
               unlocks that; one more of its blocks lacks budget";
    decided(world, namespace, [("1", "0", "1"), ("0.5", "0", "2.5")], why).await
}

async fn decided(world: &World, namespace: &str, blocks: [(&str, &str, &str); 2], why: &str) -> Result<()> {
    world.pod_phase(namespace, "p2", "Running").await?;
    world.pod_phase(namespace, "p1", "Running").await?;
    ensure!(granted_in_order(world, namespace).await? == ["p2", "p1"]);
    let books = world.books(namespace, "taxi").await?;
    let phases = ["p1", "p2", "p3"].map(|name| books.phase(name));
    ensure!(
        phases == [Some(Phase::Consumed), Some(Phase::Consumed), Some(Phase::Waiting)],
        "{phases:?}"
    );
    for (name, expected) in ["b1", "b2"].into_iter().zip(blocks) {
        world.block_shows(namespace, name, expected).await?;
    }
    world.told(namespace, "Pod", "p3", why).await?;
    let described = world
        .cluster
        .kubectl(["describe", "pod", "p3", "-n", namespace])
        .await?;
    for part in ["BudgetWaiting", why] {
        ensure!(described.contains(part), "{part} is not in:\n{described}");
    }
    Ok(())
}

#[tokio::test]
async fn the_papers_example_with_claim_objects_and_with_annotations() -> Result<()> {
    let world = World::start().await?;
    try_join!(with_claims(&world), with_annotations(&world))?;
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}
