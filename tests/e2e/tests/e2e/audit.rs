//! An audit of a cluster with many pods: the ledger against the oracle and against sums made here, and everything
//! that the cluster shows against the ledger.

#[path = "../../../../policy/tests/oracle/mod.rs"]
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use oracle::Oracle;
use privatekube_api::{
    ANNOTATION_GRANT, Amounts, ClaimPhase, GATE, Grant, GrantedBudget, PrivacyLedgerEntry, PrivateDataBlock,
    entry_name,
};
use privatekube_e2e::{Observed, TestEnvironment, VerifiedLedger, WatchedCluster, pod_claim_name, revision};
use privatekube_ledger::Entry;
use privatekube_policy::{
    Arrival, BlockId, ClaimId, Composition, DatasetRules, Delta, Epsilon, Event, Phase, Record, Unlocking,
};

use crate::workload::{DATA, TAXI, TEAMS, WEB, source};

/// What an audit saw.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) entries: usize,
    pub(crate) events: usize,
    pub(crate) granted: usize,
    pub(crate) waiting: usize,
    pub(crate) denied: usize,
}

/// A dataset's ledger, counted from its events by ourselves.
struct Account {
    dataset: &'static str,
    rules: DatasetRules,
    claims: BTreeMap<ClaimId, Claim>,
    blocks: BTreeMap<BlockId, Block>,
    events: usize,
    entries: usize,
}

struct Claim {
    arrival: Arrival,
    phase: Phase,
    /// The entry that says that it is spent.
    consumed: Option<u64>,
}

#[derive(Default)]
struct Block {
    capacity: Vec<i128>,
    locked: Vec<i128>,
    available: Vec<i128>,
    allocated: Vec<i128>,
    consumed: Vec<i128>,
    arrivals: u64,
}

impl Account {
    /// Counts, and compares each decision with the oracle's.
    fn of(dataset: &'static str, entries: &[Entry]) -> Result<Self> {
        let first = entries.first().context("the ledger is empty")?;
        let rules = first.rules.clone().context("the first entry has no rules")?;
        let mut oracle = Oracle::new(rules.clone());
        let mut account = Self {
            dataset,
            rules,
            claims: BTreeMap::new(),
            blocks: BTreeMap::new(),
            events: 0,
            entries: entries.len(),
        };
        for entry in entries {
            let mut follows = oracle.advance(entry.time);
            follows.extend(entry.events.iter().flat_map(|event| oracle.apply(event)));
            ensure!(
                entry.omitted.is_none(),
                "entry {} is larger than any of these should be",
                entry.sequence
            );
            ensure!(
                entry.records == follows,
                "entry {}: {:#?} is written, the oracle has {follows:#?}",
                entry.sequence,
                entry.records
            );
            for event in &entry.events {
                account
                    .happen(event)
                    .with_context(|| format!("entry {}", entry.sequence))?;
            }
            for record in &entry.records {
                account
                    .decide(record, entry.sequence)
                    .with_context(|| format!("entry {}", entry.sequence))?;
            }
        }
        account.sum_up()?;
        Ok(account)
    }

    fn happen(&mut self, event: &Event) -> Result<()> {
        self.events += 1;
        match event {
            Event::AddBlock { block, capacity } => {
                let capacity = capacity.units().iter().copied().map(i128::from).collect();
                let before = self.blocks.insert(
                    block.clone(),
                    Block {
                        capacity,
                        ..Block::default()
                    },
                );
                ensure!(before.is_none(), "block {block} came twice");
            }
            Event::Arrive(arrival) => {
                let claim = Claim {
                    arrival: arrival.clone(),
                    phase: Phase::Waiting,
                    consumed: None,
                };
                let before = self.claims.insert(arrival.claim.clone(), claim);
                ensure!(before.is_none(), "claim {} came twice", arrival.claim);
            }
            Event::Match { claim, demands } => {
                let claim = self
                    .claims
                    .get_mut(claim)
                    .context("an unknown claim is matched")?;
                claim.arrival.demands.clone_from(demands);
            }
            Event::Consume { .. } => {}
            // Nobody deletes a pod or a block in these tests.
            other => bail!("nothing happened that {other:?} could come from"),
        }
        Ok(())
    }

