//! What is counted of the webhooks.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::limits::LimitReached;
use crate::metrics::{Declarations, Label};

/// The API server ends a review after some seconds.
const SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const WEBHOOK: Label = ("webhook", "pods, bindings, claims, blocks, datasets, workloads");

/// The reviews of the webhooks.
#[derive(Debug)]
pub struct AdmissionMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    limited: IntCounterVec,
}

impl AdmissionMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Admission");
        let limited = declare.counter(
            "claims_limited_total",
            "Claims and pods that were refused because a limit on claims is reached: of waiting claims or arrivals of \
             their namespace on the dataset, or of arrivals everywhere.",
            &[("limit", "waiting, arrivals, everywhere")],
        )?;
        // Each series exists from the start, so that its first rise is seen.
        for limit in LimitReached::LABELS {
            limited.with_label_values(&[limit]);
        }
        Ok(Self {
            requests: declare.counter(
                "admission_requests_total",
                "Requests of the API server to the webhooks by webhook and answer.",
                &[
                    WEBHOOK,
                    (
                        "answer",
                        "allowed, changed, denied, limited (denied for now), unavailable (the API server did not answer), failed",
                    ),
                ],
            )?,
            seconds: declare.histogram(
                "admission_request_duration_seconds",
                "How long requests of the API server to the webhooks took.",
                &[WEBHOOK],
                &SECONDS,
            )?,
            limited,
        })
    }

    /// Counts a review, and observes how long it took.
    pub fn count(&self, webhook: &str, answer: &str, took: Duration) {
        self.requests.with_label_values(&[webhook, answer]).inc();
        self.seconds
            .with_label_values(&[webhook])
            .observe(took.as_secs_f64());
    }

    /// Counts a claim that was refused because a limit is reached.
    pub(super) fn limited(&self, reached: &LimitReached) {
        self.limited.with_label_values(&[reached.as_str()]).inc();
    }
}
