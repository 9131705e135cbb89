//! What becomes of a claim object's budget: what its owner consumes, releases, or leaves when it is deleted; and claims
//! that are refused, expire, or go first.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{World, block, claim, dataset};
use privatekube_policy::{Phase, Record};
use serde_json::{Value, json};

use super::{DELTA, half_locked, has, phases, prepared};

#[tokio::test]
async fn claims_keep_what_they_consume_and_return_the_rest() -> Result<()> {
    let world = World::start().await?;
    try_join!(
        consumed_step_by_step(&world),
        released_step_by_step(&world),
        consumed_as_soon_as_granted(&world),
        deleted(&world),
        too_large(&world),
        expired(&world),
        by_priority(&world),
    )?;
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

async fn uses(
    world: &World,
    namespace: &str,
    name: &str,
    what: &str,
    amount: Value,
) -> Result<PrivacyBudgetClaim, kube::Error> {
    world
        .change(namespace, name, json!({"spec": {what: amount}}))
        .await
}

/// So much of block b, in all.
fn of_b(epsilon: &str) -> Value {
    json!({"perBlock": {"b": {"epsilon": epsilon, "delta": "0"}}})
}

/// Everything, in place of what was said before.
fn all() -> Value {
    json!({"all": true, "perBlock": null})
}

/// What the API server says to a use that it refuses.
async fn refused(world: &World, namespace: &str, what: &str, amount: Value) -> Result<String> {
    match uses(world, namespace, "c", what, amount).await {
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("{what} was taken back"),
    }
}

async fn uses_recorded(world: &World, namespace: &str) -> Result<usize> {
    let books = world.books(namespace, "taxi").await?;
    let records = books.entries.iter().flat_map(|entry| &entry.records);
    let uses = records.filter(|record| matches!(record, Record::Consumed { .. } | Record::Released { .. }));
    Ok(uses.count())
}

async fn consumed_step_by_step(world: &World) -> Result<()> {
    let namespace = "claim-consume";
    prepared(world, namespace).await?;
    let asked = claim("taxi", "c").epsilon("4", DELTA).within(namespace);
    world.create(asked).await?;
    world.block_shows(namespace, "b", ("6", "4", "0")).await?;
    uses(world, namespace, "c", "consume", of_b("1")).await?;
    world.block_shows(namespace, "b", ("6", "3", "1")).await?;
    world.claim_phase(namespace, "c", ClaimPhase::Granted).await?;
    // Less than before can't be; more than before is the difference.
    let message = refused(world, namespace, "consume", of_b("0.5")).await?;
    ensure!(message.contains("is less than before"), "{message}");
    uses(world, namespace, "c", "consume", of_b("1.5")).await?;
    world.block_shows(namespace, "b", ("6", "2.5", "1.5")).await?;
    ensure!(uses_recorded(world, namespace).await? == 2);
    // More than it asked can't be, either.
    let message = refused(world, namespace, "consume", of_b("4.5")).await?;
    ensure!(
        message.contains("spec.consume.perBlock[b]: is more than the claim asks"),
        "{message}"
    );
    uses(world, namespace, "c", "consume", of_b("2")).await?;
    world.block_shows(namespace, "b", ("6", "2", "2")).await?;
    ensure!(uses_recorded(world, namespace).await? == 3);
    uses(world, namespace, "c", "consume", all()).await?;
    let consumed = world.claim_phase(namespace, "c", ClaimPhase::Consumed).await?;
    let conditions = consumed.status.context("no status")?.conditions;
    let is_true = |name: &str| {
        conditions
            .iter()
            .any(|condition| condition.type_ == name && condition.status == "True")
    };
    ensure!(
        is_true("Granted") && is_true("Consumed") && !is_true("Released"),
        "{conditions:?}"
    );
    world.block_shows(namespace, "b", ("6", "0", "4")).await?;
    // What was said can't be unsaid.
    let message = refused(world, namespace, "consume", Value::Null).await?;
    ensure!(message.contains("consume can't be taken back"), "{message}");
    let some = json!({"all": null, "perBlock": {"b": {"epsilon": "1", "delta": "0"}}});
    let message = refused(world, namespace, "consume", some).await?;
    ensure!(message.contains("all can't be taken back"), "{message}");
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("6", "0", "4"))?;
    phases(&books, &[("c", Phase::Consumed)])
}

