//! What is counted of writes to the API server and of the queues before them.

use std::time::Duration;

use privatekube_api::DatasetKey;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::{DATASET, Declarations};

/// A write takes milliseconds; one that fails is tried again.
const WRITE_SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// A pod may wait for a node for long.
const BOUND_SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 600.0, 3600.0];

/// The writers of statuses, gates and Events.
#[derive(Debug)]
pub struct WriterMetrics {
    queue_length: IntGaugeVec,
    writes: IntCounterVec,
    events_dropped: IntCounter,
    gate_seconds: HistogramVec,
    bound_seconds: HistogramVec,
}

impl WriterMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Writers");
        let queue_length = declare.gauge(
            "queue_length",
            "How much waits in a queue of the extender.",
            &[(
                "queue",
                "intake (messages for bookkeepers), statuses, gates, events",
            )],
        )?;
        for queue in ["intake", "statuses", "gates", "events"] {
            queue_length.with_label_values(&[queue]);
        }
        Ok(Self {
            queue_length,
            writes: declare.counter(
                "writes_total",
                "Writes to the API server by what was written and by answer. What has answer error is tried again, but for \
                 Events and Bindings.",
                &[
                    (
                        "what",
                        "claim, block, claim status, block status, dataset status, gate, wake-up, event, binding",
                    ),
                    ("answer", "ok, gone (404), conflict (409), error"),
                ],
            )?,
            events_dropped: declare.single_counter(
                "events_dropped_total",
                "Kubernetes Events that were not written because their queue was full.",
            )?,
            gate_seconds: declare.histogram(
                "gate_removal_duration_seconds",
                "From a claim's grant to the removal of its pod's scheduling gate.",
                &DATASET,
                &WRITE_SECONDS,
            )?,
            bound_seconds: declare.histogram(
                "gate_to_bound_duration_seconds",
                "From the removal of a pod's scheduling gate to the moment at which the pod is seen to have a node.",
                &DATASET,
                &BOUND_SECONDS,
            )?,
        })
    }

    /// Counts what was put into a queue. No queue holds 2^63 items.
    pub fn queue_entered(&self, queue: &str, count: usize) {
        self.queue(queue).add(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Subtracts `count` from the length of a queue.
    pub fn queue_left(&self, queue: &str, count: usize) {
        self.queue(queue).sub(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The length of a queue.
    pub fn queue(&self, queue: &str) -> IntGauge {
        self.queue_length.with_label_values(&[queue])
    }

    /// Counts a write by its answer.
    pub fn count_write<T>(&self, what: &str, answer: &Result<T, kube::Error>) {
        let answer = match answer {
            Ok(_) => "ok",
            Err(kube::Error::Api(status)) if status.code == 404 => "gone",
            Err(kube::Error::Api(status)) if status.code == 409 => "conflict",
            Err(_) => "error",
        };
        self.writes.with_label_values(&[what, answer]).inc();
    }

    /// Counts an Event that is not written.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Observes how long after its claim's grant a pod's gate was removed.
    pub fn gate_removed(&self, dataset: &DatasetKey, after: Duration) {
        observe(&self.gate_seconds, dataset, after);
    }

    /// Observes how long after the removal of its gate a pod got a node.
    pub fn bound(&self, dataset: &DatasetKey, after: Duration) {
        observe(&self.bound_seconds, dataset, after);
    }

    /// Removes the series of a dataset.
    pub fn forget(&self, dataset: &DatasetKey) {
        for histogram in [&self.gate_seconds, &self.bound_seconds] {
            // What was never observed isn't there.
            let _ = histogram.remove_label_values(&[dataset.namespace.as_str(), &dataset.name]);
        }
    }
}

fn observe(histogram: &HistogramVec, dataset: &DatasetKey, took: Duration) {
    histogram
        .with_label_values(&[dataset.namespace.as_str(), &dataset.name])
        .observe(took.as_secs_f64());
}
