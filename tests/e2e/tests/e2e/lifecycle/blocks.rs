//! Blocks that come, go, come again, and unlock.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_e2e::{Books, World, block, claim, dataset, pod};
use privatekube_policy::{BlockId, Event, Phase, Record, Span, Time};
use serde_json::json;

use super::{DELTA, has, phases, prepared};

#[tokio::test]
async fn blocks_keep_their_books_whatever_becomes_of_them() -> Result<()> {
    let world = World::start().await?;
    try_join!(
        too_few_at_first(&world),
        the_newest(&world),
        gone_and_made_again(&world),
        made_again_at_once(&world),
        unlocked_by_the_clock(&world),
        without_a_dataset(&world),
    )?;
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

fn blocks_of(claim: &PrivacyBudgetClaim) -> Vec<&str> {
    let blocks = claim.status.iter().flat_map(|status| &status.blocks);
    blocks.map(|block| block.name.as_str()).collect()
}

/// A pod and a claim that ask for more blocks than there are wait for them, and take nothing of those that exist.
async fn too_few_at_first(world: &World) -> Result<()> {
    let namespace = "block-too-few";
    world.namespace(namespace).await?;
    let kind = |name: &str, kind: &str| block("taxi", name).dimension("kind", kind).within(namespace);
    world
        .create_all([dataset("taxi").within(namespace), kind("b", "good")])
        .await?;
    let waits = pod("waits")
        .asks("taxi", "4", DELTA)
        .annotation("min-blocks", "3")
        .annotation("blocks", "block.kind == 'good'");
    world.create(waits.within(namespace)).await?;
    let claim = world
        .pod_claim_phase(namespace, "waits", ClaimPhase::Waiting)
        .await?;
    let status = claim.status.as_ref().context("no status")?;
    ensure!(status.reason.as_deref() == Some("TooFewBlocks"), "{status:?}");
    world
        .told(
            namespace,
            "Pod",
            "waits",
            "1 of the 3 blocks that it needs at least match",
        )
        .await?;
    for (name, is) in [("c", "good"), ("d", "bad")] {
        world.create(kind(name, is)).await?;
        world.block_shows(namespace, name, ("10", "0", "0")).await?;
    }
    let books = world.books(namespace, "taxi").await?;
    phases(&books, &[("waits", Phase::Waiting)])?;
    has(&books, "b", ("10", "0", "0"))?;
    world.create(kind("e", "good")).await?;
    world.pod_phase(namespace, "waits", "Running").await?;
    let books = world.books(namespace, "taxi").await?;
    for name in ["b", "c", "e"] {
        has(&books, name, ("6", "0", "4"))?;
    }
    has(&books, "d", ("10", "0", "0"))?;
    phases(&books, &[("waits", Phase::Consumed)])
}

/// The newest of all that match. What comes when it is granted changes nothing.
async fn the_newest(world: &World) -> Result<()> {
    let namespace = "block-newest";
    world.namespace(namespace).await?;
    let names = ["n1", "n2", "n3"].map(|name| block("taxi", name).within(namespace));
    world.create(dataset("taxi").within(namespace)).await?;
    world.create_all(names).await?;
    let newest = pod("newest")
        .asks("taxi", "1", DELTA)
        .annotation("max-blocks", "2");
    world.create(newest.within(namespace)).await?;
    world.pod_phase(namespace, "newest", "Running").await?;
    world.create(block("taxi", "n4").within(namespace)).await?;
    let most = claim("taxi", "most")
        .epsilon("1", DELTA)
        .with("blocks", json!({"min": 1, "max": 1}));
    world.create(most.within(namespace)).await?;
    let most = world.claim_phase(namespace, "most", ClaimPhase::Granted).await?;
    ensure!(blocks_of(&most) == ["n4"], "{most:?}");
    let books = world.books(namespace, "taxi").await?;
    has(&books, "n1", ("10", "0", "0"))?;
    has(&books, "n2", ("9", "0", "1"))?;
    has(&books, "n3", ("9", "0", "1"))?;
    has(&books, "n4", ("9", "1", "0"))
}

async fn is_ready(world: &World, namespace: &str, name: &str, ready: &str) -> Result<String> {
    let condition = |block: Option<&PrivateDataBlock>| {
        let conditions = block.and_then(|block| Some(block.status.as_ref()?.conditions.clone()));
        let found = conditions.and_then(|all| all.into_iter().find(|condition| condition.type_ == "Ready"));
        found.filter(|condition| condition.status == ready)
    };
    let block = world
        .wait(namespace, name, &format!("Ready={ready}"), |block| {
            condition(block).is_some()
        })
        .await?;
    Ok(condition(block.as_ref())
        .map(|condition| condition.message)
        .unwrap_or_default())
}

/// A block is its name: who waits for it is denied when it goes, and made again it has what it had left.
async fn gone_and_made_again(world: &World) -> Result<()> {
    let namespace = "block-gone";
    prepared(world, namespace).await?;
    let spender = pod("spender").asks("taxi", "1", DELTA);
    world.create(spender.within(namespace)).await?;
    world.pod_phase(namespace, "spender", "Running").await?;
    for (name, epsilon, phase) in [
        ("holder", "3", ClaimPhase::Granted),
        ("waiter", "8", ClaimPhase::Waiting),
    ] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        world.create(claim.within(namespace)).await?;
        world.claim_phase(namespace, name, phase).await?;
    }
    world.delete::<PrivateDataBlock>(namespace, "b").await?;
    let denied = world.claim_phase(namespace, "waiter", ClaimPhase::Denied).await?;
    let status = denied.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("BlockGone"), "{status:?}");
    world
        .told(namespace, "PrivacyBudgetClaim", "waiter", "block b was deleted")
        .await?;
    // Who comes now waits for a block.
    let hopes = claim("taxi", "hopes").epsilon("6", DELTA);
    world.create(hopes.within(namespace)).await?;
    let hopes = world.claim_phase(namespace, "hopes", ClaimPhase::Waiting).await?;
    let status = hopes.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("TooFewBlocks"), "{status:?}");
    world.create(block("taxi", "b").within(namespace)).await?;
    world.claim_phase(namespace, "hopes", ClaimPhase::Granted).await?;
    world.block_shows(namespace, "b", ("0", "9", "1")).await?;
    is_ready(world, namespace, "b", "True").await?;
    // With another budget it is none.
    world.delete::<PrivateDataBlock>(namespace, "b").await?;
    let larger = block("taxi", "b").budget("20", "1e-6");
    world.create(larger.within(namespace)).await?;
    let why = is_ready(world, namespace, "b", "False").await?;
    ensure!(
        why.contains("the ledger knows a block of this name with another budget"),
        "{why}"
    );
    let more = claim("taxi", "more").epsilon("1", DELTA);
    world.create(more.within(namespace)).await?;
    let more = world.claim_phase(namespace, "more", ClaimPhase::Waiting).await?;
    ensure!(blocks_of(&more).is_empty(), "{more:?}");
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("0", "9", "1"))?;
    phases(
        &books,
        &[
            ("spender", Phase::Consumed),
            ("holder", Phase::Granted),
            ("waiter", Phase::Denied),
            ("hopes", Phase::Granted),
            ("more", Phase::Waiting),
        ],
    )
}

