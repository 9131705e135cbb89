//! Claims: queues requests until they are committed, matches them with blocks, and withdraws them.

use std::collections::{BTreeMap, BTreeSet};

use privatekube_api::are_enough;
use privatekube_policy::{Amount, Arrival, ClaimId, Composition, Engine, Event, Phase};
use privatekube_view::PhaseReason;
use tracing::debug;

use super::{Intake, IntakeOutput, Notice, blocks::MOST_EVALUATIONS, invalid, too_many_to_grant};
use crate::bookkeeper::{ClaimInput, writer::PendingEvent};

/// How many claims arrive at most before an entry is written.
const MOST_ARRIVALS: usize = 512;

impl Intake {
    /// Whether a claim is neither in the ledger nor queued.
    pub(in crate::bookkeeper) fn is_new(&self, claim: &ClaimId, engine: Option<&Engine>) -> bool {
        let queued = self.arriving.contains(claim) || self.unmatched.contains(claim);
        !queued && engine.is_none_or(|engine| engine.phase(claim).is_none())
    }

    /// Queues a request, unless its claim is in the ledger or queued already.
    pub(super) fn request(&mut self, mut input: ClaimInput, engine: Option<&Engine>) {
        #[cfg(test)]
        assert_ne!(input.subject.name, crate::testing::PANICS, "a test wants a panic");
        let id = input.subject.id();
        if self.arriving.contains(&id) || self.unmatched.contains(&id) {
            return;
        }
        let Some(engine) = engine else {
            self.unchecked.insert(id);
            self.arriving.push(input);
            return;
        };
        match engine.phase(&id) {
            None => {
                self.arriving.push(input);
            }
            // The ledger has the claim, which waits for blocks. After a restart the queue has lost it, so it is queued
            // again.
            Some(_) if engine.lacks_blocks(&id) => {
                // It has arrived, so the ledger has its requester.
                input.requester = None;
                self.unmatched.push(input);
            }
            Some(_) => {}
        }
    }

    /// Withdraws a claim whose pod or object was deleted.
    pub(super) fn withdraw(&mut self, claim: ClaimId, engine: Option<&Engine>, out: &mut IntakeOutput) {
        self.unmatched.remove(&claim);
        self.uses.forget(&claim);
        self.arriving.remove(&claim);
        self.unchecked.remove(&claim);
        match engine.and_then(|engine| engine.phase(&claim)) {
            Some(Phase::Waiting | Phase::Granted) => out.events.push(Event::Withdraw { claim }.into()),
            Some(_) => {}
            None => {
                debug!(%claim, "a claim was withdrawn before it came to the ledger");
                out.notices.push(Notice::ClaimForgotten(claim));
            }
        }
    }

    /// Ends the claim of a deleted pod that had a node. The extender consumes a claim before it binds the pod, so the
    /// claim is only granted if the ledger lost that entry or somebody else bound the pod. Then it is consumed now: the
    /// budget of a pod that ran is never released.
    pub(super) fn ran(&mut self, claim: ClaimId, engine: Option<&Engine>, out: &mut IntakeOutput) {
        match engine.and_then(|engine| engine.phase(&claim)) {
            Some(Phase::Granted) => {
                let amount = Amount::All;
                out.events.push(Event::Consume { claim, amount }.into());
            }
            _ => self.withdraw(claim, engine, out),
        }
    }

    /// Retires the blocks and withdraws the claims of the ledger whose objects don't exist any more.
    pub(in crate::bookkeeper) fn end_deleted(
        &self,
        engine: Option<&Engine>,
        exists: impl Fn(&ClaimId) -> bool,
        out: &mut IntakeOutput,
    ) {
        let Some(engine) = engine else {
            return;
        };
        let retired = engine
            .blocks()
            .filter(|block| self.objects.block(block.as_str()).is_none())
            .filter(|block| engine.block(block).is_some_and(|state| !state.retired))
            .map(|block| Event::RetireBlock { block: block.clone() });
        let withdrawn = engine
            .claims()
            .filter(|id| matches!(engine.phase(id), Some(Phase::Waiting | Phase::Granted)))
            .filter(|id| !exists(id))
            .map(|claim| Event::Withdraw { claim: claim.clone() });
        out.events.extend(retired.chain(withdrawn).map(Into::into));
    }

