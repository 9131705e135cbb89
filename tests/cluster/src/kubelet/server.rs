//! The fake kubelet's HTTPS server, which the API server asks for the logs of containers (`kubectl logs`). One server
//! speaks for all nodes. It answers nobody but the API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures::SinkExt as _;
use futures::channel::mpsc;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::output::{Line, Outputs};
use super::plan::{has_ended, in_words};
use crate::certificates::Certificates;

/// The pause after a connection couldn't be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The lines that are on their way to a client that reads slowly.
const LINES_UNDER_WAY: usize = 64;

/// The server before it answers: it has its port, which nodes tell the API server.
pub(crate) struct KubeletServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// What the answers come from.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) client: Client,
    pub(super) outputs: Outputs,
    /// How long after its start a pod succeeds that says nothing else.
    pub(super) end_after: Option<SignedDuration>,
}

impl KubeletServer {
    /// Takes a port of 127.0.0.1.
    pub(crate) async fn bind(certificates: &Certificates) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the fake kubelet has no port")?;
        let acceptor = TlsAcceptor::from(tls(certificates).context("the fake kubelet's certificates")?);
        Ok(Self { listener, acceptor })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers for ever.
    pub(super) async fn serve(self, answers: Answers) {
        let router = Router::new()
            .route("/containerLogs/{namespace}/{pod}/{container}", get(logs))
            .route("/exec/{*rest}", any(no_container))
            .route("/attach/{*rest}", any(no_container))
            .route("/portForward/{*rest}", any(no_container))
            .with_state(answers);
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // No file descriptor is left; a connection that ends gives one back.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (acceptor, router) = (self.acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(router);
                // An error ends the connection, and the client sees that.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

fn tls(certificates: &Certificates) -> Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let read = |path: std::path::PathBuf| {
        CertificateDer::from_pem_file(&path).map_err(|error| anyhow!("{}: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    roots.add(read(certificates.authority())?)?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = certificates.serving_key();
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| anyhow!("{}: {error}", key.display()))?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![read(certificates.serving_certificate())?], key)?;
    Ok(Arc::new(config))
}

/// `kubectl exec`, `attach` and `port-forward`.
async fn no_container() -> (StatusCode, &'static str) {
    (
        StatusCode::NOT_IMPLEMENTED,
        "the nodes of this cluster are fake: there is no container to enter or to connect to\n",
    )
}

/// The parameters of a request for a log, as `PodLogOptions` has them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogOptions {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<usize>,
    limit_bytes: Option<usize>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
}

impl LogOptions {
    /// Only what was written since then is wanted.
    fn since(&self) -> Option<Timestamp> {
        let seconds = self
            .since_seconds
            .map(|seconds| Timestamp::now() - SignedDuration::from_secs(seconds));
        seconds.max(self.since_time)
    }
}

async fn logs(
    State(answers): State<Answers>,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(options): Query<LogOptions>,
) -> Response {
    let refused = |code: StatusCode, what: String| (code, what).into_response();
    let pods: Api<Pod> = Api::namespaced(answers.client.clone(), &namespace);
    let pod = match pods.get_opt(&name).await {
        Ok(Some(pod)) => pod,
        Ok(None) => return refused(StatusCode::NOT_FOUND, format!("there is no pod {name}")),
        Err(error) => return refused(StatusCode::BAD_GATEWAY, error.to_string()),
    };
    if options.previous {
        let what = format!("previous terminated container {container:?} in pod {name:?} not found");
        return refused(StatusCode::BAD_REQUEST, what);
    }
    if matches!(super::phase(&pod), "" | "Pending") {
        let what = format!("container {container:?} in pod {name:?} is waiting to start");
        return refused(StatusCode::BAD_REQUEST, what);
    }
    let (lines, body) = mpsc::channel(LINES_UNDER_WAY);
    tokio::spawn(async move {
        let mut sender = Sender::new(lines, &options);
        // The error is that the client doesn't read any more.
        let _ = answers
            .write(&mut sender, &pods, &pod, &container, &options)
            .await;
    });
    Body::from_stream(body).into_response()
}

/// The client is gone, or has what it asked for.
struct Over;

impl Answers {
    async fn write(
        &self,
        sender: &mut Sender,
        pods: &Api<Pod>,
        pod: &Pod,
        container: &str,
        options: &LogOptions,
    ) -> Result<(), Over> {
        let is_first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let is_first = is_first.is_some_and(|first| first.name == container);
        let uid = pod.uid().unwrap_or_default();
        if is_first && let Some(output) = self.outputs.of(&uid) {
            let mut changes = output.changes();
            let (mut lines, mut next, mut is_complete) = output.lines_from(0);
            let skipped = options
                .tail_lines
                .map_or(0, |most| lines.len().saturating_sub(most));
            lines.drain(..skipped);
            loop {
                for line in &lines {
                    sender.send(line).await?;
                }
                if is_complete || !options.follow {
                    return Ok(());
                }
                if changes.changed().await.is_err() {
                    return Ok(());
                }
                (lines, next, is_complete) = output.lines_from(next);
            }
        }
        let status = status_of(pod, container);
        let text = match status.and_then(message).filter(|_| is_first) {
            // A program's last words, after a restart of the cluster.
            Some(message) => message.to_owned(),
            None => in_words(pod, container, self.end_after),
        };
        let at = started(status).unwrap_or_else(Timestamp::now);
        let all: Vec<&str> = text.split_inclusive('\n').collect();
        let skipped = options
            .tail_lines
            .map_or(0, |most| all.len().saturating_sub(most));
        for line in all.iter().skip(skipped) {
            sender
                .send(&Line {
                    at,
                    bytes: line.as_bytes().into(),
                })
                .await?;
        }
        if options.follow && !has_ended(pod) {
            let name = pod.name_any();
            let over = await_condition(pods.clone(), &name, |now: Option<&Pod>| {
                now.is_none_or(|now| now.uid() != Some(uid.clone()) || has_ended(now))
            });
            // Without an answer, the log ends here.
            let _ = over.await;
        }
        Ok(())
    }
}

fn status_of<'pod>(pod: &'pod Pod, container: &str) -> Option<&'pod ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)
}

