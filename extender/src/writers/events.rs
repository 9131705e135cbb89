//! Writes Kubernetes Events: each phase that a claim reaches, once, on its pods; on the claim's own object, if a user wrote it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{StreamExt, stream};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, api::ObjectMeta};
use parking_lot::Mutex;
use privatekube_api::{ManagedPod, PrivacyBudgetClaim, Subject, SubjectKind};
use privatekube_kubernetes::post_params;
use privatekube_policy::ClaimId;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use crate::{clock, leadership::Leadership, metrics::Metrics};

/// How many Events may wait to be written. More are dropped and counted: each says what a status says, too.
const MOST_QUEUED: usize = 10_000;
/// How many bytes a note has at most. The API server takes 1,024.
const MOST_NOTE_BYTES: usize = 1000;

/// How many Events are written at the same time.
const MOST_AT_ONCE: usize = 4;
/// How much of the name of the object that it is about begins an Event's name. The API server takes 253 characters in all.
const MOST_NAME: usize = 200;
/// Who reports the Events.
const REPORTER: &str = "privatekube-extender";

/// An Event that is to be written.
#[derive(Clone, Debug)]
pub struct QueuedEvent {
    at: Timestamp,
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
    /// The API server refused to create it, for instance because of a quota, and the pod has an Event that says so.
    Refused,
}

/// Queues Events to be written.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Sender<QueuedEvent>,
    metrics: Metrics,
    /// The claims of pods whose objects exist or are to be created.
    claim_objects: Arc<Mutex<ClaimObjects>>,
}

/// The claim objects of pods.
#[derive(Debug, Default)]
struct ClaimObjects {
    by_claim: HashMap<ClaimId, ClaimObject>,
    /// How many of these are refused.
    refused: u32,
}

impl ClaimObjects {
    /// Sets what is known of a claim's object; returns what was known before.
    fn set(&mut self, id: &ClaimId, object: Option<ClaimObject>) -> Option<ClaimObject> {
        let before = match object {
            Some(object) => self.by_claim.insert(id.clone(), object),
            None => self.by_claim.remove(id),
        };
        let is_refused = |object: Option<ClaimObject>| u32::from(object == Some(ClaimObject::Refused));
        self.refused = (self.refused + is_refused(object)).saturating_sub(is_refused(before));
        before
    }
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
            Ok(()) => self.metrics.writers.queue_entered("events", 1),
            Err(error) => {
                debug!(%error, "an Event is dropped");
                self.metrics.writers.event_dropped();
            }
        }
    }

    /// Queues an Event about a pod.
    pub fn about_pod(&self, pod: &ManagedPod, reason: &'static str, warning: bool, note: &str) {
        self.send(QueuedEvent {
            at: clock::timestamp(),
            about: pod.object_ref(),
            reason,
            warning,
            note: note.to_owned(),
        });
    }

    /// Queues an Event about an object.
    pub fn about_object(&self, about: ObjectReference, reason: &'static str, warning: bool, note: &str) {
        self.send(QueuedEvent {
            at: clock::timestamp(),
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
        self.claim_objects.lock().by_claim.get(id).copied()
    }

    /// The claim object of a pod is being created.
    pub fn creating_claim_object(&self, id: &ClaimId) {
        let mut objects = self.claim_objects.lock();
        objects
            .by_claim
            .entry(id.clone())
            .or_insert(ClaimObject::Creating);
    }

    /// The claim object of a pod exists.
    pub fn claim_object_created(&self, id: &ClaimId) {
        self.claim_objects.lock().set(id, Some(ClaimObject::Exists));
    }

    /// The API server refused to create the claim object of a pod. Returns whether that is news.
    pub fn claim_object_refused(&self, id: &ClaimId) -> bool {
        let before = self.claim_objects.lock().set(id, Some(ClaimObject::Refused));
        before != Some(ClaimObject::Refused)
    }

    /// How many claim objects of pods are refused.
    pub fn refused_claim_objects(&self) -> u32 {
        self.claim_objects.lock().refused
    }

    /// The claim object of a pod, or the pod, was deleted.
    pub fn claim_object_deleted(&self, id: &ClaimId) {
        self.claim_objects.lock().set(id, None);
    }

    /// Writes queued Events until all handles are dropped.
    pub async fn run(client: Client, queue: Receiver<QueuedEvent>, leadership: Leadership, metrics: Metrics) {
        let number = AtomicU64::new(0);
        let queued = stream::unfold(queue, async |mut queue| {
            let queued = queue.recv().await?;
            Some((queued, queue))
        });
        let write = async |queued: QueuedEvent| {
            metrics.writers.queue_left("events", 1);
            // The leader announces it.
            if !leadership.leads() {
                return;
            }
            let event = queued.object(number.fetch_add(1, Ordering::Relaxed));
            let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
            let api: Api<Event> = Api::namespaced(client.clone(), namespace);
            let answer = api.create(&post_params(), &event).await;
            metrics.writers.count_write("event", &answer);
            if let Err(error) = answer {
                warn!(%error, reason = queued.reason, "an Event could not be written");
            }
        };
        queued.for_each_concurrent(MOST_AT_ONCE, write).await;
    }
}

impl QueuedEvent {
    /// The Event's object. `number` tells Events of the same moment apart.
    fn object(&self, number: u64) -> Event {
        let about = self.about.name.as_deref().unwrap_or_default();
        // Names of objects consist of ASCII characters.
        let about = about.get(..about.len().min(MOST_NAME)).unwrap_or_default();
        let about = about.trim_end_matches(['-', '.']);
        Event {
            metadata: ObjectMeta {
                namespace: self.about.namespace.clone(),
                name: Some(format!("{about}.{:x}.{number:x}", self.at.as_microsecond())),
                ..ObjectMeta::default()
            },
            action: Some(self.reason.to_owned()),
            event_time: Some(MicroTime(self.at)),
            note: Some(shortened(self.note.clone())),
            reason: Some(self.reason.to_owned()),
            regarding: Some(self.about.clone()),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(REPORTER.to_owned()),
            type_: Some(if self.warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
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
    fn an_object_with_the_longest_name_has_events_of_its_own() {
        let about = ObjectReference {
            name: Some(format!("{}-{}", "a".repeat(199), "b".repeat(53))),
            ..ObjectReference::default()
        };
        let queued = QueuedEvent {
            at: Timestamp::UNIX_EPOCH,
            about,
            reason: "BudgetWaiting",
            warning: false,
            note: "waits".to_owned(),
        };
        let name = |number| queued.object(number).metadata.name.unwrap();
        assert_eq!(name(31), format!("{}.0.1f", "a".repeat(199)));
        assert_ne!(name(1), name(2));
        assert!(name(u64::MAX).len() <= 253);
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        assert!(shortened("é".repeat(900)).len() < 1024);
        assert_eq!(shortened("short".into()), "short");
    }
}
