//! Follows PrivacyBudgetClaims. A claim object that a user wrote requests budget; one that was made for a pod is a view of
//! the pod's claim, of which its owner can only request the release.

use std::{collections::HashMap, sync::Arc};

use privatekube_api::{
    ANNOTATION_REQUESTED_BY, ClaimPhase, ClaimReason, DatasetKey, PrivacyBudgetClaim,
    PrivacyBudgetClaimStatus, Subject, SubjectKind,
};
use privatekube_policy::ClaimId;
use privatekube_view::{NotForPods, PhaseReason};
use tracing::warn;

use super::{follow::Follower, pods::announce_not_for_pods, requesters, say_it_exists};
use crate::{
    bookkeeper::{ClaimInput, Message, RequestedUse},
    registry::Registry,
    writers::StatusKey,
};

pub(super) struct Claims {
    registry: Arc<Registry>,
    /// The generation of each claim's object that was read last. Our own status writes don't change it, so that nothing is
    /// parsed and requested again for them.
    read: HashMap<ClaimId, i64>,
}

impl Claims {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            read: HashMap::new(),
        }
    }

    /// Whether an object's spec is new or was changed since it was read last.
    fn is_new(&mut self, id: &ClaimId, object: &PrivacyBudgetClaim) -> bool {
        let Some(generation) = object.metadata.generation else {
            return true;
        };
        self.read.insert(id.clone(), generation) != Some(generation)
    }

    /// Reads an object's spec: its request, and what it wants consumed and released.
    fn read(&self, object: &PrivacyBudgetClaim, subject: Subject, dataset: &DatasetKey) {
        let (id, kind) = (subject.id(), subject.kind);
        if kind == SubjectKind::Claim {
            self.request(object, subject, dataset);
        }
        self.request_uses(object, dataset, &id, kind);
    }

    fn request(&self, object: &PrivacyBudgetClaim, subject: Subject, dataset: &DatasetKey) {
        if say_it_exists(&self.registry, dataset, &subject.id()) {
            return;
        }
        match object.request() {
            Ok(request) => {
                let request = Arc::new(request);
                let phase = object.status.as_ref().and_then(|status| status.phase);
                let was_granted = phase.is_some_and(ClaimPhase::is_granted);
                self.registry.send(
                    dataset,
                    Message::Requested(Box::new(ClaimInput {
                        requester: Some(Box::new(requesters::of_claim(object, &subject, &request))),
                        subject,
                        request,
                        was_granted,
                        was_denied: denied(object),
                    })),
                );
            }
            // Admission refuses such an object.
            Err(errors) => warn!(claim = %subject.id(), %errors, "a claim's spec is invalid"),
        }
    }

    fn request_uses(
        &self,
        object: &PrivacyBudgetClaim,
        dataset: &DatasetKey,
        claim: &ClaimId,
        kind: SubjectKind,
    ) {
        let uses = [
            object.consume().map(|amount| amount.map(RequestedUse::Consume)),
            object.release().map(|amount| amount.map(RequestedUse::Release)),
        ];
        for usage in uses {
            match usage {
                // A pod's own claim is consumed when the pod is bound, and by nothing else: all of it is released if the
                // pod is never bound.
                Ok(Some(RequestedUse::Consume(_))) if kind == SubjectKind::Pod => {
                    warn!(%claim, "ignored spec.consume of a pod's own claim");
                }
                Ok(Some(usage)) => {
                    let claim = claim.clone();
                    self.registry
                        .send(dataset, Message::UseRequested { claim, usage });
                }
                Ok(None) => {}
                Err(errors) => warn!(%claim, %errors, "a claim's consume or release is invalid"),
            }
        }
    }
}

/// Why a claim was denied, as the status of its object says, which only the extender writes.
fn denied(object: &PrivacyBudgetClaim) -> Option<PhaseReason> {
    let status = object.status.as_ref()?;
    if status.phase != Some(ClaimPhase::Denied) {
        return None;
    }
    let reason = status.reason.as_deref()?;
    let reason = ClaimReason::ALL
        .into_iter()
        .find(|known| known.as_str() == reason)?;
    Some(PhaseReason {
        reason,
        message: status.message.clone().unwrap_or_default(),
    })
}

/// Why no pod may use the claim that a user's object requests.
fn not_for_pods(object: &PrivacyBudgetClaim) -> Option<NotForPods> {
    if object.metadata.deletion_timestamp.is_some() {
        Some(NotForPods::IsDeleted)
    } else {
        object.spec.consume.as_ref().map(|_| NotForPods::IsUsedByHand)
    }
}

fn keys(object: &PrivacyBudgetClaim) -> Option<(Subject, DatasetKey)> {
    let subject = Subject::of_object(object)?;
    let dataset = DatasetKey::parse(&object.spec.dataset, &subject.namespace).ok()?;
    Some((subject, dataset))
}

impl Follower<PrivacyBudgetClaim> for Claims {
    fn trim(object: &mut PrivacyBudgetClaim) {
        if let Some(annotations) = &mut object.metadata.annotations {
            annotations.retain(|name, _| name == ANNOTATION_REQUESTED_BY);
        }
        object.status = object.status.take().map(|status| PrivacyBudgetClaimStatus {
            phase: status.phase,
            // The rest of a denial is told again if no ledger knows it.
            reason: status.reason,
            message: status
                .message
                .filter(|_| status.phase == Some(ClaimPhase::Denied)),
            sequence: status.sequence,
            arrived_at: status.arrived_at,
            ..PrivacyBudgetClaimStatus::default()
        });
    }

