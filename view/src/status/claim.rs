//! A claim's status, and the grant that its pods are given.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Condition};
use privatekube_api::{
    BlockBudget, ClaimBlock, ClaimPhase, ClaimReason, ClaimToGrant, DatasetKey, Dimensions, GrantedBlock,
    GrantedClaim, PrivacyBudgetClaimStatus, Subject, are_all_listed, beginning, conditions, listed_blocks,
    meta_time,
};
use privatekube_policy::{
    BlockId, Budget, ClaimState, Delta, Engine, Phase, Rounding, Time, is_beyond_count,
};

use super::{amounts::granted_budget, condition};
use crate::{
    ClaimView, CommittedState,
    claim::{Demands, InLedger, Known, NamedBlock, Released},
    explain::PhaseReason,
};

/// The entry that changed a claim last. After a restart that isn't known: then a later entry, at which the claim is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimPosition {
    /// Its sequence number.
    pub(crate) sequence: Option<u64>,
    /// The time at which the entry changed the claim, if it did.
    pub(crate) at: Option<Time>,
}

impl ClaimPosition {
    /// The last entry, which may not have changed the claim.
    pub(crate) const fn as_of(state: CommittedState<'_>) -> Self {
        Self {
            sequence: Some(state.sequence),
            at: None,
        }
    }
}

/// A claim as it is committed. Reason and message explain its phase, and `demands` are those of `claim`.
pub(crate) fn claim_view(
    dataset: Arc<DatasetKey>,
    engine: &Engine,
    claim: &ClaimState<'_>,
    demands: Arc<Demands>,
    (reason, message): (ClaimReason, Arc<str>),
    position: ClaimPosition,
) -> ClaimView {
    let changed = match claim.phase {
        Phase::Consumed | Phase::Released | Phase::Withdrawn => position.at.or(claim.decided),
        _ => claim.decided,
    };
    let known = InLedger {
        composition: engine.rules().composition.clone(),
        is_consumed: claim.consumed.iter().any(|(_, budget)| !budget.is_zero()),
        released: released(&demands, &claim.released),
        dominant_share: dominant_share(engine, claim),
        demands,
        weight: claim.arrival.weight.get(),
        arrived: claim.arrived,
        decided: claim.decided,
        changed,
        sequence: position.sequence,
    };
    ClaimView {
        id: claim.arrival.claim.clone(),
        dataset,
        phase: claim.phase.into(),
        reason,
        message,
        known: Known::InLedger(known),
    }
}

/// A claim that is not in a ledger: it waits for one, or is invalid.
pub(crate) fn not_in_ledger(
    dataset: Arc<DatasetKey>,
    subject: &Subject,
    why: &PhaseReason,
    now: v1::Time,
) -> ClaimView {
    ClaimView {
        id: subject.id(),
        dataset,
        phase: why.reason.phase(),
        reason: why.reason,
        message: why.message.as_str().into(),
        known: Known::NotInLedger(now),
    }
}

/// A claim's status.
pub(crate) fn claim_status(claim: &ClaimView) -> PrivacyBudgetClaimStatus {
    let status = PrivacyBudgetClaimStatus {
        phase: Some(claim.phase),
        reason: Some(claim.reason.to_string()),
        message: Some(claim.message.to_string()),
        summary: Some(beginning(&claim.message)),
        conditions: claim_conditions(claim),
        ..PrivacyBudgetClaimStatus::default()
    };
    let Known::InLedger(known) = &claim.known else {
        return status;
    };
    let blocks: Vec<ClaimBlock> = blocks(&known.demands)
        .map(|(block, _)| ClaimBlock {
            name: block.name.to_string(),
            data_source: block.data_source.as_deref().map(str::to_owned),
        })
        .collect();
    PrivacyBudgetClaimStatus {
        block_count: Some(blocks.len() as u64),
        blocks: listed_blocks(blocks),
        dominant_share: known.dominant_share.map(shown_share),
        weight: Some(known.weight),
        sequence: known.sequence,
        arrived_at: Some(meta_time(known.arrived)),
        decided_at: known.decided.map(meta_time),
        ..status
    }
}

