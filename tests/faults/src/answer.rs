//! Carries out one request, with the fault that was chosen for it.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::body::{Body, Bytes, to_bytes};

use futures::{StreamExt, stream};
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use kube::Client;
use serde_json::json;
use tokio::time::sleep;

use crate::fault::Fault;

/// The most bytes of a request: more than the API server accepts.
const MOST_REQUEST_BYTES: usize = 16 << 20;
/// Headers that are each connection's own, and the credentials, which the proxy's client has.
const NOT_SENT_ON: [header::HeaderName; 6] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) fault: Option<Fault>,
    /// How long the request, the answer or the watch waits, if the fault is that it does.
    pub(crate) wait: Duration,
    /// How many pieces of a watch's answer come before the fault.
    pub(crate) before: usize,
}

/// Whether a request is a watch, whose answer goes on until somebody ends it.
pub(crate) fn is_watch<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// Answers a request. An error cuts the connection.
pub(crate) async fn answer(
    upstream: &Client,
    request: Request<Incoming>,
    plan: Plan,
) -> Result<Response<Body>> {
    match plan.fault {
        Some(Fault::RequestLost) => return Err(anyhow!("{}", Fault::RequestLost)),
        Some(Fault::Throttled) => return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        Some(Fault::Unavailable) => return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        Some(Fault::Delayed) => sleep(plan.wait).await,
        _ => {}
    }
    let answer = send_on(upstream, request).await?;
    match plan.fault {
        Some(Fault::ReplyLost) => {
            // The API server has done all of it once its whole answer is there.
            whole(answer.into_body()).await?;
            Err(anyhow!("{}", Fault::ReplyLost))
        }
        Some(Fault::DelayedReply) => {
            sleep(plan.wait).await;
            Ok(answer)
        }
        Some(Fault::CutAnswer) => {
            let (mut parts, body) = answer.into_parts();
            let text = whole(body).await?;
            let half = text.slice(..text.len() / 2);
            // Without the length, the client learns from the cut that something is missing.
            parts.headers.remove(header::CONTENT_LENGTH);
            let pieces = stream::iter([Ok(half), Err(anyhow!("{}", Fault::CutAnswer))]);
            Ok(Response::from_parts(parts, Body::from_stream(pieces)))
        }
        Some(Fault::WatchStalled) => {
            let stall = After::Wait(plan.wait);
            Ok(answer.map(|body| with_fault(body, plan.before, stall)))
        }
        Some(Fault::WatchCut) => Ok(answer.map(|body| with_fault(body, plan.before, After::Cut))),
        _ => Ok(answer),
    }
}

/// What happens in the middle of a watch.
#[derive(Clone, Copy)]
enum After {
    Wait(Duration),
    Cut,
}

/// A watch's answer, to which something happens after its first `before` pieces.
fn with_fault(body: Body, before: usize, what: After) -> Body {
    let pieces = body.into_data_stream().enumerate();
    Body::from_stream(pieces.then(move |(at, piece)| async move {
        match what {
            After::Cut if at >= before => return Err(anyhow!("{}", Fault::WatchCut)),
            After::Wait(wait) if at == before => sleep(wait).await,
            _ => {}
        }
        piece.map_err(anyhow::Error::from)
    }))
}

async fn send_on(upstream: &Client, request: Request<Incoming>) -> Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), MOST_REQUEST_BYTES)
        .await
        .context("the request's body")?;
    for name in &NOT_SENT_ON {
        parts.headers.remove(name);
    }
    let request = Request::from_parts(parts, kube::client::Body::from(body));
    let answer = upstream
        .send(request)
        .await
        .context("the API server can't be reached")?;
    let mut answer = answer.map(Body::new);
    remove_hop_headers(answer.headers_mut());
    Ok(answer)
}

fn remove_hop_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

async fn whole(body: Body) -> Result<Bytes> {
    to_bytes(body, usize::MAX)
        .await
        .context("the API server's answer")
}

/// An answer as the API server gives it when it has no room for a request.
fn refusal(code: StatusCode, reason: &str) -> Result<Response<Body>> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused by the fault proxy", "reason": reason, "code": code.as_u16(),
        "details": {"retryAfterSeconds": 1},
    });
    let answer = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::RETRY_AFTER, "1");
    Ok(answer.body(Body::from(status.to_string()))?)
}