/// However soon a block is made again, in the end it is in use.
async fn made_again_at_once(world: &World) -> Result<()> {
    let namespace = "block-again-at-once";
    prepared(world, namespace).await?;
    for round in 0..10 {
        // Keeps the ledger busy, so that the two come to it together.
        let busy = claim("taxi", &format!("busy-{round}")).epsilon("0.1", DELTA);
        world.create(busy.within(namespace)).await?;
        world.delete::<PrivateDataBlock>(namespace, "b").await?;
        world.create(block("taxi", "b").within(namespace)).await?;
    }
    let last = claim("taxi", "last").epsilon("5", DELTA);
    world.create(last.within(namespace)).await?;
    // Denied if it comes between the two; then the next one is granted.
    let decided = |claim: Option<&PrivacyBudgetClaim>| {
        let phase = claim.and_then(|claim| claim.status.as_ref()?.phase);
        matches!(phase, Some(ClaimPhase::Granted | ClaimPhase::Denied))
    };
    world.wait(namespace, "last", "decided", decided).await?;
    let after = claim("taxi", "after").epsilon("0.1", DELTA);
    world.create(after.within(namespace)).await?;
    world.claim_phase(namespace, "after", ClaimPhase::Granted).await?;
    is_ready(world, namespace, "b", "True").await?;
    let books = world.books(namespace, "taxi").await?;
    ensure!(books.block("b").is_some_and(|block| !block.retired));
    Ok(())
}

const LIFETIME: Span = Span::from_secs(8);
const TICK: Span = Span::from_micros(200_000);

fn added(books: &Books, name: &str) -> Option<Time> {
    let adds =
        |event: &Event| matches!(event, Event::AddBlock { block, .. } if *block == BlockId::from(name));
    let entry = books.entries.iter().find(|entry| entry.events.iter().any(adds))?;
    Some(entry.time)
}

