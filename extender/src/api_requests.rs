//! What is counted of the extender's own requests to the API server.

use privatekube_kubernetes::{ObservedRequest, RequestObserver};
use prometheus::{HistogramVec, IntCounterVec};

use crate::metrics::{Declarations, Label};

/// A request is given up after 30 s.
const SECONDS: [f64; 9] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];
const VERB: Label = ("verb", "get, list, watch, create, update, patch, delete");

/// The requests to the API server.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl ApiMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Kubernetes client");
        Ok(Self {
            requests: declare.counter(
                "api_requests_total",
                "Requests of the extender to the API server by verb and kind of answer.",
                &[
                    VERB,
                    (
                        "answer",
                        "ok, not_found (404), conflict (409), throttled (429), refused (other 4xx), failed (5xx), none in time",
                    ),
                ],
            )?,
            seconds: declare.histogram(
                "api_request_duration_seconds",
                "How long it took until the API server's answer began.",
                &[VERB],
                &SECONDS,
            )?,
        })
    }

    /// Counts each request that it is told of.
    pub fn observer(&self) -> RequestObserver {
        let metrics = self.clone();
        RequestObserver::new(move |request| metrics.count(request))
    }

    fn count(&self, request: ObservedRequest) {
        let ObservedRequest { verb, answer, took } = request;
        self.requests.with_label_values(&[verb, answer]).inc();
        self.seconds
            .with_label_values(&[verb])
            .observe(took.as_secs_f64());
    }
}
