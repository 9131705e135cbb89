//! What is measured of ledgers.

use std::time::Duration;

use privatekube_api::DatasetKey;
use privatekube_ledger::{Committed, PublishError};
use privatekube_policy::{Composition, DatasetRules, Policy, Time, Unlocking};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::{
    super::{checkpoints::Outcome, stop::StopCause},
    series::{forget, labels},
};
use crate::metrics::{DATASET, Declarations};

/// Writing an entry takes milliseconds.
const COMMIT_SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// An entry has at most 1 MB.
const ENTRY_BYTES: [f64; 8] = [
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    131_072.0,
    262_144.0,
    524_288.0,
    1_048_576.0,
];

/// What reading the last entry back has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bookkeeper) enum ReadBack {
    /// It is what was written.
    Same,
    /// It could not be read now.
    Unknown,
    /// It is gone.
    Lost,
    /// It is another one, or can't be read as an entry any more.
    Replaced,
}

impl ReadBack {
    const ALL: [Self; 4] = [Self::Same, Self::Unknown, Self::Lost, Self::Replaced];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Unknown => "unknown",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
        }
    }
}

/// The metrics of ledgers.
#[derive(Clone, Debug)]
pub(super) struct EntryMetrics {
    info: IntGaugeVec,
    stopped: IntGaugeVec,
    entries: IntCounterVec,
    events: IntCounterVec,
    bytes: HistogramVec,
    commit_seconds: HistogramVec,
    conflicts: IntCounterVec,
    read_backs: IntCounterVec,
    checkpoints: IntCounterVec,
    checkpoint_sequence: IntGaugeVec,
    removed: IntCounterVec,
    exported_sequence: IntGaugeVec,
    export_failing: IntGaugeVec,
    open_seconds: GaugeVec,
    sequence: IntGaugeVec,
    last_entry: GaugeVec,
}

