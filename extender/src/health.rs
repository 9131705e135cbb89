//! Health and metrics, without TLS: neither says anything private.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use privatekube_view::View;
use tokio::sync::watch;

use crate::metrics::Metrics;

#[derive(Clone, Debug)]
struct Health {
    view: Arc<View>,
    webhooks: watch::Receiver<bool>,
    metrics: Metrics,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(view: Arc<View>, webhooks: watch::Receiver<bool>, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .with_state(Health {
            view,
            webhooks,
            metrics,
        })
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if !health.view.is_complete() {
        (StatusCode::SERVICE_UNAVAILABLE, "the ledger is being read\n")
    } else if !*health.webhooks.borrow() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the webhook configurations are not written yet\n",
        )
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn measured(State(health): State<Health>) -> impl IntoResponse {
    match health.metrics.text() {
        Ok(text) => (
            StatusCode::OK,
            [("content-type", "text/plain; version=0.0.4")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [("content-type", "text/plain")],
            error.to_string(),
        ),
    }
}
