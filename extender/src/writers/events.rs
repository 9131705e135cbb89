//! Writes Kubernetes Events: each phase that a claim reaches, once, on its pods; on the claim's own object, if a user wrote it.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use parking_lot::Mutex;
use privatekube_api::{ManagedPod, PrivacyBudgetClaim, Subject, SubjectKind};
use privatekube_policy::ClaimId;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// How many Events may wait to be written. More are dropped and counted: each says what a status says, too.
const MOST_QUEUED: usize = 10_000;
/// How many bytes a note has at most. The API server takes 1,024.
const MOST_NOTE_BYTES: usize = 1000;

/// An Event that is to be written.
#[derive(Clone, Debug)]
pub struct QueuedEvent {
    about: ObjectReference,
    reason: &'static str,
    warning: bool,
    note: String,
}

/// Whether the claim object of a pod exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimObject {
    /// It is being created, and its status is written next.
    Creating,
    /// It exists.
    Exists,
}

/// Queues Events to be written.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<QueuedEvent>,
    metrics: Metrics,
    /// The claims of pods whose objects exist or are being created.
    claim_objects: Arc<Mutex<HashMap<ClaimId, ClaimObject>>>,
}

impl Events {
    /// A handle, and the queue that [`Self::run`] works off.
    pub fn new(metrics: Metrics) -> (Self, Receiver<QueuedEvent>) {
        let (sender, receiver) = channel(MOST_QUEUED);
        (
            Self {
                sender,
                claim_objects: Arc::default(),
                metrics,
            },
            receiver,
        )
    }

    fn send(&self, event: QueuedEvent) {
        match self.sender.try_send(event) {
            Ok(()) => self.metrics.queue_entered("events", 1),
            Err(error) => {
                debug!(%error, "an Event is dropped");
                self.metrics.writes.with_label_values(&["event", "dropped"]).inc();
            }
        }
    }

    /// Queues an Event about a pod.
    pub fn about_pod(&self, pod: &ManagedPod, reason: &'static str, warning: bool, note: &str) {
        self.send(QueuedEvent {
            about: pod.object_ref(),
            reason,
            warning,
            note: note.to_owned(),
        });
    }

    /// Queues an Event about an object.
    pub fn about_object(&self, about: ObjectReference, reason: &'static str, warning: bool, note: &str) {
        self.send(QueuedEvent {
            about,
            reason,
            warning,
            note: note.to_owned(),
        });
    }

    /// Queues an Event about a claim: on the pod that it was made for, else on its own object.
    pub fn about_claim(&self, subject: &Subject, reason: &'static str, warning: bool, note: &str) {
        let (api_version, kind) = match subject.kind {
            SubjectKind::Pod => ("v1".to_owned(), "Pod".to_owned()),
            SubjectKind::Claim => (
                PrivacyBudgetClaim::api_version(&()).into_owned(),
                PrivacyBudgetClaim::kind(&()).into_owned(),
            ),
        };
        let about = ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            namespace: Some(subject.namespace.clone()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        };
        self.about_object(about, reason, warning, note);
    }

    /// The claim object of a pod, as far as it is known.
    pub fn claim_object(&self, id: &ClaimId) -> Option<ClaimObject> {
        self.claim_objects.lock().get(id).copied()
    }

    /// The claim object of a pod is being created.
    pub fn creating_claim_object(&self, id: &ClaimId) {
        let mut objects = self.claim_objects.lock();
        objects.entry(id.clone()).or_insert(ClaimObject::Creating);
    }

    /// The claim object of a pod exists.
    pub fn claim_object_created(&self, id: &ClaimId) {
        self.claim_objects.lock().insert(id.clone(), ClaimObject::Exists);
    }

    /// The claim object of a pod, or the pod, was deleted.
    pub fn claim_object_deleted(&self, id: &ClaimId) {
        self.claim_objects.lock().remove(id);
    }

    /// Writes queued Events until all handles are dropped.
    pub async fn run(client: Client, mut queue: Receiver<QueuedEvent>, metrics: Metrics) {
        let reporter = Reporter {
            controller: "privatekube-extender".into(),
            instance: None,
        };
        while let Some(queued) = queue.recv().await {
            metrics.queue_left("events", 1);
            let event = Event {
                type_: if queued.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: queued.reason.to_owned(),
                note: Some(shortened(queued.note)),
                action: queued.reason.to_owned(),
                secondary: None,
            };
            // A recorder merges Events with the same reason, whatever their notes say: each Event gets its own.
            let recorder = Recorder::new(client.clone(), reporter.clone());
            let answer = recorder.publish(&event, &queued.about).await;
            metrics.count_write("event", &answer);
            if let Err(error) = answer {
                warn!(%error, reason = event.reason, "an Event could not be written");
            }
        }
    }
}

fn shortened(note: String) -> String {
    if note.len() <= MOST_NOTE_BYTES {
        return note;
    }
    let end = (0..=MOST_NOTE_BYTES)
        .rev()
        .find(|at| note.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_about_a_pods_claim_is_one_about_the_pod() {
        let (events, mut queue) = Events::new(Metrics::new().unwrap());
        let subject = Subject {
            kind: SubjectKind::Pod,
            namespace: "data".into(),
            name: "train".into(),
            uid: "u1".into(),
        };
        events.about_claim(&subject, "BudgetWaiting", false, "waits");
        let about = queue.recv().await.unwrap().about;
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("Pod"), Some("u1"))
        );
        assert!(queue.try_recv().is_err());
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert!(shortened("é".repeat(900)).len() < 1024);
        assert_eq!(shortened("short".into()), "short");
    }
}