    fn slim(_: &PrivacyBudgetClaim) -> Option<PrivacyBudgetClaim> {
        None
    }

    fn applied(&mut self, object: PrivacyBudgetClaim) {
        let Some((subject, dataset)) = keys(&object) else {
            return;
        };
        let (id, kind) = (subject.id(), subject.kind);
        let registry = Arc::clone(&self.registry);
        let handles = registry.handles();
        // The ledger's own name of the claim, which takes no memory again.
        let id = handles.view.claim(&id).map_or(id, |claim| claim.id.clone());
        let is_new = self.is_new(&id, &object);
        // The writer has just created the object, and writes its status next.
        let just_created = handles.events.claim_object(&id).is_some() && object.status.is_none();
        match kind {
            SubjectKind::Pod => {
                // While this process follows, another one may have created the object and end before it writes the status: then
                // it isn't known to be as it should be.
                if object.status.is_some() || handles.leadership.leads() {
                    handles.events.claim_object_created(&id);
                }
                if let Some(why) = denied(&object) {
                    handles.pods.set_denied(&subject.uid, why);
                }
            }
            SubjectKind::Claim => {
                let (namespace, name) = (&subject.namespace, &subject.name);
                let not_for_pods = not_for_pods(&object);
                // A pod that names the claim finds it only after this.
                let changed = handles.view.set_not_for_pods(&id, not_for_pods);
                handles.view.set_named(namespace, name, Some(id.clone()));
                let tells = changed && not_for_pods.is_some();
                for pod in handles.pods.naming(namespace, name) {
                    if tells {
                        announce_not_for_pods(&self.registry, &pod);
                    }
                    if is_new {
                        handles.gates.check(pod);
                    }
                }
                if object.metadata.deletion_timestamp.is_some() {
                    return;
                }
            }
        }
        let named = object.status.as_ref().and_then(|status| status.sequence);
        let committed = handles.view.dataset(&dataset);
        let committed = committed.and_then(|dataset| dataset.status.ledger_sequence);
        if let (Some(named), Some(committed)) = (named, committed)
            && named > committed
        {
            let arrived = object
                .status
                .as_ref()
                .and_then(|status| status.arrived_at.clone());
            let message = Message::StatusNames {
                sequence: named,
                arrived,
            };
            self.registry.send(&dataset, message);
        }
        let published = handles.view.claim(&id);
        // What was denied stays denied, although its dataset may be open to it by now.
        let is_denied = published.as_ref().map(|claim| claim.phase) == Some(ClaimPhase::Denied);
        if is_new && !is_denied {
            self.read(&object, subject, &dataset);
        } else if is_new && published.as_ref().is_some_and(|claim| claim.is_in_ledger()) {
            self.request_uses(&object, &dataset, &id, kind);
        }
        // The process before this one may have ended before it wrote that a claim got into the ledger, or what it waits for by
        // now. How much is missing is written when it changes.
        let Some(claim) = published.filter(|_| !just_created) else {
            return;
        };
        match &object.status {
            None => handles.statuses.write(StatusKey::Claim(id)),
            // Somebody wrote it, and may write it again: two processes that both take themselves for the leader would answer each
            // other at once, for ever.
            Some(status)
                if status.phase != Some(claim.phase)
                    || status.reason.as_deref() != Some(claim.reason().as_str())
                    || (claim.is_in_ledger() && status.sequence.is_none()) =>
            {
                handles.statuses.write_later(StatusKey::Claim(id));
            }
            Some(_) => {}
        }
    }

    fn request_again(&mut self, object: &PrivacyBudgetClaim, dataset: Option<&DatasetKey>) {
        match keys(object) {
            Some((subject, requested))
                if dataset.is_none_or(|dataset| requested == *dataset)
                    && object.metadata.deletion_timestamp.is_none() =>
            {
                let handles = self.registry.handles();
                for pod in handles.pods.naming(&subject.namespace, &subject.name) {
                    handles.gates.check(pod);
                }
                self.read(object, subject, &requested);
            }
            _ => {}
        }
    }

    fn deleted(&mut self, last: PrivacyBudgetClaim, _: bool) {
        let Some((subject, dataset)) = keys(&last) else {
            return;
        };
        let id = subject.id();
        self.read.remove(&id);
        let handles = self.registry.handles();
        match subject.kind {
            SubjectKind::Claim => {
                let view = &handles.view;
                if view.named(&subject.namespace, &subject.name).as_ref() == Some(&id) {
                    view.set_named(&subject.namespace, &subject.name, None);
                }
                view.set_not_for_pods(&id, None);
                self.registry.send(&dataset, Message::Withdrawn(id));
            }
            // It is made again for as long as its pod exists.
            SubjectKind::Pod => {
                handles.pods.forget_denied(&subject.uid);
                handles.events.claim_object_deleted(&id);
                handles.statuses.write(StatusKey::Claim(id));
            }
        }
    }
}
