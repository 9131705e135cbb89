//! A claim's status, and the grant that its pods are given.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, Condition};
use privatekube_api::{
    ClaimBlock, ClaimPhase, DatasetKey, GrantedBlock, GrantedClaim, PrivacyBudgetClaimStatus, Subject,
    conditions, meta_time,
};
use privatekube_policy::{BlockId, Budget, ClaimId, ClaimState, Composition, Engine, Phase, Time};

use super::{amounts::granted_budget, condition};
use crate::{ClaimView, explain::PhaseReason, objects::DatasetObjects};

/// The entry that changed a claim last, as far as it is known: after a restart it isn't.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClaimPosition {
    /// Its sequence number.
    pub(crate) sequence: Option<u64>,
    /// Its time.
    pub(crate) at: Option<Time>,
}

/// A claim as it is committed. `why` explains its phase.
pub(crate) fn claim_view(
    dataset: &DatasetKey,
    engine: &Engine,
    objects: &DatasetObjects,
    id: &ClaimId,
    why: PhaseReason,
    position: ClaimPosition,
) -> Option<ClaimView> {
    let subject = Subject::of(id)?;
    let claim = engine.claim(id)?;
    let phase = ClaimPhase::from(claim.phase);
    let data_source = |block: &BlockId| objects.block(block.as_str())?.object.spec.data_source.clone();
    let blocks: Vec<ClaimBlock> = claim
        .arrival
        .demands
        .iter()
        .flat_map(|demand| &demand.blocks)
        .map(|block| ClaimBlock {
            name: block.to_string(),
            data_source: data_source(block),
        })
        .collect();
    let changed = match claim.phase {
        Phase::Consumed | Phase::Released | Phase::Withdrawn => position.at.or(claim.decided),
        _ => claim.decided,
    };
    let grant = phase.is_granted().then(|| GrantedClaim {
        claim: format!("{}/{}", subject.namespace, subject.claim_name()),
        dataset: dataset.to_string(),
        blocks: granted_blocks(&claim, &engine.rules().composition, data_source),
    });
    let conditions = claim_conditions(&claim, &why, changed);
    let status = PrivacyBudgetClaimStatus {
        phase: Some(phase),
        reason: Some(why.reason.to_string()),
        message: Some(why.message),
        block_count: Some(blocks.len() as u64),
        blocks,
        dominant_share: dominant_share(engine, &claim).map(|share| format!("{share:.4}")),
        weight: Some(claim.arrival.weight.get()),
        sequence: position.sequence,
        arrived_at: Some(meta_time(claim.arrived)),
        decided_at: claim.decided.map(meta_time),
        conditions,
    };
    Some(ClaimView {
        subject,
        dataset: dataset.clone(),
        phase,
        status,
        grant,
    })
}

/// A claim that is not in a ledger: it waits for one, or is invalid.
pub(crate) fn not_in_ledger(
    dataset: &DatasetKey,
    subject: Subject,
    why: &PhaseReason,
    now: &v1::Time,
) -> ClaimView {
    let condition =
        |type_, is_true| condition(type_, is_true, why.reason.as_str(), &why.message, now.clone());
    let phase = why.reason.phase();
    let mut conditions = vec![condition(conditions::GRANTED, false)];
    if phase == ClaimPhase::Denied {
        conditions.push(condition(conditions::DENIED, true));
    }
    let status = PrivacyBudgetClaimStatus {
        phase: Some(phase),
        reason: Some(why.reason.to_string()),
        message: Some(why.message.clone()),
        conditions,
        ..PrivacyBudgetClaimStatus::default()
    };
    ClaimView {
        subject,
        dataset: dataset.clone(),
        phase,
        status,
        grant: None,
    }
}

/// What a claim has of each block: what it demanded, less what was released. A block of which it has nothing left is left
/// out.
fn granted_blocks(
    claim: &ClaimState<'_>,
    composition: &Composition,
    data_source: impl Fn(&BlockId) -> Option<String>,
) -> Vec<GrantedBlock> {
    let demanded = claim
        .arrival
        .demands
        .iter()
        .flat_map(|demand| demand.blocks.iter().map(|block| (block, demand.budget.units())));
    demanded
        .zip(&claim.released)
        .filter_map(|((block, demanded), (_, released))| {
            let kept: Vec<i64> = demanded
                .iter()
                .zip(released.units())
                .map(|(demanded, released)| demanded - released)
                .collect();
            kept.iter().any(|units| *units > 0).then(|| GrantedBlock {
                name: block.to_string(),
                data_source: data_source(block),
                budget: granted_budget(&kept, composition),
            })
        })
        .collect()
}

/// The conditions of a claim: Granted always, each other one once it is true.
fn claim_conditions(claim: &ClaimState<'_>, why: &PhaseReason, changed: Option<Time>) -> Vec<Condition> {
    let condition = |type_: &str, is_true: bool, at: Time| {
        condition(type_, is_true, why.reason.as_str(), &why.message, meta_time(at))
    };
    let decided = claim.decided.unwrap_or(claim.arrived);
    let mut all = vec![condition(
        conditions::GRANTED,
        ClaimPhase::from(claim.phase).is_granted(),
        decided,
    )];
    let is_any = |used: &[(&BlockId, Budget)]| used.iter().any(|(_, budget)| !budget.is_zero());
    let further = [
        (conditions::CONSUMED, is_any(&claim.consumed)),
        (conditions::RELEASED, is_any(&claim.released)),
        (conditions::DENIED, claim.phase == Phase::Denied),
        (conditions::EXPIRED, claim.phase == Phase::Expired),
    ];
    let true_now = further.into_iter().filter(|(_, is)| *is);
    all.extend(true_now.map(|(type_, _)| condition(type_, true, changed.unwrap_or(decided))));
    all
}

/// The claim's dominant share, for people: the largest fraction of a block's capacity, at any coordinate, that it demands.
/// The engine compares exact fractions.
#[expect(clippy::cast_precision_loss, reason = "four decimals are shown")]
fn dominant_share(engine: &Engine, claim: &ClaimState<'_>) -> Option<f64> {
    let shares = claim.arrival.demands.iter().flat_map(|demand| {
        demand
            .blocks
            .iter()
            .filter_map(|block| engine.block(block))
            .flat_map(|books| {
                let capacity = books.capacity.units().to_vec();
                let asked = demand.budget.units().to_vec();
                asked
                    .into_iter()
                    .zip(capacity)
                    .filter(|(_, capacity)| *capacity > 0)
                    .map(|(asked, capacity)| asked as f64 / capacity as f64)
            })
    });
    shares.reduce(f64::max)
}
