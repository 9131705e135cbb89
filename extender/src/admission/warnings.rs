//! Warnings: what is right and will wait, or be denied, once it is made. `kubectl` prints them. They go by a moment's state, so
//! they refuse nothing, and what can't be read is not warned of.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Api, api::ListParams};
use privatekube_api::{
    Candidate, ClaimPhase, ClaimRequest, DatasetKey, DemandRequest, Dimensions, MOST_NAMED, PodRequest,
    PrivacyBudgetClaim, PrivateDataBlock, PrivateDataBlockSpec, block_count, excerpt, match_blocks,
};
use privatekube_policy::{Composition, Delta, Demand, Epsilon};
use privatekube_view::{BlockView, SourceId, above_guarantee, shared_data_source, too_few_blocks};

use super::resources::dataset_facts;
use crate::{json_body::work, registry::Registry};

/// The most blocks of a dataset that are matched for a warning.
const MOST_BLOCKS: u32 = 2000;
/// The most claims that are looked up for a warning.
const MOST_LOOKUPS: usize = 8;
/// The most bytes of a name that a warning quotes. The API server cuts a warning at 256 characters.
const MOST_NAME: usize = 60;

/// The warnings for a pod in `namespace`. Only a dry run matches the blocks, which takes longer.
pub(super) async fn of_pod(
    registry: &Registry,
    request: &PodRequest,
    namespace: &str,
    dry_run: bool,
) -> Vec<String> {
    match request {
        PodRequest::Claims(names) => of_named_claims(registry, names, namespace).await,
        PodRequest::Inline(own) if dry_run => of_claim(registry, own).await,
        PodRequest::Inline(_) => Vec::new(),
    }
}

/// Warns of claims that don't exist, or that will never be granted.
async fn of_named_claims(registry: &Registry, names: &[String], namespace: &str) -> Vec<String> {
    let handles = registry.handles();
    let api: Api<PrivacyBudgetClaim> = Api::namespaced(handles.client.clone(), namespace);
    let mut warnings = Vec::new();
    let mut lookups = 0;
    for name in names {
        let shown = excerpt(name, MOST_NAME);
        let seen = handles
            .view
            .named(namespace, name)
            .and_then(|id| handles.view.claim(&id));
        if let Some(phase) = seen.map(|claim| claim.phase) {
            let ended = [
                ClaimPhase::Denied,
                ClaimPhase::Expired,
                ClaimPhase::Withdrawn,
                ClaimPhase::Released,
            ];
            if ended.contains(&phase) {
                warnings.push(format!("claim {shown:?} is {phase}, so the pod will never run"));
            }
        } else if lookups < MOST_LOOKUPS {
            // The view may be behind.
            lookups += 1;
            if matches!(api.get_opt(name).await, Ok(None)) {
                warnings.push(format!(
                    "claim {shown:?} doesn't exist in namespace {namespace}: the pod waits until it does"
                ));
            }
        }
    }
    warnings
}

/// Warns of a block whose data another block has, and of one whose budget is above the guarantee that its dataset states for
/// blocks. `name` is `None` of a block whose name is generated later.
pub(super) fn of_block(
    registry: &Registry,
    key: &DatasetKey,
    name: Option<&str>,
    block: &PrivateDataBlockSpec,
    composition: &Composition,
    of_dataset: Option<(Epsilon, Delta)>,
) -> Vec<String> {
    // The view may be behind: the block's conditions say the same a moment later.
    let source = SourceId::of(block);
    let other = source.and_then(|source| {
        let view = &registry.handles().view;
        view.name_of_source(key, source, name)
    });
    let shared = other.map(|other| shared_data_source(&excerpt(&other, MOST_NAME)));
    let above = above_guarantee(block, composition, of_dataset);
    shared.into_iter().chain(above).collect()
}

/// Warns of a claim that too few blocks match, or that is larger than what one of its blocks can ever grant.
pub(super) async fn of_claim(registry: &Registry, request: &ClaimRequest) -> Vec<String> {
    blocks_of(registry, request).await.unwrap_or_default()
}