async fn released_step_by_step(world: &World) -> Result<()> {
    let namespace = "claim-release";
    prepared(world, namespace).await?;
    world.create(block("taxi", "b2").within(namespace)).await?;
    let asked = claim("taxi", "c").on("b", "4", DELTA).on("b2", "5", DELTA);
    world.create(asked.within(namespace)).await?;
    world.block_shows(namespace, "b2", ("5", "5", "0")).await?;
    uses(world, namespace, "c", "release", of_b("1")).await?;
    world.block_shows(namespace, "b", ("7", "3", "0")).await?;
    uses(world, namespace, "c", "consume", of_b("2")).await?;
    world.block_shows(namespace, "b", ("7", "1", "2")).await?;
    let message = refused(
        world,
        namespace,
        "release",
        json!({"perBlock": {"b": null, "b2": {"epsilon": "1", "delta": "0"}}}),
    )
    .await?;
    ensure!(message.contains("a block can't be taken back"), "{message}");
    // What somebody waits for is granted when it comes back.
    let next = claim("taxi", "next").on("b2", "6", DELTA);
    world.create(next.within(namespace)).await?;
    world.claim_phase(namespace, "next", ClaimPhase::Waiting).await?;
    uses(world, namespace, "c", "release", all()).await?;
    world.claim_phase(namespace, "next", ClaimPhase::Granted).await?;
    // Some of it was consumed.
    world.claim_phase(namespace, "c", ClaimPhase::Consumed).await?;
    world.block_shows(namespace, "b", ("8", "0", "2")).await?;
    world.block_shows(namespace, "b2", ("4", "6", "0")).await?;
    uses(world, namespace, "next", "release", all()).await?;
    world.claim_phase(namespace, "next", ClaimPhase::Released).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("8", "0", "2"))?;
    has(&books, "b2", ("10", "0", "0"))?;
    phases(&books, &[("c", Phase::Consumed), ("next", Phase::Released)])
}

/// A claim may say from its beginning that all of it is consumed: it is, when it is granted.
async fn consumed_as_soon_as_granted(world: &World) -> Result<()> {
    let namespace = "claim-consume-at-once";
    half_locked(world, namespace).await?;
    let asked = claim("taxi", "c").epsilon("3", DELTA).with("consume", all());
    world.create(asked.within(namespace)).await?;
    world.claim_phase(namespace, "c", ClaimPhase::Waiting).await?;
    let other = claim("taxi", "other").epsilon("1", DELTA);
    world.create(other.within(namespace)).await?;
    world.claim_phase(namespace, "c", ClaimPhase::Consumed).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("0", "1", "3"))?;
    phases(&books, &[("c", Phase::Consumed), ("other", Phase::Granted)])
}

/// Deleted while it waits, granted, consumed in part, and consumed: what was not consumed comes back.
async fn deleted(world: &World) -> Result<()> {
    let namespace = "claim-deleted";
    prepared(world, namespace).await?;
    for (name, epsilon) in [("granted", "1"), ("part", "2"), ("consumed", "3")] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        world.create(claim.within(namespace)).await?;
        world.claim_phase(namespace, name, ClaimPhase::Granted).await?;
    }
    world
        .create(claim("taxi", "waiting").epsilon("5", DELTA).within(namespace))
        .await?;
    world
        .claim_phase(namespace, "waiting", ClaimPhase::Waiting)
        .await?;
    uses(world, namespace, "part", "consume", of_b("0.5")).await?;
    uses(world, namespace, "consumed", "consume", all()).await?;
    world.block_shows(namespace, "b", ("4", "2.5", "3.5")).await?;
    world.delete::<PrivacyBudgetClaim>(namespace, "waiting").await?;
    world.event(namespace, "waiting", "BudgetWithdrawn").await?;
    world.delete::<PrivacyBudgetClaim>(namespace, "consumed").await?;
    world.delete::<PrivacyBudgetClaim>(namespace, "part").await?;
    world.block_shows(namespace, "b", ("5.5", "1", "3.5")).await?;
    world.delete::<PrivacyBudgetClaim>(namespace, "granted").await?;
    world.block_shows(namespace, "b", ("6.5", "0", "3.5")).await?;
    // Made again, it is another claim.
    world
        .create(claim("taxi", "consumed").epsilon("6.5", DELTA).within(namespace))
        .await?;
    world
        .claim_phase(namespace, "consumed", ClaimPhase::Granted)
        .await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("0", "6.5", "3.5"))?;
    phases(
        &books,
        &[
            ("granted", Phase::Released),
            ("part", Phase::Consumed),
            ("consumed", Phase::Consumed),
            ("waiting", Phase::Withdrawn),
            ("consumed", Phase::Granted),
        ],
    )
}

