//! Matching: which blocks a request gets, and how much budget it demands on each.
//!
//! A pure function of the request and of the blocks that exist. Whoever calls it decides when: the extender matches a
//! claim when it arrives and, while too few blocks match, again when blocks are added or deleted.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_policy::{BlockId, Composition, Demand};

use crate::{BudgetRequest, ClaimRequest, DemandRequest, Dimension, Dimensions, Selector, recency::Recency};

/// A block as far as matching needs it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// What a selector reads.
    pub dimensions: &'a Dimensions,
    /// When its object was created.
    pub created: Option<&'a v1::Time>,
    /// The value of its dataset's time dimension. A request for the newest blocks goes by this, then by `created`, then by
    /// `name`, where numbers count as numbers; a block without one of these is older than any with it.
    pub time: Option<&'a Dimension>,
    /// How many records it has, if it states it. A request that needs this doesn't match blocks without it.
    pub records: Option<u64>,
}

/// The demands of a request on the blocks that exist, `blocks` in the order of their names. Empty if none matches.
///
/// A selector that errs on a block (its dimension has another type, for example) doesn't match that block. The error says
/// why the request's budget can't be accounted for under `composition`.
pub fn match_blocks<'a>(
    request: &ClaimRequest,
    blocks: impl IntoIterator<Item = Candidate<'a>>,
    composition: &Composition,
) -> Result<Vec<Demand>, String> {
    match &request.demand {
        DemandRequest::PerBlock(budgets) => {
            let known: BTreeMap<&str, Option<u64>> = blocks
                .into_iter()
                .map(|block| (block.name, block.records))
                .collect();
            per_block_demands(budgets, composition, |name| known.get(name).copied())
        }
        DemandRequest::Selected {
            selector,
            max,
            budget,
            ..
        } => {
            let needs_records = budget.needs_records();
            let blocks = blocks
                .into_iter()
                .filter(|block| !needs_records || block.records.is_some());
            let blocks = select(selector.as_ref(), *max, blocks);
            let records = blocks.iter().filter_map(|block| block.records);
            let budget = budget.demand_on(total(records), composition);
            let budget = budget.map_err(|error| error.to_string())?;
            let blocks: Vec<BlockId> = blocks.iter().map(|block| BlockId::from(block.name)).collect();
            Ok(if blocks.is_empty() {
                Vec::new()
            } else {
                vec![Demand { blocks, budget }]
            })
        }
    }
}

/// The sum of numbers of records. One that is too small makes a demand larger.
pub(crate) fn total(records: impl Iterator<Item = u64>) -> u64 {
    records.fold(0, u64::saturating_add)
}

/// The blocks that `selector` selects: all of them, or the `max` newest.
fn select<'a>(
    selector: Option<&Selector>,
    max: Option<u32>,
    blocks: impl IntoIterator<Item = Candidate<'a>>,
) -> Vec<Candidate<'a>> {
    let selects = |block: &Candidate<'_>| {
        selector.is_none_or(|selector| selector.matches(block.dimensions).unwrap_or(false))
    };
    let mut matching: Vec<Candidate<'a>> = blocks.into_iter().filter(selects).collect();
    if let Some(max) = max.and_then(|max| usize::try_from(max).ok()) {
        matching.sort_by_cached_key(|block| Reverse(Recency::of(block)));
        matching.truncate(max);
        matching.sort_by_key(|block| block.name);
    }
    matching
}

/// The blocks that a request leaves out although it may be meant for them, in the order of their names: those that its
/// selector has no answer for, because a dimension has another type than it expects, those that it names and that don't
/// exist, and, if it needs records, those that state none.
pub fn left_out_blocks<'a>(
    request: &ClaimRequest,
    blocks: impl IntoIterator<Item = Candidate<'a>>,
) -> Vec<BlockId> {
    let needs_records = request.needs_records();
    let lacks_records = |block: &Candidate<'a>| needs_records && block.records.is_none();
    match &request.demand {
        DemandRequest::PerBlock(budgets) => {
            let usable = blocks.into_iter().filter(|block| !lacks_records(block));
            let usable: BTreeSet<&str> = usable.map(|block| block.name).collect();
            let left_out = budgets.keys().filter(|name| !usable.contains(name.as_str()));
            left_out.map(|name| BlockId::from(name.as_str())).collect()
        }
        DemandRequest::Selected { selector, .. } => {
            let is_left_out = |block: &Candidate<'a>| {
                let answer = selector
                    .as_ref()
                    .map_or(Ok(true), |selector| selector.matches(block.dimensions));
                answer.map_or(true, |selects| selects && lacks_records(block))
            };
            let left_out = blocks.into_iter().filter(is_left_out);
            left_out.map(|block| BlockId::from(block.name)).collect()
        }
    }
}

