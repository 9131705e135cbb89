//! From what is committed to what is told: views, statuses, Events, gates and metrics.

use std::collections::BTreeSet;

use privatekube_api::{ClaimBlock, GrantedBlock, GrantedClaim, PrivacyBudgetClaimStatus};
use privatekube_ledger::Committed;
use privatekube_policy::{BlockId, ClaimId, ClaimState, Composition, Engine, Phase, Policy, Record, Time};
use tracing::info;

use super::{
    Bookkeeper, BookkeeperError, MOST_EXPLAINED,
    explain::{self, Why},
    shown::{claim_conditions, dominant_share, granted_budget},
};
use crate::{
    clock,
    subject::{Subject, SubjectKind},
    view::ClaimView,
    writers::StatusKey,
};

impl Bookkeeper {
    /// Tells what was decided in a round.
    pub(super) fn tell(&mut self, committed: &Committed) -> Result<(), BookkeeperError> {
        let mut claims: BTreeSet<ClaimId> = BTreeSet::new();
        let mut blocks: BTreeSet<BlockId> = BTreeSet::new();
        for record in committed.records() {
            match record {
                Record::BlockAdded { block } | Record::BlockRetired { block } => {
                    blocks.insert(block.clone());
                }
                Record::Unlocked { blocks: unlocked } => blocks.extend(unlocked.iter().cloned()),
                Record::Waits { claim }
                | Record::Granted { claim, .. }
                | Record::Denied { claim, .. }
                | Record::Expired { claim, .. }
                | Record::Withdrawn { claim }
                | Record::Consumed { claim, .. }
                | Record::Released { claim, .. } => {
                    claims.insert(claim.clone());
                }
            }
        }
        if let Some(engine) = self.engine()? {
            for claim in &claims {
                let phase = engine.phase(claim);
                if matches!(phase, Some(Phase::Granted | Phase::Consumed | Phase::Released)) {
                    blocks.extend(engine.blocks_of(claim).cloned());
                }
            }
        }
        for id in &claims {
            self.tell_claim(id, committed.sequence, committed.time)?;
        }
        for block in &blocks {
            self.tell_block(block)?;
        }
        self.tell_dataset()
    }

