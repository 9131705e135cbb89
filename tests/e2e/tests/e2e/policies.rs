//! The policies in a cluster: which claims each of them grants, and what the others report.
//!
//! Each scenario has its own namespace; those of one test run at the same time in one cluster.

mod example;
mod fcfs;
mod packing;
mod round_robin;
mod rules;
mod weights;

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::TestEnvironment;

const DELTA: &str = "1e-9";

#[tokio::test]
async fn each_policy_grants_by_its_rules_and_explains_its_decisions() -> Result<()> {
    let env = TestEnvironment::start().await?;
    try_join!(
        packing::dpack_grants_many_where_dpf_and_blend_grant_one(&env),
        fcfs::refusing_denies_claims_that_do_not_fit(&env),
        fcfs::waiting_grants_in_order_of_arrival(&env),
        round_robin::claims_gather_equal_parts_until_the_block_is_divided(&env),
        weights::heavier_claims_are_granted_first(&env),
        weights::weights_count_for_what_arrives_later(&env),
        rules::a_dataset_created_again_keeps_its_policy(&env),
        example::the_heavier_team_is_granted_first(&env),
    )?;
    ensure!(env.scheduled_after_flush().await? < 1.0);
    Ok(())
}

/// Waits until a claim is in a phase for a reason, with a message that contains `text`.
async fn wait_for_claim(
    env: &TestEnvironment,
    namespace: &str,
    name: &str,
    (phase, reason): (ClaimPhase, &str),
    text: &str,
) -> Result<PrivacyBudgetClaim> {
    let reports = |claim: &PrivacyBudgetClaim| {
        let status = claim.status.as_ref()?;
        let as_expected = status.phase == Some(phase) && status.reason.as_deref() == Some(reason);
        Some(as_expected && status.message.as_ref()?.contains(text))
    };
    let what = format!("{phase}, {reason}, saying {text:?}");
    let claim = env
        .wait(namespace, name, &what, |claim: Option<&PrivacyBudgetClaim>| {
            claim.and_then(reports) == Some(true)
        })
        .await?;
    claim.context("no claim")
}
