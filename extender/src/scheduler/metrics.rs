//! What is counted of the scheduler's requests.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use crate::metrics::{Declarations, Label};

/// The scheduler ends a request after 10 s.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const VERB: Label = ("verb", "filter, preempt, bind");

/// The scheduler's requests.
#[derive(Debug)]
pub struct SchedulerMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl SchedulerMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Scheduler");
        Ok(Self {
            requests: declare.counter(
                "scheduler_requests_total",
                "Requests of the kube-scheduler by verb and outcome.",
                &[
                    VERB,
                    (
                        "outcome",
                        "filter and preempt: granted, waiting, denied, expired, released, withdrawn, unknown, \
                         not_for_pods, stopped, malformed, starting; bind: bound, refused, gone, failed; unreadable; from a \
                         replica that doesn't lead, follows, takes_over, no_lease",
                    ),
                ],
            )?,
            seconds: declare.histogram(
                "scheduler_request_duration_seconds",
                "How long requests of the kube-scheduler took.",
                &[VERB],
                &SECONDS,
            )?,
        })
    }

    /// Counts a request, and observes how long it took.
    pub fn count(&self, verb: &str, outcome: &str, took: Duration) {
        self.requests.with_label_values(&[verb, outcome]).inc();
        self.seconds
            .with_label_values(&[verb])
            .observe(took.as_secs_f64());
    }
}
