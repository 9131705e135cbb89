//! Renyi composition: a claim fits a block if the block has enough at one order, and is charged at all
//! orders.
//!
//! Curves are written as the epsilons at orders 2, 4 and 8. A block's capacity is 4, 8 and 12, so a fair
//! share is 1, 2 and 3.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, VerifiedLedger, block, claim, dataset, pod};
use privatekube_policy::{Budget, Composition, Mechanism, Orders, Phase};
use serde_json::json;

const ORDERS: [&str; 3] = ["2", "4", "8"];
const CAPACITY: [&str; 3] = ["4", "8", "12"];

fn curve(epsilons: [&'static str; 3]) -> [(&'static str, &'static str); 3] {
    [0, 1, 2].map(|at| (ORDERS[at], epsilons[at]))
}

async fn prepare(env: &TestEnvironment, namespace: &str, blocks: &[&str]) -> Result<()> {
    env.namespace(namespace).await?;
    env.create(dataset("taxi").renyi(&ORDERS).arrivals(4).within(namespace))
        .await?;
    let blocks = blocks
        .iter()
        .map(|name| block("taxi", name).curve(&curve(CAPACITY)).within(namespace));
    env.create_all(blocks).await
}

/// Checks a block's locked, available, allocated and consumed epsilons, given in tenths.
fn check_block(ledger: &VerifiedLedger, name: &str, tenths: [[i128; 3]; 4]) -> Result<()> {
    let block = ledger
        .block(name)
        .with_context(|| format!("the ledger has no block {name}"))?;
    let seen = [&block.locked, &block.available, &block.allocated, &block.consumed];
    let expected = tenths.map(|column| column.map(|tenths| tenths * 100_000_000_000).to_vec());
    ensure!(
        seen.into_iter().eq(&expected),
        "block {name} has {seen:?}, not {expected:?}"
    );
    Ok(())
}

/// The paper's example (Figure 4) with curves, some of which fit at one order only. On b2 the second claim
/// fits at order 4 alone, and overdraws the other orders. The first also fits at order 4 alone, so it waits
/// for the third.
async fn the_papers_example_on_curves(env: &TestEnvironment) -> Result<()> {
    let namespace = "renyi-paper";
    prepare(env, namespace, &["b1", "b2"]).await?;
    let demands = [
        (["0.5", "2.5", "3.5"], ["1.5", "3", "9"]),
        (["1", "2", "3"], ["2.5", "2", "6.5"]),
        (["1.5", "3", "9.5"], ["1", "2", "3"]),
    ];
    for (at, (b1, b2)) in demands.into_iter().enumerate() {
        let name = format!("p{}", at + 1);
        let claim = claim("taxi", &name)
            .curve_on("b1", &curve(b1))
            .curve_on("b2", &curve(b2));
        let pod = pod(&name).annotation("claim", &name);
        env.create_all([claim.within(namespace), pod.within(namespace)])
            .await?;
        env.wait_for_event(
            namespace,
            &name,
            if at == 1 { "BudgetGranted" } else { "BudgetWaiting" },
        )
        .await?;
    }
    for name in ["p2", "p1"] {
        env.wait_for_pod_phase(namespace, name, "Running").await?;
    }
    let why = "block b2 has 1 of the 2 epsilon at order 4 asked: 1 is missing, the next claim that arrives for the \
               block unlocks that";
    env.wait_for_event_containing(namespace, "Pod", "p3", why).await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    ensure!(ledger.grant_order() == ["p2", "p1"]);
    ensure!(
        ledger.phase("p3") == Some(Phase::Waiting),
        "{:?}",
        ledger.phases()
    );
    check_block(&ledger, "b1", [[10, 20, 30], [15, 15, 25], [0; 3], [15, 45, 65]])?;
    check_block(
        &ledger,
        "b2",
        [[10, 20, 30], [-10, 10, -65], [0; 3], [40, 50, 155]],
    )?;
    // A block's status shows the order with the largest part left.
    env.wait_for_block_budget(namespace, "b1", ("1.5", "0", "1.5"))
        .await?;
    env.wait_for_block_budget(namespace, "b2", ("1", "0", "5"))
        .await?;
    let wide = env
        .cluster
        .kubectl(["get", "pb", "-o", "wide", "-n", namespace])
        .await?;
    ensure!(column(&wide, "ORDER") == ["2", "4"], "{wide}");
    ensure!(column(&wide, "TOTAL") == ["4", "8"], "{wide}");
    Ok(())
}

/// A column of kubectl's output. All columns before it must have a value in every row.
fn column<'a>(printed: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let Some(at) = header.iter().position(|column| *column == name) else {
        return Vec::new();
    };
    lines.filter_map(|line| line.get(at).copied()).collect()
}

