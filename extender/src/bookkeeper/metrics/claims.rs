//! What is measured of claims.

use privatekube_api::{ClaimPhase, ClaimReason, DatasetKey};
use privatekube_policy::Span;
use privatekube_view::{Claimant, Publisher};
use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec};

use super::{
    budget::OTHER,
    series::{forget, labels},
};
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
    waiting: IntGaugeVec,
    oldest: GaugeVec,
}

/// The label of the namespace of claims.
pub(super) const CLAIMANT: Label = (
    "claimant",
    "the namespace of claims or pods, or _other for those beyond the bound",
);

/// How many namespaces of a dataset have series of their own. The others are one.
const MOST_CLAIMANTS: usize = 100;

/// The first namespaces, as many as have series of their own, and the sum of the others, if there are any.
pub(super) fn bounded<'a>(claimants: impl Iterator<Item = (&'a str, Claimant)>) -> Vec<(&'a str, Claimant)> {
    let mut all: Vec<(&str, Claimant)> = Vec::new();
    for (name, claimant) in claimants {
        if all.len() < MOST_CLAIMANTS {
            all.push((name, claimant));
        } else if let Some((_, other)) = all.get_mut(MOST_CLAIMANTS) {
            other.dominant_share += claimant.dominant_share;
            other.waiting += claimant.waiting;
            other.oldest = [other.oldest, claimant.oldest].into_iter().flatten().min();
        } else {
            all.push((OTHER, claimant));
        }
    }
    all
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
            waiting: declare.gauge(
                "waiting_claims",
                "Claims that wait, by their namespace.",
                &[namespace, dataset, CLAIMANT],
            )?,
            oldest: declare.float_gauge(
                "oldest_waiting_claim_timestamp_seconds",
                "When the claim arrived that waits for longest, in seconds since 1970; absent if none waits.",
                &[namespace, dataset, CLAIMANT],
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

    /// Measures who waits. The namespaces beyond the bound are one.
    pub(super) fn claimants<'a>(
        &self,
        of: &DatasetKey,
        claimants: impl Iterator<Item = (&'a str, Claimant)>,
    ) {
        let [namespace, dataset] = labels(of);
        for (name, claimant) in bounded(claimants) {
            let labels = [namespace, dataset, name];
            let waiting = i64::try_from(claimant.waiting).unwrap_or(i64::MAX);
            self.waiting.with_label_values(&labels).set(waiting);
            if let Some(oldest) = claimant.oldest {
                #[expect(clippy::cast_precision_loss, reason = "a microsecond more or less")]
                self.oldest
                    .with_label_values(&labels)
                    .set(oldest.micros() as f64 / 1e6);
            } else {
                // It may never have been there.
                let _ = self.oldest.remove_label_values(&labels);
            }
        }
    }

    /// Removes the series of a dataset.
    pub(super) fn forget(&self, dataset: &DatasetKey) {
        forget(&self.claims, dataset);
        forget(&self.arrivals, dataset);
        forget(&self.decisions, dataset);
        forget(&self.wait_seconds, dataset);
        forget(&self.waiting, dataset);
        forget(&self.oldest, dataset);
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
