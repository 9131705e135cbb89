//! From what is committed to what is told: views, statuses, Events, gates and metrics.

use std::collections::BTreeSet;

use privatekube_ledger::Committed;
use privatekube_policy::{BlockId, ClaimId, Phase, Record, Time};
use tracing::info;

use super::{Bookkeeper, BookkeeperError, claim_status::is_granted, matching::is_matched};
use crate::{
    pods::PodKey,
    subject::{Subject, SubjectKind},
    writers::StatusKey,
};

impl Bookkeeper {
    /// Tells what was decided in a round, and the blocks of those that were `matched` in it.
    pub(super) fn tell(
        &mut self,
        committed: &Committed,
        matched: Vec<ClaimId>,
    ) -> Result<(), BookkeeperError> {
        let mut claims: BTreeSet<ClaimId> = matched.into_iter().collect();
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
                if engine.phase(claim).is_some_and(is_granted) {
                    blocks.extend(engine.blocks_of(claim).cloned());
                }
            }
        }
        for id in &claims {
            let claim = self.engine()?.and_then(|engine| engine.claim(id));
            if claim.is_none_or(|claim| claim.phase != Phase::Waiting || is_matched(&claim.arrival)) {
                self.is_settled(id);
            }
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

    /// Tells how a claim is after the entry `sequence`, of that time; if its phase is another, also by an Event, and
    /// to its pods.
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
        let changed = self.desk.view.put_claim(id.clone(), view);
        if before == Some(phase) {
            if changed {
                self.desk.statuses.write(StatusKey::Claim(id.clone()));
            }
            return Ok(());
        }
        let claim = format!("{}/{}", subject.namespace, subject.claim_name());
        info!(dataset = %self.dataset, claim, %id, ?phase, sequence, message, "a claim is decided");
        self.measure_decision(phase, waited);
        let pods = self.pods_of(&subject);
        if phase == Phase::Granted {
            for pod in &pods {
                self.desk.gates.look(pod.clone());
            }
        }
        self.announce(id, &subject, phase, &message, &pods);
        self.desk.statuses.write(StatusKey::Claim(id.clone()));
        Ok(())
    }

    /// The pods that a claim is for.
    pub(super) fn pods_of(&self, subject: &Subject) -> Vec<PodKey> {
        match subject.kind {
            SubjectKind::Pod => vec![(subject.namespace.clone(), subject.name.clone())],
            SubjectKind::Claim => self.desk.pods.sharing(&subject.namespace, &subject.name),
        }
    }

    /// Counts a decision. `waited`: for how many microseconds the claim waited for it.
    fn measure_decision(&self, phase: Phase, waited: Option<u64>) {
        let [namespace, dataset] = self.labels();
        let metrics = &self.desk.metrics;
        let decisions = &metrics.decisions;
        decisions
            .with_label_values(&[namespace, dataset, word(phase)])
            .inc();
        if let Some(waited) = waited.filter(|_| phase == Phase::Granted) {
            let seconds = metrics.wait_seconds.with_label_values(&self.labels());
            #[expect(clippy::cast_precision_loss, reason = "for a histogram")]
            seconds.observe(waited as f64 / 1e6);
        }
    }

    /// Says by Events which phase a claim has reached: on its object, and on its pods.
    pub(super) fn announce(
        &self,
        id: &ClaimId,
        subject: &Subject,
        phase: Phase,
        message: &str,
        pods: &[PodKey],
    ) {
        let (announcer, reason, note) = (
            &self.desk.announcer,
            phase_reason(phase),
            note(subject, phase, message),
        );
        let warning = matches!(phase, Phase::Denied | Phase::Expired);
        announcer.of_claim(id, subject, reason, warning, &note);
        // A pod's own claim tells its pod by itself.
        if subject.kind == SubjectKind::Claim {
            for pod in pods.iter().filter_map(|key| self.desk.pods.get(key)) {
                announcer.of_pod(&pod, reason, warning, &note);
            }
        }
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
                let labels = [&self.dataset.namespace, &self.dataset.name, word(phase)];
                self.desk.metrics.claims.with_label_values(&labels).set(*count);
            }
        }
        before
    }
}

/// What an Event says of a claim.
pub(super) fn note(subject: &Subject, phase: Phase, message: &str) -> String {
    let (namespace, name) = (&subject.namespace, subject.claim_name());
    let phase = word(phase).to_lowercase();
    format!("privacy budget claim {namespace}/{name} {phase}: {message}")
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
pub const fn phase_reason(phase: Phase) -> &'static str {
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