/// What a claim's pods are given: what it demanded of each block, less what was released. A block of which it has nothing
/// left is left out. The request and the dataset's privacy unit aren't in the ledger, so they are not in the grant.
pub(crate) fn claim_grant(claim: &ClaimView) -> Option<ClaimToGrant> {
    let (ClaimPhase::Granted | ClaimPhase::Consumed, Known::InLedger(known)) = (claim.phase, &claim.known)
    else {
        return None;
    };
    let subject = claim.subject()?;
    let kept = match &known.released {
        Released::Nothing => demanded(known),
        Released::Everything => Vec::new(),
        Released::Partly(released) => kept(known, released),
    };
    let budgets: Vec<BlockBudget> = kept
        .into_iter()
        .map(|(blocks, units)| BlockBudget {
            budget: granted_budget(&units, &known.composition),
            blocks: blocks.into_iter().map(granted_block).collect(),
        })
        .collect();
    let block_count = budgets.iter().map(|of| of.blocks.len()).sum::<usize>();
    let lengths = blocks(&known.demands).map(|(block, _)| block.name.as_str().len());
    let is_listed = block_count == lengths.clone().count() && are_all_listed(lengths);
    let claim = GrantedClaim {
        claim: format!("{}/{}", subject.namespace, subject.claim_name()),
        dataset: claim.dataset.to_string(),
        privacy_unit: None,
        requested: None,
        block_count: block_count as u64,
        budgets,
        blocks_from: None,
    };
    Some(ClaimToGrant { claim, is_listed })
}

/// Blocks, and the same units of budget on each of them.
type Kept<'a> = (Vec<&'a NamedBlock>, Vec<i64>);

/// What was demanded.
fn demanded(known: &InLedger) -> Vec<Kept<'_>> {
    known
        .demands
        .iter()
        .map(|(blocks, budget)| {
            let blocks = blocks.iter().map(|block| &**block).collect();
            (blocks, budget.units().to_vec())
        })
        .collect()
}

/// What was demanded less what was `released`, which has the units of one block after another; each different budget once.
fn kept<'a>(known: &'a InLedger, released: &[i64]) -> Vec<Kept<'a>> {
    let mut groups: Vec<Kept<'a>> = Vec::new();
    let mut by_units: HashMap<Vec<i64>, usize> = HashMap::new();
    for (at, (block, demanded)) in blocks(&known.demands).enumerate() {
        let demanded = demanded.units();
        let units: Vec<i64> = demanded
            .iter()
            .zip(released.iter().skip(at * demanded.len()))
            .map(|(demanded, released)| demanded - released)
            .collect();
        if units.iter().all(|units| *units <= 0) {
            continue;
        }
        // Where more is demanded than can be counted, what is left can't be counted either.
        let counted = demanded.iter().zip(units).map(|(demanded, units)| {
            if is_beyond_count(i128::from(*demanded)) {
                *demanded
            } else {
                units
            }
        });
        let units: Vec<i64> = counted.collect();
        let next = groups.len();
        match groups.get_mut(*by_units.entry(units.clone()).or_insert(next)) {
            Some((blocks, _)) => blocks.push(block),
            None => groups.push((vec![block], units)),
        }
    }
    groups
}

fn granted_block(block: &NamedBlock) -> GrantedBlock {
    let dimensions = block.dimensions.as_deref();
    let dimensions = dimensions.and_then(|json| serde_json::from_str::<Dimensions>(json).ok());
    GrantedBlock {
        name: block.name.to_string(),
        data_source: block.data_source.as_deref().map(str::to_owned),
        dimensions: dimensions.unwrap_or_default(),
    }
}

/// Each block that is demanded, and what is demanded of it.
fn blocks(demands: &Demands) -> impl Iterator<Item = (&NamedBlock, &Budget)> + Clone {
    demands
        .iter()
        .flat_map(|(blocks, budget)| blocks.iter().map(move |block| (&**block, budget)))
}