    fn decide(&mut self, record: &Record, sequence: u64) -> Result<()> {
        let (claim, from, to) = match record {
            Record::Granted { claim, .. } => (claim, Phase::Waiting, Phase::Granted),
            Record::Denied { claim, .. } => (claim, Phase::Waiting, Phase::Denied),
            Record::Consumed {
                claim,
                entirely: true,
            } => (claim, Phase::Granted, Phase::Consumed),
            Record::BlockAdded { .. } | Record::Unlocked { .. } | Record::Waits { .. } => return Ok(()),
            other => bail!("{other:?} follows from nothing that these tests do"),
        };
        let known = self
            .claims
            .get_mut(claim)
            .context("an unknown claim is decided")?;
        ensure!(
            known.phase == from,
            "claim {claim} went from {:?} to {to:?}",
            known.phase
        );
        known.phase = to;
        if to == Phase::Consumed {
            known.consumed = Some(sequence);
        }
        Ok(())
    }

    /// The blocks' totals, from their claims.
    fn sum_up(&mut self) -> Result<()> {
        let Unlocking::Arrivals(steps) = self.rules.unlocking else {
            bail!("{:?}", self.rules.unlocking)
        };
        for block in self.blocks.values_mut() {
            let nothing = vec![0; block.capacity.len()];
            (block.allocated, block.consumed) = (nothing.clone(), nothing);
        }
        for claim in self.claims.values() {
            let arrived = claim
                .arrival
                .demands
                .iter()
                .map(|demand| demand.blocks.len())
                .sum::<usize>();
            if arrived < claim.arrival.min_blocks as usize {
                ensure!(
                    claim.phase == Phase::Waiting,
                    "{} has too few blocks",
                    claim.arrival.claim
                );
                continue;
            }
            for (name, units) in claim.demands() {
                let block = self
                    .blocks
                    .get_mut(name)
                    .with_context(|| format!("unknown block {name}"))?;
                block.arrivals += 1;
                let part = match claim.phase {
                    Phase::Granted => &mut block.allocated,
                    Phase::Consumed => &mut block.consumed,
                    _ => continue,
                };
                for (total, units) in part.iter_mut().zip(units) {
                    *total += i128::from(*units);
                }
            }
        }
        for block in self.blocks.values_mut() {
            let done = i128::from(block.arrivals.min(u64::from(steps)));
            for (at, capacity) in block.capacity.iter().enumerate() {
                let ever = capacity * done / i128::from(steps);
                block.locked.push(capacity - ever);
                block
                    .available
                    .push(ever - block.allocated[at] - block.consumed[at]);
            }
        }
        Ok(())
    }

    /// No block over its budget, and the books that the engine keeps are these sums.
    fn check(&self, ledger: &VerifiedLedger) -> Result<()> {
        for (name, block) in &self.blocks {
            let consumed_at = |at: usize| block.allocated[at] + block.consumed[at];
            let within = |at: usize| block.capacity[at] > 0 && consumed_at(at) <= block.capacity[at];
            let mut coordinates = 0..block.capacity.len();
            let sound = match self.rules.composition {
                Composition::Basic => coordinates.all(within),
                Composition::Renyi(_) => coordinates.any(within),
            };
            ensure!(
                sound,
                "block {name} is over its budget: {:?} {:?}",
                block.allocated,
                block.consumed
            );
            let kept = ledger
                .block(name.as_str())
                .with_context(|| format!("no books of block {name}"))?;
            ensure!(
                (
                    &kept.locked,
                    &kept.available,
                    &kept.allocated,
                    &kept.consumed,
                    kept.arrivals
                ) == (
                    &block.locked,
                    &block.available,
                    &block.allocated,
                    &block.consumed,
                    block.arrivals
                ),
                "the books of block {name} are {kept:?}, the sums over claims are others"
            );
        }
        let phases: BTreeMap<ClaimId, Phase> = ledger.phases().into_iter().collect();
        ensure!(phases.len() == self.claims.len());
        ensure!(
            self.claims
                .iter()
                .all(|(id, claim)| phases.get(id) == Some(&claim.phase)),
            "{phases:?}"
        );
        Ok(())
    }

