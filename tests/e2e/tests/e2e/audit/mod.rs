//! Audits a cluster with many pods. Each ledger is compared with the policies' oracle and with sums over its
//! claims (`recount.rs`), and everything that the cluster shows with the ledgers (`statuses.rs`, `pods.rs`).

#[path = "../../../../../policy/tests/oracle/mod.rs"]
mod oracle;
mod pods;
mod recount;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use kube::{ResourceExt, api::ListParams};
use privatekube_api::PrivacyLedgerEntry;
use privatekube_e2e::{TestEnvironment, WatchedCluster, revision};
use privatekube_policy::Phase;

pub(crate) use self::pods::requesting_pods;
use self::{
    pods::{audit_pod, is_decided},
    recount::Recount,
    statuses::check_statuses,
};
use crate::workload::{DATA, TAXI, WEB};

/// Totals over both datasets: ledger entries, their events, and claims by phase.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) entries: usize,
    pub(crate) events: usize,
    pub(crate) granted: usize,
    pub(crate) waiting: usize,
    pub(crate) denied: usize,
}

/// Waits until `count` pods are decided, no decision is outstanding, and all statuses agree with the ledgers;
/// then audits every pod.
pub(crate) async fn wait_until_settled(
    env: &TestEnvironment,
    watched: &WatchedCluster,
    count: usize,
) -> Result<Summary> {
    let recounts = watched
        .until("everything is settled", async || {
            let pods = requesting_pods(watched);
            if pods.len() != count {
                return Ok(Err(format!("{} of {count} pods exist", pods.len())));
            }
            if let Some(undecided) = pods.iter().find_map(|pod| is_decided(watched, pod).err()) {
                return Ok(Err(undecided));
            }
            let mut recounts = Vec::new();
            for dataset in [TAXI, WEB] {
                let ledger = env.ledger(DATA, dataset).await?;
                let recount =
                    Recount::of(dataset, &ledger.entries).with_context(|| format!("ledger of {dataset}"))?;
                recount
                    .check(&ledger)
                    .with_context(|| format!("ledger of {dataset}"))?;
                recounts.push(recount);
            }
            Ok(check_statuses(watched, &pods, &recounts).map(|()| recounts))
        })
        .await
        .with_context(|| {
            format!(
                "the extender:\n{}",
                env.cluster.tail(privatekube_cluster::Part::Extender)
            )
        })?;
    // An entry never changes, so its revision is that of its creation.
    let entries = env
        .api::<PrivacyLedgerEntry>(DATA)
        .list(&ListParams::default())
        .await?;
    let written = entries
        .into_iter()
        .map(|entry| Ok((entry.name_any(), revision(&entry)?)));
    let written = written.collect::<Result<BTreeMap<_, _>>>()?;
    let mut claims = BTreeSet::new();
    for pod in requesting_pods(watched) {
        let audited = audit_pod(watched, &pod, &recounts, &written);
        claims
            .insert(audited.with_context(|| {
                format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
            })?);
    }
    let mut summary = Summary::default();
    for recount in &recounts {
        ensure!(
            recount.claims.keys().all(|id| claims.contains(id)),
            "{} has claims of no pod",
            recount.dataset
        );
        summary.entries += recount.entries;
        summary.events += recount.events;
        let count = |phase| {
            recount
                .claims
                .values()
                .filter(|claim| claim.phase == phase)
                .count()
        };
        summary.granted += count(Phase::Consumed);
        summary.waiting += count(Phase::Waiting);
        summary.denied += count(Phase::Denied);
    }
    Ok(summary)
}