/// How much of its `demands` a claim has given back.
fn released(demands: &Demands, released: &[(&BlockId, Budget)]) -> Released {
    if released.iter().all(|(_, budget)| budget.is_zero()) {
        return Released::Nothing;
    }
    let demanded = blocks(demands).map(|(_, budget)| budget);
    if released.iter().map(|(_, budget)| budget).eq(demanded) {
        return Released::Everything;
    }
    let amounts = released.iter().flat_map(|(_, budget)| budget.units());
    Released::Partly(amounts.copied().collect())
}

/// Reason and message of the condition Consumed of a claim that isn't consumed as a whole.
const PARTLY_CONSUMED: (&str, &str) = ("PartlyConsumed", "a part of its budget is spent");
/// Reason and message of the condition Released of a claim that isn't released as a whole.
const PARTLY_RELEASED: (&str, &str) = (
    "PartlyReleased",
    "a part of its budget was given back without being spent",
);

/// The conditions of a claim: Granted always, each other one once it is true.
fn claim_conditions(claim: &ClaimView) -> Vec<Condition> {
    let condition = |type_: &str, is_true: bool, at: v1::Time| {
        condition(type_, is_true, claim.reason.as_str(), &claim.message, at)
    };
    let (decided, changed, is_consumed, is_released) = match &claim.known {
        Known::NotInLedger(since) => (since.clone(), since.clone(), false, false),
        Known::InLedger(known) => {
            let decided = known.decided.unwrap_or(known.arrived);
            (
                meta_time(decided),
                meta_time(known.changed.unwrap_or(decided)),
                known.is_consumed,
                known.released != Released::Nothing,
            )
        }
    };
    let mut all = vec![
        condition(
            conditions::DECIDED,
            claim.phase != ClaimPhase::Waiting,
            decided.clone(),
        ),
        condition(conditions::GRANTED, claim.phase.is_granted(), decided),
    ];
    // The claim's own reason is about its phase. A part that was used may be told of by another one.
    let parts = [
        (
            conditions::CONSUMED,
            is_consumed,
            ClaimPhase::Consumed,
            PARTLY_CONSUMED,
        ),
        (
            conditions::RELEASED,
            is_released,
            ClaimPhase::Released,
            PARTLY_RELEASED,
        ),
    ];
    for (type_, is_used, whole, (reason, message)) in parts {
        if is_used && claim.phase == whole {
            all.push(condition(type_, true, changed.clone()));
        } else if is_used {
            all.push(super::condition(type_, true, reason, message, changed.clone()));
        }
    }
    let ends = [
        (conditions::DENIED, claim.phase == ClaimPhase::Denied),
        (conditions::EXPIRED, claim.phase == ClaimPhase::Expired),
    ];
    let true_now = ends.into_iter().filter(|(_, is)| *is);
    all.extend(true_now.map(|(type_, _)| condition(type_, true, changed.clone())));
    all
}

/// A share with 4 significant digits.
#[expect(clippy::cast_possible_truncation, reason = "a share beyond 128 bits is none")]
fn shown_share(share: f64) -> String {
    Delta::from_units((share * 1e18) as i128).short(Rounding::Nearest)
}

/// The claim's dominant share, for people. The engine compares exact fractions.
#[expect(clippy::cast_precision_loss, reason = "four decimals are shown")]
fn dominant_share(engine: &Engine, claim: &ClaimState<'_>) -> Option<f64> {
    let rule = engine.rules().share_rule();
    let mut largest = None;
    for demand in &claim.arrival.demands {
        for block in &demand.blocks {
            let Some(block) = engine.block(block) else {
                continue;
            };
            let share = rule.share(demand.budget.units(), block.capacity.units().iter().copied());
            let share = share.map(|(asked, capacity)| asked as f64 / capacity as f64);
            largest = share.into_iter().chain(largest).reduce(f64::max);
        }
    }
    largest
}
