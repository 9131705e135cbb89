//! Listens on the extender's ports, with and without TLS, and ends connections in good order.
//!
//! Each port has limits of its own ([`Limits`]), so that whoever misuses one takes nothing from the others. [`places`] says
//! which connections a port has, [`connection`] what happens on each.

mod connection;
mod places;

use std::{net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use tokio::{
    net::TcpListener,
    runtime,
    sync::{oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

pub use self::connection::BodyProblem;
use self::{connection::Service, places::Places};
use crate::certificates::{self, Clients};

/// How long requests that have begun may still take when the process ends. A bind takes the longest.
const GRACE_PERIOD: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one port accepts at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// How long a new connection may take until the head of its first request is there, its TLS handshake included.
    pub first_request: Duration,
    /// How long a connection may be idle between two requests, or take for the head of a later one.
    pub idle: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// The size of a body.
    pub body_bytes: usize,
    /// The size of all bodies together that are being read or answered.
    pub bodies_bytes: usize,
    /// How long a connection may be quiet before it can lose its place to another one.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            first_request: Duration::from_secs(10),
            // Clients in Go close connections that are idle for 90 s, so theirs are never closed under a new request.
            idle: Duration::from_secs(300),
            body: Duration::from_secs(5),
            body_bytes: MOST_BODY_BYTES,
            bodies_bytes: 16 << 20,
            patience: Duration::from_millis(250),
        }
    }
}

/// How large a body may be: larger than an object before and after an update, of which etcd stores 1.5 MiB each, and than a
/// pod with the names of 15,000 nodes of 150 characters each.
pub const MOST_BODY_BYTES: usize = 4 << 20;

/// The addresses that the extender listens on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The scheduler's verbs.
    pub scheduler: SocketAddr,
    /// The webhooks.
    pub webhook: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
}

/// How far the servers are towards their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Connections stay open between requests.
    Serving,
    /// Each HTTP/1.1 connection ends with its next answer, and new ones are still accepted.
    LastAnswers,
    /// No connection is accepted, and idle ones are closed.
    Ending,
}

/// The servers that run.
#[derive(Debug)]
pub struct Listeners {
    limits: Limits,
    tasks: JoinSet<Result<()>>,
    phase: watch::Sender<Phase>,
}

impl Listeners {
    /// No server yet; each will have these limits of its own.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tasks: JoinSet::new(),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// Serves `router` with TLS. When this returns, connections are accepted, at the address that it returns.
    pub async fn serve_tls(
        &mut self,
        what: &'static str,
        at: SocketAddr,
        dir: &Path,
        clients: Clients,
        router: Router,
    ) -> Result<SocketAddr> {
        let acceptor = TlsAcceptor::from(certificates::server_config(dir, clients)?);
        let (listener, at) = listen(what, at).await?;
        info!(what, address = %at, "serves with TLS");
        let service = Service::new(router, Some((acceptor, clients)));
        let serving = serve(what, listener, service, self.limits, self.phase.subscribe());
        self.tasks.spawn(async move {
            serving.await;
            Ok(())
        });
        Ok(at)
    }

    /// Serves `router` without TLS, on a thread and a runtime of its own: however many clients it has, they take at most one
    /// processor, and no time of the runtime that serves the scheduler. When this returns, connections are accepted.
    pub async fn serve_apart(
        &mut self,
        what: &'static str,
        at: SocketAddr,
        router: Router,
    ) -> Result<SocketAddr> {
        self.serve_apart_within(self.limits, what, at, router).await
    }

    /// As [`Self::serve_apart`], with other limits.
    pub async fn serve_apart_within(
        &mut self,
        limits: Limits,
        what: &'static str,
        at: SocketAddr,
        router: Router,
    ) -> Result<SocketAddr> {
        let (listener, at) = listen(what, at).await?;
        let listener = listener.into_std()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let phase = self.phase.subscribe();
        let (ended, has_ended) = oneshot::channel();
        let serving = move || {
            let served = runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                serve(what, listener, Service::new(router, None), limits, phase).await;
                Ok(())
            });
            // Nobody may be left to hear it.
            let _ = ended.send(served);
        };
        thread::Builder::new()
            .name(what.to_owned())
            .spawn(serving)
            .with_context(|| format!("start a thread that serves {what}"))?;
        info!(what, address = %at, "serves");
        self.tasks.spawn(async move {
            let served: Result<()> = has_ended.await.context("its thread panicked")?;
            served.with_context(|| format!("serve {what}"))
        });
        Ok(at)
    }

    /// Waits until a server ends. None does by itself.
    pub async fn ended(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(error).context("a server"),
            None => std::future::pending().await,
        }
    }

    /// Ends each HTTP/1.1 connection with its next answer, which tells the client so.
    ///
    /// A server that closes an idle connection may do so while a request is on its way, and a client sends no webhook's request
    /// again. So this precedes [`Self::end`] by as long as clients may still choose this server. HTTP/2 needs none of it: its
    /// clients learn which of their requests won't be answered, and send those again.
    pub fn give_last_answers(&self) {
        self.phase.send_replace(Phase::LastAnswers);
    }

    /// Accepts no new connections, and waits for requests that have begun.
    pub async fn end(mut self) {
        self.phase.send_replace(Phase::Ending);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Listens at once, so that the extender doesn't start if it can't have the address.
async fn listen(what: &str, at: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listening = TcpListener::bind(at).await.and_then(|listener| {
        let at = listener.local_addr()?;
        Ok((listener, at))
    });
    listening.with_context(|| format!("serve {what} at {at}"))
}

/// Accepts connections and serves each in a task of its own, until the process ends.
async fn serve(
    what: &'static str,
    listener: TcpListener,
    service: Service,
    limits: Limits,
    mut phase: watch::Receiver<Phase>,
) {
    let places = Places::new(limits);
    let mut connections = JoinSet::new();
    let to_connections = phase.clone();
    let accepting = async {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(what, %error, "a connection can't be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are written at once. Without this they only take longer.
            let _ = stream.set_nodelay(true);
            let Ok(place) = places.enter().await else {
                return;
            };
            connections.spawn(service.clone().connection(stream, place, to_connections.clone()));
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = phase.wait_for(|phase| *phase == Phase::Ending) => {}
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE_PERIOD, finished).await.is_err() {
        warn!(what, "requests that had begun are dropped");
    }
}

#[cfg(test)]
mod tests;
