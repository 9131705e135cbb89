//! Listens on the extender's ports, with and without TLS, and ends connections in good order.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::info;

use crate::certificates::{self, Clients};

/// How long requests that have begun may still take when the process ends. A bind takes the longest.
const GRACE_PERIOD: Duration = Duration::from_secs(10);

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

/// The servers that run.
#[derive(Debug)]
pub struct Listeners {
    tasks: JoinSet<Result<()>>,
    handles: Vec<Handle<SocketAddr>>,
}

impl Listeners {
    /// No server yet.
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            handles: Vec::new(),
        }
    }

    /// Serves `router` with TLS. When this returns, connections are accepted.
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

    /// Serves `router` without TLS. When this returns, connections are accepted.
    pub async fn serve_plain(&mut self, what: &'static str, at: SocketAddr, router: Router) -> Result<()> {
        let server = axum_server::from_tcp(listen(what, at).await?)?;
        info!(what, address = %at, "serves");
        let serving = server.handle(self.handle()).serve(router.into_make_service());
        self.keep(what, serving);
        Ok(())
    }

    /// A handle that ends the next server.
    fn handle(&mut self) -> Handle<SocketAddr> {
        let handle = Handle::new();
        self.handles.push(handle.clone());
        handle
    }

    fn keep(&mut self, what: &'static str, serving: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.tasks
            .spawn(async move { serving.await.with_context(|| format!("serve {what}")) });
    }

    /// Waits until a server ends. None does by itself.
    pub async fn ended(&mut self) -> Result<()> {
        match self.tasks.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(error).context("a server"),
            None => std::future::pending().await,
        }
    }

    /// Accepts no new connections, and waits for requests that have begun.
    pub async fn end(mut self) {
        for handle in &self.handles {
            handle.graceful_shutdown(Some(GRACE_PERIOD));
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Listens at once, so that the extender doesn't start if it can't have the address.
async fn listen(what: &str, at: SocketAddr) -> Result<std::net::TcpListener> {
    let listener = TcpListener::bind(at).await.and_then(TcpListener::into_std);
    listener.with_context(|| format!("serve {what} at {at}"))
}

impl Default for Listeners {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_at_once() -> Result<()> {
        let taken = TcpListener::bind("127.0.0.1:0").await?;
        let at = taken.local_addr()?;
        let served = Listeners::new().serve_plain("health", at, Router::new()).await;
        let error = format!("{:#}", served.err().context("it was served")?);
        assert!(error.starts_with(&format!("serve health at {at}: ")), "{error}");
        Ok(())
    }
}