    /// What a block's status does not show yet.
    fn shown(&self, name: &BlockId, object: &PrivateDataBlock) -> Observed<()> {
        let block = &self.blocks[name];
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
                .map(|shown| self.units(shown, status.order.as_deref()));
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

    /// Amounts as units; none of them if they are not written as they should be.
    fn units(&self, amounts: &Amounts, order: Option<&str>) -> Vec<i128> {
        match (&self.rules.composition, &amounts.renyi) {
            (Composition::Basic, None) => {
                vec![
                    units(&amounts.epsilon),
                    amounts.delta.as_ref().map_or(-1, |delta| delta_units(delta)),
                ]
            }
            (Composition::Renyi(orders), Some(curve))
                if curve
                    .iter()
                    .map(|point| point.order.clone())
                    .eq(orders.iter().map(|order| order.to_string()))
                    && curve.iter().any(|point| {
                        Some(point.order.as_str()) == order && point.epsilon == amounts.epsilon
                    }) =>
            {
                curve.iter().map(|point| units(&point.epsilon)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Claim {
    fn demands(&self) -> impl Iterator<Item = (&BlockId, &[i64])> {
        let demands = self.arrival.demands.iter();
        demands.flat_map(|demand| demand.blocks.iter().map(|block| (block, demand.budget.units())))
    }
}

/// A decimal of epsilon in its units; amounts of a status may be negative.
fn units(text: &str) -> i128 {
    let amount = |text: &str| text.parse::<Epsilon>().map_or(i128::MIN, Epsilon::units);
    text.strip_prefix('-')
        .map_or_else(|| amount(text), |text| -amount(text))
}

fn delta_units(text: &str) -> i128 {
    text.parse::<Delta>().map_or(i128::MIN, Delta::units)
}

/// The claim of a pod in the ledger.
fn claim_id(pod: &Pod) -> ClaimId {
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

/// The pods that ask.
pub(crate) fn requesting_pods(watched: &WatchedCluster) -> Vec<std::sync::Arc<Pod>> {
    let of_team = |pod: &Pod| TEAMS.contains(&pod.namespace().unwrap_or_default().as_str());
    watched
        .pods
        .all()
        .into_iter()
        .filter(|pod| of_team(pod))
        .collect()
}

/// Whether a pod runs, or its claim says why it doesn't.
fn is_decided(watched: &WatchedCluster, pod: &Pod) -> Observed<()> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod_claim_name(pod));
    let claim = watched.claims.get(&namespace, &name);
    let said = claim.as_ref().and_then(|claim| claim.status.as_ref()?.phase);
    match said {
        Some(ClaimPhase::Waiting | ClaimPhase::Denied) => Ok(()),
        Some(ClaimPhase::Consumed) if phase(pod) == "Running" => Ok(()),
        _ => Err(format!(
            "pod {namespace}/{} is {}, its claim says {said:?}",
            pod.name_any(),
            phase(pod)
        )),
    }
}

/// Waits until `count` pods are decided, nothing is pending, and what is shown is what the ledgers say; audits all that
/// then.
pub(crate) async fn settled(
    env: &TestEnvironment,
    watched: &WatchedCluster,
    count: usize,
) -> Result<Summary> {
    let accounts = watched
        .until("everything is settled", async || {
            let pods = requesting_pods(watched);
            if pods.len() != count {
                return Ok(Err(format!("{} of {count} pods are there", pods.len())));
            }
            if let Some(undecided) = pods.iter().find_map(|pod| is_decided(watched, pod).err()) {
                return Ok(Err(undecided));
            }
            let mut accounts = Vec::new();
            for dataset in [TAXI, WEB] {
                let ledger = env.ledger(DATA, dataset).await?;
                let account =
                    Account::of(dataset, &ledger.entries).with_context(|| format!("ledger of {dataset}"))?;
                account
                    .check(&ledger)
                    .with_context(|| format!("ledger of {dataset}"))?;
                accounts.push(account);
            }
            Ok(shown(watched, &pods, &accounts).map(|()| accounts))
        })
        .await
        .with_context(|| {
            format!(
                "the extender:\n{}",
                env.cluster.tail(privatekube_cluster::Part::Extender)
            )
        })?;
    // What is written never changes, so its revision is that of its writing.
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
        let audited = audit_pod(watched, &pod, &accounts, &written);
        claims
            .insert(audited.with_context(|| {
                format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
            })?);
    }
    let mut summary = Summary::default();
    for account in &accounts {
        ensure!(
            account.claims.keys().all(|id| claims.contains(id)),
            "{} has claims of no pod",
            account.dataset
        );
        summary.entries += account.entries;
        summary.events += account.events;
        let count = |phase| {
            account
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

/// What the cluster does not show yet of what the ledgers say.
fn shown(watched: &WatchedCluster, pods: &[std::sync::Arc<Pod>], accounts: &[Account]) -> Observed<()> {
    for pod in pods {
        let id = claim_id(pod);
        let claim = accounts.iter().find_map(|account| account.claims.get(&id));
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
                "{name} says {blocks:?}, it asks {:?}",
                claim.arrival.demands
            ));
        }
    }
    for account in accounts {
        for name in account.blocks.keys() {
            let object = watched
                .blocks
                .get(DATA, name.as_str())
                .ok_or_else(|| format!("no block {name}"))?;
            account.shown(name, &object)?;
        }
    }
    Ok(())
}

/// A pod runs if and only if it was granted, was given its node after its budget was spent, and says what was granted.
fn audit_pod(
    watched: &WatchedCluster,
    pod: &Pod,
    accounts: &[Account],
    written: &BTreeMap<String, u64>,
) -> Result<ClaimId> {
    let id = claim_id(pod);
    let mut of = accounts
        .iter()
        .filter_map(|account| Some((account, account.claims.get(&id)?)));
    let (account, claim) = of.next().context("no claim")?;
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
        .get(&entry_name(account.dataset, sequence))
        .context("no entry")?;
    let placed = watched.placement(pod).context("no node was seen")?.revision;
    ensure!(
        consumed_at < placed,
        "spent at revision {consumed_at}, but it had a node at {placed}"
    );

    let grant: Grant = serde_json::from_str(grant.context("no grant")?)?;
    let [granted] = &grant.claims[..] else {
        bail!("{grant:?}")
    };
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod_claim_name(pod));
    ensure!(
        granted.claim == name && granted.dataset == format!("{DATA}/{}", account.dataset),
        "{granted:?}"
    );
    let asked = claim.demands().map(|(block, units)| {
        let units = units.iter().copied().map(i128::from).collect();
        (block.to_string(), Some(source(block.as_str())), units)
    });
    let asked: Vec<(String, Option<String>, Vec<i128>)> = asked.collect();
    let annotated = granted.blocks.iter().map(|block| {
        let units = match &block.budget {
            GrantedBudget::Guarantee { epsilon, delta } => vec![units(epsilon), delta_units(delta)],
            GrantedBudget::Curve { renyi } => renyi.iter().map(|point| units(&point.epsilon)).collect(),
            GrantedBudget::Mechanism { .. } => Vec::new(),
        };
        (block.name.clone(), block.data_source.clone(), units)
    });
    let annotated: Vec<_> = annotated.collect();
    ensure!(
        annotated == asked,
        "{annotated:?} was told, {asked:?} was granted"
    );
    Ok(id)
}
