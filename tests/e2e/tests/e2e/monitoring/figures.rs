//! What Prometheus has scraped says the same as the API objects.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::{Api, ResourceExt, api::ListParams};
use privatekube_api::{Amounts, ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_e2e::{Observed, TestEnvironment, eventually};

use super::{load::FROZEN, prometheus::ScrapingPrometheus};

/// Figures by a name.
type Figures = BTreeMap<String, f64>;

/// Waits until claims by phase and blocks' epsilon by state are those of the objects.
pub(super) async fn agree_with_objects(env: &TestEnvironment, prometheus: &ScrapingPrometheus) -> Result<()> {
    eventually("claims by phase", || async {
        Ok(same(&claims(env).await?, &scraped_claims(prometheus).await?))
    })
    .await?;
    eventually("epsilon by dataset and state", || async {
        Ok(same(&epsilon(env).await?, &scraped_epsilon(prometheus).await?))
    })
    .await
}

/// Epsilons are decimal fractions, which floats approximate.
fn same(objects: &Figures, scraped: &Figures) -> Observed<()> {
    let are_near = |one: f64, other: f64| (one - other).abs() < 1e-9;
    let is_same = objects.len() == scraped.len()
        && objects
            .iter()
            .all(|(name, value)| scraped.get(name).is_some_and(|other| are_near(*value, *other)));
    if is_same && !objects.is_empty() {
        return Ok(());
    }
    Err(format!("objects say {objects:?}, and metrics {scraped:?}"))
}

fn count(figures: &mut Figures, name: String, value: f64) {
    *figures.entry(name).or_default() += value;
}

/// Claims by dataset and phase. Those that were withdrawn have no object any more, and those of the stopped dataset are in no
/// ledger.
async fn claims(env: &TestEnvironment) -> Result<Figures> {
    let mut figures = Figures::new();
    let all = Api::<PrivacyBudgetClaim>::all(env.client.clone());
    for claim in all.list(&ListParams::default()).await? {
        if claim.namespace().as_deref() == Some(FROZEN) {
            continue;
        }
        let phase = claim.status.as_ref().and_then(|status| status.phase);
        let phase = phase.with_context(|| format!("claim {} has no phase", claim.name_any()))?;
        let dataset = claim.spec.dataset.rsplit('/').next().unwrap_or_default();
        count(&mut figures, format!("{dataset} {phase}"), 1.0);
    }
    Ok(figures)
}

async fn scraped_claims(prometheus: &ScrapingPrometheus) -> Result<Figures> {
    let withdrawn = ClaimPhase::Withdrawn;
    let query = format!(
        "sum by (dataset, phase) (privatekube_claims{{namespace!='{FROZEN}', phase!='{withdrawn}'}}) > 0"
    );
    let series = prometheus.query(&query).await?;
    Ok(series
        .into_iter()
        .map(|(labels, value)| (format!("{} {}", labels["dataset"], labels["phase"]), value))
        .collect())
}

/// Epsilon by dataset, block and state, and the sum over each dataset. Blocks without series of their own are summed.
async fn epsilon(env: &TestEnvironment) -> Result<Figures> {
    let mut figures = Figures::new();
    let all = Api::<PrivateDataBlock>::all(env.client.clone());
    for block in all.list(&ListParams::default()).await? {
        let (name, dataset) = (block.name_any(), &block.spec.dataset);
        let status = block
            .status
            .with_context(|| format!("block {name} has no status"))?;
        let by_state = [
            ("locked", status.locked),
            ("available", status.available),
            ("allocated", status.allocated),
            ("consumed", status.consumed),
            ("total", status.total),
        ];
        // See MOST_BLOCKS: the third block has no series of its own.
        let block = if name == "day-3" { "_other" } else { &name };
        for (state, amounts) in by_state {
            let epsilon = amounts.as_ref().map(epsilon_of).transpose()?.unwrap_or_default();
            count(&mut figures, format!("{dataset} {block} {state}"), epsilon);
            count(&mut figures, format!("{dataset} {state}"), epsilon);
        }
    }
    Ok(figures)
}

fn epsilon_of(amounts: &Amounts) -> Result<f64> {
    Ok(amounts.epsilon.parse()?)
}

async fn scraped_epsilon(prometheus: &ScrapingPrometheus) -> Result<Figures> {
    let blocks = prometheus.query("privatekube_block_epsilon").await?;
    let datasets = prometheus.query("privatekube_dataset_epsilon").await?;
    let of_blocks = blocks.into_iter().map(|(labels, value)| {
        let name = format!("{} {} {}", labels["dataset"], labels["block"], labels["state"]);
        (name, value)
    });
    let of_datasets = datasets
        .into_iter()
        .map(|(labels, value)| (format!("{} {}", labels["dataset"], labels["state"]), value));
    Ok(of_blocks.chain(of_datasets).collect())
}
