//! Prometheus metrics. Each name begins with `privatekube_` and includes the unit. The number of values of each label
//! is fixed or bounded.

use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Buckets for the duration of the scheduler's requests, which the scheduler ends after 10 s.
const REQUEST_SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Buckets for the duration of commits and gate removals.
const WRITE_SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Buckets for the time that claims wait.
const WAIT_SECONDS: [f64; 10] = [
    0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0, 604_800.0,
];

/// Every metric.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests of the scheduler by verb and outcome.
    pub scheduler_requests: IntCounterVec,
    /// How long requests of the scheduler took, by verb.
    pub scheduler_seconds: HistogramVec,
    /// Requests of the API server to the webhooks, by webhook and answer.
    pub admission_requests: IntCounterVec,
    /// Claims and pods that were refused because their namespace has reached a limit, by limit.
    pub claims_limited: IntCounterVec,
    /// Decisions on claims, by dataset and phase reached.
    pub decisions: IntCounterVec,
    /// Claims by dataset and phase.
    pub claims: IntGaugeVec,
    /// How long granted claims waited, by dataset.
    pub wait_seconds: HistogramVec,
    /// Epsilon of blocks by state, for at most `--metrics-most-blocks` blocks of a dataset.
    pub block_epsilon: GaugeVec,
    /// Blocks by dataset.
    pub blocks: IntGaugeVec,
    /// 1 for the cause for which a dataset is stopped, 0 for the others.
    pub stopped: IntGaugeVec,
    /// Entries committed, by dataset.
    pub entries: IntCounterVec,
    /// Engine events in committed entries, by dataset.
    pub events: IntCounterVec,
    /// How long a commit took, by dataset.
    pub commit_seconds: HistogramVec,
    /// Last sequence number, by dataset.
    pub sequence: IntGaugeVec,
    /// Keys, Events or messages that wait in a queue of the extender, by queue.
    pub queue_length: IntGaugeVec,
    /// Writes of statuses, claims, gates and Events to the API server, by what was written and by answer.
    pub writes: IntCounterVec,
    /// Time from a claim's grant to the removal of its pod's gate, by dataset.
    pub gate_seconds: HistogramVec,
    /// Pods that got a node without privacy budget.
    pub bypassed: IntCounter,
    /// 1 once the view is complete.
    pub ready: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    #[expect(clippy::too_many_lines, reason = "a declaration for each metric")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(format!("privatekube_{name}"), help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(format!("privatekube_{name}"), help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let seconds = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(format!("privatekube_{name}"), help).buckets(buckets.to_vec());
            let metric = HistogramVec::new(options, labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let block_epsilon = GaugeVec::new(
            Opts::new(
                "privatekube_block_epsilon",
                "Epsilon of a block by state; for Renyi blocks at the order shown by kubectl get pb -o wide.",
            ),
            &["namespace", "dataset", "block", "state"],
        )?;
        registry.register(Box::new(block_epsilon.clone()))?;
        let ready = IntGauge::new(
            "privatekube_ready",
            "1 once everything that is committed has been read.",
        )?;
        registry.register(Box::new(ready.clone()))?;
        let bypassed = IntCounter::new(
            "privatekube_pods_bypassed_total",
            "Pods that got a node without privacy budget and were deleted. Anything but 0 wants looking into.",
        )?;
        registry.register(Box::new(bypassed.clone()))?;
        let build = gauge("build_info", "1, labelled with the version.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let dataset = ["namespace", "dataset"];
        Ok(Self {
            scheduler_requests: counter(
                "scheduler_requests_total",
                "Requests of the kube-scheduler by verb and outcome.",
                &["verb", "outcome"],
            )?,
            scheduler_seconds: seconds(
                "scheduler_request_duration_seconds",
                "How long requests of the kube-scheduler took.",
                &["verb"],
                &REQUEST_SECONDS,
            )?,
            admission_requests: counter(
                "admission_requests_total",
                "Requests of the API server to the webhooks by webhook and answer.",
                &["webhook", "answer"],
            )?,
            claims_limited: counter(
                "claims_limited_total",
                "Claims and pods that were refused because their namespace has reached a limit, by limit.",
                &["limit"],
            )?,
            decisions: counter(
                "claim_decisions_total",
                "Decisions on claims by the phase that a claim reached.",
                &["namespace", "dataset", "phase"],
            )?,
            claims: gauge("claims", "Claims by phase.", &["namespace", "dataset", "phase"])?,
            wait_seconds: seconds(
                "claim_wait_duration_seconds",
                "How long granted claims waited, from arrival to grant.",
                &dataset,
                &WAIT_SECONDS,
            )?,
            block_epsilon,
            blocks: gauge("blocks", "Blocks.", &dataset)?,
            stopped: gauge(
                "dataset_stopped",
                "1 for the cause for which a dataset is stopped: its ledger can't be read or written.",
                &["namespace", "dataset", "cause"],
            )?,
            entries: counter(
                "ledger_entries_total",
                "Entries committed to the ledger.",
                &dataset,
            )?,
            events: counter(
                "ledger_events_total",
                "Engine events in the entries committed to the ledger.",
                &dataset,
            )?,
            commit_seconds: seconds(
                "ledger_commit_duration_seconds",
                "How long it took to commit an entry.",
                &dataset,
                &WRITE_SECONDS,
            )?,
            sequence: gauge("ledger_sequence", "Sequence number of the last entry.", &dataset)?,
            queue_length: gauge(
                "queue_length",
                "How much waits in a queue of the extender: messages for bookkeepers (intake), statuses, gates, events.",
                &["queue"],
            )?,
            writes: counter(
                "writes_total",
                "Writes of statuses, claims, gates and events by answer.",
                &["what", "answer"],
            )?,
            gate_seconds: seconds(
                "gate_removal_duration_seconds",
                "From a claim's grant to the removal of its pod's scheduling gate.",
                &dataset,
                &WRITE_SECONDS,
            )?,
            bypassed,
            ready,
            registry,
        })
    }

    /// Every metric in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Counts what was put into a queue. No queue holds 2^63 items.
    pub fn queue_entered(&self, queue: &str, count: usize) {
        let length = self.queue_length.with_label_values(&[queue]);
        length.add(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Subtracts `count` from the length of a queue.
    pub fn queue_left(&self, queue: &str, count: usize) {
        let length = self.queue_length.with_label_values(&[queue]);
        length.sub(i64::try_from(count).unwrap_or(i64::MAX));
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

    /// Counts a request of the scheduler, and observes how long it took.
    pub fn count_scheduler_request(&self, verb: &str, outcome: &str, took: Duration) {
        self.scheduler_requests.with_label_values(&[verb, outcome]).inc();
        self.scheduler_seconds
            .with_label_values(&[verb])
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_with_their_help() {
        let metrics = Metrics::new().unwrap();
        metrics.count_scheduler_request("filter", "granted", Duration::from_millis(1));
        let text = metrics.text().unwrap();
        assert!(
            text.contains("privatekube_scheduler_requests_total{outcome=\"granted\",verb=\"filter\"} 1"),
            "{text}"
        );
        assert!(text.contains("# HELP privatekube_ready"), "{text}");
    }
}
