//! The policies in a cluster: who is granted under each, and what is said to those who are not.
//!
//! Each scenario has a namespace of its own; those of one test run at the same time in one cluster.

mod example;
mod fcfs;
mod packing;
mod round_robin;
mod rules;
mod weights;

use anyhow::{Context, Result, ensure};
use futures::try_join;
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_e2e::{Books, World};
use privatekube_policy::Record;

const DELTA: &str = "1e-9";

#[tokio::test]
async fn each_policy_decides_in_its_way_and_says_why_in_its_words() -> Result<()> {
    let world = World::start().await?;
    try_join!(
        packing::dpack_grants_many_where_dpf_and_blend_grant_one(&world),
        fcfs::refusing(&world),
        fcfs::waiting(&world),
        round_robin::divided(&world),
        weights::heavier_claims_go_first(&world),
        weights::weights_count_for_what_arrives_later(&world),
        rules::a_dataset_made_again_keeps_its_policy(&world),
        example::the_team_that_weighs_more_goes_first(&world),
    )?;
    ensure!(world.scheduled_after_flush().await? < 1.0);
    Ok(())
}

/// Waits until a claim is in a phase for this reason, and says this.
async fn says(
    world: &World,
    namespace: &str,
    name: &str,
    (phase, reason): (ClaimPhase, &str),
    text: &str,
) -> Result<PrivacyBudgetClaim> {
    let said = |claim: &PrivacyBudgetClaim| {
        let status = claim.status.as_ref()?;
        let as_expected = status.phase == Some(phase) && status.reason.as_deref() == Some(reason);
        Some(as_expected && status.message.as_ref()?.contains(text))
    };
    let what = format!("{phase}, {reason}, saying {text:?}");
    let claim = world
        .wait(namespace, name, &what, |claim: Option<&PrivacyBudgetClaim>| {
            claim.and_then(said) == Some(true)
        })
        .await?;
    claim.context("no claim")
}

/// The claims granted, in order, by what they are named after.
fn granted_in_order(books: &Books) -> Vec<String> {
    let records = books.entries.iter().flat_map(|entry| &entry.records);
    let granted = records.filter_map(|record| match record {
        Record::Granted { claim, .. } => claim.as_str().split('/').nth(2).map(str::to_owned),
        _ => None,
    });
    granted.collect()
}