/// Three claims each fit at another order only, since the claims before overdraw the other orders. The last
/// claim fits at no order while the others hold their budget, and is denied once they have consumed it.
async fn each_claim_fits_at_another_order(env: &TestEnvironment) -> Result<()> {
    let namespace = "renyi-orders";
    prepare(env, namespace, &["b"]).await?;
    let demands = [
        ("at-8", ["1.5", "3", "2.5"], ClaimPhase::Granted),
        ("at-2", ["0.5", "1.5", "4"], ClaimPhase::Granted),
        ("at-4", ["1.2", "1.5", "3"], ClaimPhase::Granted),
        ("none", ["1", "4", "4"], ClaimPhase::Waiting),
    ];
    for (name, epsilons, phase) in demands {
        let claim = claim("taxi", name).curve_on("b", &curve(epsilons));
        env.create(claim.within(namespace)).await?;
        env.wait_for_claim_phase(namespace, name, phase).await?;
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", [[0; 3], [8, 20, 25], [32, 60, 95], [0; 3]])?;
    for name in ["at-8", "at-2", "at-4"] {
        let all = json!({"spec": {"consume": {"all": true}}});
        env.change::<PrivacyBudgetClaim>(namespace, name, all).await?;
    }
    let denied = env
        .wait_for_claim_phase(namespace, "none", ClaimPhase::Denied)
        .await?;
    let why = denied.status.and_then(|status| status.message);
    let expected = "block b can never give the 1 epsilon at order 2 asked: 0.8 is all that is not spent";
    ensure!(why.as_deref() == Some(expected), "{why:?}");
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", [[0; 3], [8, 20, 25], [0; 3], [32, 60, 95]])
}

fn charge(mechanism: &Mechanism) -> Result<Budget> {
    let orders = ORDERS
        .iter()
        .map(|order| order.parse())
        .collect::<Result<_, _>>()?;
    Ok(mechanism.demand(&Composition::Renyi(Orders::new(orders)?))?)
}

/// A named mechanism in a claim and in an annotation, and a guarantee, which stands for the Gaussian
/// mechanism.
async fn mechanisms_are_charged_as_curves(env: &TestEnvironment) -> Result<()> {
    let namespace = "renyi-mechanisms";
    env.namespace(namespace).await?;
    let rules = dataset("taxi").renyi(&ORDERS);
    let named = ["named", "annotated", "guaranteed"];
    let blocks = named.map(|name| block("taxi", name).budget("10", "1e-7").dimension("name", name));
    env.create(rules.within(namespace)).await?;
    env.create_all(blocks.map(|block| block.within(namespace)))
        .await?;
    let sgd = "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)";
    let claim = claim("taxi", "named")
        .with("selector", json!("block.name == 'named'"))
        .with("budget", json!({"mechanism": "gaussian(sigma=10)"}));
    let annotated = pod("annotated")
        .annotation("dataset", "taxi")
        .annotation("mechanism", sgd)
        .annotation("max-blocks", "1");
    let guaranteed = pod("guaranteed").requests("taxi", "0.5", "1e-9");
    env.create_all([
        claim.within(namespace),
        pod("named").annotation("claim", "named").within(namespace),
        annotated
            .annotation("blocks", "block.name == 'annotated'")
            .within(namespace),
        guaranteed
            .annotation("blocks", "block.name == 'guaranteed'")
            .within(namespace),
    ])
    .await?;
    for name in named {
        env.wait_for_pod_phase(namespace, name, "Running").await?;
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    let guarantee = Mechanism::for_guarantee("0.5".parse()?, "1e-9".parse()?)?;
    for (name, mechanism) in named
        .into_iter()
        .zip(["gaussian(sigma=10)".parse()?, sgd.parse()?, guarantee])
    {
        let expected: Vec<i128> = charge(&mechanism)?
            .units()
            .iter()
            .map(|units| i128::from(*units))
            .collect();
        let consumed = ledger.block(name).context("no block")?.consumed;
        ensure!(
            consumed == expected,
            "{name} was charged {consumed:?}, not {expected:?}"
        );
    }
    // order / (2 sigma^2), rounded up.
    let gaussian = ledger.block("named").context("no block")?.consumed;
    for (charged, exact) in gaussian
        .iter()
        .zip([10_000_000_000, 20_000_000_000, 40_000_000_000])
    {
        ensure!((exact..=exact + 1).contains(charged), "{gaussian:?}");
    }
    Ok(())
}

#[tokio::test]
async fn claims_fit_at_any_renyi_order_and_are_charged_at_every_order() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(
        the_papers_example_on_curves(&env),
        each_claim_fits_at_another_order(&env),
        mechanisms_are_charged_as_curves(&env),
    )?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}
