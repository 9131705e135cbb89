//! Effects: carries out what the publisher says changed. Statuses are written, gates removed, Events announced, metrics set.

use std::time::Duration;

use kube::Resource;
use privatekube_api::{ClaimPhase, DatasetKey, PodKey, Subject, SubjectKind};
use privatekube_policy::ClaimId;
use privatekube_view::{Change, DatasetObjects, PhaseChange};
use tracing::{info, warn};

use super::{metrics::DatasetMeter, stop::Stop};
use crate::{handles::Handles, writers::StatusKey};

/// How long the Event of a pod's grant waits for its claim to be consumed.
const SOON: Duration = Duration::from_secs(2);

/// The effects of one dataset's changes.
#[derive(Debug)]
pub(super) struct Effects {
    handles: Handles,
    dataset: DatasetKey,
    /// Measures the dataset.
    pub(super) meter: DatasetMeter,
    /// Whether changes are left to the process that writes the ledger.
    is_silent: bool,
}

impl Effects {
    /// If `is_silent`, changes are left to the process that writes the ledger: nothing is written, announced, logged or
    /// measured.
    pub(super) fn new(handles: Handles, dataset: DatasetKey, is_silent: bool) -> Self {
        Self {
            meter: DatasetMeter::new(handles.clone(), dataset.clone(), is_silent),
            handles,
            dataset,
            is_silent,
        }
    }

    /// Carries out changes from now on.
    pub(super) fn begin(&mut self) {
        self.is_silent = false;
        self.meter.begin();
    }

    /// Carries out changes of the view.
    pub(super) fn apply(&mut self, changes: impl IntoIterator<Item = Change>, objects: &DatasetObjects) {
        if self.is_silent {
            return changes.into_iter().for_each(drop);
        }
        for change in changes {
            match change {
                Change::Phase(change) => self.phase_reached(change),
                Change::Oversized(change) => {
                    warn!(dataset = %self.dataset, claim = %change.id, why = change.why.message, "a claim is too large to be matched");
                    let pods = self.pods_of(&change.subject);
                    self.announce(&change, &pods);
                }
                Change::WaitsStill(change) => {
                    let pods = self.pods_of(&change.subject);
                    self.announce(&change, &pods);
                }
                Change::NotInLedger(change) => {
                    warn!(dataset = %self.dataset, claim = %change.id, phase = %change.phase, reason = %change.why.reason, message = change.why.message, "a claim is not in the ledger");
                    self.announce(&change, &[]);
                    self.handles.statuses.write(StatusKey::Claim(change.id));
                }
                Change::Claim(id) => self.handles.statuses.write(StatusKey::Claim(id)),
                Change::Block(name) => {
                    self.meter.block(&name);
                    let key = StatusKey::Block(self.dataset.clone(), name);
                    self.handles.statuses.write(key);
                }
                Change::Dataset => {
                    if objects.dataset().is_some() {
                        self.handles
                            .statuses
                            .write(StatusKey::Dataset(self.dataset.clone()));
                    }
                }
            }
        }
        self.meter.publish(objects);
    }

    /// Has a block's status written, also if the block hasn't changed.
    pub(super) fn write_block(&self, name: String) {
        let key = StatusKey::Block(self.dataset.clone(), name);
        self.handles.statuses.write(key);
    }

    /// Announces that the dataset is stopped.
    pub(super) fn stopped(&self, stop: &Stop, objects: &DatasetObjects) {
        self.meter.stopped(stop.cause);
        self.announce_dataset(objects, "DatasetStopped", true, &stop.message);
    }

    /// Announces that the dataset isn't stopped any more.
    pub(super) fn resumed(&self, objects: &DatasetObjects) {
        self.announce_dataset(
            objects,
            "DatasetResumed",
            false,
            "the dataset's ledger is open again",
        );
    }

