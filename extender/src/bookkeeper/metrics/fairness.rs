//! What is measured of fairness: `docs/fairness.md` defines it, and `privatekube-view` keeps it up to date.

use privatekube_api::DatasetKey;
use privatekube_view::{Claimant, Fairness, Measured};
use prometheus::{GaugeVec, IntCounterVec};

use super::{
    claims::{CLAIMANT, bounded},
    series::{forget, labels},
};
use crate::metrics::{DATASET, Declarations};

/// The metrics of fairness.
#[derive(Clone, Debug)]
pub(super) struct FairnessMetrics {
    dominant_share: GaugeVec,
    jain: GaugeVec,
    weight_disagreement: GaugeVec,
    fair_claims: IntCounterVec,
    envied: IntCounterVec,
    unused: GaugeVec,
}

/// What is counted of fairness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    at_once: u64,
    not_at_once: u64,
    envied: u64,
}

impl FairnessMetrics {
    pub(super) fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        let [namespace, dataset] = DATASET;
        declare.room("Fairness");
        Ok(Self {
            dominant_share: declare.float_gauge(
                "dominant_share",
                "The largest share that a namespace has of any block that isn't retired: 1 is a whole block. That of _other is \
                 the sum of theirs.",
                &[namespace, dataset, CLAIMANT],
            )?,
            jain: declare.float_gauge(
                "jain_index",
                "Jain's index of the dominant shares of all namespaces, from 1/n to 1, which is even; absent while nothing is \
                 granted.",
                &[
                    namespace,
                    dataset,
                    ("weighted", "false, true: of shares divided by weights"),
                ],
            )?,
            weight_disagreement: declare.float_gauge(
                "weight_disagreement_ratio",
                "The part of all dominant shares that would have to belong to other namespaces for shares to be proportional to \
                 weights; absent while nothing is granted.",
                &DATASET,
            )?,
            fair_claims: declare.counter(
                "fair_claims_total",
                "Claims within their fair share, by whether their arrival granted them; where arrivals unlock budget. Under DPF \
                 with equal weights and priorities and without releases, all are granted at once.",
                &[namespace, dataset, ("granted", "at_once, not_at_once")],
            )?,
            envied: declare.counter(
                "envied_grants_total",
                "Grants that a claim envies which waits for the same blocks for longer and demands less. There are none under DPF.",
                &DATASET,
            )?,
            unused: declare.float_gauge(
                "unused_available_epsilon_ratio",
                "The part of the blocks' budget that is available and that no waiting claim can use, from 0 to 1.",
                &DATASET,
            )?,
        })
    }

    /// Lets what is counted exist with 0, so that its first rise is seen.
    pub(super) fn begin(&self, dataset: &DatasetKey, fairness: &Fairness) {
        self.count(dataset, Self::counted(fairness), fairness);
    }

    /// What was counted until now.
    pub(super) fn counted(fairness: &Fairness) -> Counted {
        let fair = fairness.fair_claims().unwrap_or_default();
        Counted {
            at_once: fair.at_once,
            not_at_once: fair.not_at_once,
            envied: fairness.envied(),
        }
    }

    /// Counts what was added since `before`.
    pub(super) fn count(&self, of: &DatasetKey, before: Counted, fairness: &Fairness) {
        let [namespace, dataset] = labels(of);
        let now = Self::counted(fairness);
        if fairness.fair_claims().is_some() {
            for (granted, more) in [
                ("at_once", now.at_once.saturating_sub(before.at_once)),
                ("not_at_once", now.not_at_once.saturating_sub(before.not_at_once)),
            ] {
                self.fair_claims
                    .with_label_values(&[namespace, dataset, granted])
                    .inc_by(more);
            }
        }
        self.envied
            .with_label_values(&[namespace, dataset])
            .inc_by(now.envied.saturating_sub(before.envied));
    }

    /// Sets the numbers for the whole dataset.
    pub(super) fn set(&self, of: &DatasetKey, measured: &Measured) {
        let [namespace, dataset] = labels(of);
        set(&self.jain, &[namespace, dataset, "false"], measured.jain);
        set(&self.jain, &[namespace, dataset, "true"], measured.weighted_jain);
        let labels = [namespace, dataset];
        set(&self.weight_disagreement, &labels, measured.weight_disagreement);
        set(&self.unused, &labels, measured.unused);
    }

    /// Sets the dominant shares of the namespaces, of which those beyond the bound are summed.
    pub(super) fn shares<'a>(&self, of: &DatasetKey, claimants: impl Iterator<Item = (&'a str, Claimant)>) {
        let [namespace, dataset] = labels(of);
        for (name, claimant) in bounded(claimants) {
            self.dominant_share
                .with_label_values(&[namespace, dataset, name])
                .set(claimant.dominant_share);
        }
    }

    /// Removes the series of a dataset.
    pub(super) fn forget(&self, dataset: &DatasetKey) {
        for gauge in [
            &self.dominant_share,
            &self.jain,
            &self.weight_disagreement,
            &self.unused,
        ] {
            forget(gauge, dataset);
        }
        for counter in [&self.fair_claims, &self.envied] {
            forget(counter, dataset);
        }
    }
}

fn set(metric: &GaugeVec, labels: &[&str], value: Option<f64>) {
    if let Some(value) = value {
        metric.with_label_values(labels).set(value);
    } else {
        // It may never have been there.
        let _ = metric.remove_label_values(labels);
    }
}
