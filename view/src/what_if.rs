//! What-if: what would become of a claim that nobody has made. A [`Trial`] decides it on a copy of the engine, so nothing
//! changes, and the answer is what the engine would decide if the claim arrived next.

use std::collections::BTreeMap;

use privatekube_api::{ClaimRequest, PrivateDataBlockStatus, block_count, match_blocks};
use privatekube_policy::{
    Arrival, BlockId, BlockState, ClaimId, Composition, Engine, Event, Phase, Policy, Record, Time,
};
use thiserror::Error;

use crate::{
    DatasetObjects, PhaseReason, explain,
    status::{budget_status, shown_coordinate},
};

/// The most claims that ever arrived on a dataset whose engine is copied: a copy of so many takes the bookkeeper some 50 ms.
const MOST_COPIED: usize = 100_000;
/// The most blocks of a demand whose budgets an answer lists.
const MOST_LISTED: usize = 50;

/// Why a demand can't be tried.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TrialError {
    /// The dataset's composition can't account for the budget, or the engine refuses the arrival.
    #[error("{0}")]
    Invalid(String),
    /// The namespace may not claim on the dataset, or not at this priority.
    #[error("{0}")]
    NotAllowed(String),
    /// Too many claims have arrived for a copy.
    #[error(
        "{0} claims have arrived on this dataset, and a demand is tried on a copy of all of them: at most {MOST_COPIED} are \
         copied"
    )]
    TooMany(usize),
}

/// A copy of a dataset's engine, and the claim to try on it.
#[derive(Debug)]
pub struct Trial {
    engine: Engine,
    arrival: Arrival,
}

/// What would become of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It would be granted as soon as it arrived.
    Now,
    /// It would wait, and may be granted later.
    Later,
    /// It would be denied.
    Never,
}

/// The answer of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// What would become of the claim.
    pub outcome: Outcome,
    /// Why, in the words that its status would have.
    pub why: PhaseReason,
    /// How many blocks match.
    pub block_count: usize,
    /// What would remain of the blocks that match, those with the least left first, at most 50.
    pub blocks: Vec<BlockAfter>,
    /// How many waiting claims its arrival would have granted beside it, since it unlocks budget.
    pub others_granted: usize,
}

/// A block before and after the claim would be granted.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockAfter {
    /// Its name.
    pub name: BlockId,
    /// The name of the coordinate of the amounts below, like `epsilon`.
    pub coordinate: String,
    /// What the claim asks.
    pub asked: String,
    /// Its budget now.
    pub now: PrivateDataBlockStatus,
    /// What would be available right after the claim arrived; if it waits, with what it takes still there.
    pub available: String,
    /// What would be neither consumed nor promised to any claim, once the claim is granted: locked and available. Less than 0
    /// if the claim can't be granted.
    pub left: String,
}

impl Trial {
    /// A claim of `namespace` with this request, on a copy of `engine`. `objects` are those of its dataset. Whether the labels of
    /// the namespace are accepted isn't known here, so claimants that are selected by labels count as allowed.
    pub fn new(
        engine: &Engine,
        objects: &DatasetObjects,
        namespace: &str,
        request: &ClaimRequest,
    ) -> Result<Self, TrialError> {
        let claimants = objects.claimants();
        if !claimants.depend_on_labels(namespace) {
            let allowed = claimants.check(
                &request.dataset,
                namespace,
                Some(&BTreeMap::new()),
                request.priority,
            );
            allowed.map_err(|refusal| TrialError::NotAllowed(refusal.to_string()))?;
        }
        let arrived = engine.claims().len();
        if arrived > MOST_COPIED {
            return Err(TrialError::TooMany(arrived));
        }
        let usable = objects.usable_blocks().filter(|(name, _)| {
            let block = engine.block(&BlockId::from(name.as_str()));
            block.is_some_and(|block| !block.retired)
        });
        let candidates = usable.filter_map(|(name, _)| objects.candidate(name));
        let demands = match_blocks(request, candidates, &engine.rules().composition);
        Ok(Self {
            arrival: Arrival {
                // No object's UID is empty, so no claim has this name.
                claim: ClaimId::from(format!("claim/{namespace}/what-if/")),
                demands: demands.map_err(TrialError::Invalid)?,
                min_blocks: request.min_blocks(),
                timeout: request.timeout.or(objects.default_timeout()),
                priority: request.priority,
                weight: objects.weights().of(namespace),
            },
            engine: engine.clone(),
        })
    }