async fn blocks_of(registry: &Registry, request: &ClaimRequest) -> Option<Vec<String>> {
    let handles = registry.handles();
    let key = &request.dataset;
    let facts = dataset_facts(registry, key).await.ok()??;
    let api: Api<PrivateDataBlock> = Api::namespaced(handles.client.clone(), &key.namespace);
    let params = ListParams::default()
        .fields(&format!("spec.dataset={}", key.name))
        .limit(MOST_BLOCKS);
    let list = api.list(&params).await.ok()?;
    if list.metadata.continue_.is_some_and(|more| !more.is_empty()) {
        return None;
    }
    let guarantee = facts
        .object
        .as_ref()
        .and_then(|object| object.spec.guarantee().ok().flatten());
    let time = facts
        .object
        .as_ref()
        .and_then(|object| object.spec.time_dimension.clone());
    let views: Vec<Option<Arc<BlockView>>> = list
        .items
        .iter()
        .map(|block| handles.view.block(&(key.clone(), name_of(block).to_owned())))
        .collect();
    let (request, key, composition) = (request.clone(), key.clone(), facts.composition);
    let matched = work(usize::MAX, move || {
        let dimensions: Vec<Dimensions> = list.items.iter().map(|block| block.spec.dimensions()).collect();
        let candidates = list
            .items
            .iter()
            .zip(&dimensions)
            .map(|(block, dimensions)| Candidate {
                name: name_of(block),
                dimensions,
                created: block.metadata.creation_timestamp.as_ref(),
                time: time.as_ref().and_then(|time| dimensions.get(time)),
                records: block.spec.records,
            });
        let demands = match_blocks(&request, candidates, &composition).ok()?;
        let places: BTreeMap<&str, usize> = list
            .items
            .iter()
            .enumerate()
            .map(|(at, block)| (name_of(block), at))
            .collect();
        let few = too_few(&request, &demands, &key, |name| places.contains_key(name));
        let left = |name: &str| {
            let at = *places.get(name)?;
            let seen = views.get(at)?.as_ref().and_then(|view| view.unconsumed());
            let capacity = || list.items.get(at)?.spec.capacity(&composition, guarantee).ok();
            seen.or_else(|| {
                Some(
                    capacity()?
                        .units()
                        .iter()
                        .map(|units| i128::from(*units))
                        .collect(),
                )
            })
        };
        let large = too_large(&demands, &composition, left);
        Some(few.into_iter().chain(large).collect())
    });
    matched.await.ok()?
}

fn name_of(block: &PrivateDataBlock) -> &str {
    block.metadata.name.as_deref().unwrap_or_default()
}

fn too_few(
    request: &ClaimRequest,
    demands: &[Demand],
    key: &DatasetKey,
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    let (found, needed) = (block_count(demands), request.min_blocks());
    if usize::try_from(needed).is_ok_and(|needed| found >= needed) {
        return None;
    }
    if let DemandRequest::PerBlock(budgets) = &request.demand {
        let missing: Vec<&str> = budgets
            .keys()
            .map(String::as_str)
            .filter(|name| !exists(name))
            .collect();
        let named = missing.iter().take(MOST_NAMED).copied();
        let named: Vec<&str> = named.collect();
        let more = match missing.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        if !named.is_empty() {
            return Some(format!(
                "dataset {key} has no block {}{more}, which perBlock names: it waits until there is",
                excerpt(&named.join(", "), 2 * MOST_NAME)
            ));
        }
    }
    Some(format!(
        "in dataset {key}, {}: it waits until there are more",
        too_few_blocks(found, needed)
    ))
}

/// Warns if a demand is larger than what is left of one of its blocks: under Basic composition at one coordinate, under Renyi
/// composition at each.
fn too_large(
    demands: &[Demand],
    composition: &Composition,
    left: impl Fn(&str) -> Option<Vec<i128>>,
) -> Option<String> {
    demands.iter().find_map(|demand| {
        demand.blocks.iter().find_map(|block| {
            let left = left(block.as_str())?;
            let excess: Vec<(usize, i128, i128)> = demand
                .budget
                .units()
                .iter()
                .zip(left)
                .enumerate()
                .map(|(at, (demanded, left))| (at, i128::from(*demanded), left))
                .collect();
            let exceeds = |(_, demanded, left): &&(usize, i128, i128)| demanded > left;
            let worst = match composition {
                Composition::Basic => excess.iter().find(exceeds),
                Composition::Renyi(_) if excess.iter().all(|at| exceeds(&at)) => {
                    excess.iter().min_by_key(|(_, demanded, left)| demanded - left)
                }
                Composition::Renyi(_) => None,
            };
            worst.map(|(at, demanded, left)| {
                let (left, demanded) = composition.display_apart(*at, (*left).max(0), *demanded);
                format!(
                    "it can never be granted: it demands {demanded} of block {}, of which {left} is left that isn't consumed \
                     ({})",
                    excerpt(block.as_str(), MOST_NAME),
                    composition.coordinate_name(*at),
                )
            })
        })
    })
}
