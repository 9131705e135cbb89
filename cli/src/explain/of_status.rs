//! What the statuses say of a claim, for whoever may not read the ledger.

use anyhow::Result;
use privatekube_api::{DemandRequest, PrivateDataBlock, PrivateDataset};
use privatekube_policy::Demand;

use super::{
    claim::{ClaimExplanation, by_object},
    subject::{Named, shown},
};
use crate::{cluster::Cluster, statuses::of_demands};

/// The most blocks whose statuses are read.
const MOST_BLOCKS: usize = 20;

/// Says what the statuses of the claim and of its first blocks say.
pub(super) async fn explained(cluster: &Cluster, named: &Named, missing: &str) -> Result<ClaimExplanation> {
    let mut answer = ClaimExplanation {
        subject: shown(&named.subject),
        dataset: named.dataset.to_string(),
        told_by: "status",
        is_without_right: true,
        ..ClaimExplanation::default()
    };
    by_object(named, &mut answer);
    let unknown = format!(
        "This is what the statuses say, which may be a moment behind the ledger. Its place in the queue, when unlocking would be \
         enough, and what would fit now are not known: {missing}"
    );
    answer.unknown = Some(match answer.unknown.take() {
        Some(other) => format!("{other}. {unknown}"),
        None => unknown,
    });
    let namespace = &named.dataset.namespace;
    // Whoever may not read the dataset is told what the claim's own status says.
    let dataset = cluster
        .get::<PrivateDataset>(namespace, &named.dataset.name)
        .await;
    let rules = dataset.ok().flatten().and_then(|object| object.spec.rules().ok());
    let status = named.object.as_ref().and_then(|object| object.status.as_ref());
    let (Some(rules), Some(status), Some(request)) = (rules, status, &named.request) else {
        return Ok(answer);
    };
    let mut blocks = Vec::new();
    let mut demands = Vec::new();
    for listed in status.blocks.iter().take(MOST_BLOCKS) {
        let budget = match &request.demand {
            DemandRequest::Selected { budget, .. } => Some(budget),
            DemandRequest::PerBlock(budgets) => budgets.get(&listed.name),
        };
        // What a batch size costs depends on the records of all blocks.
        let budget = budget.filter(|budget| !budget.needs_records());
        let budget = budget.and_then(|budget| budget.demand(&rules.composition).ok());
        let block = cluster.get::<PrivateDataBlock>(namespace, &listed.name).await;
        if let (Ok(Some(block)), Some(budget)) = (block, budget) {
            blocks.push(block);
            demands.push(Demand {
                blocks: vec![listed.name.as_str().into()],
                budget,
            });
        }
    }
    answer.statuses = of_demands(&demands, &blocks, &rules.composition);
    Ok(answer)
}
