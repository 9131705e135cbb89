//! Audits pods: whether each of them runs if and only if its claim was granted.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use privatekube_api::{ANNOTATION_GRANT, ClaimPhase, GATE, Grant, GrantedBudget, entry_name};
use privatekube_e2e::{Observed, WatchedCluster, pod_claim_name};
use privatekube_policy::{ClaimId, Phase};

use super::{
    recount::Recount,
    statuses::{delta_units, epsilon_units},
};
use crate::workload::{DATA, TEAMS, source};

/// The ledger's name of a pod's own claim.
pub(super) fn claim_id(pod: &Pod) -> ClaimId {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    ClaimId::from(format!(
        "pod/{namespace}/{name}/{}",
        pod.uid().unwrap_or_default()
    ))
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// The pods with annotations that request budget.
pub(crate) fn requesting_pods(watched: &WatchedCluster) -> Vec<Arc<Pod>> {
    let of_team = |pod: &Pod| TEAMS.contains(&pod.namespace().unwrap_or_default().as_str());
    watched
        .pods
        .all()
        .into_iter()
        .filter(|pod| of_team(pod))
        .collect()
}

/// Checks that a pod runs, or that its claim says why it doesn't.
pub(super) fn is_decided(watched: &WatchedCluster, pod: &Pod) -> Observed<()> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod_claim_name(pod));
    let claim = watched.claims.get(&namespace, &name);
    let shown = claim.as_ref().and_then(|claim| claim.status.as_ref()?.phase);
    match shown {
        Some(ClaimPhase::Waiting | ClaimPhase::Denied) => Ok(()),
        Some(ClaimPhase::Consumed) if phase(pod) == "Running" => Ok(()),
        _ => Err(format!(
            "pod {namespace}/{} is {}, its claim shows {shown:?}",
            pod.name_any(),
            phase(pod)
        )),
    }
}

/// Checks that a pod runs if and only if it was granted, that its budget was consumed before it was bound,
/// and that its grant annotation is what was granted. Returns its claim.
pub(super) fn audit_pod(
    watched: &WatchedCluster,
    pod: &Pod,
    recounts: &[Recount],
    written: &BTreeMap<String, u64>,
) -> Result<ClaimId> {
    let id = claim_id(pod);
    let mut of = recounts
        .iter()
        .filter_map(|recount| Some((recount, recount.claims.get(&id)?)));
    let (recount, claim) = of.next().context("no claim")?;
    ensure!(of.next().is_none(), "claims in two ledgers");
    let gated = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    let gated = gated.is_some_and(|gates| gates.iter().any(|gate| gate.name == GATE));
    let grant = pod.annotations().get(ANNOTATION_GRANT);
    let Some(sequence) = claim.consumed else {
        ensure!(
            matches!(claim.phase, Phase::Waiting | Phase::Denied),
            "{:?}",
            claim.phase
        );
        ensure!(
            gated && phase(pod) == "Pending",
            "{:?}, and the pod is {}",
            claim.phase,
            phase(pod)
        );
        ensure!(
            watched.placement(pod).is_none() && grant.is_none(),
            "{:?}, and the pod has a node",
            claim.phase
        );
        return Ok(id);
    };
    ensure!(
        !gated && phase(pod) == "Running",
        "granted, and the pod is {}",
        phase(pod)
    );
    let consumed_at = *written
        .get(&entry_name(recount.dataset, sequence))
        .context("no entry")?;
    let placed = watched.placement(pod).context("no node was seen")?.revision;
    ensure!(
        consumed_at < placed,
        "consumed at revision {consumed_at}, but it had a node at {placed}"
    );

    let grant: Grant = serde_json::from_str(grant.context("no grant")?)?;
    let [granted] = &grant.claims[..] else {
        bail!("{grant:?}")
    };
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod_claim_name(pod));
    ensure!(
        granted.claim == name && granted.dataset == format!("{DATA}/{}", recount.dataset),
        "{granted:?}"
    );
    let granted_blocks = claim.demands().map(|(block, units)| {
        let units = units.iter().copied().map(i128::from).collect();
        (block.to_string(), Some(source(block.as_str())), units)
    });
    let granted_blocks: Vec<(String, Option<String>, Vec<i128>)> = granted_blocks.collect();
    let annotated = granted.blocks().map(|(block, budget)| {
        let units = match budget {
            GrantedBudget::Guarantee { epsilon, delta } => vec![epsilon_units(epsilon), delta_units(delta)],
            GrantedBudget::Curve { renyi } => {
                // What can't be counted is the largest number in the ledger.
                let units = |epsilon: Option<&str>| epsilon.map_or(i64::MAX.into(), epsilon_units);
                renyi
                    .iter()
                    .map(|point| units(point.epsilon.as_deref()))
                    .collect()
            }
        };
        (block.name.clone(), block.data_source.clone(), units)
    });
    let annotated: Vec<_> = annotated.collect();
    ensure!(
        annotated == granted_blocks,
        "the annotation says {annotated:?}, but {granted_blocks:?} was granted"
    );
    Ok(id)
}