/// Refused at once, or when what it waits for is spent.
async fn too_large(world: &World) -> Result<()> {
    let namespace = "claim-too-large";
    prepared(world, namespace).await?;
    for (name, epsilon) in [("other", "6"), ("hopes", "5"), ("never", "11")] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        world.create(claim.within(namespace)).await?;
    }
    for (name, asked, left) in [("never", "11", "10"), ("hopes", "5", "4")] {
        if name == "hopes" {
            world.claim_phase(namespace, name, ClaimPhase::Waiting).await?;
            uses(world, namespace, "other", "consume", all()).await?;
        }
        let denied = world.claim_phase(namespace, name, ClaimPhase::Denied).await?;
        let status = denied.status.context("no status")?;
        let why =
            format!("block b can never give the {asked} epsilon asked: {left} is all that is not spent");
        ensure!(status.reason.as_deref() == Some("TooLarge"), "{status:?}");
        ensure!(status.message.as_ref() == Some(&why), "{status:?}");
        let reason = world.told(namespace, "PrivacyBudgetClaim", name, &why).await?;
        ensure!(reason == "BudgetDenied", "{reason}");
    }
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("4", "0", "6"))?;
    phases(
        &books,
        &[
            ("other", Phase::Consumed),
            ("hopes", Phase::Denied),
            ("never", Phase::Denied),
        ],
    )
}

/// What it waited for comes too late.
async fn expired(world: &World) -> Result<()> {
    let namespace = "claim-expired";
    half_locked(world, namespace).await?;
    let asked = claim("taxi", "c")
        .epsilon("4", DELTA)
        .with("timeout", json!("1s"));
    world.create(asked.within(namespace)).await?;
    let expired = world.claim_phase(namespace, "c", ClaimPhase::Expired).await?;
    let status = expired.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("TimedOut"), "{status:?}");
    let reason = world
        .told(namespace, "PrivacyBudgetClaim", "c", "within its timeout of 1s")
        .await?;
    ensure!(reason == "BudgetExpired", "{reason}");
    // Unlocks the rest, and gives back what it takes of it.
    let late = claim("taxi", "late").epsilon("1", DELTA);
    world.create(late.within(namespace)).await?;
    world.block_shows(namespace, "b", ("3", "1", "0")).await?;
    uses(world, namespace, "late", "release", all()).await?;
    world.block_shows(namespace, "b", ("4", "0", "0")).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("4", "0", "0"))?;
    phases(&books, &[("c", Phase::Expired), ("late", Phase::Released)])
}

/// Of two equal claims the one that came first goes first, but for priority.
async fn by_priority(world: &World) -> Result<()> {
    let namespace = "claim-priority";
    world.namespace(namespace).await?;
    let rules = dataset("taxi").arrivals(4);
    let three = block("taxi", "b").budget("4", "1e-6");
    world
        .create_all([rules.within(namespace), three.within(namespace)])
        .await?;
    for (name, priority, phase) in [
        ("first", 0, ClaimPhase::Waiting),
        ("urgent", 10, ClaimPhase::Granted),
        ("later", -1, ClaimPhase::Waiting),
        ("last", -2, ClaimPhase::Waiting),
    ] {
        let claim = claim("taxi", name)
            .epsilon("2", DELTA)
            .with("priority", json!(priority));
        world.create(claim.within(namespace)).await?;
        world.claim_phase(namespace, name, phase).await?;
    }
    // Four arrivals have unlocked the rest, which is the first one's.
    world.claim_phase(namespace, "first", ClaimPhase::Granted).await?;
    let books = world.books(namespace, "taxi").await?;
    has(&books, "b", ("0", "4", "0"))?;
    phases(
        &books,
        &[
            ("first", Phase::Granted),
            ("urgent", Phase::Granted),
            ("later", Phase::Waiting),
            ("last", Phase::Waiting),
        ],
    )
}
