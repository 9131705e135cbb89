//! What makes no sense, or not yet, and so is not in the ledger: told where somebody could have expected it to be.

use privatekube_api::{PrivacyBudgetClaimStatus, conditions};
use privatekube_ledger::ApplyError;
use privatekube_policy::{ClaimId, Event, Phase};
use tracing::warn;

use super::{
    Asked, Bookkeeper, BookkeeperError,
    condition::condition,
    explain::{Why, takes_too_much},
    matching::count,
    telling::{note, phase_reason},
};
use crate::{clock, subject::Subject, view::ClaimView, writers::StatusKey};

impl Bookkeeper {
    /// Tells that a claim can't come to a ledger yet.
    pub(super) fn tell_held(&self, asked: &Asked) {
        let Why { reason, message } = self.why_held();
        self.tell_outside(asked.subject.clone(), Phase::Waiting, reason, &message);
    }

    /// Tells all that can't come to a ledger yet why, if that is another reason than before.
    pub(super) fn tell_all_held(&mut self) {
        let why = self.ledger.is_none().then(|| self.why_held());
        if why == self.held_by {
            return;
        }
        self.held_by = why;
        if self.held_by.is_some() {
            for asked in self.fresh.iter() {
                self.tell_held(asked);
            }
        }
    }

    /// Why no claim can come to a ledger yet.
    fn why_held(&self) -> Why {
        let problem = self.object.as_ref().and_then(|object| object.spec.rules().err());
        match problem {
            None => Why {
                reason: "DatasetUnknown",
                message: "the dataset has no block and no PrivateDataset object yet".to_owned(),
            },
            Some(problem) => Why {
                reason: "DatasetInvalid",
                message: format!("the dataset can't be used: {problem}"),
            },
        }
    }

    /// Tells that a claim makes no sense on its dataset, and so never comes to the ledger.
    pub(super) fn tell_invalid(&self, asked: &Asked, problem: &str) {
        self.tell_outside(asked.subject.clone(), Phase::Denied, "Invalid", problem);
    }

    fn tell_outside(&self, subject: Subject, phase: Phase, reason: &str, message: &str) {
        let id = subject.id();
        // A status is a change of its object, with which the claim comes again.
        let told = self.desk.view.claim(&id);
        if told.is_some_and(|told| {
            let status = &told.status;
            told.phase == phase
                && status.reason.as_deref() == Some(reason)
                && status.message.as_deref() == Some(message)
        }) {
            return;
        }
        let now = clock::meta_time(clock::now());
        let condition = |type_, is| condition(type_, is, reason, message, now.clone());
        let mut conditions = vec![condition(conditions::GRANTED, false)];
        if phase == Phase::Denied {
            conditions.push(condition(conditions::DENIED, true));
        }
        let status = PrivacyBudgetClaimStatus {
            phase: Some(phase.into()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            conditions,
            ..PrivacyBudgetClaimStatus::default()
        };
        warn!(dataset = %self.dataset, %id, ?phase, reason, message, "a claim is not in the ledger");
        let (reason, warning) = (phase_reason(phase), phase == Phase::Denied);
        let note = note(&subject, phase, message);
        self.desk
            .announcer
            .of_claim(&id, &subject, reason, warning, &note);
        let view = ClaimView {
            subject,
            dataset: self.dataset.clone(),
            phase,
            status,
            grant: None,
        };
        self.desk.view.put_claim(id.clone(), view);
        self.desk.statuses.write(StatusKey::Claim(id));
    }

    /// Tells why an event is not in the ledger.
    pub(super) fn tell_not_applied(
        &mut self,
        event: &Event,
        error: &ApplyError,
    ) -> Result<(), BookkeeperError> {
        match (event, error) {
            (Event::Match { claim, demands }, &ApplyError::TooLarge { bytes, most }) => {
                let problem = takes_too_much(count(demands), bytes, most);
                self.tell_oversized(claim, &problem)
            }
            (Event::Arrive(arrival), &ApplyError::TooLarge { bytes, most }) => {
                let problem = takes_too_much(count(&arrival.demands), bytes, most);
                self.tell_refused(event, &problem)
            }
            _ => self.tell_refused(event, &error.to_string()),
        }
    }

    /// Tells that a claim that waits for blocks is too large for the ledger with those that it matches; by an Event if
    /// it wasn't so before.
    fn tell_oversized(&mut self, claim: &ClaimId, problem: &str) -> Result<(), BookkeeperError> {
        let before = self.oversized.insert(claim.clone(), problem.to_owned());
        if before.as_deref() == Some(problem) {
            return Ok(());
        }
        warn!(dataset = %self.dataset, %claim, problem, "a claim is too large to be matched");
        if let Some(engine) = self.engine()? {
            self.explain(engine, claim);
        }
        if before.is_none()
            && let Some(subject) = Subject::of(claim)
        {
            let pods = self.pods_of(&subject);
            self.announce(claim, &subject, Phase::Waiting, problem, &pods);
        }
        Ok(())
    }

    /// Tells that an event made no sense, where somebody could have expected it to.
    pub(super) fn tell_refused(&mut self, event: &Event, problem: &str) -> Result<(), BookkeeperError> {
        warn!(dataset = %self.dataset, ?event, problem, "an event makes no sense and is left out");
        match event {
            Event::Consume { claim, .. } | Event::Release { claim, .. } => {
                if let Some(subject) = Subject::of(claim) {
                    let note = format!("the claim's consume or release can't be done: {problem}");
                    self.desk
                        .announcer
                        .of_claim(claim, &subject, "BudgetUseRefused", true, &note);
                }
            }
            Event::Arrive(arrival) => {
                if let Some(subject) = Subject::of(&arrival.claim) {
                    self.unmatched.remove(&arrival.claim);
                    self.tell_outside(subject, Phase::Denied, "Invalid", problem);
                }
            }
            Event::AddBlock { block, .. } => {
                self.set_unusable(block, problem.to_owned())?;
            }
            Event::RetireBlock { .. }
            | Event::Match { .. }
            | Event::Withdraw { .. }
            | Event::NeverRan { .. } => {}
        }
        Ok(())
    }
}