impl EntryMetrics {
    #[expect(clippy::too_many_lines, reason = "one declaration after the other")]
    pub(super) fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        let [namespace, dataset] = DATASET;
        declare.room("Datasets and ledgers");
        Ok(Self {
            info: declare.gauge(
                "dataset_info",
                "1, for the rules that the dataset's ledger fixes.",
                &[
                    namespace,
                    dataset,
                    ("policy", "DPF, FCFS, RoundRobin, DPack, Blend"),
                    ("composition", "Renyi, Basic"),
                    ("unlocking", "arrivals, lifetime, immediate"),
                ],
            )?,
            stopped: declare.gauge(
                "dataset_stopped",
                "1 for the cause for which a dataset is stopped: its ledger can't be read or written.",
                &[
                    namespace,
                    dataset,
                    (
                        "cause",
                        "unreachable, unreadable, newer, unwritable, shortened, clock, export, failed",
                    ),
                ],
            )?,
            entries: declare.counter(
                "ledger_entries_total",
                "Entries committed to the ledger.",
                &DATASET,
            )?,
            events: declare.counter(
                "ledger_events_total",
                "Engine events in the entries committed to the ledger.",
                &DATASET,
            )?,
            bytes: declare.histogram(
                "ledger_entry_bytes",
                "Size of the entries committed to the ledger, as JSON.",
                &DATASET,
                &ENTRY_BYTES,
            )?,
            commit_seconds: declare.histogram(
                "ledger_commit_duration_seconds",
                "How long it took to decide about and commit an entry.",
                &DATASET,
                &COMMIT_SECONDS,
            )?,
            conflicts: declare.counter(
                "ledger_conflicts_total",
                "Entries that could not be committed because another process, or somebody else, had created the entry of that number.",
                &DATASET,
            )?,
            read_backs: declare.counter(
                "ledger_read_backs_total",
                "How often the last entry was read back, by what was found.",
                &[
                    namespace,
                    dataset,
                    (
                        "outcome",
                        "same, unknown (the API server doesn't answer), lost, replaced (or damaged)",
                    ),
                ],
            )?,
            checkpoints: declare.counter(
                "ledger_checkpoints_total",
                "Checkpoints that this process made, by whether they were published.",
                &[
                    namespace,
                    dataset,
                    ("outcome", "published, superseded (another process published a later one), failed"),
                ],
            )?,
            checkpoint_sequence: declare.gauge(
                "ledger_checkpoint_sequence",
                "Sequence number of the entry that the last checkpoint stands at; 0 if there is none.",
                &DATASET,
            )?,
            removed: declare.counter(
                "ledger_entries_removed_total",
                "Entries removed that a checkpoint covers and whose time was over.",
                &DATASET,
            )?,
            exported_sequence: declare.gauge(
                "ledger_exported_sequence",
                "Sequence number of the last entry that is exported to the directory of --export; 0 if there is none, and absent without --export.",
                &DATASET,
            )?,
            export_failing: declare.gauge(
                "ledger_export_failing",
                "1 while entries can't be exported to the directory of --export; absent without it.",
                &DATASET,
            )?,
            open_seconds: declare.float_gauge(
                "ledger_open_duration_seconds",
                "How long it took to read, verify and publish the ledger when it was opened last.",
                &DATASET,
            )?,
            sequence: declare.gauge("ledger_sequence", "Sequence number of the last entry.", &DATASET)?,
            last_entry: declare.float_gauge(
                "ledger_last_entry_timestamp_seconds",
                "The last entry's time, in seconds since 1970; absent while there is none.",
                &DATASET,
            )?,
        })
    }

    /// Measures an entry that took so long to be committed.
    pub(super) fn committed(&self, dataset: &DatasetKey, committed: &Committed, took: Duration) {
        let labels = labels(dataset);
        self.entries.with_label_values(&labels).inc();
        let events = self.events.with_label_values(&labels);
        events.inc_by(committed.events() as u64);
        #[expect(clippy::cast_precision_loss, reason = "an entry has at most 1 MB")]
        self.bytes
            .with_label_values(&labels)
            .observe(committed.bytes() as f64);
        let seconds = self.commit_seconds.with_label_values(&labels);
        seconds.observe(took.as_secs_f64());
        self.last(dataset, committed.sequence, committed.time);
    }

    /// Measures a ledger that was opened, which took so long.
    pub(super) fn opened(
        &self,
        dataset: &DatasetKey,
        rules: &DatasetRules,
        sequence: u64,
        time: Time,
        took: Duration,
    ) {
        let labels = labels(dataset);
        let seconds = self.open_seconds.with_label_values(&labels);
        seconds.set(took.as_secs_f64());
        self.last(dataset, sequence, time);
        // They exist with 0 from now on, so that their first rise is seen.
        for counter in [&self.conflicts, &self.removed] {
            counter.with_label_values(&labels);
        }
        let [namespace, name] = labels;
        for outcome in ReadBack::ALL {
            self.read_backs
                .with_label_values(&[namespace, name, outcome.as_str()]);
        }
        for outcome in ["published", "superseded", "failed"] {
            self.checkpoints.with_label_values(&[namespace, name, outcome]);
        }
        forget(&self.info, dataset);
        let composition = match rules.composition {
            Composition::Basic => "Basic",
            Composition::Renyi(_) => "Renyi",
        };
        let unlocking = match rules.unlocking {
            Unlocking::Arrivals(_) => "arrivals",
            Unlocking::Lifetime { .. } => "lifetime",
            Unlocking::Immediate => "immediate",
        };
        let policy = match rules.policy {
            Policy::Dpf => "DPF",
            Policy::Fcfs { .. } => "FCFS",
            Policy::RoundRobin => "RoundRobin",
            Policy::Dpack { .. } => "DPack",
            Policy::Blend { .. } => "Blend",
        };
        self.info
            .with_label_values(&[namespace, name, policy, composition, unlocking])
            .set(1);
    }

    fn last(&self, dataset: &DatasetKey, sequence: u64, time: Time) {
        let labels = labels(dataset);
        let number = i64::try_from(sequence).unwrap_or(i64::MAX);
        self.sequence.with_label_values(&labels).set(number);
        if sequence > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a microsecond more or less")]
            self.last_entry
                .with_label_values(&labels)
                .set(time.micros() as f64 / 1e6);
        }
    }

    /// Counts an entry that somebody else had created.
    pub(super) fn conflict(&self, dataset: &DatasetKey) {
        self.conflicts.with_label_values(&labels(dataset)).inc();
    }

    /// Counts that the last entry was read back.
    pub(super) fn read_back(&self, of: &DatasetKey, outcome: ReadBack) {
        let [namespace, dataset] = labels(of);
        self.read_backs
            .with_label_values(&[namespace, dataset, outcome.as_str()])
            .inc();
    }

    /// Measures at which entry the published checkpoint stands, 0 if there is none.
    pub(super) fn checkpoint_at(&self, dataset: &DatasetKey, sequence: u64) {
        self.checkpoint_sequence
            .with_label_values(&labels(dataset))
            .set(i64::try_from(sequence).unwrap_or(i64::MAX));
    }

    /// Measures up to which entry the ledger is exported.
    pub(super) fn exported(&self, dataset: &DatasetKey, sequence: u64) {
        self.exported_sequence
            .with_label_values(&labels(dataset))
            .set(i64::try_from(sequence).unwrap_or(i64::MAX));
    }

    /// Measures whether the ledger's export fails.
    pub(super) fn export_failing(&self, dataset: &DatasetKey, is_failing: bool) {
        self.export_failing
            .with_label_values(&labels(dataset))
            .set(i64::from(is_failing));
    }

    /// Measures what became of a checkpoint, or of a removal of entries.
    pub(super) fn checkpoint(&self, of: &DatasetKey, outcome: &Outcome) {
        let [namespace, dataset] = labels(of);
        let outcome = match outcome {
            Outcome::Published(checkpoint, _) => {
                self.checkpoint_at(of, checkpoint.head.sequence);
                "published"
            }
            Outcome::NotPublished(PublishError::Superseded(_)) => "superseded",
            Outcome::NotPublished(_) => "failed",
            Outcome::Removed(removed) => {
                return self.removed.with_label_values(&labels(of)).inc_by(*removed);
            }
            Outcome::Nothing => return,
        };
        self.checkpoints
            .with_label_values(&[namespace, dataset, outcome])
            .inc();
    }

    /// Measures for which cause the dataset is stopped, if it is.
    pub(super) fn stopped(&self, of: &DatasetKey, by: Option<StopCause>) {
        let [namespace, dataset] = labels(of);
        for cause in StopCause::ALL {
            self.stopped
                .with_label_values(&[namespace, dataset, cause.as_str()])
                .set(i64::from(by == Some(cause)));
        }
    }

    /// Removes the series of a dataset.
    pub(super) fn forget(&self, dataset: &DatasetKey) {
        for gauge in [
            &self.info,
            &self.stopped,
            &self.sequence,
            &self.checkpoint_sequence,
            &self.exported_sequence,
            &self.export_failing,
        ] {
            forget(gauge, dataset);
        }
        for counter in [
            &self.entries,
            &self.events,
            &self.conflicts,
            &self.read_backs,
            &self.checkpoints,
            &self.removed,
        ] {
            forget(counter, dataset);
        }
        for histogram in [&self.bytes, &self.commit_seconds] {
            forget(histogram, dataset);
        }
        for gauge in [&self.open_seconds, &self.last_entry] {
            forget(gauge, dataset);
        }
    }
}
