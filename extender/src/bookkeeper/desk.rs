//! What bookkeepers share: where they read, and where they tell.

use std::{fmt, sync::Arc};

use kube::Client;
use privatekube_policy::{ClaimId, DatasetRules};

use crate::{
    metrics::Metrics,
    pods::Pods,
    subject::{Subject, SubjectKind},
    view::View,
    writers::{Announcer, Gates, Statuses},
};

/// What bookkeepers share.
#[derive(Clone)]
pub struct Desk {
    /// The API server.
    pub client: Client,
    /// What is committed.
    pub view: Arc<View>,
    /// The managed pods.
    pub pods: Arc<Pods>,
    /// Statuses to write.
    pub statuses: Statuses,
    /// Pods to let go.
    pub gates: Gates,
    /// Events to write.
    pub announcer: Announcer,
    /// What is measured.
    pub metrics: Metrics,
    /// The rules of datasets that have no object.
    pub defaults: DatasetRules,
    /// Who writes, for the ledger.
    pub writer: String,
    /// Blocks of a dataset that have metrics of their own, at most.
    pub most_blocks_measured: usize,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// Whether the pod or the claim object that a claim in the ledger is for exists.
    pub(super) fn exists(&self, id: &ClaimId) -> bool {
        let Some(subject) = Subject::of(id) else {
            return false;
        };
        match subject.kind {
            SubjectKind::Claim => self.view.named(&subject.namespace, &subject.name).as_ref() == Some(id),
            SubjectKind::Pod => {
                let pod = self.pods.get(&(subject.namespace, subject.name));
                pod.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(&subject.uid))
            }
        }
    }
}
