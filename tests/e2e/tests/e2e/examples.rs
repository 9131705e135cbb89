//! The examples `statistics`, `renyi` and `user-level`, step by step as their page describes them.

use std::path::Path;

use anyhow::{Result, ensure};
use futures::try_join;
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, api::ListParams};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_e2e::{TestEnvironment, eventually};

#[tokio::test]
async fn the_examples_do_what_their_page_says() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(statistics(&env), renyi(&env), user_level(&env))?;
    Ok(())
}

fn example(file: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    examples.join(file).display().to_string()
}

async fn apply(env: &TestEnvironment, file: &str) -> Result<()> {
    env.cluster
        .kubectl(["apply", "-f", &example(file)])
        .await
        .map(drop)
}

/// Waits until the table of a block shows this total and so much consumed.
async fn wait_for_table(
    env: &TestEnvironment,
    (namespace, block): (&str, &str),
    (total, consumed): (&str, &str),
) -> Result<()> {
    let what = format!("{total} in all and {consumed} consumed");
    env.wait(namespace, block, &what, |block: Option<&PrivateDataBlock>| {
        let table = block.and_then(|block| block.status.as_ref()?.table.as_ref());
        table.is_some_and(|table| {
            (table.total.as_deref(), table.consumed.as_deref()) == (Some(total), Some(consumed))
        })
    })
    .await
    .map(drop)
}

async fn statistics(env: &TestEnvironment) -> Result<()> {
    for file in ["00-dataset.yaml", "01-blocks.yaml", "02-mice.yaml"] {
        apply(env, &format!("statistics/{file}")).await?;
    }
    for pod in ["count", "mean-stay", "histogram-of-wards"] {
        env.wait_for_pod_phase("clinic", pod, "Running").await?;
    }
    for (day, consumed) in [("23", "0.05"), ("24", "0.13"), ("25", "0.23")] {
        wait_for_table(env, ("clinic", &format!("visits-2026-11-{day}")), ("1", consumed)).await?;
    }
    Ok(())
}

async fn renyi(env: &TestEnvironment) -> Result<()> {
    for file in ["00-dataset.yaml", "01-jobs.yaml"] {
        apply(env, &format!("renyi/{file}")).await?;
    }
    wait_for_table(env, ("compose", "basic-block"), ("10", "10")).await?;
    env.wait("compose", "renyi", "all of its pods ran", |job: Option<&Job>| {
        let status = job.and_then(|job| job.status.as_ref());
        status.is_some_and(|status| status.succeeded == Some(20))
    })
    .await?;
    wait_for_table(env, ("compose", "renyi-block"), ("5.97", "1.194")).await?;
    // The claims of the pods that ran may be gone with their pods; those that were denied stay.
    let claims: Api<PrivacyBudgetClaim> = Api::namespaced(env.client.clone(), "compose");
    let claims = claims.list(&ListParams::default()).await?;
    let denied = claims.iter().filter(|claim| {
        let phase = claim.status.as_ref().and_then(|status| status.phase);
        claim.spec.dataset == "basic" && phase == Some(ClaimPhase::Denied)
    });
    let denied = denied.count();
    ensure!(denied == 10, "{denied} claims were denied");
    Ok(())
}

/// Waits until a Job's only pod runs or has run.
async fn wait_for_run(env: &TestEnvironment, job: &str) -> Result<()> {
    env.wait("shop", job, "its pod runs, or has run", |job: Option<&Job>| {
        let status = job.and_then(|job| job.status.as_ref());
        status.is_some_and(|status| status.succeeded == Some(1) || status.ready == Some(1))
    })
    .await
    .map(drop)
}

async fn user_level(env: &TestEnvironment) -> Result<()> {
    apply(env, "user-level/00-dataset.yaml").await?;
    for bucket in ["orders-users-0", "orders-users-1"] {
        wait_for_table(env, ("shop", bucket), ("5.966", "0")).await?;
    }
    apply(env, "user-level/01-train.yaml").await?;
    wait_for_run(env, "recommend").await?;
    eventually(
        "the survey's claim says that it matches too few blocks",
        async || {
            let claims = env.cluster.kubectl(["get", "pbc", "-n", "shop"]).await?;
            Ok(if claims.contains("TooFewBlocks") {
                Ok(())
            } else {
                Err(claims)
            })
        },
    )
    .await?;
    let script = std::fs::read_to_string(example("user-level/02-users-come.sh"))?;
    let patch = script.split('\'').nth(1).unwrap_or_default();
    env.cluster
        .kubectl([
            "patch", "pds", "orders", "-n", "shop", "--type", "merge", "-p", patch,
        ])
        .await?;
    wait_for_run(env, "survey").await
}