/// A lifetime of 8 s in steps of 200 ms: a quarter of a block is unlocked after a quarter of them.
async fn unlocked_by_the_clock(world: &World) -> Result<()> {
    let namespace = "block-clock";
    world.namespace(namespace).await?;
    let unlocking = json!({"lifetime": LIFETIME.to_string(), "tick": TICK.to_string()});
    let rules = dataset("taxi").with("unlocking", unlocking);
    world.create(rules.within(namespace)).await?;
    for name in ["watched", "asked"] {
        let block = block("taxi", name).budget("4", "1e-6").dimension("name", name);
        world.create(block.within(namespace)).await?;
    }
    let asks = |name: &str, epsilon: &str| {
        let claim = claim("taxi", name).epsilon(epsilon, "0");
        claim
            .with("selector", json!("block.name == 'asked'"))
            .within(namespace)
    };
    world.create_all([asks("large", "3"), asks("small", "1")]).await?;
    let between = |block: Option<&PrivateDataBlock>| {
        let available =
            block.and_then(|block| block.status.as_ref()?.available.as_ref()?.epsilon.parse().ok());
        available.is_some_and(|epsilon: f64| epsilon > 0.0 && epsilon < 4.0)
    };
    let (_, small, reason) = try_join!(
        world.wait(namespace, "watched", "unlocked in part", between),
        world.claim_phase(namespace, "small", ClaimPhase::Granted),
        world.told(namespace, "PrivacyBudgetClaim", "large", "that is unlocked at 20"),
    )?;
    ensure!(reason == "BudgetWaiting", "{reason}");
    ensure!(blocks_of(&small) == ["asked"], "{small:?}");
    world.claim_phase(namespace, "large", ClaimPhase::Granted).await?;
    world.block_shows(namespace, "watched", ("4", "0", "0")).await?;
    world.block_shows(namespace, "asked", ("0", "4", "0")).await?;
    let books = world.books(namespace, "taxi").await?;
    phases(&books, &[("large", Phase::Granted), ("small", Phase::Granted)])?;
    let start = added(&books, "asked").context("the block is not in the ledger")?;
    let records = books.entries.iter().flat_map(|entry| &entry.records);
    let granted = records.filter_map(|record| match record {
        Record::Granted { claim, at } => {
            Some((claim.as_str().split('/').nth(2)?, at.micros() - start.micros()))
        }
        _ => None,
    });
    // The smaller goes first, after 10 of 40 steps; both need all of them.
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

/// No PrivateDataset: Renyi composition, a hundredth of a block unlocked by each arrival.
async fn without_a_dataset(world: &World) -> Result<()> {
    let namespace = "block-without-dataset";
    world.namespace(namespace).await?;
    let unknown = world
        .refusal(claim("taxi", "c").epsilon("1", DELTA).within(namespace))
        .await?;
    ensure!(unknown.contains("\"taxi\" is unknown"), "{unknown}");
    world
        .create(block("taxi", "b").budget("10", "1e-7").within(namespace))
        .await?;
    let fits = pod("fits")
        .annotation("dataset", "taxi")
        .annotation("mechanism", "gaussian(sigma=50)");
    world.create(fits.within(namespace)).await?;
    world.pod_phase(namespace, "fits", "Running").await?;
    let waits = claim("taxi", "waits").with("budget", json!({"mechanism": "gaussian(sigma=2)"}));
    world.create(waits.within(namespace)).await?;
    let waits = world.claim_phase(namespace, "waits", ClaimPhase::Waiting).await?;
    let status = waits.status.context("no status")?;
    ensure!(
        status.reason.as_deref() == Some("TooLittleUnlocked"),
        "{status:?}"
    );
    let message = status.message.unwrap_or_default();
    for part in [
        "epsilon at order ",
        "more claims that arrive for the block unlock that",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    let books = world.books(namespace, "taxi").await?;
    let orders = books.block("b").context("no block")?;
    ensure!(orders.capacity.units().len() == 12, "{orders:?}");
    // Two arrivals unlocked two hundredths, less what the pod spent: 64 / (2 * 50^2) at the largest order.
    let (capacity, last) = (i128::from(orders.capacity.units()[11]), 11);
    ensure!(orders.arrivals == 2, "{orders:?}");
    ensure!(orders.locked[last] == capacity - capacity * 2 / 100, "{orders:?}");
    ensure!(
        (12_800_000_000..=12_800_000_001).contains(&orders.consumed[last]),
        "{orders:?}"
    );
    phases(&books, &[("fits", Phase::Consumed), ("waits", Phase::Waiting)])
}
