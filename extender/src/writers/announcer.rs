//! Kubernetes Events: every change of a claim's state, once, on its pod and on its object.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use privatekube_api::PrivacyBudgetClaim;
use privatekube_policy::ClaimId;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use crate::{
    metrics::Metrics,
    subject::{Subject, SubjectKind},
};

/// Events that may wait to be written; more are dropped, since none of them is the only place that says something.
const MOST_WAITING: usize = 10_000;
/// The longest note that the API server takes is 1,024 bytes.
const MOST_BYTES: usize = 1000;

/// One Event.
#[derive(Clone, Debug)]
pub struct Announcement {
    about: ObjectReference,
    reason: &'static str,
    warning: bool,
    note: String,
}

/// The claim object that was made for a pod.
#[derive(Debug)]
enum Made {
    /// It isn't made yet; these wait for its UID.
    NotYet(Vec<Announcement>),
    /// Its UID.
    As(String),
}

/// Takes Events to be written.
#[derive(Clone, Debug)]
pub struct Announcer {
    sender: Sender<Announcement>,
    made: Arc<Mutex<HashMap<ClaimId, Made>>>,
}

impl Announcer {
    /// An announcer, and what it was given.
    pub fn new() -> (Self, Receiver<Announcement>) {
        let (sender, receiver) = channel(MOST_WAITING);
        (
            Self {
                sender,
                made: Arc::default(),
            },
            receiver,
        )
    }

    fn send(&self, announcement: Announcement) {
        if let Err(error) = self.sender.try_send(announcement) {
            debug!(%error, "an Event is dropped");
        }
    }

    /// Announces something of a pod.
    pub fn of_pod(&self, pod: &Pod, reason: &'static str, warning: bool, note: &str) {
        self.send(Announcement {
            about: pod.object_ref(&()),
            reason,
            warning,
            note: note.to_owned(),
        });
    }

    /// Announces something of a claim: on its object, and on the pod that it was made for.
    pub fn of_claim(&self, id: &ClaimId, subject: &Subject, reason: &'static str, warning: bool, note: &str) {
        let mut announcement = Announcement {
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
            announcement.about.uid = Some(subject.uid.clone());
            return self.send(announcement);
        }
        let pod = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(subject.namespace.clone()),
            name: Some(subject.name.clone()),
            uid: Some(subject.uid.clone()),
            ..ObjectReference::default()
        };
        self.send(Announcement {
            about: pod,
            ..announcement.clone()
        });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match made.entry(id.clone()).or_insert_with(|| Made::NotYet(Vec::new())) {
            Made::NotYet(waiting) => waiting.push(announcement),
            Made::As(uid) => {
                announcement.about.uid = Some(uid.clone());
                self.send(announcement);
            }
        }
    }

    /// Says whether the claim object made for a pod exists, and with which UID.
    pub fn is_made(&self, id: &ClaimId) -> bool {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(made.get(id), Some(Made::As(_)))
    }

    /// Says that the claim object made for a pod exists.
    pub fn made(&self, id: &ClaimId, uid: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Made::NotYet(waiting)) = made.insert(id.clone(), Made::As(uid.to_owned())) {
            for mut announcement in waiting {
                announcement.about.uid = Some(uid.to_owned());
                self.send(announcement);
            }
        }
    }

    /// Says that the claim object made for a pod is gone.
    pub fn unmade(&self, id: &ClaimId) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }

    /// Writes what is announced until all announcers are gone.
    pub async fn run(client: Client, mut announced: Receiver<Announcement>, metrics: Metrics) {
        let reporter = Reporter {
            controller: "privatekube-extender".into(),
            instance: None,
        };
        while let Some(announcement) = announced.recv().await {
            let event = Event {
                type_: if announcement.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: announcement.reason.to_owned(),
                note: Some(shortened(announcement.note)),
                action: announcement.reason.to_owned(),
                secondary: None,
            };
            // A recorder takes what has the same reason for the same again, whatever its note says.
            let recorder = Recorder::new(client.clone(), reporter.clone());
            let answer = recorder.publish(&event, &announcement.about).await;
            metrics.count_write("event", &answer);
            if let Err(error) = answer {
                warn!(%error, reason = event.reason, "an Event could not be written");
            }
        }
    }
}

fn shortened(note: String) -> String {
    if note.len() <= MOST_BYTES {
        return note;
    }
    let end = (0..=MOST_BYTES)
        .rev()
        .find(|at| note.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_of_a_pods_claim_waits_for_its_object() {
        let (announcer, mut inbox) = Announcer::new();
        let subject = Subject {
            kind: SubjectKind::Pod,
            namespace: "data".into(),
            name: "train".into(),
            uid: "u1".into(),
        };
        let id = subject.id();
        announcer.of_claim(&id, &subject, "BudgetWaiting", false, "waits");
        let about = inbox.recv().await.unwrap().about;
        assert_eq!(
            (about.kind.as_deref(), about.uid.as_deref()),
            (Some("Pod"), Some("u1"))
        );
        assert!(inbox.try_recv().is_err());
        announcer.made(&id, "c1");
        let about = inbox.recv().await.unwrap().about;
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
