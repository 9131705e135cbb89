//! Health and metrics.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use privatekube_view::View;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{health, leadership::Leadership, metrics::Metrics};

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn the_extender_is_ready_once_the_view_is_complete_and_the_webhooks_are_configured() {
    let view = Arc::new(View::default());
    let (configured, is_configured) = watch::channel(false);
    let router = health::router(
        Arc::clone(&view),
        Leadership::alone(),
        is_configured,
        Metrics::new().unwrap(),
    );
    assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    let (status, why) = get(&router, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("ledger"), "{why}");
    view.set_complete();
    let (status, why) = get(&router, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("webhook"), "{why}");
    configured.send_replace(true);
    assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format() {
    let metrics = Metrics::new().unwrap();
    metrics.writers.queue_entered("intake", 2);
    let router = health::router(
        Arc::default(),
        Leadership::alone(),
        watch::channel(true).1,
        metrics,
    );
    let (status, text) = get(&router, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("privatekube_queue_length{queue=\"intake\"} 2"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_text_of_the_metrics_is_written_once_a_second_at_most() {
    let metrics = Metrics::new().unwrap();
    let router = health::router(
        Arc::default(),
        Leadership::alone(),
        watch::channel(true).1,
        metrics.clone(),
    );
    let first = get(&router, "/metrics").await;
    metrics.writers.queue_entered("intake", 2);
    assert_eq!(get(&router, "/metrics").await, first);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let (_, text) = get(&router, "/metrics").await;
    assert!(
        text.contains("privatekube_queue_length{queue=\"intake\"} 2"),
        "{text}"
    );
}
