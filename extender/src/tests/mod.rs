//! The extender as a whole against an in-process API server, and its routers without a socket.

mod admission;
mod claim_objects;
mod health;
mod metrics;
mod recovery;
mod replicas;
mod requesters;
mod scheduler;
mod start;
mod stopped;
pub(crate) mod whole;
pub(crate) mod world;
mod writers;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::Value;
use tower::ServiceExt;

/// Posts `body` to a router; returns the answer's status and body.
async fn post(router: &Router, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post(path).body(body.into()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}