    /// Announces that all budget was written off after an entry.
    pub(super) fn written_off(&self, after: u64, reason: &str, objects: &DatasetObjects) {
        warn!(dataset = %self.dataset, after, reason, "all budget is written off");
        let note = format!(
            "the entries after {after} of the dataset's ledger are lost, and all budget that is not granted counts as \
             consumed: {reason}"
        );
        self.announce_dataset(objects, "BudgetWrittenOff", true, &note);
    }

    fn announce_dataset(&self, objects: &DatasetObjects, reason: &'static str, warning: bool, note: &str) {
        if self.is_silent {
            return;
        }
        if let Some(object) = objects.dataset() {
            let about = object.object_ref(&());
            self.handles.events.about_object(about, reason, warning, note);
        }
    }

    /// Announces that what a claim's object wants consumed or released can't be.
    pub(super) fn use_refused(&self, claim: &ClaimId, problem: &str) {
        warn!(dataset = %self.dataset, %claim, problem, "a consume or release is refused");
        if let Some(subject) = Subject::of(claim) {
            let note = format!("the claim's consume or release can't be done: {problem}");
            self.handles
                .events
                .about_claim(&subject, "BudgetUseRefused", true, &note);
        }
    }

    fn phase_reached(&self, change: PhaseChange) {
        let PhaseChange {
            id,
            subject,
            phase,
            why,
            waited: _,
        } = &change;
        let claim = format!("{}/{}", subject.namespace, subject.claim_name());
        info!(dataset = %self.dataset, claim, %id, %phase, message = why.message, "a claim reached a phase");
        self.meter.phase_reached(&change);
        let pods = self.pods_of(subject);
        if matches!(
            phase,
            ClaimPhase::Granted | ClaimPhase::Denied | ClaimPhase::Expired
        ) {
            for pod in &pods {
                self.handles.gates.check(pod.clone());
            }
        }
        let key = StatusKey::Claim(change.id.clone());
        // The scheduler takes a granted pod at once, and its claim is consumed: that is written in its place.
        if change.phase == ClaimPhase::Granted && change.subject.kind == SubjectKind::Pod {
            self.handles.statuses.write_later(key);
            self.announce_later(change);
        } else {
            self.announce(&change, &pods);
            self.handles.statuses.write(key);
        }
    }

    /// Announces the grant of a pod's own claim in a moment, unless the claim reaches another phase before.
    fn announce_later(&self, change: PhaseChange) {
        let handles = self.handles.clone();
        self.handles.bookkeepers.spawn(async move {
            tokio::time::sleep(SOON).await;
            let claim = handles.view.claim(&change.id);
            if claim.is_some_and(|claim| claim.phase == change.phase) {
                announce(&handles, &change, &[]);
            }
        });
    }

    fn announce(&self, change: &PhaseChange, pods: &[PodKey]) {
        announce(&self.handles, change, pods);
    }

    /// The pods that a claim is for.
    fn pods_of(&self, subject: &Subject) -> Vec<PodKey> {
        match subject.kind {
            SubjectKind::Pod => vec![PodKey {
                namespace: subject.namespace.clone(),
                name: subject.name.clone(),
            }],
            SubjectKind::Claim => self.handles.pods.naming(&subject.namespace, &subject.name),
        }
    }
}

/// Announces a claim's phase by Events on its object and on its pods.
fn announce(handles: &Handles, change: &PhaseChange, pods: &[PodKey]) {
    let PhaseChange {
        subject, phase, why, ..
    } = change;
    let (events, reason, warning) = (&handles.events, phase.event_reason(), phase.is_warning());
    let note = format!(
        "privacy budget claim {}/{} {}: {}",
        subject.namespace,
        subject.claim_name(),
        phase.lower_case(),
        why.message
    );
    events.about_claim(subject, reason, warning, &note);
    // A pod's own claim has announced it to its pod.
    if subject.kind == SubjectKind::Claim {
        for pod in pods.iter().filter_map(|key| handles.pods.get(key)) {
            events.about_pod(&pod, reason, warning, &note);
        }
    }
}
