//! Tries what objects request, on copies of their datasets' states.

mod report;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use privatekube_api::{
    ClaimPhase, ClaimRequest, DatasetKey, DemandRequest, PrivacyBudgetClaim, PrivateDataBlock,
    PrivateDataset, Subject, SubjectKind, match_blocks,
};
use privatekube_ledger::MOST_EVENT_BYTES;
use privatekube_policy::{Arrival, ClaimId, Demand, Engine, Event, Phase};
use privatekube_view::{Outcome, Trial, WhatIf, too_large_for_an_entry};
use serde::Serialize;

use super::{
    manifest::{Item, Requested},
    retries::Pods,
};
use crate::{
    cluster::Cluster,
    largest::{Asked, Largest, largest},
    state::{DatasetState, Source},
    statuses::{StatusNeed, of_demands},
};

/// The most pods of a workload that are tried one after the other.
const MOST_PODS: u64 = 100;
/// The most claims that ever arrived on a dataset for which the largest demand is found, since each try copies them.
const MOST_COPIED: usize = 20_000;
/// How many blocks are listed, unless all are wanted.
const FEW_BLOCKS: usize = 5;

/// The answer.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) tried: Vec<Tried>,
}

/// What would become of an object.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tried {
    what: String,
    dataset: Option<String>,
    /// `granted`, `waits`, `denied`, `refused` (by admission), `unknown`, or `nothing` of an object that requests none.
    outcome: &'static str,
    reason: Option<String>,
    why: Option<String>,
    warnings: Vec<String>,
    faults: Vec<String>,
    block_count: Option<usize>,
    blocks: Vec<BlockTried>,
    /// How many waiting claims its arrival would have granted beside it.
    others_granted: usize,
    /// The largest demand that would be granted in its place, if it would not be granted now.
    fits_now: Option<Largest>,
    pods: Option<PodsTried>,
    /// What the blocks' statuses say, for whoever may not read the ledger.
    statuses: Vec<StatusNeed>,
}

/// A block before and after.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockTried {
    block: String,
    coordinate: String,
    asked: String,
    available_now: String,
    available_after_arrival: String,
    left: String,
}

/// The pods that a workload makes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PodsTried {
    #[serde(flatten)]
    pods: Pods,
    /// How many of the first `of` would be granted now, one after the other.
    granted_now: u64,
    of: u64,
}

/// The datasets of what is tried, read once each.
pub(super) struct Datasets {
    cluster: Cluster,
    states: BTreeMap<DatasetKey, Result<DatasetState, String>>,
    count: usize,
}

