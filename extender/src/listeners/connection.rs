//! One connection: its handshake, its requests one after the other, and their bodies, each within the port's limits.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Request, Response, Version, header::CONNECTION},
};
use futures::StreamExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{Phase, places::Place};
use crate::certificates::Clients;

/// How much a request's head may take.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// How many requests of one HTTP/2 connection are answered at the same time.
const MOST_STREAMS: u32 = 250;
/// How often a silent HTTP/2 connection is asked whether its client is still there, and how long it has to say so.
const PING: Duration = Duration::from_secs(30);

/// What a port serves, and how.
#[derive(Clone)]
pub(super) struct Service {
    router: Router,
    tls: Option<(TlsAcceptor, Clients)>,
    http: Builder<TokioExecutor>,
}

impl Service {
    pub(super) fn new(router: Router, tls: Option<(TlsAcceptor, Clients)>) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        // The API server's webhook client and kubelets use HTTP/1.1.
        if !matches!(tls, Some((_, Clients::Authenticated))) {
            http = http.http1_only();
        }
        http.http1().max_buf_size(MOST_HEAD_BYTES);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(MOST_STREAMS);
        Self { router, tls, http }
    }

    /// Serves a connection until it ends, somebody needs its place, or the process ends.
    pub(super) async fn connection(self, stream: TcpStream, place: Place, phase: watch::Receiver<Phase>) {
        let place = Arc::new(place);
        let served = async {
            let Some((tls, clients)) = &self.tls else {
                return self.requests(stream, &place, phase).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                if *clients == Clients::Authenticated {
                    place.proven();
                }
                self.requests(stream, &place, phase).await;
            }
        };
        tokio::select! {
            () = served => {}
            () = place.is_over() => {}
        }
    }

    async fn requests<S>(&self, stream: S, place: &Arc<Place>, mut phase: watch::Receiver<Phase>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let of_answers = phase.clone();
        let service = service_fn(|request| {
            let (router, place) = (self.router.clone(), Arc::clone(place));
            answer(router, place, of_answers.clone(), request)
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        // How a connection ended concerns its client only.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = phase.wait_for(|phase| *phase == Phase::Ending) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Answers a request once its body is there.
async fn answer(
    router: Router,
    place: Arc<Place>,
    phase: watch::Receiver<Phase>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    place.requested();
    let (mut head, body) = request.into_parts();
    let version = head.version;
    // The memory is given back after the answer.
    let (body, _memory) = match read(&place, Body::new(body)).await {
        Ok((body, memory)) => (body, memory),
        Err(problem) => {
            head.extensions.insert(problem);
            (Bytes::new(), None)
        }
    };
    let _answering = place.answering();
    let mut answer = router
        .oneshot(Request::from_parts(head, Body::from(body)))
        .await?;
    if version == Version::HTTP_11 && *phase.borrow() >= Phase::LastAnswers {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    Ok(answer)
}

/// Why a request's body can't be used. It is an extension of the request, so that each protocol can say it in its own
/// words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BodyProblem {
    /// The body is larger than is accepted.
    #[error("the body has more than {0} bytes, which is the most that is accepted")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// The connection broke.
    #[error("the body can't be read: {0}")]
    Broken(String),
}

/// Reads a body, and holds memory for it.
async fn read(place: &Place, body: Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), BodyProblem> {
    let limits = place.limits();
    let most = limits.body_bytes;
    let all = async {
        let broken = |error: &dyn std::fmt::Display| BodyProblem::Broken(error.to_string());
        let mut frames = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        let (mut held, mut arrived) = (0, 0_usize);
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|error| broken(&error))?;
            arrived = arrived.saturating_add(frame.len());
            if arrived > most {
                // The rest is read and dropped, since a client that is still sending may not read the answer.
                (bytes, memory) = (Vec::new(), None);
                continue;
            }
            if arrived > held {
                let more = place
                    .memory(arrived - held)
                    .await
                    .map_err(|error| broken(&error))?;
                held += more.num_permits() * super::places::UNIT;
                match &mut memory {
                    None => memory = Some(more),
                    Some(memory) => memory.merge(more),
                }
            }
            bytes.extend_from_slice(&frame);
        }
        if arrived > most {
            return Err(BodyProblem::TooLarge(most));
        }
        Ok((Bytes::from(bytes), memory))
    };
    timeout(limits.body, all)
        .await
        .unwrap_or(Err(BodyProblem::TooSlow(limits.body)))
}
