//! Writes Kubernetes Events: each phase that a claim reaches, once, on its pods and on its object.

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

/// The claim object of a pod, which Events about it have to name by UID.
#[derive(Debug)]
enum ClaimObject {
    /// It doesn't exist yet; these Events wait for its UID.
    Missing(Vec<QueuedEvent>),
    /// Its UID.
    Uid(String),
}

/// Queues Events to be written.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<QueuedEvent>,
    metrics: Metrics,
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

    /// Queues an Event about a claim: on its object, and on the pod that it was made for.
    pub fn about_claim(
        &self,
        id: &ClaimId,
        subject: &Subject,
        reason: &'static str,
        warning: bool,
        note: &str,
    ) {
        let mut event = QueuedEvent {
            about: ObjectReference {
                api_version: Some(PrivacyBudgetClaim::api_version(&()).into_owned()),
                kind: Some(PrivacyBudgetClaim::kind(&()).into_owned()),
                namespace: Some(subject.namespace.clone()),
                name: Some(subject.claim_name()),
                uid: None,
                ..ObjectReference::default()
            },
            reason,
            warning,
            note: note.to_owned(),
        };
        if subject.kind == SubjectKind::Claim {
            event.about.uid = Some(subject.uid.clone());
            return self.send(event);
        }
        let pod = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(subject.namespace.clone()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        };
        self.send(QueuedEvent {
            about: pod,
            ..event.clone()
        });
        let mut objects = self.claim_objects.lock();
        match objects
            .entry(id.clone())
            .or_insert_with(|| ClaimObject::Missing(Vec::new()))
        {
            ClaimObject::Missing(waiting) => waiting.push(event),
            ClaimObject::Uid(uid) => {
                event.about.uid = Some(uid.clone());
                self.send(event);
            }
        }
    }

    /// Whether the claim object of a pod is known to exist.
    pub fn has_claim_object(&self, id: &ClaimId) -> bool {
        let objects = self.claim_objects.lock();
        matches!(objects.get(id), Some(ClaimObject::Uid(_)))
    }

    /// The claim object of a pod exists.
    pub fn claim_object_created(&self, id: &ClaimId, uid: &str) {
        let mut objects = self.claim_objects.lock();
        if let Some(ClaimObject::Missing(waiting)) =
            objects.insert(id.clone(), ClaimObject::Uid(uid.to_owned()))
        {
            for mut event in waiting {
                event.about.uid = Some(uid.to_owned());
                self.send(event);
            }
        }
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
    async fn an_event_about_a_pods_claim_waits_for_the_claim_object() {
        let (events, mut queue) = Events::new(Metrics::new().unwrap());
        let subject = Subject {
            kind: SubjectKind::Pod,
            namespace: "data".into(),
            name: "train".into(),
            uid: "u1".into(),
        };
        let id = subject.id();
        events.about_claim(&id, &subject, "BudgetWaiting", false, "waits");
        let about = queue.recv().await.unwrap().about;
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("Pod"), Some("u1"))
        );
        assert!(queue.try_recv().is_err());
        events.claim_object_created(&id, "c1");
        let about = queue.recv().await.unwrap().about;
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("PrivacyBudgetClaim"), Some("c1"))
        );
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert!(shortened("é".repeat(900)).len() < 1024);
        assert_eq!(shortened("short".into()), "short");
    }
}