fn message(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.terminated.as_ref()?.message.as_deref()
}

fn started(status: Option<&ContainerStatus>) -> Option<Timestamp> {
    let state = status?.state.as_ref()?;
    let running = state.running.as_ref().and_then(|state| state.started_at.as_ref());
    let ended = state
        .terminated
        .as_ref()
        .and_then(|state| state.started_at.as_ref());
    running.or(ended).map(|time| time.0)
}

/// Sends lines as a request wants them.
struct Sender {
    lines: mpsc::Sender<Result<Bytes, std::convert::Infallible>>,
    timestamps: bool,
    since: Option<Timestamp>,
    /// How many bytes may still be sent.
    left: usize,
    begins_line: bool,
}

impl Sender {
    fn new(lines: mpsc::Sender<Result<Bytes, std::convert::Infallible>>, options: &LogOptions) -> Self {
        Self {
            lines,
            timestamps: options.timestamps,
            since: options.since(),
            left: options.limit_bytes.unwrap_or(usize::MAX),
            begins_line: true,
        }
    }

    async fn send(&mut self, line: &Line) -> Result<(), Over> {
        if self.since.is_some_and(|since| line.at < since) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.timestamps && self.begins_line {
            bytes.extend(format!("{:.9} ", line.at).into_bytes());
        }
        bytes.extend_from_slice(&line.bytes);
        self.begins_line = line.bytes.ends_with(b"\n");
        bytes.truncate(self.left);
        self.left -= bytes.len();
        self.lines.send(Ok(bytes.into())).await.map_err(|_| Over)?;
        if self.left == 0 { Err(Over) } else { Ok(()) }
    }
}
