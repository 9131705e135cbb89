//! A claim object's budget: what is consumed, released, or left when the object is deleted. And claims that
//! are denied, expire, or have priority.

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, block, claim, dataset};
use privatekube_policy::{Phase, Record};
use serde_json::{Value, json};

use super::{DELTA, check_block, check_phases, half_locked, prepare};

#[tokio::test]
async fn claims_keep_what_they_consume_and_return_the_rest() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(
        a_claim_is_consumed_step_by_step(&env),
        a_claim_is_released_step_by_step(&env),
        a_claim_can_be_consumed_as_soon_as_it_is_granted(&env),
        deleting_a_claim_returns_what_it_did_not_consume(&env),
        a_claim_larger_than_its_block_is_denied(&env),
        a_claim_expires_after_its_timeout(&env),
        claims_are_granted_by_priority(&env),
    )?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

/// Sets `consume` or `release` (`what`) in a claim's spec.
async fn patch_spec(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    what: &str,
    amount: Value,
) -> Result<PrivacyBudgetClaim, kube::Error> {
    env.change(namespace, name, json!({"spec": {what: amount}})).await
}

/// An amount of block b, counted from the claim's beginning.
fn amount_of_b(epsilon: &str) -> Value {
    json!({"perBlock": {"b": {"epsilon": epsilon, "delta": "0"}}})
}

/// Everything, in place of the amounts set before.
fn all() -> Value {
    json!({"all": true, "perBlock": null})
}

/// The API server's message when it refuses a `consume` or `release` of claim `c`.
async fn refusal_message(
    env: &TestEnvironment,
    namespace: &str,
    what: &str,
    amount: Value,
) -> Result<String> {
    match patch_spec(env, namespace, "c", what, amount).await {
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("the change of {what} was accepted"),
    }
}

async fn count_consume_and_release_records(env: &TestEnvironment, namespace: &str) -> Result<usize> {
    let ledger = env.ledger(namespace, "taxi").await?;
    let records = ledger.entries.iter().flat_map(|entry| &entry.records);
    let matching =
        records.filter(|record| matches!(record, Record::Consumed { .. } | Record::Released { .. }));
    Ok(matching.count())
}

async fn a_claim_is_consumed_step_by_step(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-consume";
    prepare(env, namespace).await?;
    let request = claim("taxi", "c").epsilon("4", DELTA).within(namespace);
    env.create(request).await?;
    env.wait_for_block_budget(namespace, "b", ("6", "4", "0")).await?;
    patch_spec(env, namespace, "c", "consume", amount_of_b("1")).await?;
    env.wait_for_block_budget(namespace, "b", ("6", "3", "1")).await?;
    env.wait_for_claim_phase(namespace, "c", ClaimPhase::Granted)
        .await?;
    // An amount can't shrink. If it grows, the difference is consumed.
    let message = refusal_message(env, namespace, "consume", amount_of_b("0.5")).await?;
    ensure!(message.contains("is less than before"), "{message}");
    patch_spec(env, namespace, "c", "consume", amount_of_b("1.5")).await?;
    env.wait_for_block_budget(namespace, "b", ("6", "2.5", "1.5"))
        .await?;
    ensure!(count_consume_and_release_records(env, namespace).await? == 2);
    // An amount can't be more than the claim's demand.
    let message = refusal_message(env, namespace, "consume", amount_of_b("4.5")).await?;
    ensure!(
        message.contains("spec.consume.perBlock[b]: is more than the claim asks"),
        "{message}"
    );
    patch_spec(env, namespace, "c", "consume", amount_of_b("2")).await?;
    env.wait_for_block_budget(namespace, "b", ("6", "2", "2")).await?;
    ensure!(count_consume_and_release_records(env, namespace).await? == 3);
    patch_spec(env, namespace, "c", "consume", all()).await?;
    let consumed = env
        .wait_for_claim_phase(namespace, "c", ClaimPhase::Consumed)
        .await?;
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
    env.wait_for_block_budget(namespace, "b", ("6", "0", "4")).await?;
    // `consume` can't be removed.
    let message = refusal_message(env, namespace, "consume", Value::Null).await?;
    ensure!(message.contains("consume can't be taken back"), "{message}");
    let some = json!({"all": null, "perBlock": {"b": {"epsilon": "1", "delta": "0"}}});
    let message = refusal_message(env, namespace, "consume", some).await?;
    ensure!(message.contains("all can't be taken back"), "{message}");
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("6", "0", "4"))?;
    check_phases(&ledger, &[("c", Phase::Consumed)])
}

