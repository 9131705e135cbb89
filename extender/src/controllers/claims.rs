//! PrivacyBudgetClaims: those that somebody wrote ask; those that were made for pods are views, but for what their
//! owners write to `release`.

use std::sync::Arc;

use privatekube_api::{ClaimPhase, DatasetKey, PrivacyBudgetClaim};
use privatekube_policy::ClaimId;
use tracing::warn;

use super::follow::Follower;
use crate::{
    bookkeeper::{Message, UseKind},
    registry::Registry,
    subject::{Subject, SubjectKind},
    writers::StatusKey,
};

pub(super) struct Claims {
    registry: Arc<Registry>,
}

impl Claims {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

fn dataset(object: &PrivacyBudgetClaim) -> Option<DatasetKey> {
    DatasetKey::parse(&object.spec.dataset, object.metadata.namespace.as_deref()?).ok()
}

impl Follower<PrivacyBudgetClaim> for Claims {
    fn there(&mut self, object: PrivacyBudgetClaim) {
        let (Some(subject), Some(dataset)) = (Subject::shown_by(&object), dataset(&object)) else {
            return;
        };
        let (id, kind) = (subject.id(), subject.kind);
        let desk = self.registry.desk();
        match kind {
            SubjectKind::Pod => desk
                .announcer
                .made(&id, object.metadata.uid.as_deref().unwrap_or_default()),
            SubjectKind::Claim if object.metadata.deletion_timestamp.is_some() => return,
            SubjectKind::Claim => {
                let (namespace, name) = (subject.namespace.clone(), subject.name.clone());
                desk.view.set_named(&namespace, &name, Some(id.clone()));
                match object.request() {
                    Ok(request) => {
                        let request = Arc::new(request);
                        self.registry.send(&dataset, Message::Claim { subject, request });
                    }
                    // Admission lets no such object in.
                    Err(errors) => warn!(claim = %id, %errors, "a claim makes no sense"),
                }
                for pod in desk.pods.sharing(&namespace, &name) {
                    desk.gates.look(pod);
                }
            }
        }
        let phase = object.status.as_ref().and_then(|status| status.phase);
        if desk
            .view
            .claim(&id)
            .is_some_and(|claim| phase != Some(ClaimPhase::from(claim.phase)))
        {
            desk.statuses.write(StatusKey::Claim(id.clone()));
        }
        self.uses(&object, &dataset, &id, kind);
    }

    fn asks(&self, object: &PrivacyBudgetClaim, of: &DatasetKey) -> bool {
        // What was made for a pod is a view.
        let subject = Subject::shown_by(object);
        subject.is_some_and(|subject| subject.kind == SubjectKind::Claim)
            && dataset(object).as_ref() == Some(of)
    }

    fn gone(&mut self, last: PrivacyBudgetClaim, _: bool) {
        let (Some(subject), Some(dataset)) = (Subject::shown_by(&last), dataset(&last)) else {
            return;
        };
        let id = subject.id();
        let desk = self.registry.desk();
        match subject.kind {
            SubjectKind::Claim => {
                if desk.view.named(&subject.namespace, &subject.name).as_ref() == Some(&id) {
                    desk.view.set_named(&subject.namespace, &subject.name, None);
                }
                self.registry.send(&dataset, Message::Withdraw(id));
            }
            // It is made again as long as its pod is there.
            SubjectKind::Pod => {
                desk.announcer.unmade(&id);
                desk.statuses.write(StatusKey::Claim(id));
            }
        }
    }
}

impl Claims {
    /// Passes on what is to be consumed and released in all. Said again, it does nothing.
    fn uses(&self, object: &PrivacyBudgetClaim, dataset: &DatasetKey, claim: &ClaimId, subject: SubjectKind) {
        for (kind, amount) in [
            (UseKind::Consume, object.consume()),
            (UseKind::Release, object.release()),
        ] {
            match amount {
                // A pod's own claim is spent when it is bound, and by nothing else: all of it returns if it never is.
                Ok(Some(_)) if (subject, kind) == (SubjectKind::Pod, UseKind::Consume) => {
                    warn!(%claim, "a pod's own claim is not spent by its object");
                }
                Ok(Some(amount)) => {
                    self.registry.send(
                        dataset,
                        Message::Use {
                            claim: claim.clone(),
                            kind,
                            amount,
                        },
                    );
                }
                Ok(None) => {}
                Err(errors) => warn!(%claim, %errors, "a claim's use makes no sense"),
            }
        }
    }
}
