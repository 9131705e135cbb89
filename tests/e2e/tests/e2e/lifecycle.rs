//! What happens to budget during the life of pods, claims and blocks.
//!
//! Each scenario has its own namespace; those of one module run at the same time in one cluster.

mod blocks;
mod claims;
mod pods;
mod scheduled_blocks;

use anyhow::{Context, Result, ensure};
use privatekube_e2e::{TestEnvironment, VerifiedLedger, block, dataset};
use privatekube_policy::Phase;

const DELTA: &str = "1e-9";

/// Creates a namespace with the dataset `taxi`, which unlocks its blocks at once, and its block `b` with
/// epsilon 10.
async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").within(namespace),
        block("taxi", "b").within(namespace),
    ])
    .await
}

/// Creates a namespace with the dataset `taxi` and its block `b` with epsilon 4. Each of two arrivals unlocks
/// half of it.
async fn half_locked(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    env.create_all([
        dataset("taxi").arrivals(2).within(namespace),
        block("taxi", "b").budget("4", "1e-6").within(namespace),
    ])
    .await
}

/// Checks a block's epsilons in the ledger: (available, allocated, consumed).
fn check_block(ledger: &VerifiedLedger, block: &str, expected: (&str, &str, &str)) -> Result<()> {
    let seen = ledger.shows(block).with_context(|| format!("no block {block}"))?;
    let matches = (&*seen.0, &*seen.1, &*seen.2) == expected;
    ensure!(matches, "block {block} has {seen:?}, not {expected:?}");
    Ok(())
}

/// Checks that the ledger has exactly these claims, in the order of arrival: the names of their objects or
/// pods, and their phases.
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
