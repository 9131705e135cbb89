//! The three servers: the scheduler's (TLS, only with our client certificate), the webhooks' (TLS), and health and
//! metrics (plain, says nothing private).

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tracing::info;

use crate::{
    certificates::{self, Clients},
    metrics::Metrics,
    view::View,
};

/// How long requests that have begun may take when the process ends: a bind, at most.
const FAREWELL: Duration = Duration::from_secs(10);

/// Where the servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The scheduler's verbs.
    pub scheduler: SocketAddr,
    /// The webhooks.
    pub webhook: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
}

/// The servers, running.
#[derive(Debug)]
pub struct Servers {
    tasks: JoinSet<Result<()>>,
    handles: Vec<Handle<SocketAddr>>,
}

impl Servers {
    /// No server yet.
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            handles: Vec::new(),
        }
    }

    /// Begins to serve `router` with TLS: who connects from now on is answered.
    pub async fn serve_tls(
        &mut self,
        what: &'static str,
        at: SocketAddr,
        dir: &Path,
        clients: Clients,
        router: Router,
    ) -> Result<()> {
        let config = RustlsConfig::from_config(certificates::server_config(dir, clients)?);
        let server = axum_server::from_tcp_rustls(listen(what, at).await?, config)?;
        info!(what, address = %at, "serves with TLS");
        let serving = server.handle(self.handle()).serve(router.into_make_service());
        self.keep(what, serving);
        Ok(())
    }

    /// Begins to serve `router` without TLS: who connects from now on is answered.
    pub async fn serve_plain(&mut self, what: &'static str, at: SocketAddr, router: Router) -> Result<()> {
        let server = axum_server::from_tcp(listen(what, at).await?)?;
        info!(what, address = %at, "serves");
        let serving = server.handle(self.handle()).serve(router.into_make_service());
        self.keep(what, serving);
        Ok(())
    }

    /// By which the next server is told to end.
    fn handle(&mut self) -> Handle<SocketAddr> {
        let handle = Handle::new();
        self.handles.push(handle.clone());
        handle
    }

    fn keep(&mut self, what: &'static str, serving: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.tasks
            .spawn(async move { serving.await.with_context(|| format!("serve {what}")) });
    }

    /// Waits until a server ends, which none does by itself.
    pub async fn ended(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(error).context("a server"),
            None => std::future::pending().await,
        }
    }

    /// Takes nothing new, and waits for what has begun.
    pub async fn end(mut self) {
        for handle in &self.handles {
            handle.graceful_shutdown(Some(FAREWELL));
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Listens at once, not when a server's turn comes: the address works, or the extender does not start.
async fn listen(what: &str, at: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = TcpListener::bind(at).await.and_then(TcpListener::into_std);
    listener.with_context(|| format!("serve {what} at {at}"))
}

impl Default for Servers {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
struct Health {
    view: Arc<View>,
    webhooks: watch::Receiver<bool>,
    metrics: Metrics,
}

/// `/healthz`, `/readyz` and `/metrics`.
pub fn health(view: Arc<View>, webhooks: watch::Receiver<bool>, metrics: Metrics) -> Router {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_at_once() -> Result<()> {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let at = taken.local_addr()?;
        let served = Servers::new().serve_plain("health", at, Router::new()).await;
        let error = format!("{:#}", served.err().context("it was served")?);
        assert!(error.starts_with(&format!("serve health at {at}: ")), "{error}");
        Ok(())
    }
}
