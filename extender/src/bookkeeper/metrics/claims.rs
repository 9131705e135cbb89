//! What is measured of claims.

use privatekube_api::{ClaimPhase, ClaimReason, DatasetKey};
use privatekube_policy::Span;
use privatekube_view::Publisher;
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::series::{forget, labels};
use crate::metrics::{DATASET, Declarations, Label};

/// Claims may wait for days until budget unlocks.
const WAIT_SECONDS: [f64; 10] = [
    0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604_800.0,
];

/// The metrics of claims.
#[derive(Clone, Debug)]
pub(super) struct ClaimMetrics {
    claims: IntGaugeVec,
    arrivals: IntCounterVec,
    decisions: IntCounterVec,
    wait_seconds: HistogramVec,
}

impl ClaimMetrics {
    pub(super) fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        const PHASE: Label = (
            "phase",
            "Waiting, Granted, Consumed, Released, Denied, Expired, Withdrawn",
        );
        let [namespace, dataset] = DATASET;
        declare.room("Claims");
        Ok(Self {
            claims: declare.gauge(
                "claims",
                "Claims that ever arrived, by the phase in which they are.",
                &[namespace, dataset, PHASE],
            )?,
            arrivals: declare.counter(
                "claim_arrivals_total",
                "Claims that arrived: those that the ledger knows since the start of the extender.",
                &DATASET,
            )?,
            decisions: declare.counter(
                "claim_decisions_total",
                "Phases that claims reached in the ledger, with the reason.",
                &[
                    namespace,
                    dataset,
                    PHASE,
                    ("reason", "the reasons of operations.md, as in a claim's status"),
                ],
            )?,
            wait_seconds: declare.histogram(
                "claim_wait_duration_seconds",
                "How long granted claims waited, from arrival to grant.",
                &DATASET,
                &WAIT_SECONDS,
            )?,
        })
    }

    /// Measures how many claims are in each phase.
    pub(super) fn phases(&self, of: &DatasetKey, publisher: &Publisher) {
        let [namespace, dataset] = labels(of);
        for (phase, count) in publisher.counts() {
            let labels = [namespace, dataset, phase.as_str()];
            self.claims
                .with_label_values(&labels)
                .set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// Counts claims that arrived.
    pub(super) fn arrived(&self, dataset: &DatasetKey, count: usize) {
        self.arrivals
            .with_label_values(&labels(dataset))
            .inc_by(count as u64);
    }

    /// Counts a phase that a claim reached, and how long it waited, if it is granted.
    pub(super) fn decided(
        &self,
        of: &DatasetKey,
        phase: ClaimPhase,
        reason: ClaimReason,
        waited: Option<Span>,
    ) {
        let [namespace, dataset] = labels(of);
        self.decisions
            .with_label_values(&[namespace, dataset, phase.as_str(), reason.as_str()])
            .inc();
        if let Some(waited) = waited.filter(|_| phase == ClaimPhase::Granted) {
            let seconds = self.wait_seconds.with_label_values(&[namespace, dataset]);
            #[expect(clippy::cast_precision_loss, reason = "a histogram needs no more")]
            seconds.observe(waited.micros() as f64 / 1e6);
        }
    }

    /// Removes the series of a dataset.
    pub(super) fn forget(&self, dataset: &DatasetKey) {
        forget(&self.claims, dataset);
        forget(&self.arrivals, dataset);
        forget(&self.decisions, dataset);
        forget(&self.wait_seconds, dataset);
    }

    /// How many claims are in a phase.
    #[cfg(test)]
    pub(in crate::bookkeeper) fn in_phase(&self, of: &DatasetKey, phase: ClaimPhase) -> i64 {
        let [namespace, dataset] = labels(of);
        self.claims
            .with_label_values(&[namespace, dataset, phase.as_str()])
            .get()
    }
}