impl Datasets {
    pub(super) const fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            states: BTreeMap::new(),
            count: 0,
        }
    }

    /// Tries an object. What it would be granted is taken from what later ones find.
    pub(super) async fn try_item(&mut self, item: Item) -> Result<Tried> {
        let mut tried = Tried {
            what: item.what,
            warnings: item.warnings,
            faults: item.faults,
            ..Tried::default()
        };
        match item.requested {
            Requested::Nothing => tried.outcome = "nothing",
            Requested::Claims(names) => self.claims(&item.namespace, &names, &mut tried).await?,
            Requested::Own(request) => {
                self.own(&item.namespace, &item.name, &request, item.pods, &mut tried)
                    .await?;
            }
        }
        if !tried.faults.is_empty() {
            tried.outcome = "refused";
        }
        Ok(tried)
    }

    /// A pod that names claims runs when all of them are granted.
    async fn claims(&mut self, namespace: &str, names: &[String], tried: &mut Tried) -> Result<()> {
        let mut waits = Vec::new();
        tried.outcome = "granted";
        for name in names {
            let claim: Option<PrivacyBudgetClaim> = self.cluster.get(namespace, name).await?;
            let phase = claim
                .and_then(|claim| claim.status)
                .and_then(|status| status.phase);
            match phase {
                Some(ClaimPhase::Granted | ClaimPhase::Consumed) => {}
                Some(ClaimPhase::Waiting) | None => {
                    waits.push(format!(
                        "claim {name} {}",
                        phase.map_or("doesn't exist or has no status", |_| "waits")
                    ));
                    if tried.outcome != "denied" {
                        tried.outcome = "waits";
                    }
                }
                Some(phase) => {
                    waits.push(format!("claim {name} is {}", phase.lower_case()));
                    tried.outcome = "denied";
                }
            }
        }
        tried.why = Some(if waits.is_empty() {
            "all claims that it names are granted, and nothing more is charged".to_owned()
        } else {
            waits.join("; ")
        });
        Ok(())
    }

    async fn own(
        &mut self,
        namespace: &str,
        name: &str,
        request: &ClaimRequest,
        pods: Option<Pods>,
        tried: &mut Tried,
    ) -> Result<()> {
        let key = &request.dataset;
        tried.dataset = Some(key.to_string());
        if !self.states.contains_key(key) {
            let state = match self.cluster.missing_for_ledger(key).await? {
                Some(missing) => Err(missing.message()),
                None => Ok(Source::Cluster(self.cluster.clone()).dataset(key).await?),
            };
            self.states.insert(key.clone(), state);
        }
        self.count += 1;
        let subject = Subject {
            kind: SubjectKind::Claim,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            // No object's UID is so short, so no claim has this name.
            uid: self.count.to_string(),
        };
        let state = match self.states.get_mut(key) {
            Some(Ok(state)) => state,
            Some(Err(missing)) => {
                let missing = missing.clone();
                return by_statuses(&self.cluster, request, &missing, tried).await;
            }
            None => anyhow::bail!("dataset {key} was not read"),
        };
        check_labels(&self.cluster, state, namespace, request, tried).await;
        decide(state, namespace, &subject.id(), request, pods, tried);
        Ok(())
    }
}

/// Checks a namespace that the dataset selects by its labels, which a trial takes for accepted.
async fn check_labels(
    cluster: &Cluster,
    state: &DatasetState,
    namespace: &str,
    request: &ClaimRequest,
    tried: &mut Tried,
) {
    let claimants = state.objects.claimants();
    if !claimants.depend_on_labels(namespace) {
        return;
    }
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    match api.get_opt(namespace).await {
        Ok(found) => {
            let labels = found.map(|namespace| namespace.metadata.labels.unwrap_or_default());
            let allowed = claimants.check(&request.dataset, namespace, labels.as_ref(), request.priority);
            tried
                .faults
                .extend(allowed.err().map(|refusal| refusal.to_string()));
        }
        Err(_) => tried.warnings.push(format!(
            "whether dataset {} accepts namespace {namespace} depends on the namespace's labels, which you may not read: it is \
             taken for accepted",
            request.dataset
        )),
    }
}

/// Tries a request, and lets it arrive in `state`.
pub(super) fn decide(
    state: &mut DatasetState,
    namespace: &str,
    id: &ClaimId,
    request: &ClaimRequest,
    pods: Option<Pods>,
    tried: &mut Tried,
) {
    let mut arrival = match Trial::new(&state.engine, &state.objects, namespace, request) {
        Ok(trial) => {
            let Event::Arrive(arrival) = trial.event() else {
                return;
            };
            let bytes = serde_json::to_vec(&trial.event()).map_or(0, |text| text.len());
            if bytes > MOST_EVENT_BYTES {
                tried.outcome = "denied";
                tried.reason = Some("TooManyBlocks".to_owned());
                tried.why = Some(too_large_for_an_entry(
                    trial.block_count(),
                    bytes,
                    MOST_EVENT_BYTES,
                ));
                return;
            }
            match trial.decide(state.now) {
                Ok(answer) => told(answer, tried),
                Err(problem) => {
                    tried.faults.push(problem.to_string());
                    return;
                }
            }
            arrival
        }
        Err(problem) => {
            tried.faults.push(problem.to_string());
            return;
        }
    };
    if tried.outcome != "granted" && tried.block_count != Some(0) {
        tried.fits_now = fits_now(state, request, &arrival);
    }
    let before = state.engine.clone();
    arrival.claim = id.clone();
    // The trial let the same claim arrive on the same state.
    let _ = state.engine.apply(&Event::Arrive(arrival.clone()));
    tried.pods = pods
        .filter(|pods| pods.at_most != Some(1))
        .map(|pods| several(pods, before, &arrival));
}

