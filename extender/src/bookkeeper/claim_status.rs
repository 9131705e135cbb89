//! A claim as it is committed: its status, and the grant that its pods are told.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use privatekube_api::{ClaimBlock, GrantedBlock, GrantedClaim, PrivacyBudgetClaimStatus, conditions};
use privatekube_policy::{BlockId, Budget, ClaimId, ClaimState, Composition, Engine, Phase, Time};

use super::{
    Bookkeeper,
    amounts::granted_budget,
    condition::condition,
    explain::{self, Why},
};
use crate::{clock, subject::Subject, view::ClaimView};

impl Bookkeeper {
    /// A claim after the entry `sequence`, which changed it `at` that time; 0 and none if that isn't known.
    pub(super) fn claim_view(
        &self,
        engine: &Engine,
        id: &ClaimId,
        sequence: u64,
        at: Option<Time>,
    ) -> Option<ClaimView> {
        let subject = Subject::of(id)?;
        let claim = engine.claim(id)?;
        let why = self.why(engine, id, &claim);
        let blocks: Vec<ClaimBlock> = claim
            .arrival
            .demands
            .iter()
            .flat_map(|demand| &demand.blocks)
            .map(|block| ClaimBlock {
                name: block.to_string(),
                data_source: self.data_source(block),
            })
            .collect();
        let changed = match claim.phase {
            Phase::Consumed | Phase::Released | Phase::Withdrawn => at.or(claim.decided),
            _ => claim.decided,
        };
        let status = PrivacyBudgetClaimStatus {
            phase: Some(claim.phase.into()),
            reason: Some(why.reason.to_owned()),
            message: Some(why.message.clone()),
            block_count: Some(blocks.len() as u64),
            blocks,
            dominant_share: dominant_share(engine, &claim).map(|share| format!("{share:.4}")),
            weight: Some(claim.arrival.weight.get()),
            sequence: (sequence > 0).then_some(sequence),
            arrived_at: Some(clock::meta_time(claim.arrived)),
            decided_at: claim.decided.map(clock::meta_time),
            conditions: claim_conditions(&claim, &why, changed),
        };
        let grant = is_granted(claim.phase).then(|| GrantedClaim {
            claim: format!("{}/{}", subject.namespace, subject.claim_name()),
            dataset: self.dataset.to_string(),
            blocks: self.granted_blocks(&claim, &engine.rules().composition),
        });
        Some(ClaimView {
            subject,
            dataset: self.dataset.clone(),
            phase: claim.phase,
            status,
            grant,
        })
    }

    /// What the claim has of each block: what was asked, less what was given back. A block of which nothing is left is
    /// none of the claim's any more.
    fn granted_blocks(&self, claim: &ClaimState<'_>, composition: &Composition) -> Vec<GrantedBlock> {
        let asked = claim
            .arrival
            .demands
            .iter()
            .flat_map(|demand| demand.blocks.iter().map(|block| (block, demand.budget.units())));
        asked
            .zip(&claim.released)
            .filter_map(|((block, asked), (_, released))| {
                let kept: Vec<i64> = asked
                    .iter()
                    .zip(released.units())
                    .map(|(asked, back)| asked - back)
                    .collect();
                kept.iter().any(|units| *units > 0).then(|| GrantedBlock {
                    name: block.to_string(),
                    data_source: self.data_source(block),
                    budget: granted_budget(&kept, composition),
                })
            })
            .collect()
    }

    fn data_source(&self, block: &BlockId) -> Option<String> {
        self.blocks.get(block.as_str())?.object.spec.data_source.clone()
    }

    /// Why a claim is where it is.
    fn why(&self, engine: &Engine, id: &ClaimId, claim: &ClaimState<'_>) -> Why {
        let composition = &engine.rules().composition;
        let plain = |reason, message: &str| Why {
            reason,
            message: message.to_owned(),
        };
        match (claim.phase, claim.denial, claim.decided) {
            (Phase::Waiting, ..) => self
                .why_it_waits(engine, id)
                .unwrap_or_else(|| plain("Undecided", "it is about to be decided")),
            (Phase::Granted, ..) => plain("Granted", "its budget is allocated on all its blocks"),
            (Phase::Consumed, ..) => plain("Consumed", "its budget is spent"),
            (Phase::Released, ..) => plain("Released", "its budget was given back without being spent"),
            (Phase::Withdrawn, ..) => plain("Withdrawn", "it was taken back while it waited"),
            (Phase::Denied, Some(denial), _) => explain::denied(denial, composition),
            (Phase::Denied, None, _) => plain("Denied", "it can never be granted"),
            (Phase::Expired, _, at) => explain::expired(claim.arrival.timeout, at.unwrap_or_default()),
        }
    }
}

/// Whether a claim was granted, whatever became of what it was granted.
pub(super) const fn is_granted(phase: Phase) -> bool {
    matches!(phase, Phase::Granted | Phase::Consumed | Phase::Released)
}

/// The conditions of a claim: Granted always, the others once they are true.
fn claim_conditions(claim: &ClaimState<'_>, why: &Why, changed: Option<Time>) -> Vec<Condition> {
    let condition = |type_: &str, is: bool, at: Time| {
        condition(type_, is, why.reason, &why.message, clock::meta_time(at))
    };
    let decided = claim.decided.unwrap_or(claim.arrived);
    let mut all = vec![condition(conditions::GRANTED, is_granted(claim.phase), decided)];
    let any = |used: &[(&BlockId, Budget)]| used.iter().any(|(_, budget)| !budget.is_zero());
    let further = [
        (conditions::CONSUMED, any(&claim.consumed)),
        (conditions::RELEASED, any(&claim.released)),
        (conditions::DENIED, claim.phase == Phase::Denied),
        (conditions::EXPIRED, claim.phase == Phase::Expired),
    ];
    let true_now = further.into_iter().filter(|(_, is)| *is);
    all.extend(true_now.map(|(type_, _)| condition(type_, true, changed.unwrap_or(decided))));
    all
}

/// The claim's largest share of a block's budget at a coordinate, for people. The engine compares exact fractions.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
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
