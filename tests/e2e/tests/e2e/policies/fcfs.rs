//! First come, first served: a claim that doesn't fit is denied (refusing), or waits.

use anyhow::{Result, ensure};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod};
use serde_json::json;

use super::{DELTA, wait_for_claim};

pub(super) async fn refusing_denies_claims_that_do_not_fit(env: &TestEnvironment) -> Result<()> {
    let namespace = "refusing";
    env.namespace(namespace).await?;
    let taxi = dataset("taxi")
        .with("policy", json!("FCFS"))
        .with("fcfs", json!({"refusing": true}));
    env.create_all([taxi.within(namespace), block("taxi", "b").within(namespace)])
        .await?;
    let request = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, DELTA).within(namespace);
    env.create(request("first", "6")).await?;
    env.wait_for_claim_phase(namespace, "first", ClaimPhase::Granted)
        .await?;
    let why = "block b had 4 of the 5 epsilon asked, and under the dataset's policy (FCFS, refusing) nothing waits: ask \
               again when more is available";
    env.create(request("second", "5")).await?;
    let denied = (ClaimPhase::Denied, "DoesNotFit");
    wait_for_claim(env, namespace, "second", denied, why).await?;
    env.create(pod("third").requests("taxi", "5", DELTA).within(namespace))
        .await?;
    let reason = env
        .wait_for_event_containing(namespace, "Pod", "third", why)
        .await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    env.create(pod("fourth").requests("taxi", "4", DELTA).within(namespace))
        .await?;
    env.wait_for_pod_phase(namespace, "fourth", "Running").await?;

    // Released budget is for the next claim that arrives, since none has waited for it.
    let release = json!({"spec": {"release": {"all": true}}});
    env.change::<PrivacyBudgetClaim>(namespace, "first", release)
        .await?;
    env.wait_for_block_budget(namespace, "b", ("6", "0", "4")).await?;
    env.create(request("fifth", "5")).await?;
    env.wait_for_claim_phase(namespace, "fifth", ClaimPhase::Granted)
        .await?;
    let order = env.ledger(namespace, "taxi").await?.grant_order();
    ensure!(order == ["first", "fourth", "fifth"], "{order:?}");
    Ok(())
}

/// A large claim that arrived first is granted before a small one, which DPF would grant first.
pub(super) async fn waiting_grants_in_order_of_arrival(env: &TestEnvironment) -> Result<()> {
    let namespace = "waiting";
    env.namespace(namespace).await?;
    let taxi = dataset("taxi").arrivals(2).with("policy", json!("FCFS"));
    let portion = block("taxi", "b").budget("4", "1e-6");
    env.create_all([taxi.within(namespace), portion.within(namespace)])
        .await?;
    for (name, epsilon) in [("large", "3"), ("small", "1.5")] {
        let request = claim("taxi", name).epsilon(epsilon, DELTA);
        env.create(request.within(namespace)).await?;
    }
    env.wait_for_claim_phase(namespace, "large", ClaimPhase::Granted)
        .await?;
    let lacks = "block b has 1 of the 1.5 epsilon asked: 0.5 is missing, only budget that other claims release can fill \
                 that; no waiting claim goes before it";
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    wait_for_claim(env, namespace, "small", too_little, lacks).await?;
    Ok(())
}
