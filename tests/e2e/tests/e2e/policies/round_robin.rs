//! Round robin: claims gather equal parts of a block until all of it is divided.

use anyhow::{Result, ensure};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod, pod_claim_name};
use privatekube_policy::Phase;
use serde_json::json;

use super::wait_for_claim;

const NONE: &str = "0";
const GATHERING: (ClaimPhase, &str) = (ClaimPhase::Waiting, "Gathering");

/// The same claims as in the policy crate's scenario `round-robin-by-arrivals`.
pub(super) async fn claims_gather_equal_parts_until_the_block_is_divided(
    env: &TestEnvironment,
) -> Result<()> {
    let namespace = "round-robin";
    env.namespace(namespace).await?;
    let taxi = dataset("taxi").arrivals(4).with("policy", json!("RoundRobin"));
    let portion = block("taxi", "b").budget("4", NONE);
    env.create_all([taxi.within(namespace), portion.within(namespace)])
        .await?;
    let request = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, NONE).within(namespace);

    env.create(request("large", "3")).await?;
    let gathered = "it has gathered 1 of the 3 epsilon that it asks of block b: 2 is missing, 2 more claims that arrive \
                    for the block unlock that, to be divided among all that wait for the block";
    let large = wait_for_claim(env, namespace, "large", GATHERING, gathered).await?;
    let message = large.status.and_then(|status| status.message);
    ensure!(
        message.as_deref() == Some(gathered),
        "there is no order to have a place in: {message:?}"
    );
    env.create(request("small", "0.4")).await?;
    env.wait_for_claim_phase(namespace, "small", ClaimPhase::Granted)
        .await?;
    env.create(request("middle", "1")).await?;
    let gathered = "it has gathered 0.5 of the 1 epsilon that it asks of block b: 0.5 is missing, the next claim that \
                    arrives for the block unlocks that";
    wait_for_claim(env, namespace, "middle", GATHERING, gathered).await?;
    // What a claim has gathered counts as available, though no other claim can have it.
    env.wait_for_block_budget(namespace, "b", ("2.6", "0.4", "0"))
        .await?;

    env.create(pod("last").requests("taxi", "0.7", NONE).within(namespace))
        .await?;
    let last = env
        .wait_for_pod_claim_phase(namespace, "last", ClaimPhase::Waiting)
        .await?;
    let last = last.metadata.name.unwrap_or_default();
    let gathered = "it has gathered 0.3333 of the 0.7 epsilon that it asks of block b: 0.3667 is missing, \
                    which is more than is left to be divided: only budget that other claims release can fill that";
    wait_for_claim(env, namespace, &last, GATHERING, gathered).await?;

    // All is unlocked and divided. The next arrival makes the engine deny the claims that still wait, and has its part of
    // what they had gathered.
    env.create(pod("late").requests("taxi", "0.1", NONE).within(namespace))
        .await?;
    let why = "block b is unlocked and divided completely among the claims that asked for it (policy RoundRobin): nothing \
               is left to make up what this one lacks there";
    let reason = env
        .wait_for_event_containing(namespace, "Pod", "last", why)
        .await?;
    ensure!(reason == "BudgetDenied", "last: {reason}");
    env.wait_for_pod_phase(namespace, "late", "Running").await?;
    for name in ["large", "middle"] {
        wait_for_claim(env, namespace, name, (ClaimPhase::Denied, "DividedUp"), why).await?;
    }
    // The rest of what they had gathered is available.
    env.wait_for_block_budget(namespace, "b", ("3.5", "0.4", "0.1"))
        .await?;

    // Released budget is divided again.
    let release = json!({"spec": {"release": {"all": true}}});
    env.change::<PrivacyBudgetClaim>(namespace, "small", release)
        .await?;
    env.wait_for_block_budget(namespace, "b", ("3.9", "0", "0.1"))
        .await?;
    env.create(pod("new").requests("taxi", "0.3", NONE).within(namespace))
        .await?;
    let new = env.wait_for_pod_phase(namespace, "new", "Running").await?;
    env.wait_for_claim_phase(namespace, &pod_claim_name(&new), ClaimPhase::Consumed)
        .await?;
    let ledger = env.ledger(namespace, "taxi").await?;
    ensure!(ledger.grant_order() == ["small", "late", "new"]);
    ensure!(
        ledger.phase("late") == Some(Phase::Consumed),
        "{:?}",
        ledger.phases()
    );
    Ok(())
}
