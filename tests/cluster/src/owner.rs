//! The process that owns a cluster, from its start to its end.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::control_plane::ControlPlane;
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::protocol::{Message, Request};
use crate::users;

/// How `serve` was called.
#[derive(Debug, Clone)]
pub(crate) struct OwnerOptions {
    pub(crate) config: Config,
    pub(crate) dir: PathBuf,
    /// Another place for a copy of the administrator's kubeconfig.
    pub(crate) kubeconfig_out: Option<PathBuf>,
    /// The directory goes with the cluster.
    pub(crate) ephemeral: bool,
    pub(crate) lifetime: Lifetime,
}

/// What ends a cluster, besides signals and the failure of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing.
    UntilSignalled,
    /// The end of the standard input, where requests come from: the caller's end.
    UntilStdinCloses,
    /// The end of the standard input before the cluster is ready; later it outlives its caller and its terminal.
    Detached,
}

/// Why a cluster that was ready, or on its way, is over.
enum EndReason {
    Requested,
    Failed(anyhow::Error),
}

/// Owns a cluster until it is asked to end. Says on standard output what happens, see [`Message`].
pub(crate) async fn run(options: OwnerOptions) -> ExitCode {
    match lock_and_run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For the log first: whoever hears of the failure may look there at once.
            eprintln!("error: {error:#}");
            send(&Message::Failed(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn lock_and_run(options: &OwnerOptions) -> Result<()> {
    if options.lifetime == Lifetime::Detached {
        rustix::process::setsid().context("can't leave the terminal")?;
    }
    let mut inputs = Inputs::listen(options.lifetime)?;
    let layout = Layout::create(&options.dir)?;
    let may_remove = options.ephemeral && layout.is_a_clusters()?;
    let lock = layout.take()?;
    users::write_private(&layout.pid(), &std::process::id().to_string())?;
    let result = run_with_retry(options, &layout, &mut inputs).await;
    // Whoever reads of a failure wants to read the logs; before the first part there are none.
    let has_logs = layout.log(Part::Etcd).exists();
    if may_remove && (result.is_ok() || !has_logs) {
        layout.remove()?;
    } else {
        for path in [layout.pid(), layout.description()] {
            // What is not there need not go.
            let _ = fs::remove_file(path);
        }
    }
    drop(lock);
    result
}

/// Starts a cluster, a second time with other ports when someone took one of them, and looks after it.
async fn run_with_retry(options: &OwnerOptions, layout: &Layout, inputs: &mut Inputs) -> Result<()> {
    let mut first = true;
    loop {
        let (failures, mut failed) = mpsc::unbounded_channel();
        let control_plane = ControlPlane::prepare(&options.config, layout, failures)?;
        let end_reason = run_until_ended(&control_plane, options, layout, inputs, &mut failed).await;
        control_plane.end(options.ephemeral).await;
        match end_reason {
            EndReason::Requested => return Ok(()),
            EndReason::Failed(error) => {
                let port_taken = error
                    .downcast_ref::<PartFailure>()
                    .is_some_and(PartFailure::address_in_use);
                if !(first && port_taken) {
                    return Err(error);
                }
                tracing::warn!("once more with other ports: {error:#}");
                first = false;
            }
        }
    }
}

async fn run_until_ended(
    control_plane: &ControlPlane,
    options: &OwnerOptions,
    layout: &Layout,
    inputs: &mut Inputs,
    failed: &mut mpsc::UnboundedReceiver<PartFailure>,
) -> EndReason {
    let shutdown = inputs.shutdown.clone();
    let description = tokio::select! {
        biased;
        Some(failure) = failed.recv() => return EndReason::Failed(failure.into()),
        () = shutdown.requested() => return EndReason::Requested,
        started = control_plane.start() => match started {
            Ok(description) => description,
            Err(error) => return EndReason::Failed(error),
        },
    };
    if let Some(copy) = &options.kubeconfig_out
        && let Err(error) = copy_kubeconfig(layout, copy)
    {
        return EndReason::Failed(error);
    }
    tracing::info!("ready: {}", description.api_server);
    inputs.is_ready.store(true, Ordering::SeqCst);
    send(&Message::Ready(Box::new(description)));
    loop {
        let request = tokio::select! {
            biased;
            Some(failure) = failed.recv() => return EndReason::Failed(failure.into()),
            () = shutdown.requested() => return EndReason::Requested,
            Some(request) = inputs.requests.recv() => request,
        };
        let answer = tokio::select! {
            biased;
            Some(failure) = failed.recv() => return EndReason::Failed(failure.into()),
            () = shutdown.requested() => return EndReason::Requested,
            answer = answer(control_plane, &request) => answer,
        };
        send(&answer);
    }
}

async fn answer(control_plane: &ControlPlane, request: &str) -> Message {
    let handled = match serde_json::from_str::<Request>(request) {
        Ok(request) => control_plane.handle(request).await,
        Err(error) => Err(error).context("this is no request"),
    };
    match handled {
        Ok(()) => Message::Done,
        Err(error) => Message::Refused(format!("{error:#}")),
    }
}

fn copy_kubeconfig(layout: &Layout, copy: &std::path::Path) -> Result<()> {
    let original = layout.kubeconfig(users::User::Admin);
    let text = fs::read_to_string(&original).with_context(|| format!("can't read {}", original.display()))?;
    users::write_private(copy, &text)
}

/// One line on standard output. That nobody listens any more is no error: a detached cluster's caller has gone home.
fn send(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

/// What reaches the owner from outside.
struct Inputs {
    requests: mpsc::UnboundedReceiver<String>,
    shutdown: Shutdown,
    /// Set when the cluster is ready.
    is_ready: Arc<AtomicBool>,
}

/// Turns true when the cluster should end.
#[derive(Clone)]
struct Shutdown(watch::Receiver<bool>);

impl Inputs {
    fn listen(lifetime: Lifetime) -> Result<Self> {
        let (send_request, requests) = mpsc::unbounded_channel();
        let (request_shutdown, shutdown) = watch::channel(false);
        for kind in [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ] {
            let mut signals = signal(kind).context("can't listen to signals")?;
            let request_shutdown = request_shutdown.clone();
            tokio::spawn(async move {
                signals.recv().await;
                request_shutdown.send_replace(true);
            });
        }
        let is_ready = Arc::new(AtomicBool::new(false));
        if lifetime != Lifetime::UntilSignalled {
            let is_ready = Arc::clone(&is_ready);
            // A blocked read can't be cancelled, so it gets a thread that the process needn't wait for.
            thread::spawn(move || {
                for line in io::stdin().lock().lines() {
                    let Ok(line) = line else { break };
                    if send_request.send(line).is_err() {
                        break;
                    }
                }
                if lifetime == Lifetime::UntilStdinCloses || !is_ready.load(Ordering::SeqCst) {
                    request_shutdown.send_replace(true);
                }
            });
        }
        Ok(Self {
            requests,
            is_ready,
            shutdown: Shutdown(shutdown),
        })
    }
}

impl Shutdown {
    /// Returns when it is.
    async fn requested(&self) {
        let mut shutdown = self.0.clone();
        if shutdown.wait_for(|shutdown| *shutdown).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
