//! First come, first served: what does not fit is denied, or waits.

use anyhow::{Result, ensure};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{World, block, claim, dataset, pod};
use serde_json::json;

use super::{DELTA, granted_in_order, says};

pub(super) async fn refusing(world: &World) -> Result<()> {
    let namespace = "refusing";
    world.namespace(namespace).await?;
    let taxi = dataset("taxi")
        .with("policy", json!("FCFS"))
        .with("fcfs", json!({"refusing": true}));
    world
        .create_all([taxi.within(namespace), block("taxi", "b").within(namespace)])
        .await?;
    let asks = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, DELTA).within(namespace);
    world.create(asks("first", "6")).await?;
    world.claim_phase(namespace, "first", ClaimPhase::Granted).await?;
    let why = "block b had 4 of the 5 epsilon asked, and under the dataset's policy (FCFS, refusing) nothing waits: ask \
               again when more is available";
    world.create(asks("second", "5")).await?;
    let denied = (ClaimPhase::Denied, "DoesNotFit");
    says(world, namespace, "second", denied, why).await?;
    world
        .create(pod("third").asks("taxi", "5", DELTA).within(namespace))
        .await?;
    let reason = world.told(namespace, "Pod", "third", why).await?;
    ensure!(reason == "BudgetDenied", "{reason}");
    world
        .create(pod("fourth").asks("taxi", "4", DELTA).within(namespace))
        .await?;
    world.pod_phase(namespace, "fourth", "Running").await?;

    // What comes back is for who comes next: nobody has waited for it.
    let release = json!({"spec": {"release": {"all": true}}});
    world
        .change::<PrivacyBudgetClaim>(namespace, "first", release)
        .await?;
    world.block_shows(namespace, "b", ("6", "0", "4")).await?;
    world.create(asks("fifth", "5")).await?;
    world.claim_phase(namespace, "fifth", ClaimPhase::Granted).await?;
    let order = granted_in_order(&world.books(namespace, "taxi").await?);
    ensure!(order == ["first", "fourth", "fifth"], "{order:?}");
    Ok(())
}

/// A large one that came first goes before a small one, which DPF would let go first.
pub(super) async fn waiting(world: &World) -> Result<()> {
    let namespace = "waiting";
    world.namespace(namespace).await?;
    let taxi = dataset("taxi").arrivals(2).with("policy", json!("FCFS"));
    let portion = block("taxi", "b").budget("4", "1e-6");
    world
        .create_all([taxi.within(namespace), portion.within(namespace)])
        .await?;
    for (name, epsilon) in [("large", "3"), ("small", "1.5")] {
        let asks = claim("taxi", name).epsilon(epsilon, DELTA);
        world.create(asks.within(namespace)).await?;
    }
    world.claim_phase(namespace, "large", ClaimPhase::Granted).await?;
    let lacks = "block b has 1 of the 1.5 epsilon asked: 0.5 is missing, only budget that other claims release can fill \
                 that; no waiting claim goes before it";
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    says(world, namespace, "small", too_little, lacks).await?;
    Ok(())
}
