//! Tells of each request to the API server: what it was, how it was answered, and how long that took.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode, Uri};
use tower::{Layer, Service};

/// A request that was answered, or that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedRequest {
    /// What was requested: one of [`VERBS`](Self::VERBS).
    pub verb: &'static str,
    /// The kind of answer: one of [`ANSWERS`](Self::ANSWERS).
    pub answer: &'static str,
    /// Until the answer began.
    pub took: Duration,
}

impl ObservedRequest {
    /// Every verb, in Kubernetes' words.
    pub const VERBS: [&'static str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
    /// Every kind of answer: by the status, `refused` for those from 400 on and `failed` from 500 on that have no word of
    /// their own; `none` if no answer began in time.
    pub const ANSWERS: [&'static str; 7] = [
        "ok",
        "not_found",
        "conflict",
        "throttled",
        "refused",
        "failed",
        "none",
    ];
}

/// Is told of each request.
#[derive(Clone)]
pub struct RequestObserver(Arc<dyn Fn(ObservedRequest) + Send + Sync>);

impl RequestObserver {
    /// An observer that calls `tell` for each request, on the task that made it.
    pub fn new(tell: impl Fn(ObservedRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for RequestObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestObserver").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RequestObserver {
    type Service = Observed<S>;

    fn layer(&self, service: S) -> Observed<S> {
        Observed {
            service,
            observer: self.clone(),
        }
    }
}

/// A service whose requests are told of.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    service: S,
    observer: RequestObserver,
}

impl<S, B, C> Service<Request<B>> for Observed<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<C>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (began, verb) = (Instant::now(), verb(request.method(), request.uri()));
        let (answer, observer) = (self.service.call(request), self.observer.clone());
        Box::pin(async move {
            let result = answer.await;
            let answer = result.as_ref().map_or("none", |answer| kind(answer.status()));
            let took = began.elapsed();
            (observer.0)(ObservedRequest { verb, answer, took });
            result
        })
    }
}

/// What a request to the API server wants.
fn verb(method: &Method, uri: &Uri) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if uri.query().unwrap_or_default().split('&').any(is_watch) => "watch",
        _ if is_collection(uri.path()) => "list",
        _ => "get",
    }
}

fn is_watch(parameter: &str) -> bool {
    matches!(parameter, "watch=true" | "watch=1")
}

/// Whether a path is that of all objects of a kind: `/api/v1/pods`, `/apis/GROUP/VERSION/namespaces/NAMESPACE/KIND`.
fn is_collection(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let group = match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.next().and(parts.next()),
        _ => None,
    };
    let rest: Vec<&str> = parts.collect();
    group.is_some() && matches!(rest.as_slice(), [_] | ["namespaces", _, _])
}

/// The kind of an answer with this status.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "not_found",
        409 => "conflict",
        429 => "throttled",
        400..=499 => "refused",
        500.. => "failed",
        _ => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_in_kubernetes_words() {
        let cases = [
            (Method::GET, "/api/v1/namespaces/data/pods/train", "get"),
            (Method::GET, "/api/v1/namespaces/data", "get"),
            (Method::GET, "/api/v1/namespaces", "list"),
            (Method::GET, "/version", "get"),
            (Method::GET, "/api/v1/pods?limit=500", "list"),
            (
                Method::GET,
                "/apis/privatekube.dev/v1alpha1/namespaces/data/privatedatablocks?limit=1",
                "list",
            ),
            (
                Method::GET,
                "/apis/privatekube.dev/v1alpha1/privatedatablocks?watch=true&timeoutSeconds=290",
                "watch",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/data/pods/train/binding",
                "create",
            ),
            (Method::PATCH, "/api/v1/namespaces/data/pods/train", "patch"),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
            assert!(ObservedRequest::VERBS.contains(&expected));
        }
        for (status, expected) in [(200, "ok"), (404, "not_found"), (422, "refused"), (503, "failed")] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), expected);
            assert!(ObservedRequest::ANSWERS.contains(&expected));
        }
    }
}
