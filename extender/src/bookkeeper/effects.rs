//! Effects: carries out what the publisher says changed. Statuses are written, gates removed, Events announced, metrics set.

use std::{collections::BTreeSet, time::Duration};

use kube::Resource;
use privatekube_api::{ClaimPhase, DatasetKey, PodKey, Subject, SubjectKind};
use privatekube_ledger::Committed;
use privatekube_policy::ClaimId;
use privatekube_view::{Change, DatasetObjects, PhaseChange, Publisher};
use tracing::{info, warn};

use super::stop::{Stop, StopCause};
use crate::{handles::Handles, writers::StatusKey};

/// How long the Event of a pod's grant waits for its claim to be consumed.
const SOON: Duration = Duration::from_secs(2);

/// The states of a block's budget: the label of its metrics.
const STATES: [&str; 4] = ["locked", "available", "allocated", "consumed"];

/// The effects of one dataset's changes.
#[derive(Debug)]
pub(super) struct Effects {
    handles: Handles,
    dataset: DatasetKey,
    /// The blocks that have metrics of their own.
    measured: BTreeSet<String>,
}

impl Effects {
    pub(super) const fn new(handles: Handles, dataset: DatasetKey) -> Self {
        Self {
            handles,
            dataset,
            measured: BTreeSet::new(),
        }
    }