/// Budgets by block name as demands, on those blocks that are known; equal budgets become one demand. The budgets of the
/// other blocks must be valid, too. `records_of` returns how many records a block has, if it states it; `None` if the block
/// isn't known.
pub fn per_block_demands(
    budgets: &BTreeMap<String, BudgetRequest>,
    composition: &Composition,
    records_of: impl Fn(&str) -> Option<Option<u64>>,
) -> Result<Vec<Demand>, String> {
    let needs_records = budgets.values().any(BudgetRequest::needs_records);
    let records_of = |name: &str| records_of(name).filter(|records| !needs_records || records.is_some());
    let records = total(budgets.keys().filter_map(|name| records_of(name).flatten()));
    let mut demands: Vec<Demand> = Vec::new();
    for (name, budget) in budgets {
        let budget = budget
            .demand_on(records, composition)
            .map_err(|error| format!("block {name}: {error}"))?;
        if records_of(name).is_none() {
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

impl ClaimRequest {
    /// Whether its budget depends on how many records its blocks have.
    #[must_use]
    pub fn needs_records(&self) -> bool {
        match &self.demand {
            DemandRequest::Selected { budget, .. } => budget.needs_records(),
            DemandRequest::PerBlock(budgets) => budgets.values().any(BudgetRequest::needs_records),
        }
    }

    /// How many blocks must match before the claim can be granted.
    #[must_use]
    pub fn min_blocks(&self) -> u32 {
        match &self.demand {
            DemandRequest::Selected { min, .. } => *min,
            // An object of 1.5 MiB, etcd's limit, names far fewer than 2^32 blocks.
            DemandRequest::PerBlock(budgets) => u32::try_from(budgets.len()).unwrap_or(u32::MAX),
        }
    }
}

/// How many blocks demands are on.
#[must_use]
pub fn block_count(demands: &[Demand]) -> usize {
    demands.iter().map(|demand| demand.blocks.len()).sum()
}

/// Whether demands are on at least `min_blocks` blocks.
#[must_use]
pub fn are_enough(demands: &[Demand], min_blocks: u32) -> bool {
    usize::try_from(min_blocks).is_ok_and(|min| block_count(demands) >= min)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use privatekube_policy::{Mechanism, Orders};

    use super::*;
    use crate::PrivacyBudgetClaim;

    fn renyi() -> Composition {
        Composition::Renyi(Orders::default())
    }

    fn request(spec: serde_json::Value) -> ClaimRequest {
        let mut object = json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivacyBudgetClaim",
            "metadata": {"namespace": "data", "name": "c"},
            "spec": {"dataset": "taxi"},
        });
        let serde_json::Value::Object(spec) = spec else {
            panic!("a spec is an object")
        };
        object["spec"].as_object_mut().unwrap().extend(spec);
        let object: PrivacyBudgetClaim = serde_json::from_value(object).unwrap();
        object.request().unwrap()
    }

    /// The blocks that `spec` matches among a to d, created at 1, 1, 3 and no time, in days 1, 2, "3" and none.
    fn matched(spec: serde_json::Value) -> Result<Vec<Vec<String>>, String> {
        let dimensions = |value: serde_json::Value| -> Dimensions { serde_json::from_value(value).unwrap() };
        let at = |second: i64| v1::Time(jiff::Timestamp::from_second(second).unwrap());
        let blocks = [
            ("a", dimensions(json!({"day": 1})), Some(at(1))),
            ("b", dimensions(json!({"day": 2})), Some(at(1))),
            ("c", dimensions(json!({"day": "3"})), Some(at(3))),
            ("d", dimensions(json!({})), None),
        ];
        let candidates = blocks.iter().map(|(name, dimensions, created)| Candidate {
            name,
            dimensions,
            created: created.as_ref(),
            time: None,
            records: None,
        });
        let demands = match_blocks(&request(spec), candidates, &Composition::Basic)?;
        Ok(demands
            .into_iter()
            .map(|demand| demand.blocks.iter().map(ToString::to_string).collect())
            .collect())
    }

    fn epsilon(epsilon: &str) -> serde_json::Value {
        json!({"epsilon": epsilon, "delta": "0"})
    }

    #[test]
    fn a_request_without_a_selector_matches_every_block() {
        let all = matched(json!({"budget": epsilon("1")})).unwrap();
        assert_eq!(all, [["a", "b", "c", "d"]]);
    }

    #[test]
    fn a_selector_matches_no_block_on_which_it_errs() {
        let spec = json!({"budget": epsilon("1"), "selector": "block.day >= 2"});
        assert_eq!(matched(spec).unwrap(), [["b"]]);
        let none = json!({"budget": epsilon("1"), "selector": "block.day >= 9"});
        assert!(matched(none).unwrap().is_empty());
    }

    #[test]
    fn the_newest_blocks_go_by_creation_then_by_name() {
        let newest = |max| matched(json!({"budget": epsilon("1"), "blocks": {"max": max}})).unwrap();
        assert_eq!(newest(1), [["c"]]);
        assert_eq!(newest(2), [["b", "c"]]);
        assert_eq!(newest(3), [["a", "b", "c"]]);
        assert_eq!(newest(9), [["a", "b", "c", "d"]]);
    }

    #[test]
    fn of_blocks_created_together_the_newest_go_by_name_with_numbers_as_numbers() {
        let none = Dimensions::new();
        let at = v1::Time(jiff::Timestamp::from_second(1).unwrap());
        let candidates = ["taxi-1", "taxi-10", "taxi-9"].map(|name| Candidate {
            name,
            dimensions: &none,
            created: Some(&at),
            time: None,
            records: None,
        });
        let request = request(json!({"budget": epsilon("1"), "blocks": {"max": 1}}));
        let demands = match_blocks(&request, candidates, &Composition::Basic).unwrap();
        assert_eq!(demands[0].blocks, [BlockId::from("taxi-10")]);
    }

    #[test]
    fn blocks_that_were_backfilled_are_not_the_newest() {
        let dimensions = [1, 2].map(|day| Dimensions::from([("day".to_owned(), Dimension::Number(day))]));
        let created = [2, 1].map(|second| v1::Time(jiff::Timestamp::from_second(second).unwrap()));
        let candidates = [0, 1].map(|at| Candidate {
            name: ["old-day", "new-day"][at],
            dimensions: &dimensions[at],
            created: Some(&created[at]),
            time: dimensions[at].get("day"),
            records: None,
        });
        let request = request(json!({"budget": epsilon("1"), "blocks": {"max": 1}}));
        let demands = match_blocks(&request, candidates, &Composition::Basic).unwrap();
        assert_eq!(demands[0].blocks, [BlockId::from("new-day")]);
    }

    #[test]
    fn a_batch_size_becomes_the_rate_on_the_records_of_the_blocks_that_are_taken() {
        let none = Dimensions::new();
        let blocks = |records: &[Option<u64>]| -> Vec<Demand> {
            let names = ["a", "b", "c"];
            let blocks = names.iter().zip(records).map(|(name, records)| Candidate {
                name,
                dimensions: &none,
                created: None,
                time: None,
                records: *records,
            });
            let mechanism = "dp-sgd(noise-multiplier=1.1,batch-size=10,steps=100)";
            let request = request(json!({"budget": {"mechanism": mechanism}}));
            match_blocks(&request, blocks, &renyi()).unwrap()
        };
        let at_rate = |rate: &str| {
            let mechanism = format!("dp-sgd(noise-multiplier=1.1,sample-rate={rate},steps=100)");
            mechanism.parse::<Mechanism>().unwrap().demand(&renyi()).unwrap()
        };
        let three = blocks(&[Some(100), Some(300), Some(600)]);
        assert_eq!((three[0].blocks.len(), &three[0].budget), (3, &at_rate("0.01")));
        let one = blocks(&[Some(100), None, None]);
        assert_eq!((one[0].blocks.len(), &one[0].budget), (1, &at_rate("0.1")));
        assert_eq!(blocks(&[Some(3)])[0].budget, at_rate("1"));
        assert!(blocks(&[None, None]).is_empty());
    }

    #[test]
    fn budgets_by_block_are_demanded_of_known_blocks_and_equal_ones_are_one_demand() {
        let spec =
            json!({"perBlock": {"a": epsilon("1"), "b": epsilon("2"), "c": epsilon("1"), "x": epsilon("3")}});
        assert_eq!(matched(spec.clone()).unwrap(), [vec!["a", "c"], vec!["b"]]);
        assert_eq!(request(spec).min_blocks(), 4);
    }

    #[test]
    fn a_budget_that_the_composition_cannot_account_for_is_an_error_that_names_the_block() {
        let curve = json!({"renyi": [{"order": 4, "epsilon": "1"}]});
        assert!(matched(json!({"budget": curve})).is_err());
        let error = matched(json!({"perBlock": {"x": curve}})).unwrap_err();
        assert!(error.starts_with("block x: "), "{error}");
    }
}