async fn a_claim_is_released_step_by_step(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-release";
    prepare(env, namespace).await?;
    env.create(block("taxi", "b2").within(namespace)).await?;
    let request = claim("taxi", "c").on("b", "4", DELTA).on("b2", "5", DELTA);
    env.create(request.within(namespace)).await?;
    env.wait_for_block_budget(namespace, "b2", ("5", "5", "0"))
        .await?;
    patch_spec(env, namespace, "c", "release", amount_of_b("1")).await?;
    env.wait_for_block_budget(namespace, "b", ("7", "3", "0")).await?;
    patch_spec(env, namespace, "c", "consume", amount_of_b("2")).await?;
    env.wait_for_block_budget(namespace, "b", ("7", "1", "2")).await?;
    let message = refusal_message(
        env,
        namespace,
        "release",
        json!({"perBlock": {"b": null, "b2": {"epsilon": "1", "delta": "0"}}}),
    )
    .await?;
    ensure!(message.contains("a block can't be taken back"), "{message}");
    // Released budget is granted to a claim that waits for it.
    let next = claim("taxi", "next").on("b2", "6", DELTA);
    env.create(next.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "next", ClaimPhase::Waiting)
        .await?;
    patch_spec(env, namespace, "c", "release", all()).await?;
    env.wait_for_claim_phase(namespace, "next", ClaimPhase::Granted)
        .await?;
    // Some of it was consumed.
    env.wait_for_claim_phase(namespace, "c", ClaimPhase::Consumed)
        .await?;
    env.wait_for_block_budget(namespace, "b", ("8", "0", "2")).await?;
    env.wait_for_block_budget(namespace, "b2", ("4", "6", "0"))
        .await?;
    patch_spec(env, namespace, "next", "release", all()).await?;
    env.wait_for_claim_phase(namespace, "next", ClaimPhase::Released)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("8", "0", "2"))?;
    check_block(&ledger, "b2", ("10", "0", "0"))?;
    check_phases(&ledger, &[("c", Phase::Consumed), ("next", Phase::Released)])
}

/// A claim may be created with `consume: {all: true}`, and is consumed when it is granted.
async fn a_claim_can_be_consumed_as_soon_as_it_is_granted(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-consume-at-once";
    half_locked(env, namespace).await?;
    let request = claim("taxi", "c").epsilon("3", DELTA).with("consume", all());
    env.create(request.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "c", ClaimPhase::Waiting)
        .await?;
    let other = claim("taxi", "other").epsilon("1", DELTA);
    env.create(other.within(namespace)).await?;
    env.wait_for_claim_phase(namespace, "c", ClaimPhase::Consumed)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("0", "1", "3"))?;
    check_phases(&ledger, &[("c", Phase::Consumed), ("other", Phase::Granted)])
}

/// Deletes a waiting, a granted, a partly consumed and a consumed claim.
async fn deleting_a_claim_returns_what_it_did_not_consume(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-deleted";
    prepare(env, namespace).await?;
    for (name, epsilon) in [("granted", "1"), ("part", "2"), ("consumed", "3")] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        env.create(claim.within(namespace)).await?;
        env.wait_for_claim_phase(namespace, name, ClaimPhase::Granted)
            .await?;
    }
    env.create(claim("taxi", "waiting").epsilon("5", DELTA).within(namespace))
        .await?;
    env.wait_for_claim_phase(namespace, "waiting", ClaimPhase::Waiting)
        .await?;
    patch_spec(env, namespace, "part", "consume", amount_of_b("0.5")).await?;
    patch_spec(env, namespace, "consumed", "consume", all()).await?;
    env.wait_for_block_budget(namespace, "b", ("4", "2.5", "3.5"))
        .await?;
    env.delete::<PrivacyBudgetClaim>(namespace, "waiting").await?;
    env.wait_for_event(namespace, "waiting", "BudgetWithdrawn")
        .await?;
    env.delete::<PrivacyBudgetClaim>(namespace, "consumed").await?;
    env.delete::<PrivacyBudgetClaim>(namespace, "part").await?;
    env.wait_for_block_budget(namespace, "b", ("5.5", "1", "3.5"))
        .await?;
    env.delete::<PrivacyBudgetClaim>(namespace, "granted").await?;
    env.wait_for_block_budget(namespace, "b", ("6.5", "0", "3.5"))
        .await?;
    // Created again under its name, it is another claim.
    env.create(claim("taxi", "consumed").epsilon("6.5", DELTA).within(namespace))
        .await?;
    env.wait_for_claim_phase(namespace, "consumed", ClaimPhase::Granted)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("0", "6.5", "3.5"))?;
    check_phases(
        &ledger,
        &[
            ("granted", Phase::Released),
            ("part", Phase::Consumed),
            ("consumed", Phase::Consumed),
            ("waiting", Phase::Withdrawn),
            ("consumed", Phase::Granted),
        ],
    )
}

