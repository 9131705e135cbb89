//! Round robin: claims gather their parts, until all is divided.

use anyhow::{Result, ensure};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{World, block, claim, dataset, inline_claim, pod};
use privatekube_policy::Phase;
use serde_json::json;

use super::{granted_in_order, says};

const NONE: &str = "0";
const GATHERING: (ClaimPhase, &str) = (ClaimPhase::Waiting, "Gathering");

/// As the policy's own scenario `round-robin-by-arrivals` tells it.
pub(super) async fn divided(world: &World) -> Result<()> {
    let namespace = "round-robin";
    world.namespace(namespace).await?;
    let taxi = dataset("taxi").arrivals(4).with("policy", json!("RoundRobin"));
    let portion = block("taxi", "b").budget("4", NONE);
    world
        .create_all([taxi.within(namespace), portion.within(namespace)])
        .await?;
    let asks = |name: &str, epsilon: &str| claim("taxi", name).epsilon(epsilon, NONE).within(namespace);

    world.create(asks("large", "3")).await?;
    let gathered = "it has gathered 1 of the 3 epsilon that it asks of block b: 2 is missing, 2 more claims that arrive \
                    for the block unlock that, to be divided among all that wait for the block";
    let large = says(world, namespace, "large", GATHERING, gathered).await?;
    let message = large.status.and_then(|status| status.message);
    ensure!(
        message.as_deref() == Some(gathered),
        "there is no order to have a place in: {message:?}"
    );
    world.create(asks("small", "0.4")).await?;
    world.claim_phase(namespace, "small", ClaimPhase::Granted).await?;
    world.create(asks("middle", "1")).await?;
    let gathered = "it has gathered 0.5 of the 1 epsilon that it asks of block b: 0.5 is missing, the next claim that \
                    arrives for the block unlocks that";
    says(world, namespace, "middle", GATHERING, gathered).await?;
    // What is gathered counts as available, though nobody else gets it.
    world.block_shows(namespace, "b", ("2.6", "0.4", "0")).await?;

    world
        .create(pod("last").asks("taxi", "0.7", NONE).within(namespace))
        .await?;
    let last = world
        .pod_claim_phase(namespace, "last", ClaimPhase::Waiting)
        .await?;
    let last = last.metadata.name.unwrap_or_default();
    let gathered = "it has gathered 0.333333333333 of the 0.7 epsilon that it asks of block b: 0.366666666667 is missing, \
                    which is more than is left to be divided: only budget that other claims release can fill that";
    says(world, namespace, &last, GATHERING, gathered).await?;

    // All is unlocked and divided. Who comes now ends the waiting.
    world
        .create(pod("late").asks("taxi", "0.1", NONE).within(namespace))
        .await?;
    let why = "block b is unlocked and divided completely among the claims that asked for it (policy RoundRobin): nothing \
               is left to make up what this one lacks there";
    for name in ["last", "late"] {
        let reason = world.told(namespace, "Pod", name, why).await?;
        ensure!(reason == "BudgetDenied", "{name}: {reason}");
    }
    for name in ["large", "middle"] {
        says(world, namespace, name, (ClaimPhase::Denied, "DividedUp"), why).await?;
    }
    // What they had gathered is nobody's.
    world.block_shows(namespace, "b", ("3.6", "0.4", "0")).await?;

    // What comes back is divided again.
    let release = json!({"spec": {"release": {"all": true}}});
    world
        .change::<PrivacyBudgetClaim>(namespace, "small", release)
        .await?;
    world.block_shows(namespace, "b", ("4", "0", "0")).await?;
    world
        .create(pod("new").asks("taxi", "0.3", NONE).within(namespace))
        .await?;
    let new = world.pod_phase(namespace, "new", "Running").await?;
    world
        .claim_phase(namespace, &inline_claim(&new), ClaimPhase::Consumed)
        .await?;
    let books = world.books(namespace, "taxi").await?;
    ensure!(granted_in_order(&books) == ["small", "new"]);
    ensure!(books.phase("late") == Some(Phase::Denied), "{:?}", books.phases());
    Ok(())
}
