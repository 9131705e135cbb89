//! Blocks that are created, deleted, created again, and unlocked.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_e2e::{TestEnvironment, VerifiedLedger, block, claim, dataset, pod};
use privatekube_policy::{BlockId, Event, Phase, Record, Span, Time};
use serde_json::json;

use super::{DELTA, check_block, check_phases, prepare};

#[tokio::test]
async fn blocks_keep_their_budget_when_deleted_and_created_again() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(
        a_claim_with_too_few_blocks_waits_for_more(&env),
        the_newest_matching_blocks_are_chosen(&env),
        a_block_created_again_has_the_budget_it_had_left(&env),
        a_block_created_again_at_once_becomes_ready(&env),
        a_lifetime_unlocks_budget_step_by_step(&env),
        a_block_created_before_its_dataset_waits_for_it(&env),
    )?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

fn blocks_of(claim: &PrivacyBudgetClaim) -> Vec<&str> {
    let blocks = claim.status.iter().flat_map(|status| &status.blocks);
    blocks.map(|block| block.name.as_str()).collect()
}

/// A pod that requests more blocks than there are waits for them, and unlocks or allocates nothing of the
/// existing ones.
async fn a_claim_with_too_few_blocks_waits_for_more(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-too-few";
    env.namespace(namespace).await?;
    let kind = |name: &str, kind: &str| block("taxi", name).dimension("kind", kind).within(namespace);
    env.create_all([dataset("taxi").within(namespace), kind("b", "good")])
        .await?;
    let waits = pod("waits")
        .requests("taxi", "4", DELTA)
        .annotation("min-blocks", "3")
        .annotation("blocks", "block.kind == 'good'");
    env.create(waits.within(namespace)).await?;
    let claim = env
        .wait_for_pod_claim_phase(namespace, "waits", ClaimPhase::Waiting)
        .await?;
    let status = claim.status.as_ref().context("no status")?;
    ensure!(status.reason.as_deref() == Some("TooFewBlocks"), "{status:?}");
    env.wait_for_event_containing(
        namespace,
        "Pod",
        "waits",
        "1 of the 3 blocks that it needs at least match",
    )
    .await?;
    for (name, is) in [("c", "good"), ("d", "bad")] {
        env.create(kind(name, is)).await?;
        env.wait_for_block_budget(namespace, name, ("10", "0", "0"))
            .await?;
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    check_phases(&ledger, &[("waits", Phase::Waiting)])?;
    check_block(&ledger, "b", ("10", "0", "0"))?;
    env.create(kind("e", "good")).await?;
    env.wait_for_pod_phase(namespace, "waits", "Running").await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    for name in ["b", "c", "e"] {
        check_block(&ledger, name, ("6", "0", "4"))?;
    }
    check_block(&ledger, "d", ("10", "0", "0"))?;
    check_phases(&ledger, &[("waits", Phase::Consumed)])
}

/// The newest matching blocks are chosen. Blocks created after the grant change nothing.
async fn the_newest_matching_blocks_are_chosen(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-newest";
    env.namespace(namespace).await?;
    let names = ["n1", "n2", "n3"].map(|name| block("taxi", name).within(namespace));
    env.create(dataset("taxi").within(namespace)).await?;
    env.create_all(names).await?;
    let newest = pod("newest")
        .requests("taxi", "1", DELTA)
        .annotation("max-blocks", "2");
    env.create(newest.within(namespace)).await?;
    env.wait_for_pod_phase(namespace, "newest", "Running").await?;
    env.create(block("taxi", "n4").within(namespace)).await?;
    let most = claim("taxi", "most")
        .epsilon("1", DELTA)
        .with("blocks", json!({"min": 1, "max": 1}));
    env.create(most.within(namespace)).await?;
    let most = env
        .wait_for_claim_phase(namespace, "most", ClaimPhase::Granted)
        .await?;
    ensure!(blocks_of(&most) == ["n4"], "{most:?}");
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "n1", ("10", "0", "0"))?;
    check_block(&ledger, "n2", ("9", "0", "1"))?;
    check_block(&ledger, "n3", ("9", "0", "1"))?;
    check_block(&ledger, "n4", ("9", "1", "0"))
}

