//! Health and metrics, without TLS: neither says anything private.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use parking_lot::Mutex;
use privatekube_view::View;
use tokio::{sync::watch, time::Instant};

use crate::{leadership::Leadership, metrics::Metrics};

/// How old the text of the metrics may be. It is written at most once in this time, whoever and how many read it.
const MOST_AGE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Health {
    view: Arc<View>,
    leadership: Leadership,
    webhooks: watch::Receiver<bool>,
    metrics: Metrics,
    /// The text of the metrics as it was last written, and when that began.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

impl Health {
    /// The text of the metrics, at most [`MOST_AGE`] old. One request writes it; the others wait for that.
    fn metrics(&self) -> Result<Bytes, prometheus::Error> {
        let mut last = self.last.lock();
        if let Some((_, text)) = last.as_ref().filter(|(began, _)| began.elapsed() < MOST_AGE) {
            return Ok(text.clone());
        }
        let began = Instant::now();
        let text = Bytes::from(self.metrics.text()?);
        *last = Some((began, text.clone()));
        Ok(text)
    }
}

/// `/healthz`, `/readyz`, `/leaderz` and `/metrics`. A replica that follows is ready, since it answers the webhooks; these need
/// the ledgers, datasets and blocks, and no list of all claims and pods.
pub fn router(
    view: Arc<View>,
    leadership: Leadership,
    webhooks: watch::Receiver<bool>,
    metrics: Metrics,
) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/leaderz", get(leads))
        .route("/metrics", get(measured))
        .with_state(Health {
            view,
            leadership,
            webhooks,
            metrics,
            last: Arc::default(),
        })
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if !health.view.is_read() {
        (StatusCode::SERVICE_UNAVAILABLE, "the ledger is being read\n")
    } else if !*health.webhooks.borrow() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the webhook configurations are not written yet\n",
        )
    } else if health.leadership.has_ended() {
        (StatusCode::SERVICE_UNAVAILABLE, "this process ends\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// Whether this process answers the scheduler.
async fn leads(State(health): State<Health>) -> impl IntoResponse {
    let is_read = health.view.is_read();
    match health.leadership.check() {
        Ok(()) if is_read => (StatusCode::OK, "ok\n".to_owned()),
        Ok(()) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger is being read\n".to_owned(),
        ),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn measured(State(health): State<Health>) -> impl IntoResponse {
    match health.metrics() {
        Ok(text) => (
            StatusCode::OK,
            [("content-type", "text/plain; version=0.0.4")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [("content-type", "text/plain")],
            Bytes::from(error.to_string()),
        ),
    }
}
