//! The example `examples/teams`, step by step as its page describes it.

use std::path::Path;

use anyhow::{Result, ensure};
use privatekube_api::ClaimPhase;
use privatekube_e2e::TestEnvironment;

use super::wait_for_claim;

async fn apply(env: &TestEnvironment, file: &str) -> Result<()> {
    let teams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/teams");
    let file = teams.join(file).display().to_string();
    env.cluster.kubectl(["apply", "-f", &file]).await?;
    Ok(())
}

pub(super) async fn the_heavier_team_is_granted_first(env: &TestEnvironment) -> Result<()> {
    for file in [
        "00-namespaces.yaml",
        "01-dataset.yaml",
        "02-blocks.yaml",
        "03-wait.yaml",
    ] {
        apply(env, file).await?;
    }
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let (model, monday) = tokio::try_join!(
        env.wait_for_pod_claim_phase("research", "model", ClaimPhase::Waiting),
        env.wait_for_pod_claim_phase("reports", "monday", ClaimPhase::Waiting),
    )?;
    let name = |claim: privatekube_api::PrivacyBudgetClaim| claim.metadata.name.unwrap_or_default();
    let (model, monday) = (name(model), name(monday));
    for (namespace, name, ahead) in [
        ("research", &*model, "; no waiting claim goes before it"),
        ("reports", &*monday, "; one waiting claim goes before it"),
        ("reports", "weekly", "; 2 waiting claims go before it"),
    ] {
        wait_for_claim(env, namespace, name, too_little, ahead).await?;
    }
    apply(env, "04-unlocks.yaml").await?;
    env.wait_for_pod_phase("research", "model", "Running").await?;
    env.wait_for_pod_phase("reports", "count", "Running").await?;
    let lacks = "block monday has 1.75 of the 4 epsilon asked: 2.25 is missing";
    wait_for_claim(env, "reports", &monday, too_little, lacks).await?;
    let order = env.ledger("lake", "rides").await?.grant_order();
    ensure!(order == ["count", "model"], "{order:?}");
    Ok(())
}