async fn wait_for_ready_condition(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    ready: &str,
) -> Result<String> {
    let condition = |block: Option<&PrivateDataBlock>| {
        let conditions = block.and_then(|block| Some(block.status.as_ref()?.conditions.clone()));
        let found = conditions.and_then(|all| all.into_iter().find(|condition| condition.type_ == "Ready"));
        found.filter(|condition| condition.status == ready)
    };
    let block = env
        .wait(namespace, name, &format!("Ready={ready}"), |block| {
            condition(block).is_some()
        })
        .await?;
    Ok(condition(block.as_ref())
        .map(|condition| condition.message)
        .unwrap_or_default())
}

/// A block is identified by its name. When it is deleted, claims that wait for it are denied; created again,
/// it has the budget that was left.
async fn a_block_created_again_has_the_budget_it_had_left(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-gone";
    prepare(env, namespace).await?;
    let spender = pod("spender").requests("taxi", "1", DELTA);
    env.create(spender.within(namespace)).await?;
    env.wait_for_pod_phase(namespace, "spender", "Running").await?;
    for (name, epsilon, phase) in [
        ("holder", "3", ClaimPhase::Granted),
        ("waiter", "8", ClaimPhase::Waiting),
    ] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        env.create(claim.within(namespace)).await?;
        env.wait_for_claim_phase(namespace, name, phase).await?;
    }
    env.delete::<PrivateDataBlock>(namespace, "b").await?;
    let denied = env
        .wait_for_claim_phase(namespace, "waiter", ClaimPhase::Denied)
        .await?;
    let status = denied.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("BlockGone"), "{status:?}");
    env.wait_for_event_containing(namespace, "PrivacyBudgetClaim", "waiter", "block b is retired")
        .await?;
    // A claim that arrives now waits for a block.
    let late = claim("taxi", "hopes").epsilon("6", DELTA);
    env.create(late.within(namespace)).await?;
    let late = env
        .wait_for_claim_phase(namespace, "hopes", ClaimPhase::Waiting)
        .await?;
    let status = late.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("TooFewBlocks"), "{status:?}");
    env.create(block("taxi", "b").within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "hopes", ClaimPhase::Granted)
        .await?;
    env.wait_for_block_budget(namespace, "b", ("0", "9", "1")).await?;
    wait_for_ready_condition(env, namespace, "b", "True").await?;
    // With another budget, it isn't accepted as that block.
    env.delete::<PrivateDataBlock>(namespace, "b").await?;
    let larger = block("taxi", "b").budget("20", "1e-6");
    env.create(larger.within(namespace)).await?;
    let why = wait_for_ready_condition(env, namespace, "b", "False").await?;
    ensure!(
        why.contains("the ledger knows a block of this name with another budget"),
        "{why}"
    );
    let more = claim("taxi", "more").epsilon("1", DELTA);
    env.create(more.within(namespace)).await?;
    let more = env
        .wait_for_claim_phase(namespace, "more", ClaimPhase::Waiting)
        .await?;
    ensure!(blocks_of(&more).is_empty(), "{more:?}");
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("0", "9", "1"))?;
    check_phases(
        &ledger,
        &[
            ("spender", Phase::Consumed),
            ("holder", Phase::Granted),
            ("waiter", Phase::Denied),
            ("hopes", Phase::Granted),
            ("more", Phase::Waiting),
        ],
    )
}

/// A block that is created again at once becomes ready in the end.
async fn a_block_created_again_at_once_becomes_ready(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-again-at-once";
    prepare(env, namespace).await?;
    for round in 0..10 {
        // Keeps the ledger busy, so that the deletion and the creation reach it together.
        let busy = claim("taxi", &format!("busy-{round}")).epsilon("0.1", DELTA);
        env.create(busy.within(namespace)).await?;
        env.delete::<PrivateDataBlock>(namespace, "b").await?;
        env.create(block("taxi", "b").within(namespace)).await?;
    }
    let last = claim("taxi", "last").epsilon("5", DELTA);
    env.create(last.within(namespace)).await?;
    // It is denied if it arrives between the two; then the next claim is granted.
    let decided = |claim: Option<&PrivacyBudgetClaim>| {
        let phase = claim.and_then(|claim| claim.status.as_ref()?.phase);
        matches!(phase, Some(ClaimPhase::Granted | ClaimPhase::Denied))
    };
    env.wait(namespace, "last", "decided", decided).await?;
    let after = claim("taxi", "after").epsilon("0.1", DELTA);
    env.create(after.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "after", ClaimPhase::Granted)
        .await?;
    wait_for_ready_condition(env, namespace, "b", "True").await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    ensure!(ledger.block("b").is_some_and(|block| !block.retired));
    Ok(())
}

