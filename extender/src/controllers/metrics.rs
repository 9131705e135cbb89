//! What is counted of the watches.

use prometheus::{GaugeVec, IntCounter, IntCounterVec};

use crate::{
    clock,
    metrics::{Declarations, Label},
};

const RESOURCE: Label = (
    "resource",
    "PrivateDataset, PrivateDataBlock, PrivacyBudgetClaim, Pod",
);

/// The watches, and what they find.
#[derive(Debug)]
pub struct WatchMetrics {
    last_event: GaugeVec,
    restarts: IntCounterVec,
    /// Pods that got a node without privacy budget.
    pub bypassed: IntCounter,
}

impl WatchMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Watches");
        Ok(Self {
            last_event: declare.float_gauge(
                "watch_last_event_timestamp_seconds",
                "When the watch of a kind of objects last delivered anything, in seconds since 1970. A watch of what doesn't \
                 change is silent.",
                &[RESOURCE],
            )?,
            restarts: declare.counter(
                "watch_restarts_total",
                "How often the watch of a kind of objects was interrupted and began again.",
                &[RESOURCE],
            )?,
            bypassed: declare.single_counter(
                "pods_bypassed_total",
                "Pods that got a node without privacy budget and were deleted. Anything but 0 wants looking into.",
            )?,
        })
    }

    /// Notes that a watch delivered something now.
    #[expect(clippy::cast_precision_loss, reason = "a microsecond more or less")]
    pub(super) fn delivered(&self, resource: &str) {
        self.last_event
            .with_label_values(&[resource])
            .set(clock::now().micros() as f64 / 1e6);
        // It exists with 0 from the first event on.
        self.restarts.with_label_values(&[resource]);
    }

    /// Counts that a watch was interrupted.
    pub(super) fn interrupted(&self, resource: &str) {
        self.restarts.with_label_values(&[resource]).inc();
    }
}