    /// Tells everything that the ledger says, after it was read. Statuses are written where an object says
    /// something else, when the object is seen.
    pub(super) fn tell_everything(&mut self) -> Result<(), BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(());
        };
        let claims: Vec<(ClaimId, Phase)> = engine
            .claims()
            .filter_map(|id| Some((id.clone(), engine.claim(id)?.phase)))
            .collect();
        let blocks: Vec<BlockId> = engine.blocks().cloned().collect();
        for (id, phase) in &claims {
            self.count(id, *phase);
        }
        let Some(engine) = self.engine()? else {
            return Ok(());
        };
        for (id, _) in claims {
            if let Some(view) = self.claim_view(engine, &id, 0, None) {
                self.desk.view.put_claim(id, view);
            }
        }
        for block in blocks {
            self.tell_block(&block)?;
        }
        self.tell_dataset()
    }

    fn tell_claim(&mut self, id: &ClaimId, sequence: u64, at: Time) -> Result<(), BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(());
        };
        let Some(view) = self.claim_view(engine, id, sequence, Some(at)) else {
            return Ok(());
        };
        let waited = engine
            .claim(id)
            .and_then(|claim| Some(claim.decided?.micros() - claim.arrived.micros()));
        let before = self.count(id, view.phase);
        let (phase, subject) = (view.phase, view.subject.clone());
        let message = view.status.message.clone().unwrap_or_default();
        let claim_name = format!("{}/{}", subject.namespace, subject.claim_name());
        let changed = self.desk.view.put_claim(id.clone(), view);
        if before == Some(phase) {
            if changed {
                self.write_status(StatusKey::Claim(id.clone()));
            }
            return Ok(());
        }
        info!(dataset = %self.dataset, claim = %claim_name, %id, ?phase, sequence, message, "a claim is decided");
        let labels = [self.dataset.namespace.as_str(), self.dataset.name.as_str()];
        self.desk
            .metrics
            .decisions
            .with_label_values(&[labels[0], labels[1], word(phase)])
            .inc();
        let pods = match subject.kind {
            SubjectKind::Pod => vec![(subject.namespace.clone(), subject.name.clone())],
            SubjectKind::Claim => self.desk.pods.sharing(&subject.namespace, &subject.name),
        };
        if phase == Phase::Granted {
            if let Some(waited) = waited {
                #[expect(clippy::cast_precision_loss, reason = "for a histogram")]
                self.desk
                    .metrics
                    .wait_seconds
                    .with_label_values(&labels)
                    .observe(waited as f64 / 1e6);
            }
            for pod in &pods {
                self.desk.gates.look(pod.clone());
            }
        }
        let note = format!(
            "privacy budget claim {claim_name} {}: {message}",
            word(phase).to_lowercase()
        );
        let warning = matches!(phase, Phase::Denied | Phase::Expired);
        self.desk
            .announcer
            .of_claim(id, &subject, phase_reason(phase), warning, &note);
        // A pod's own claim tells its pod by itself.
        if subject.kind == SubjectKind::Claim {
            for pod in pods.iter().filter_map(|key| self.desk.pods.get(key)) {
                self.desk
                    .announcer
                    .of_pod(&pod, phase_reason(phase), warning, &note);
            }
        }
        self.write_status(StatusKey::Claim(id.clone()));
        Ok(())
    }

    /// Counts a claim's phase for the metric; says the one before.
    fn count(&mut self, id: &ClaimId, phase: Phase) -> Option<Phase> {
        let before = self.known_phases.insert(id.clone(), phase);
        if phase == Phase::Waiting {
            self.waiting.insert(id.clone());
        } else if before == Some(Phase::Waiting) {
            self.waiting.remove(id);
        }
        if before != Some(phase) {
            for (phase, by) in before.map(|before| (before, -1)).into_iter().chain([(phase, 1)]) {
                let count = self.phases.entry(phase).or_insert(0);
                *count += by;
                let labels = [
                    self.dataset.namespace.as_str(),
                    self.dataset.name.as_str(),
                    word(phase),
                ];
                self.desk.metrics.claims.with_label_values(&labels).set(*count);
            }
        }
        before
    }

    fn claim_view(
        &self,
        engine: &Engine,
        id: &ClaimId,
        sequence: u64,
        at: Option<Time>,
    ) -> Option<ClaimView> {
        let subject = Subject::of(id)?;
        let claim = engine.claim(id)?;
        let composition = &engine.setting().composition;
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
        let granted = matches!(claim.phase, Phase::Granted | Phase::Consumed | Phase::Released);
        let grant = granted.then(|| GrantedClaim {
            claim: format!("{}/{}", subject.namespace, subject.claim_name()),
            dataset: self.dataset.to_string(),
            blocks: self.granted_blocks(&claim, composition),
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

    /// Why a claim waits; none if it doesn't.
    fn why_it_waits(&self, engine: &Engine, id: &ClaimId) -> Option<Why> {
        let explanation = engine.explain(id)?;
        let few = self.waiting.len() <= most_placed(engine.setting().policy);
        let standing = few.then(|| engine.standing(id)).flatten();
        let ahead = standing.and_then(|standing| standing.ahead);
        Some(explain::waits(&explanation, ahead, engine.setting()))
    }

    fn why(&self, engine: &Engine, id: &ClaimId, claim: &ClaimState<'_>) -> Why {
        let composition = &engine.setting().composition;
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

    /// Looks again why some of the waiting claims wait, and how blocks stand that the clock unlocks.
    pub(super) fn explain_some(&mut self) -> Result<(), BookkeeperError> {
        let after = self.explained.take();
        let Some(engine) = self.engine()? else {
            return Ok(());
        };
        let next: Vec<ClaimId> = match &after {
            Some(after) => self.waiting.range((
                std::ops::Bound::Excluded(after.clone()),
                std::ops::Bound::Unbounded,
            )),
            None => self.waiting.range::<ClaimId, _>(..),
        }
        .take(MOST_EXPLAINED)
        .cloned()
        .collect();
        let by_clock = matches!(
            engine.setting().unlocking,
            privatekube_policy::Unlocking::Lifetime { .. }
        );
        let mut changed = Vec::new();
        for id in &next {
            let Some(mut view) = self.desk.view.claim(id).map(|view| (*view).clone()) else {
                continue;
            };
            let Some(why) = self.why_it_waits(engine, id) else {
                continue;
            };
            for condition in &mut view.status.conditions {
                why.reason.clone_into(&mut condition.reason);
                condition.message.clone_from(&why.message);
            }
            view.status.reason = Some(why.reason.to_owned());
            view.status.message = Some(why.message);
            changed.push((id.clone(), view));
        }
        for (id, view) in changed {
            if self.desk.view.put_claim(id.clone(), view) {
                self.write_status(StatusKey::Claim(id));
            }
        }
        if next.len() == MOST_EXPLAINED {
            self.explained = next.last().cloned();
        }
        if by_clock {
            let blocks: Vec<BlockId> = self
                .blocks
                .keys()
                .map(|name| BlockId::from(name.as_str()))
                .collect();
            for block in blocks {
                self.tell_block(&block)?;
            }
        }
        Ok(())
    }
}

/// So many claims may wait for a claim's place in the order to be told: all that wait are looked at for each place, and
/// under DPack at each of their blocks and orders. For 50 claims on 10 blocks each that takes some 20 ms in all.
const fn most_placed(policy: Policy) -> usize {
    match policy {
        Policy::Dpack { .. } => 50,
        Policy::Dpf | Policy::Fcfs { .. } | Policy::RoundRobin | Policy::Blend { .. } => MOST_EXPLAINED,
    }
}

/// A phase in one word: the label of metrics.
pub(super) const fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "Waiting",
        Phase::Granted => "Granted",
        Phase::Consumed => "Consumed",
        Phase::Released => "Released",
        Phase::Denied => "Denied",
        Phase::Expired => "Expired",
        Phase::Withdrawn => "Withdrawn",
    }
}

/// The reason of the Event that says that a phase was reached.
pub(crate) const fn phase_reason(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "BudgetWaiting",
        Phase::Granted => "BudgetGranted",
        Phase::Consumed => "BudgetConsumed",
        Phase::Released => "BudgetReleased",
        Phase::Denied => "BudgetDenied",
        Phase::Expired => "BudgetExpired",
        Phase::Withdrawn => "BudgetWithdrawn",
    }
}