fn told(answer: WhatIf, tried: &mut Tried) {
    tried.outcome = match answer.outcome {
        Outcome::Now => "granted",
        Outcome::Later => "waits",
        Outcome::Never => "denied",
    };
    tried.reason = Some(answer.why.reason.as_str().to_owned());
    tried.why = Some(answer.why.message);
    tried.block_count = Some(answer.block_count);
    tried.others_granted = answer.others_granted;
    let blocks = answer.blocks.into_iter().map(|block| BlockTried {
        block: block.name.to_string(),
        coordinate: block.coordinate,
        asked: block.asked,
        available_now: block
            .now
            .available
            .map(|amounts| amounts.epsilon)
            .unwrap_or_default(),
        available_after_arrival: block.available,
        left: block.left,
    });
    tried.blocks = blocks.collect();
}

/// The largest demand that would be granted if it arrived in place of this one.
fn fits_now(state: &DatasetState, request: &ClaimRequest, arrival: &Arrival) -> Option<Largest> {
    if state.engine.claims().len() > MOST_COPIED || arrival.demands.is_empty() {
        return None;
    }
    let blocks = arrival.demands.iter().flat_map(|demand| &demand.blocks);
    let records = blocks.filter_map(|block| state.objects.block(block.as_str())?.object.spec.records);
    let asked = Asked {
        demands: &arrival.demands,
        request: match &request.demand {
            DemandRequest::Selected { budget, .. } => Some(budget),
            DemandRequest::PerBlock(_) => None,
        },
        records: records.fold(0, u64::saturating_add),
        composition: &state.engine.rules().composition,
    };
    Some(largest(&asked, |demands| {
        let mut engine = state.engine.clone();
        grants(&mut engine, arrival, demands)
    }))
}

/// Whether the claim would be granted with these demands.
fn grants(engine: &mut Engine, arrival: &Arrival, demands: &[Demand]) -> bool {
    let arrival = Arrival {
        demands: demands.to_vec(),
        ..arrival.clone()
    };
    let id = arrival.claim.clone();
    let applied = engine.apply(&Event::Arrive(arrival));
    applied.is_ok() && engine.phase(&id) == Some(Phase::Granted)
}

/// How many of a workload's pods would be granted now, if they came one after the other.
fn several(pods: Pods, mut engine: Engine, arrival: &Arrival) -> PodsTried {
    let wanted = pods.at_most.unwrap_or(pods.at_least).clamp(1, MOST_PODS);
    let mut granted = 0;
    for number in 0..wanted {
        let arrival = Arrival {
            claim: ClaimId::from(format!("{}-{number}", arrival.claim)),
            ..arrival.clone()
        };
        let demands = arrival.demands.clone();
        if grants(&mut engine, &arrival, &demands) {
            granted += 1;
        }
    }
    PodsTried {
        pods,
        granted_now: granted,
        of: wanted,
    }
}