/// A claim is denied when it arrives, or when what it waits for is consumed.
async fn a_claim_larger_than_its_block_is_denied(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-too-large";
    prepare(env, namespace).await?;
    for (name, epsilon) in [("other", "6"), ("hopes", "5"), ("never", "11")] {
        let claim = claim("taxi", name).epsilon(epsilon, DELTA);
        env.create(claim.within(namespace)).await?;
        // Claims that arrive in the same entry compete, and then the smaller one is granted.
        if name == "other" {
            env.wait_for_claim_phase(namespace, name, ClaimPhase::Granted)
                .await?;
        }
    }
    for (name, request, left) in [("never", "11", "10"), ("hopes", "5", "4")] {
        if name == "hopes" {
            env.wait_for_claim_phase(namespace, name, ClaimPhase::Waiting)
                .await?;
            patch_spec(env, namespace, "other", "consume", all()).await?;
        }
        let denied = env
            .wait_for_claim_phase(namespace, name, ClaimPhase::Denied)
            .await?;
        let status = denied.status.context("no status")?;
        let why =
            format!("block b can never give the {request} epsilon asked: {left} is all that is not spent");
        ensure!(status.reason.as_deref() == Some("TooLarge"), "{status:?}");
        ensure!(status.message.as_ref() == Some(&why), "{status:?}");
        let reason = env
            .wait_for_event_containing(namespace, "PrivacyBudgetClaim", name, &why)
            .await?;
        ensure!(reason == "BudgetDenied", "{reason}");
    }
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("4", "0", "6"))?;
    check_phases(
        &ledger,
        &[
            ("other", Phase::Consumed),
            ("hopes", Phase::Denied),
            ("never", Phase::Denied),
        ],
    )
}

/// The budget that it waits for is unlocked after its timeout.
async fn a_claim_expires_after_its_timeout(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-expired";
    half_locked(env, namespace).await?;
    let request = claim("taxi", "c")
        .epsilon("4", DELTA)
        .with("timeout", json!("1s"));
    env.create(request.within(namespace)).await?;
    let a_claim_expires_after_its_timeout = env
        .wait_for_claim_phase(namespace, "c", ClaimPhase::Expired)
        .await?;
    let status = a_claim_expires_after_its_timeout.status.context("no status")?;
    ensure!(status.reason.as_deref() == Some("TimedOut"), "{status:?}");
    let reason = env
        .wait_for_event_containing(namespace, "PrivacyBudgetClaim", "c", "within its timeout of 1s")
        .await?;
    ensure!(reason == "BudgetExpired", "{reason}");
    // This claim's arrival unlocks the rest; what it is granted, it releases.
    let late = claim("taxi", "late").epsilon("1", DELTA);
    env.create(late.within(namespace)).await?;
    env.wait_for_block_budget(namespace, "b", ("3", "1", "0")).await?;
    patch_spec(env, namespace, "late", "release", all()).await?;
    env.wait_for_block_budget(namespace, "b", ("4", "0", "0")).await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("4", "0", "0"))?;
    check_phases(&ledger, &[("c", Phase::Expired), ("late", Phase::Released)])
}

/// Of two equal claims the one with the higher priority is granted first, else the one that arrived first.
async fn claims_are_granted_by_priority(env: &TestEnvironment) -> Result<()> {
    let namespace = "claim-priority";
    env.namespace(namespace).await?;
    let rules = dataset("taxi")
        .arrivals(4)
        .with("claimants", json!({"maxPriority": 10}));
    let three = block("taxi", "b").budget("4", "1e-6");
    env.create_all([rules.within(namespace), three.within(namespace)])
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
        env.create(claim.within(namespace)).await?;
        env.wait_for_claim_phase(namespace, name, phase).await?;
    }
    // Four arrivals have unlocked the rest, which is granted to the first claim.
    env.wait_for_claim_phase(namespace, "first", ClaimPhase::Granted)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    check_block(&ledger, "b", ("0", "4", "0"))?;
    check_phases(
        &ledger,
        &[
            ("first", Phase::Granted),
            ("urgent", Phase::Granted),
            ("later", Phase::Waiting),
            ("last", Phase::Waiting),
        ],
    )
}