    /// The claim's arrival, as an event that a ledger would have.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::Arrive(self.arrival.clone())
    }

    /// How many blocks it demands.
    #[must_use]
    pub fn block_count(&self) -> usize {
        block_count(&self.arrival.demands)
    }

    /// Lets the claim arrive on the copy.
    pub fn decide(mut self, now: Time) -> Result<WhatIf, TrialError> {
        self.engine.advance(now);
        let composition = self.engine.rules().composition.clone();
        let demanded: BTreeMap<&BlockId, &[i64]> = self
            .arrival
            .demands
            .iter()
            .flat_map(|demand| demand.blocks.iter().map(|block| (block, demand.budget.units())))
            .collect();
        let before: Vec<(&BlockId, &[i64], Option<BlockState>)> = demanded
            .iter()
            .map(|(block, asked)| (*block, *asked, self.engine.block(block)))
            .collect();
        let event = Event::Arrive(self.arrival.clone());
        let records = self.engine.apply(&event);
        let records = records.map_err(|refusal| TrialError::Invalid(refusal.to_string()))?;
        let id = &self.arrival.claim;
        let claim = self.engine.claim(id);
        let phase = claim.as_ref().map_or(Phase::Denied, |claim| claim.phase);
        let outcome = match phase {
            Phase::Granted => Outcome::Now,
            Phase::Waiting => Outcome::Later,
            _ => Outcome::Never,
        };
        let why = match (&claim, self.engine.explain(id)) {
            (_, Some(explanation)) => {
                let ahead = match self.engine.rules().policy {
                    // Its order costs a look at every block of every waiting claim.
                    Policy::Dpack { .. } => None,
                    _ => self.engine.standing(id).and_then(|standing| standing.ahead),
                };
                explain::waits(&explanation, ahead, self.engine.rules(), now)
            }
            (Some(claim), None) => explain::decided(claim, &composition),
            // A claim that is denied when it arrives isn't kept.
            (None, None) => denial(&records, id, &composition),
        };
        let mut blocks: Vec<(f64, BlockAfter)> = before
            .into_iter()
            .filter_map(|(name, asked, before)| {
                let after = self.engine.block(name)?;
                Some(block_after(name, asked, &before?, &after, outcome, &composition))
            })
            .collect();
        blocks.sort_by(|one, other| one.0.total_cmp(&other.0));
        blocks.truncate(MOST_LISTED);
        let granted = records
            .iter()
            .filter(|record| matches!(record, Record::Granted { .. }))
            .count();
        Ok(WhatIf {
            outcome,
            why,
            block_count: block_count(&self.arrival.demands),
            blocks: blocks.into_iter().map(|(_, block)| block).collect(),
            others_granted: granted.saturating_sub(usize::from(outcome == Outcome::Now)),
        })
    }
}

fn denial(records: &[Record], id: &ClaimId, composition: &Composition) -> PhaseReason {
    let denial = records.iter().find_map(|record| match record {
        Record::Denied { claim, reason, .. } if claim == id => Some(reason),
        _ => None,
    });
    denial.map_or_else(explain::undecided, |denial| explain::denied(denial, composition))
}

/// A block with the claim, and which part of its capacity would be left.
#[expect(clippy::cast_precision_loss, reason = "sorts what is listed")]
fn block_after(
    name: &BlockId,
    asked: &[i64],
    before: &BlockState,
    after: &BlockState,
    outcome: Outcome,
    composition: &Composition,
) -> (f64, BlockAfter) {
    let at = shown_coordinate(before, composition);
    let of = |units: &[i128]| units.get(at).copied().unwrap_or(0);
    let asked = asked.get(at).copied().map_or(0, i128::from);
    let taken = if outcome == Outcome::Now { 0 } else { asked };
    let left = of(&after.locked) + of(&after.available) - taken;
    let capacity = before.capacity.units().get(at).copied().unwrap_or(1).max(1);
    let shown = |units: i128| composition.display_units(at, units);
    let block = BlockAfter {
        name: name.clone(),
        coordinate: composition.coordinate_name(at),
        asked: shown(asked),
        now: budget_status(before, composition),
        available: shown(of(&after.available)),
        left: shown(left),
    };
    (left as f64 / capacity as f64, block)
}