const LIFETIME: Span = Span::from_secs(8);
const TICK: Span = Span::from_micros(200_000);

fn time_added(ledger: &VerifiedLedger, name: &str) -> Option<Time> {
    let adds =
        |event: &Event| matches!(event, Event::AddBlock { block, .. } if *block == BlockId::from(name));
    let entry = ledger
        .entries
        .iter()
        .find(|entry| entry.events.iter().any(adds))?;
    Some(entry.time)
}

/// A lifetime of 8 s in steps of 200 ms: a quarter of a block is unlocked after a quarter of them.
async fn a_lifetime_unlocks_budget_step_by_step(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-clock";
    env.namespace(namespace).await?;
    let unlocking = json!({"lifetime": LIFETIME.to_string(), "tick": TICK.to_string()});
    let rules = dataset("taxi").with("unlocking", unlocking);
    env.create(rules.within(namespace)).await?;
    for name in ["watched", "asked"] {
        let block = block("taxi", name).budget("4", "1e-6").dimension("name", name);
        env.create(block.within(namespace)).await?;
    }
    let request = |name: &str, epsilon: &str| {
        let claim = claim("taxi", name).epsilon(epsilon, "0");
        claim
            .with("selector", json!("block.name == 'asked'"))
            .within(namespace)
    };
    env.create_all([request("large", "3"), request("small", "1")])
        .await?;
    let between = |block: Option<&PrivateDataBlock>| {
        let available =
            block.and_then(|block| block.status.as_ref()?.available.as_ref()?.epsilon.parse().ok());
        available.is_some_and(|epsilon: f64| epsilon > 0.0 && epsilon < 4.0)
    };
    let (_, small, reason) = try_join!(
        env.wait(namespace, "watched", "unlocked in part", between),
        env.wait_for_claim_phase(namespace, "small", ClaimPhase::Granted),
        env.wait_for_event_containing(namespace, "PrivacyBudgetClaim", "large", "that is unlocked in "),
    )?;
    ensure!(reason == "BudgetWaiting", "{reason}");
    ensure!(blocks_of(&small) == ["asked"], "{small:?}");
    env.wait_for_claim_phase(namespace, "large", ClaimPhase::Granted)
        .await?;
    env.wait_for_block_budget(namespace, "watched", ("4", "0", "0"))
        .await?;
    env.wait_for_block_budget(namespace, "asked", ("0", "4", "0"))
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_phases(&ledger, &[("large", Phase::Granted), ("small", Phase::Granted)])?;
    let start = time_added(&ledger, "asked").context("the block is not in the ledger")?;
    let records = ledger.entries.iter().flat_map(|entry| &entry.records);
    let granted = records.filter_map(|record| match record {
        Record::Granted { claim, at } => {
            Some((claim.as_str().split('/').nth(2)?, at.micros() - start.micros()))
        }
        _ => None,
    });
    // The smaller claim is granted first, after 10 of 40 steps; both together need all of them.
    for ((name, after), (expected, steps)) in granted.zip([("small", 10), ("large", 40)]) {
        ensure!(name == expected, "{name} is granted before {expected}");
        // The first step is at most one tick after the block.
        let earliest = (steps - 1) * TICK.micros();
        ensure!(
            after >= earliest,
            "{name} was granted after {after} us, before {earliest} us"
        );
    }
    Ok(())
}

/// A block that is created before its dataset's object, as Helm does it, waits for it.
async fn a_block_created_before_its_dataset_waits_for_it(env: &TestEnvironment) -> Result<()> {
    let namespace = "block-before-dataset";
    env.namespace(namespace).await?;
    let unknown = env
        .refusal(claim("taxi", "c").epsilon("1", DELTA).within(namespace))
        .await?;
    ensure!(unknown.contains("\"taxi\" is unknown"), "{unknown}");
    env.create(block("taxi", "b").within(namespace)).await?;
    env.create(dataset("taxi").within(namespace)).await?;
    env.wait_for_block_budget(namespace, "b", ("10", "0", "0"))
        .await?;
    env.create(pod("fits").requests("taxi", "1", DELTA).within(namespace))
        .await?;
    env.wait_for_pod_phase(namespace, "fits", "Running").await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("9", "0", "1"))?;
    check_phases(&ledger, &[("fits", Phase::Consumed)])
}