    /// The namespaces whose labels decide whether queued requests are accepted.
    pub(in crate::bookkeeper) fn namespaces_to_read(&self, has_ledger: bool) -> BTreeSet<String> {
        let unchecked = self.to_check(has_ledger);
        if unchecked.is_empty() {
            return BTreeSet::new();
        }
        let claimants = self.objects.claimants();
        unchecked
            .into_iter()
            .map(|input| &input.subject.namespace)
            .filter(|namespace| claimants.depend_on_labels(namespace))
            .cloned()
            .collect()
    }

    /// Denies queued requests that the dataset's claimants don't allow. `labels` are those of each namespace that
    /// exists. If there is no ledger, adds notices that say why the other requests are held. With a ledger, returns how many
    /// requests at the beginning of the queue were checked and may arrive.
    pub(in crate::bookkeeper) fn deny_refused(
        &mut self,
        labels: &BTreeMap<String, BTreeMap<String, String>>,
        has_ledger: bool,
        out: &mut IntakeOutput,
    ) -> usize {
        let unchecked = self.to_check(has_ledger);
        if unchecked.is_empty() {
            return 0;
        }
        let checked = unchecked.len();
        let claimants = self.objects.claimants();
        let none = BTreeMap::new();
        let mut refused = Vec::new();
        for input in unchecked {
            let ClaimInput { subject, request, .. } = input;
            if let Some(why) = &input.was_denied {
                refused.push(subject.id());
                out.notices
                    .push(Notice::OutsideLedger(subject.clone(), why.clone()));
                continue;
            }
            let labels = if claimants.depend_on_labels(&subject.namespace) {
                labels.get(&subject.namespace)
            } else {
                Some(&none)
            };
            match claimants.check(&request.dataset, &subject.namespace, labels, request.priority) {
                Err(refusal) => {
                    refused.push(subject.id());
                    let why = PhaseReason {
                        reason: refusal.reason(),
                        message: refusal.to_string(),
                    };
                    out.notices.push(Notice::OutsideLedger(subject.clone(), why));
                }
                Ok(()) if !has_ledger && !input.was_granted => {
                    out.notices
                        .push(Notice::OutsideLedger(subject.clone(), self.why_held()));
                }
                Ok(()) => {}
            }
        }
        for claim in &refused {
            self.uses.forget(claim);
            self.arriving.remove(claim);
        }
        self.unchecked.clear();
        checked - refused.len()
    }

    /// The queued requests to check against the dataset's claimants. With a ledger, these are those that are about to
    /// arrive. Without a ledger, each request is checked once, before its status says why it is held: that
    /// reason is about the dataset, and somebody to whom the dataset isn't open must not learn it.
    fn to_check(&self, has_ledger: bool) -> Vec<&ClaimInput> {
        if has_ledger {
            return self.arriving.iter().take(MOST_ARRIVALS).collect();
        }
        let unchecked = self.unchecked.iter();
        unchecked.filter_map(|claim| self.arriving.get(claim)).collect()
    }

    /// Adds an arrival for each of the first `accepted` queued requests, until selectors were evaluated
    /// [`MOST_EVALUATIONS`] times. The requests after them haven't been checked.
    pub(super) fn arrive(&mut self, composition: &Composition, accepted: usize, out: &mut IntakeOutput) {
        let (weights, timeout) = (self.objects.weights(), self.objects.default_timeout());
        let most = self.unmatched.evaluations() + MOST_EVALUATIONS;
        for _ in 0..accepted {
            if self.unmatched.evaluations() >= most {
                return;
            }
            let Some(mut input) = self.arriving.pop() else {
                return;
            };
            let request = &input.request;
            let demands = self.unmatched.demands(request, composition);
            let demands = demands.and_then(|demands| match too_many_to_grant(&input.subject, &demands) {
                Some(problem) => Err(problem),
                None => Ok(demands),
            });
            let demands = match demands {
                Ok(demands) => demands,
                Err(problem) => {
                    self.uses.forget(&input.subject.id());
                    out.notices
                        .push(Notice::OutsideLedger(input.subject, invalid(problem)));
                    continue;
                }
            };
            if let Some(left_out) = self.unmatched.left_out(request) {
                out.notices
                    .push(Notice::LeftOut(input.subject.id(), Some(left_out)));
            }
            let arrival = Arrival {
                claim: input.subject.id(),
                demands,
                min_blocks: request.min_blocks(),
                timeout: request.timeout.or(timeout),
                priority: request.priority,
                weight: weights.of(&input.subject.namespace),
            };
            let requester = input.requester.take();
            if !are_enough(&arrival.demands, arrival.min_blocks) {
                self.unmatched.push(input);
            }
            out.events
                .push(PendingEvent::Event(Event::Arrive(arrival), requester));
        }
    }
}
