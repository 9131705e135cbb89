//! The OSDI paper's example (Figure 4): two blocks, a fair share of 1, three pipelines. The second is granted
//! when it arrives, the first when the third arrives, and the third waits.

use anyhow::{Result, ensure};
use futures::try_join;
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use privatekube_policy::Phase;

const DELTA: &str = "1e-9";

async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    let budget = ("4", "1e-6");
    let day = |name, day| {
        block("taxi", name)
            .budget(budget.0, budget.1)
            .dimension("day", day)
    };
    env.create_all([
        dataset("taxi").arrivals(4).within(namespace),
        day("b1", 1).dimension("city", "nyc").within(namespace),
        day("b2", 2).dimension("city", "nyc").within(namespace),
    ])
    .await
}

/// Waits for the decision that follows a claim's arrival. In the paper the second is granted at once, and the
/// others wait at first. The grant of a pod's own claim is announced with its consumption, which follows at once.
async fn check_first_decision(
    env: &TestEnvironment,
    namespace: &str,
    at: usize,
    granted: &str,
) -> Result<()> {
    let reason = if at == 1 { granted } else { "BudgetWaiting" };
    env.wait_for_event(namespace, &format!("p{}", at + 1), reason)
        .await?;
    Ok(())
}

async fn with_claims(env: &TestEnvironment) -> Result<()> {
    let namespace = "paper-claims";
    prepare(env, namespace).await?;
    let demands = [("0.5", "1.5"), ("1", "1"), ("1.5", "1")];
    for (at, (b1, b2)) in demands.into_iter().enumerate() {
        let name = format!("p{}", at + 1);
        let claim = claim("taxi", &name)
            .on("b1", b1, DELTA)
            .on("b2", b2, DELTA)
            .within(namespace);
        let pod = pod(&name).annotation("claim", &name).within(namespace);
        env.create_all([claim, pod]).await?;
        check_first_decision(env, namespace, at, "BudgetGranted").await?;
    }
    let why = "block b2 has 0.5 of the 1 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
               unlocks that";
    check_outcome(env, namespace, [("1.5", "0", "1.5"), ("0.5", "0", "2.5")], why).await
}

/// A pod requests the same budget on each block that it selects, so the first selects one block only. Its
/// dominant share is the third's, and it has no second share, so it is granted before the third.
async fn with_annotations(env: &TestEnvironment) -> Result<()> {
    let namespace = "paper-pods";
    prepare(env, namespace).await?;
    let demands = [
        ("1.5", "block.day >= 2"),
        ("1", "block.day in [1, 2]"),
        ("1.5", "block.city == 'nyc'"),
    ];
    for (at, (epsilon, blocks)) in demands.into_iter().enumerate() {
        let pod = pod(&format!("p{}", at + 1))
            .requests("taxi", epsilon, DELTA)
            .annotation("blocks", blocks);
        env.create(pod.within(namespace)).await?;
        check_first_decision(env, namespace, at, "BudgetConsumed").await?;
    }
    let why = "block b1 has 1 of the 1.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
               unlocks that; one more of its blocks lacks budget";
    check_outcome(env, namespace, [("1", "0", "1"), ("0.5", "0", "2.5")], why).await
}

async fn check_outcome(
    env: &TestEnvironment,
    namespace: &str,
    blocks: [(&str, &str, &str); 2],
    why: &str,
) -> Result<()> {
    env.wait_for_pod_phase(namespace, "p2", "Running").await?;
    env.wait_for_pod_phase(namespace, "p1", "Running").await?;
    ensure!(env.ledger(namespace, "taxi").await?.grant_order() == ["p2", "p1"]);
    let ledger = env.ledger(namespace, "taxi").await?;
    let phases = ["p1", "p2", "p3"].map(|name| ledger.phase(name));
    ensure!(
        phases == [Some(Phase::Consumed), Some(Phase::Consumed), Some(Phase::Waiting)],
        "{phases:?}"
    );
    for (name, expected) in ["b1", "b2"].into_iter().zip(blocks) {
        env.wait_for_block_budget(namespace, name, expected).await?;
    }
    env.wait_for_event_containing(namespace, "Pod", "p3", why).await?;
    let described = env
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
    let env = TestEnvironment::start().await?;
    try_join!(with_claims(&env), with_annotations(&env))?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}
