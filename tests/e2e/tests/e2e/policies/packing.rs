//! DPack, DPF and a blend of them, on the same claims.
//!
//! Three blocks with epsilon 4, a quarter of which each of four arrivals unlocks. A wide claim requests 2.5
//! of each block, and three narrow ones 2.75 of one block each. The wide claim's dominant share is smaller
//! than theirs, and its summed cost is larger.

use anyhow::{Result, ensure};
use futures::try_join;
use privatekube_api::ClaimPhase;
use privatekube_e2e::{TestEnvironment, block, claim, dataset, pod, pod_claim_name};
use serde_json::{Value, json};

use super::{DELTA, wait_for_claim};

const TOO_LITTLE: (ClaimPhase, &str) = (ClaimPhase::Waiting, "TooLittleUnlocked");

/// Creates the claims, which all wait. Returns the name of the wide claim's object. The arrival of a last,
/// small claim unlocks enough for the wide claim or for the narrow ones.
async fn create_waiting_claims(
    env: &TestEnvironment,
    namespace: &str,
    policy: &[(&str, Value)],
) -> Result<String> {
    env.namespace(namespace).await?;
    let taxi = policy
        .iter()
        .fold(dataset("taxi").arrivals(4), |taxi, (field, value)| {
            taxi.with(field, value.clone())
        });
    env.create(taxi.within(namespace)).await?;
    for name in ["b1", "b2", "b3"] {
        let block = block("taxi", name).budget("4", "1e-6");
        env.create(block.within(namespace)).await?;
    }
    env.create(pod("wide").requests("taxi", "2.5", DELTA).within(namespace))
        .await?;
    let wide = env
        .wait_for_pod_claim_phase(namespace, "wide", ClaimPhase::Waiting)
        .await?;
    for number in 1..=3 {
        let narrow = claim("taxi", &format!("n{number}")).on(&format!("b{number}"), "2.75", DELTA);
        env.create(narrow.within(namespace)).await?;
        env.wait_for_claim_phase(namespace, &format!("n{number}"), ClaimPhase::Waiting)
            .await?;
    }
    Ok(wide.metadata.name.unwrap_or_default())
}

async fn create_last_claim(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.create(pod("last").requests("taxi", "0.1", DELTA).within(namespace))
        .await?;
    env.wait_for_pod_phase(namespace, "last", "Running").await?;
    Ok(())
}

/// The order of the waiting claims is that of DPF.
async fn the_wide_claim_is_granted_first(
    env: &TestEnvironment,
    namespace: &str,
    policy: &[(&str, Value)],
) -> Result<()> {
    let wide = create_waiting_claims(env, namespace, policy).await?;
    let lacks = "block b1 has 2 of the 2.5 epsilon asked: 0.5 is missing, the next claim that arrives for the block \
                 unlocks that; 2 more of its blocks lack budget; no waiting claim goes before it";
    wait_for_claim(env, namespace, &wide, TOO_LITTLE, lacks).await?;
    wait_for_claim(
        env,
        namespace,
        "n3",
        TOO_LITTLE,
        "; 3 waiting claims go before it",
    )
    .await?;
    create_last_claim(env, namespace).await?;
    env.wait_for_pod_phase(namespace, "wide", "Running").await?;
    // What the wide claim consumed never becomes available again.
    for name in ["n1", "n2", "n3"] {
        let too_large = "can never give the 2.75 epsilon asked: 1.";
        wait_for_claim(env, namespace, name, (ClaimPhase::Denied, "TooLarge"), too_large).await?;
    }
    let order = env.ledger(namespace, "taxi").await?.grant_order();
    ensure!(order == ["last", "wide"], "{order:?}");
    Ok(())
}

async fn the_narrow_claims_are_granted_first(env: &TestEnvironment, namespace: &str) -> Result<()> {
    let wide = create_waiting_claims(env, namespace, &[("policy", json!("DPack"))]).await?;
    for (name, ahead) in [
        ("n1", "; no waiting claim goes before it"),
        ("n2", "; one waiting claim goes before it"),
        (&*wide, "; 3 waiting claims go before it"),
    ] {
        wait_for_claim(env, namespace, name, TOO_LITTLE, ahead).await?;
    }
    create_last_claim(env, namespace).await?;
    for name in ["n1", "n2", "n3"] {
        env.wait_for_claim_phase(namespace, name, ClaimPhase::Granted)
            .await?;
    }
    let lacks = "block b1 has 0.15 of the 2.5 epsilon asked: 2.35 is missing, only budget that other claims release can \
                 fill that; 2 more of its blocks lack budget; no waiting claim goes before it";
    wait_for_claim(env, namespace, &wide, TOO_LITTLE, lacks).await?;
    let order = env.ledger(namespace, "taxi").await?.grant_order();
    ensure!(order == ["last", "n1", "n2", "n3"], "{order:?}");

    // What they release is enough for the wide claim.
    for name in ["n1", "n2", "n3"] {
        let release = json!({"spec": {"release": {"all": true}}});
        env.change::<privatekube_api::PrivacyBudgetClaim>(namespace, name, release)
            .await?;
    }
    let pod = env.wait_for_pod_phase(namespace, "wide", "Running").await?;
    ensure!(pod_claim_name(&pod) == wide);
    let shown = env.cluster.kubectl(["get", "pds", "-n", namespace]).await?;
    let row = shown.lines().nth(1).unwrap_or_default().split_whitespace();
    ensure!(row.take(4).eq(["taxi", "DPack", "Basic", "True"]), "{shown}");
    Ok(())
}

pub(super) async fn dpack_grants_many_where_dpf_and_blend_grant_one(env: &TestEnvironment) -> Result<()> {
    // Nine tenths of what is unlocked are enough for the wide claim.
    let blend = [
        ("policy", json!("Blend")),
        ("blend", json!({"fairness": "0.9", "recomputeAfter": 2})),
    ];
    try_join!(
        the_narrow_claims_are_granted_first(env, "dpack"),
        the_wide_claim_is_granted_first(env, "dpf", &[]),
        the_wide_claim_is_granted_first(env, "blend", &blend),
    )?;
    Ok(())
}
