//! DPack beside DPF and a blend of them, on the same demands.
//!
//! Three blocks with epsilon 4, a quarter of which each of four arrivals unlocks. A wide claim asks 2.5 of each, and
//! three narrow ones 2.75 of one each. Its dominant share is smaller than theirs, and its cost, summed, is larger.

use anyhow::{Result, ensure};
use futures::try_join;
use privatekube_api::ClaimPhase;
use privatekube_e2e::{World, block, claim, dataset, inline_claim, pod};
use serde_json::{Value, json};

use super::{DELTA, granted_in_order, says};

const TOO_LITTLE: (ClaimPhase, &str) = (ClaimPhase::Waiting, "TooLittleUnlocked");

/// All wait, until a last and small one unlocks enough for the wide claim, or for the narrow ones.
async fn waits(world: &World, namespace: &str, policy: &[(&str, Value)]) -> Result<String> {
    world.namespace(namespace).await?;
    let taxi = policy
        .iter()
        .fold(dataset("taxi").arrivals(4), |taxi, (field, value)| {
            taxi.with(field, value.clone())
        });
    world.create(taxi.within(namespace)).await?;
    for name in ["b1", "b2", "b3"] {
        let block = block("taxi", name).budget("4", "1e-6");
        world.create(block.within(namespace)).await?;
    }
    world
        .create(pod("wide").asks("taxi", "2.5", DELTA).within(namespace))
        .await?;
    let wide = world
        .pod_claim_phase(namespace, "wide", ClaimPhase::Waiting)
        .await?;
    for number in 1..=3 {
        let narrow = claim("taxi", &format!("n{number}")).on(&format!("b{number}"), "2.75", DELTA);
        world.create(narrow.within(namespace)).await?;
        world
            .claim_phase(namespace, &format!("n{number}"), ClaimPhase::Waiting)
            .await?;
    }
    Ok(wide.metadata.name.unwrap_or_default())
}

async fn last_comes(world: &World, namespace: &str) -> Result<()> {
    world
        .create(pod("last").asks("taxi", "0.1", DELTA).within(namespace))
        .await?;
    world.pod_phase(namespace, "last", "Running").await?;
    Ok(())
}

/// Their places, while they wait, are those of DPF.
async fn the_wide_one_goes_first(world: &World, namespace: &str, policy: &[(&str, Value)]) -> Result<()> {
    let wide = waits(world, namespace, policy).await?;
    let lacks = "block b1 has 2 of the 2.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
                 unlocks that; 2 more of its blocks lack budget; no waiting claim goes before it";
    says(world, namespace, &wide, TOO_LITTLE, lacks).await?;
    says(
        world,
        namespace,
        "n3",
        TOO_LITTLE,
        "; 3 waiting claims go before it",
    )
    .await?;
    last_comes(world, namespace).await?;
    world.pod_phase(namespace, "wide", "Running").await?;
    // What the wide one spent never comes back.
    for name in ["n1", "n2", "n3"] {
        let spent = "can never give the 2.75 epsilon asked: 1.";
        says(world, namespace, name, (ClaimPhase::Denied, "TooLarge"), spent).await?;
    }
    let order = granted_in_order(&world.books(namespace, "taxi").await?);
    ensure!(order == ["last", "wide"], "{order:?}");
    Ok(())
}

async fn the_narrow_ones_go_first(world: &World, namespace: &str) -> Result<()> {
    let wide = waits(world, namespace, &[("policy", json!("DPack"))]).await?;
    for (name, ahead) in [
        ("n1", "; no waiting claim goes before it"),
        ("n2", "; one waiting claim goes before it"),
        (&*wide, "; 3 waiting claims go before it"),
    ] {
        says(world, namespace, name, TOO_LITTLE, ahead).await?;
    }
    last_comes(world, namespace).await?;
    for name in ["n1", "n2", "n3"] {
        world.claim_phase(namespace, name, ClaimPhase::Granted).await?;
    }
    let lacks = "block b1 has 0.15 of the 2.5 epsilon asked: 2.35 is missing, only budget that other claims release can \
                 fill that; 2 more of its blocks lack budget; no waiting claim goes before it";
    says(world, namespace, &wide, TOO_LITTLE, lacks).await?;
    let order = granted_in_order(&world.books(namespace, "taxi").await?);
    ensure!(order == ["last", "n1", "n2", "n3"], "{order:?}");

    // What is given back is enough for it.
    for name in ["n1", "n2", "n3"] {
        let release = json!({"spec": {"release": {"all": true}}});
        world
            .change::<privatekube_api::PrivacyBudgetClaim>(namespace, name, release)
            .await?;
    }
    let pod = world.pod_phase(namespace, "wide", "Running").await?;
    ensure!(inline_claim(&pod) == wide);
    let shown = world.cluster.kubectl(["get", "pds", "-n", namespace]).await?;
    let row = shown.lines().nth(1).unwrap_or_default().split_whitespace();
    ensure!(row.take(4).eq(["taxi", "DPack", "Basic", "True"]), "{shown}");
    Ok(())
}

pub(super) async fn dpack_grants_many_where_dpf_and_blend_grant_one(world: &World) -> Result<()> {
    // Nine tenths of what is unlocked are enough for the wide one.
    let blend = [
        ("policy", json!("Blend")),
        ("blend", json!({"fairness": "0.9", "recomputeAfter": 2})),
    ];
    try_join!(
        the_narrow_ones_go_first(world, "dpack"),
        the_wide_one_goes_first(world, "dpf", &[]),
        the_wide_one_goes_first(world, "blend", &blend),
    )?;
    Ok(())
}