    /// Carries out changes of the view.
    pub(super) fn apply(&mut self, changes: impl IntoIterator<Item = Change>, objects: &DatasetObjects) {
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
                    self.measure_block(&name);
                    let key = StatusKey::Block(self.dataset.clone(), name);
                    self.handles.statuses.write(key);
                }
                Change::Dataset => {
                    let blocks = self.handles.metrics.blocks.with_label_values(&self.labels());
                    blocks.set(gauge(objects.block_count() as u64));
                    if objects.dataset().is_some() {
                        self.handles
                            .statuses
                            .write(StatusKey::Dataset(self.dataset.clone()));
                    }
                }
            }
        }
    }

    /// Measures every block, after all of them were published.
    pub(super) fn measure_blocks(&mut self, objects: &DatasetObjects) {
        for (name, _) in objects.blocks() {
            self.measure_block(name);
        }
    }

    /// Measures how many claims are in each phase.
    pub(super) fn measure_phases(&self, publisher: &Publisher) {
        let [namespace, dataset] = self.labels();
        for (phase, count) in publisher.counts() {
            let labels = [namespace, dataset, phase.as_str()];
            let claims = &self.handles.metrics.claims;
            claims.with_label_values(&labels).set(gauge(*count));
        }
    }

    /// Measures an entry that took so long to be committed.
    pub(super) fn measure_entry(&self, committed: &Committed, took: Duration) {
        let (metrics, labels) = (&self.handles.metrics, self.labels());
        metrics.entries.with_label_values(&labels).inc();
        let events = metrics.events.with_label_values(&labels);
        events.inc_by(committed.events() as u64);
        let seconds = metrics.commit_seconds.with_label_values(&labels);
        seconds.observe(took.as_secs_f64());
        let sequence = metrics.sequence.with_label_values(&labels);
        sequence.set(gauge(committed.sequence));
    }

    /// Announces that the dataset is stopped.
    pub(super) fn stopped(&self, stop: &Stop, objects: &DatasetObjects) {
        self.measure_stopped(Some(stop.cause));
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

    /// Measures for which cause the dataset is stopped, if it is.
    pub(super) fn measure_stopped(&self, stopped_by: Option<StopCause>) {
        let [namespace, dataset] = self.labels();
        for cause in StopCause::ALL {
            let stopped = &self.handles.metrics.stopped;
            let labels = [namespace, dataset, cause.as_str()];
            stopped
                .with_label_values(&labels)
                .set(i64::from(stopped_by == Some(cause)));
        }
    }

    fn announce_dataset(&self, objects: &DatasetObjects, reason: &'static str, warning: bool, note: &str) {
        if let Some(object) = objects.dataset() {
            let about = object.object_ref(&());
            self.handles.events.about_object(about, reason, warning, note);
        }
    }

    fn unmeasure_stopped(&self) {
        let [namespace, dataset] = self.labels();
        for cause in StopCause::ALL {
            // What was never stopped has none.
            let stopped = &self.handles.metrics.stopped;
            let _ = stopped.remove_label_values(&[namespace, dataset, cause.as_str()]);
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

    /// Removes the metrics of a block whose object was deleted.
    pub(super) fn unmeasure_block(&mut self, block: &str) {
        if self.measured.remove(block) {
            for state in STATES {
                // A block that never was in the ledger has none.
                let measured = &self.handles.metrics.block_epsilon;
                let _ = measured.remove_label_values(&self.block_labels(block, state));
            }
        }
    }

    /// Removes all metrics of the dataset: it has no ledger any more.
    pub(super) fn unmeasure_all(&mut self) {
        for block in self.measured.clone() {
            self.unmeasure_block(&block);
        }
        self.unmeasure_stopped();
        let (metrics, [namespace, dataset]) = (&self.handles.metrics, self.labels());
        // What was never measured isn't there.
        for gauge in [&metrics.blocks, &metrics.sequence] {
            let _ = gauge.remove_label_values(&[namespace, dataset]);
        }
        for counter in [&metrics.entries, &metrics.events] {
            let _ = counter.remove_label_values(&[namespace, dataset]);
        }
        for histogram in [
            &metrics.wait_seconds,
            &metrics.commit_seconds,
            &metrics.gate_seconds,
        ] {
            let _ = histogram.remove_label_values(&[namespace, dataset]);
        }
        for phase in ClaimPhase::ALL {
            let labels = [namespace, dataset, phase.as_str()];
            let _ = metrics.claims.remove_label_values(&labels);
            let _ = metrics.decisions.remove_label_values(&labels);
        }
    }

    fn phase_reached(&self, change: PhaseChange) {
        let PhaseChange {
            id,
            subject,
            phase,
            why,
            waited,
        } = &change;
        let claim = format!("{}/{}", subject.namespace, subject.claim_name());
        info!(dataset = %self.dataset, claim, %id, %phase, message = why.message, "a claim reached a phase");
        let [namespace, dataset] = self.labels();
        let metrics = &self.handles.metrics;
        metrics
            .decisions
            .with_label_values(&[namespace, dataset, phase.as_str()])
            .inc();
        let pods = self.pods_of(subject);
        if *phase == ClaimPhase::Granted
            && let Some(waited) = waited
        {
            let seconds = metrics.wait_seconds.with_label_values(&[namespace, dataset]);
            #[expect(clippy::cast_precision_loss, reason = "a histogram needs no more")]
            seconds.observe(waited.micros() as f64 / 1e6);
        }
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
        let effects = Self::new(self.handles.clone(), self.dataset.clone());
        self.handles.bookkeepers.spawn(async move {
            tokio::time::sleep(SOON).await;
            let claim = effects.handles.view.claim(&change.id);
            if claim.is_some_and(|claim| claim.phase == change.phase) {
                effects.announce(&change, &[]);
            }
        });
    }

    /// Announces a claim's phase by Events on its object and on its pods.
    fn announce(&self, change: &PhaseChange, pods: &[PodKey]) {
        let PhaseChange {
            subject, phase, why, ..
        } = change;
        let (events, reason, warning) = (&self.handles.events, phase.event_reason(), phase.is_warning());
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
            for pod in pods.iter().filter_map(|key| self.handles.pods.get(key)) {
                events.about_pod(&pod, reason, warning, &note);
            }
        }
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

    fn measure_block(&mut self, block: &str) {
        let Some(view) = self.handles.view.block(&(self.dataset.clone(), block.to_owned())) else {
            return;
        };
        if !self.measured.contains(block) {
            if self.measured.len() >= self.handles.most_blocks_measured {
                return;
            }
            self.measured.insert(block.to_owned());
        }
        let status = view.status();
        let amounts = [
            &status.locked,
            &status.available,
            &status.allocated,
            &status.consumed,
        ];
        for (state, amounts) in STATES.into_iter().zip(amounts) {
            if let Some(epsilon) = amounts.as_ref().and_then(|amounts| amounts.epsilon.parse().ok()) {
                let measured = &self.handles.metrics.block_epsilon;
                measured
                    .with_label_values(&self.block_labels(block, state))
                    .set(epsilon);
            }
        }
    }

    /// The labels of the dataset's metrics.
    fn labels(&self) -> [&str; 2] {
        [&self.dataset.namespace, &self.dataset.name]
    }

    fn block_labels<'a>(&'a self, block: &'a str, state: &'a str) -> [&'a str; 4] {
        let [namespace, dataset] = self.labels();
        [namespace, dataset, block, state]
    }
}

/// A count as a gauge has it. No process counts beyond 2^63.
fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
