//! What becomes of budget in the lives of pods, claims and blocks.
//!
//! Each scenario has a namespace of its own; those of one module run at the same time in one cluster.

mod blocks;
mod claims;
mod pods;

use anyhow::{Context, Result, ensure};
use privatekube_e2e::{TestEnvironment, VerifiedLedger, block, dataset};
use privatekube_policy::Phase;

const DELTA: &str = "1e-9";

/// A namespace with the dataset `taxi`, all of whose budget is available at once, and its block `b` with epsilon 10.
async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").within(namespace),
        block("taxi", "b").within(namespace),
    ])
    .await
}

/// A namespace with the dataset `taxi`, and its block `b` with epsilon 4, half of which each of two arrivals unlocks.
async fn half_locked(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").arrivals(2).within(namespace),
        block("taxi", "b").budget("4", "1e-6").within(namespace),
    ])
    .await
}

/// Whether the ledger says that a block has these epsilons as (available, allocated, consumed).
fn check_block(ledger: &VerifiedLedger, block: &str, expected: (&str, &str, &str)) -> Result<()> {
    let seen = ledger.shows(block).with_context(|| format!("no block {block}"))?;
    let matches = (&*seen.0, &*seen.1, &*seen.2) == expected;
    ensure!(matches, "block {block} has {seen:?}, not {expected:?}");
    Ok(())
}

/// Whether exactly these claims are in the ledger, in the order of arrival: what they are named after, and their phases.
fn check_phases(ledger: &VerifiedLedger, expected: &[(&str, Phase)]) -> Result<()> {
    let seen = ledger.phases();
    let name = |id: &privatekube_policy::ClaimId| id.as_str().split('/').nth(2).map(str::to_owned);
    let named: Vec<_> = seen.iter().map(|(id, phase)| (name(id), *phase)).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, phase)| (Some((*name).to_owned()), *phase))
        .collect();
    ensure!(named == expected, "the ledger has {named:?}, not {expected:?}");
    Ok(())
}
