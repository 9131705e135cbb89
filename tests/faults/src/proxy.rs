//! [`FaultProxy`]: a running proxy, and the handle by which a test changes its faults and reads what happened.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use axum::body::Body;
use data_encoding::BASE64;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_rustls::TlsAcceptor;

use crate::{
    answer::{self, Plan, is_watch},
    fault::{Fault, FaultRates},
    random::Random,
    tls,
};

/// The pause after a connection couldn't be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many requests there were, and how many of them had which fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// All requests.
    pub requests: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Requests without a chosen fault that ended without an answer, because the API server was not there.
    pub unreachable: u64,
}

impl FaultCounts {
    /// All faults that were chosen.
    #[must_use]
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} faults", self.requests, self.all_faults())?;
        for (at, (fault, count)) in self.faults.iter().enumerate() {
            write!(f, "{}{fault} {count}", if at == 0 { ": " } else { ", " })?;
        }
        write!(f, "; API server away {}", self.unreachable)
    }
}

struct Shared {
    upstream: Client,
    state: Mutex<State>,
}

struct State {
    random: Random,
    rates: FaultRates,
    counts: FaultCounts,
    log: Option<File>,
    begun: Instant,
}

/// A proxy that runs until it is dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: String,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy on a free port of 127.0.0.1, without faults, that sends requests on by `upstream`. Faults will be
    /// chosen by a generator with this seed, and written to `log`, if given.
    pub async fn start(upstream: Client, seed: u64, log: Option<&Path>) -> Result<Self> {
        let log = match log {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                Some(file.with_context(|| format!("can't open the log {}", path.display()))?)
            }
            None => None,
        };
        let (serving, authority) = tls::serving().context("the proxy's certificates")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the proxy has no port")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(State {
                random: Random::new(seed),
                rates: FaultRates::none(),
                counts: FaultCounts::default(),
                log,
                begun: Instant::now(),
            }),
        });
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(serving), Arc::clone(&shared)));
        Ok(Self {
            shared,
            address,
            authority,
            task,
        })
    }

    /// The kubeconfig of a program that is to use the proxy, as JSON, which is YAML.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": BASE64.encode(self.authority.as_bytes()),
            }}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        config.to_string()
    }

    /// Sets how often faults happen from now on.
    pub fn set_rates(&self, rates: FaultRates) {
        self.shared.state().rates = rates;
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.shared.state().counts.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let what = format!("{} {}", request.method(), request.uri());
        let plan = self.state().plan(is_watch(&request), &what);
        let answer = answer::answer(&self.upstream, request, plan).await;
        if let (Err(error), None) = (&answer, plan.fault) {
            let mut state = self.state();
            state.counts.unreachable += 1;
            state.note(&format!("unreachable {what}: {error:#}"));
        }
        answer
    }
}

impl State {
    fn plan(&mut self, watch: bool, what: &str) -> Plan {
        self.counts.requests += 1;
        let fault = self.rates.choose(&mut self.random, watch);
        let longest = match fault {
            Some(Fault::WatchStalled) => self.rates.longest_stall,
            _ => self.rates.longest_delay,
        };
        let plan = Plan {
            fault,
            wait: self.random.up_to(longest),
            before: usize::try_from(self.random.below(self.rates.most_before + 1)).unwrap_or(0),
        };
        if let Some(fault) = fault {
            *self.counts.faults.entry(fault).or_default() += 1;
            self.note(&format!("{fault} {what}"));
        }
        plan
    }

    fn note(&mut self, line: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        if let Some(log) = &mut self.log {
            // A log that can't be written is no reason to stop.
            let _ = writeln!(log, "{seconds:9.3} {line}");
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // The connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptor is left; a connection that ends gives one back.
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| shared.answer(request));
            // An error ends the connection, and the client sees that.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
