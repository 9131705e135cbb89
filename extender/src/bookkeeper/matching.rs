//! What a request comes to on the blocks that exist.

use std::collections::BTreeMap;

use privatekube_api::{BudgetRequest, ClaimRequest, DemandRequest, Selector};
use privatekube_policy::{Arrival, BlockId, Composition, Demand};

use super::{Bookkeeper, blocks::KnownBlock};

impl Bookkeeper {
    /// The demands of a request on the blocks that exist: all it matches, or the newest of them.
    pub(super) fn matched(
        &self,
        request: &ClaimRequest,
        composition: &Composition,
    ) -> Result<Vec<Demand>, String> {
        match &request.demand {
            DemandRequest::PerBlock(budgets) => per_block(budgets, composition, |name| {
                self.blocks.get(name).is_some_and(|known| known.problem.is_none())
            }),
            DemandRequest::Selected {
                selector,
                max,
                budget,
                ..
            } => {
                let budget = budget.demand(composition).map_err(|error| error.to_string())?;
                let blocks = self.selected(selector.as_ref(), *max);
                Ok(if blocks.is_empty() {
                    Vec::new()
                } else {
                    vec![Demand { blocks, budget }]
                })
            }
        }
    }

    /// The `max` newest blocks that a selector selects, by name.
    fn selected(&self, selector: Option<&Selector>, max: Option<u32>) -> Vec<BlockId> {
        // A type error on one block is that block's affair: it does not match.
        let selects = |known: &KnownBlock| {
            selector.is_none_or(|selector| selector.matches(&known.dimensions).unwrap_or(false))
        };
        let mut matching: Vec<(&String, &KnownBlock)> =
            self.usable_blocks().filter(|(_, known)| selects(known)).collect();
        if let Some(max) = max {
            let made = |known: &KnownBlock| {
                let time = known.object.metadata.creation_timestamp.as_ref();
                time.map(|time| time.0)
            };
            matching
                .sort_by(|(a_name, a), (b_name, b)| made(b).cmp(&made(a)).then_with(|| b_name.cmp(a_name)));
            matching.truncate(usize::try_from(max).unwrap_or(usize::MAX));
            matching.sort_by_key(|(name, _)| *name);
        }
        let names = matching.into_iter().map(|(name, _)| name.as_str());
        names.map(BlockId::from).collect()
    }
}

/// Budgets by block as demands, of the blocks that are to be `taken`. All of them must make sense.
pub(super) fn per_block(
    budgets: &BTreeMap<String, BudgetRequest>,
    composition: &Composition,
    taken: impl Fn(&str) -> bool,
) -> Result<Vec<Demand>, String> {
    let mut demands: Vec<Demand> = Vec::new();
    for (name, budget) in budgets {
        let budget = budget
            .demand(composition)
            .map_err(|error| format!("block {name}: {error}"))?;
        if !taken(name) {
            continue;
        }
        let block = BlockId::from(name.as_str());
        match demands.iter_mut().find(|demand| demand.budget == budget) {
            Some(demand) => demand.blocks.push(block),
            None => demands.push(Demand {
                blocks: vec![block],
                budget,
            }),
        }
    }
    Ok(demands)
}

/// How many blocks a request needs at least.
pub(super) fn min_blocks(request: &ClaimRequest) -> u32 {
    match &request.demand {
        DemandRequest::Selected { min, .. } => *min,
        DemandRequest::PerBlock(budgets) => u32::try_from(budgets.len()).unwrap_or(u32::MAX),
    }
}

/// Whether a claim has the blocks that it needs.
pub(super) fn is_matched(arrival: &Arrival) -> bool {
    are_enough(&arrival.demands, arrival.min_blocks)
}

/// Whether demands are on so many blocks.
pub(super) fn are_enough(demands: &[Demand], min_blocks: u32) -> bool {
    u32::try_from(count(demands)).unwrap_or(u32::MAX) >= min_blocks
}

/// On how many blocks demands are.
pub(super) fn count(demands: &[Demand]) -> usize {
    demands.iter().map(|demand| demand.blocks.len()).sum()
}
