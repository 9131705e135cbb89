//! Compares what users see, the statuses of claim objects and blocks, with the recount of the ledgers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use privatekube_api::{Amounts, ClaimPhase, PrivateDataBlock};
use privatekube_e2e::{Observed, WatchedCluster, pod_claim_name};
use privatekube_policy::{BlockId, Composition, Delta, Epsilon};

use super::{pods::claim_id, recount::Recount};
use crate::workload::DATA;

/// Compares the statuses of all claim objects and blocks with the recounts. Statuses are written after the
/// entry, so a difference may be only for now.
pub(super) fn check_statuses(
    watched: &WatchedCluster,
    pods: &[Arc<Pod>],
    recounts: &[Recount],
) -> Observed<()> {
    for pod in pods {
        let id = claim_id(pod);
        let claim = recounts.iter().find_map(|recount| recount.claims.get(&id));
        let claim = claim.ok_or_else(|| format!("{id} is in no ledger"))?;
        let name = pod_claim_name(pod);
        let object = watched.claims.get(&pod.namespace().unwrap_or_default(), &name);
        let status = object
            .and_then(|object| object.status.clone())
            .unwrap_or_default();
        let blocks: Vec<String> = status.blocks.into_iter().map(|block| block.name).collect();
        if status.phase != Some(ClaimPhase::from(claim.phase)) {
            return Err(format!("{name} says {:?}, it is {:?}", status.phase, claim.phase));
        }
        if !claim
            .demands()
            .map(|(block, _)| block.as_str())
            .eq(blocks.iter().map(String::as_str))
        {
            return Err(format!(
                "{name} says {blocks:?}, its demands are {:?}",
                claim.arrival.demands
            ));
        }
    }
    for recount in recounts {
        for name in recount.blocks.keys() {
            let object = watched
                .blocks
                .get(DATA, name.as_str())
                .ok_or_else(|| format!("no block {name}"))?;
            check_block(recount, name, &object)?;
        }
    }
    Ok(())
}

/// Compares a block's status with the recount.
fn check_block(recount: &Recount, name: &BlockId, object: &PrivateDataBlock) -> Observed<()> {
    let block = &recount.blocks[name];
    let status = object.status.clone().unwrap_or_default();
    let parts = [
        ("total", &status.total, &block.capacity),
        ("locked", &status.locked, &block.locked),
        ("available", &status.available, &block.available),
        ("allocated", &status.allocated, &block.allocated),
        ("consumed", &status.consumed, &block.consumed),
    ];
    for (part, shown, units) in parts {
        let shown = shown
            .as_ref()
            .map(|shown| units_of(recount.composition(), shown, status.order.as_deref()));
        if shown.as_ref() != Some(units) {
            return Err(format!(
                "{part} of block {name} is shown as {shown:?}, it is {units:?}"
            ));
        }
    }
    if status.arrivals == Some(block.arrivals) {
        Ok(())
    } else {
        Err(format!(
            "block {name} shows {:?} of {} arrivals",
            status.arrivals, block.arrivals
        ))
    }
}

/// The units of a status's amounts; empty if they are not written as the composition requires. With Renyi
/// composition, the curve must have all of the dataset's orders, and `epsilon` must be the curve's at
/// `order`.
fn units_of(composition: &Composition, amounts: &Amounts, order: Option<&str>) -> Vec<i128> {
    match (composition, &amounts.renyi) {
        (Composition::Basic, None) => {
            vec![
                epsilon_units(&amounts.epsilon),
                amounts.delta.as_ref().map_or(-1, |delta| delta_units(delta)),
            ]
        }
        (Composition::Renyi(orders), Some(curve))
            if curve
                .iter()
                .map(|point| point.order.clone())
                .eq(orders.iter().map(|order| order.to_string()))
                && curve.iter().any(|point| {
                    Some(point.order.as_str()) == order && point.epsilon.as_ref() == Some(&amounts.epsilon)
                }) =>
        {
            // No demand of these scenarios is beyond what can be counted.
            curve
                .iter()
                .map(|point| point.epsilon.as_deref().map_or(i128::MAX, epsilon_units))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A decimal epsilon in units of 1e-12. Available budget may be negative at some Renyi orders.
pub(super) fn epsilon_units(text: &str) -> i128 {
    let amount = |text: &str| text.parse::<Epsilon>().map_or(i128::MIN, Epsilon::units);
    text.strip_prefix('-')
        .map_or_else(|| amount(text), |text| -amount(text))
}

/// A decimal delta in units of 1e-18.
pub(super) fn delta_units(text: &str) -> i128 {
    text.parse::<Delta>().map_or(i128::MIN, Delta::units)
}
