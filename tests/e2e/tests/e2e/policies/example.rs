//! The example of two teams, as its page tells it.

use std::path::Path;

use anyhow::{Result, ensure};
use privatekube_api::ClaimPhase;
use privatekube_e2e::World;

use super::{granted_in_order, says};

async fn apply(world: &World, file: &str) -> Result<()> {
    let teams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/teams");
    let file = teams.join(file).display().to_string();
    world.cluster.kubectl(["apply", "-f", &file]).await?;
    Ok(())
}

pub(super) async fn the_team_that_weighs_more_goes_first(world: &World) -> Result<()> {
    for file in [
        "00-namespaces.yaml",
        "01-dataset.yaml",
        "02-blocks.yaml",
        "03-wait.yaml",
    ] {
        apply(world, file).await?;
    }
    let too_little = (ClaimPhase::Waiting, "TooLittleUnlocked");
    let (model, monday) = tokio::try_join!(
        world.pod_claim_phase("research", "model", ClaimPhase::Waiting),
        world.pod_claim_phase("reports", "monday", ClaimPhase::Waiting),
    )?;
    let name = |claim: privatekube_api::PrivacyBudgetClaim| claim.metadata.name.unwrap_or_default();
    let (model, monday) = (name(model), name(monday));
    for (namespace, name, ahead) in [
        ("research", &*model, "; no waiting claim goes before it"),
        ("reports", &*monday, "; one waiting claim goes before it"),
        ("reports", "weekly", "; 2 waiting claims go before it"),
    ] {
        says(world, namespace, name, too_little, ahead).await?;
    }
    apply(world, "04-unlocks.yaml").await?;
    world.pod_phase("research", "model", "Running").await?;
    world.pod_phase("reports", "count", "Running").await?;
    let lacks = "block monday has 1.75 of the 4 epsilon asked: 2.25 is missing";
    says(world, "reports", &monday, too_little, lacks).await?;
    let order = granted_in_order(&world.books("lake", "rides").await?);
    ensure!(order == ["count", "model"], "{order:?}");
    Ok(())
}