/// What the statuses of the blocks say, for whoever may not read the ledger.
async fn by_statuses(
    cluster: &Cluster,
    request: &ClaimRequest,
    missing: &str,
    tried: &mut Tried,
) -> Result<()> {
    let key = &request.dataset;
    tried.outcome = "unknown";
    tried.why = Some(format!(
        "it can't be tried without the ledger: {missing}. Below is what the statuses of the blocks say, which know nothing of \
         the claims that wait"
    ));
    let dataset: Option<PrivateDataset> = cluster.get(&key.namespace, &key.name).await?;
    let dataset = dataset.with_context(|| format!("there is no dataset {key}"))?;
    let rules = dataset.spec.rules();
    let rules = rules.map_err(|error| anyhow::anyhow!("dataset {key}: {error}"))?;
    let mut source = Source::Cluster(cluster.clone());
    let objects = source.objects(key).await?;
    let candidates = objects
        .usable_blocks()
        .filter_map(|(name, _)| objects.candidate(name));
    let demands = match_blocks(request, candidates, &rules.composition);
    let demands = demands.map_err(|problem| anyhow::anyhow!(problem))?;
    tried.block_count = Some(privatekube_api::block_count(&demands));
    let blocks: Vec<PrivateDataBlock> = crate::state::blocks(cluster, key).await?;
    tried.statuses = of_demands(&demands, &blocks, &rules.composition);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{claim, id, renyi_state};
    use crate::{exit::Exit, output::Form};

    fn told(mechanism: &str, pods: Option<Pods>) -> (String, Exit) {
        let mut state = renyi_state();
        let request = claim("new", mechanism).request().unwrap();
        let mut tried = Tried {
            what: "the demand".to_owned(),
            ..Tried::default()
        };
        decide(&mut state, "data", &id("new"), &request, pods, &mut tried);
        (tried.text(Form::default()), tried.exit())
    }

    #[test]
    fn a_demand_that_fits_says_what_would_remain() {
        let (text, exit) = told("gaussian(sigma=10)", None);
        assert_eq!(exit, Exit::Done);
        assert_eq!(
            text,
            "\
the demand: would be granted now
  its budget is allocated on all its blocks
  its arrival would unlock enough for another claim that waits

  BLOCK   OF                   ASKED   AVAILABLE NOW   AFTER ITS ARRIVAL   LEFT ONCE GRANTED
  b1      epsilon at order 8    0.04           3.598               1.483               3.407
"
        );
    }

    #[test]
    fn a_demand_that_waits_says_what_would_be_granted() {
        let (text, exit) = told("gaussian(sigma=0.95)", None);
        assert_eq!(exit, Exit::Waits);
        assert_eq!(
            text,
            "\
the demand: would wait, and may be granted later
  block b1 has 1.523 of the 4.432 epsilon at order 8 asked: 2.91 is missing, only budget that other claims release can \
             fill that; no waiting claim goes before it
  its arrival would unlock enough for another claim that waits
  would be granted now: 0.9024 times the demand, which is sigma at least 1.00001 (asked: 0.95)

  BLOCK   OF                   ASKED   AVAILABLE NOW   AFTER ITS ARRIVAL   LEFT ONCE GRANTED
  b1      epsilon at order 8   4.432           3.598               1.523             -0.9848
"
        );
    }

    #[test]
    fn a_demand_that_never_fits_is_refused_and_pods_are_counted() {
        let pods = Pods {
            at_least: 1,
            at_most: Some(7),
            why: "backoffLimit is 6, the default".to_owned(),
        };
        let (text, exit) = told("gaussian(sigma=0.1)", Some(pods));
        assert_eq!(exit, Exit::Refused);
        assert_eq!(
            text,
            "\
the demand: would never be granted
  block b1 can never give the 400 epsilon at order 8 asked: 7.697 is all that is not spent
  would be granted now: 0.0099 times the demand, which is sigma at least 1.00001 (asked: 0.1)
  pods: 1 pod if none fails, and at most 7, each of which pays (backoffLimit is 6, the default); of 7, 0 would be granted \
             now

  BLOCK   OF                   ASKED   AVAILABLE NOW   AFTER ITS ARRIVAL   LEFT ONCE GRANTED
  b1      epsilon at order 8     400           3.598               3.598              -392.6
"
        );
    }
}
