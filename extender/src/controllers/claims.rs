//! PrivacyBudgetClaims: those that somebody wrote ask; those that were made for pods are views, but for what their
//! owners write to `consume` and `release`.

use std::sync::Arc;

use kube::ResourceExt;
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

/// For whom an object is: itself, or the pod that owns it if it bears the name that the pod's claim has. That name is
/// given by the extender alone; another object owned by a pod is like any other.
fn subject(object: &PrivacyBudgetClaim) -> Option<Subject> {
    let namespace = object.metadata.namespace.clone()?;
    let name = object.metadata.name.clone()?;
    let owners = object
        .owner_references()
        .iter()
        .filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
    let mut pods = owners.map(|owner| Subject {
        kind: SubjectKind::Pod,
        namespace: namespace.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    });
    if let Some(pod) = pods.find(|pod| pod.claim_name() == name) {
        return Some(pod);
    }
    let uid = object.metadata.uid.clone()?;
    Some(Subject {
        kind: SubjectKind::Claim,
        namespace: namespace.clone(),
        name,
        uid,
    })
}

fn dataset(object: &PrivacyBudgetClaim) -> Option<DatasetKey> {
    DatasetKey::parse(&object.spec.dataset, object.metadata.namespace.as_deref()?).ok()
}

impl Follower<PrivacyBudgetClaim> for Claims {
    fn there(&mut self, object: PrivacyBudgetClaim) {
        let (Some(subject), Some(dataset)) = (subject(&object), dataset(&object)) else {
            return;
        };
        let id = subject.id();
        let desk = self.registry.desk();
        match subject.kind {
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
        self.uses(&object, &dataset, &id);
    }

    fn gone(&mut self, last: PrivacyBudgetClaim, _: bool) {
        let (Some(subject), Some(dataset)) = (subject(&last), dataset(&last)) else {
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
    fn uses(&self, object: &PrivacyBudgetClaim, dataset: &DatasetKey, claim: &ClaimId) {
        for (kind, amount) in [
            (UseKind::Consume, object.consume()),
            (UseKind::Release, object.release()),
        ] {
            match amount {
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
