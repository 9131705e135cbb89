//! The owner process of a cluster (the command `serve`): starts the control plane, carries out requests, and
//! ends everything when the cluster is to end or a part fails.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::control_plane::ControlPlane;
use crate::control_socket::{self, Asked};
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::protocol::{Message, Request};
use crate::restart::Restart;
use crate::users;

/// The options of `serve`.
#[derive(Debug, Clone)]
pub(crate) struct OwnerOptions {
    pub(crate) config: Config,
    pub(crate) dir: PathBuf,
    /// Where to write a copy of the administrator's kubeconfig.
    pub(crate) kubeconfig_out: Option<PathBuf>,
    /// Remove the directory at the cluster's end.
    pub(crate) ephemeral: bool,
    pub(crate) lifetime: Lifetime,
}

/// What ends a cluster, besides signals and the failure of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Nothing else.
    UntilSignalled,
    /// The end of the standard input, which carries requests. It ends when the caller does.
    UntilStdinCloses,
    /// The end of the standard input before the cluster is ready; after that, the cluster outlives its caller
    /// and its terminal.
    Detached,
}

/// Why a cluster ends.
enum EndReason {
    Requested,
    Failed(anyhow::Error),
}

/// Runs a cluster until its end. Writes a [`Message`] to standard output for each event and answer.
pub(crate) async fn run(options: OwnerOptions) -> ExitCode {
    match lock_and_run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To the log first: the receiver of the message may read it at once.
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
    // After a failure the logs are kept for reading. Before the first part starts there are none.
    let has_logs = layout.log(Part::Etcd).exists();
    if may_remove && (result.is_ok() || !has_logs) {
        layout.remove()?;
    } else {
        for path in [layout.pid(), layout.description(), layout.control_socket()] {
            // An error means that the file doesn't exist.
            let _ = fs::remove_file(path);
        }
    }
    drop(lock);
    result
}

/// Runs a cluster. If another process took one of its ports, starts it a second time with other ports.
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
                tracing::warn!("starting again with other ports: {error:#}");
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
    failed: &mut mpsc::UnboundedReceiver<(Part, PartFailure)>,
) -> EndReason {
    let shutdown = inputs.shutdown.clone();
    let description = tokio::select! {
        biased;
        Some((_, failure)) = failed.recv() => return EndReason::Failed(failure.into()),
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
    if let Err(error) = control_socket::listen(layout, inputs.send_request.clone()) {
        return EndReason::Failed(error);
    }
    tracing::info!("ready: {}", description.api_server);
    inputs.is_ready.store(true, Ordering::SeqCst);
    send(&Message::Ready(Box::new(description)));
    let mut restart = Restart::new(options.lifetime != Lifetime::UntilStdinCloses);
    loop {
        let asked = tokio::select! {
            biased;
            Some((part, failure)) = failed.recv() => {
                if restart.plan(part) {
                    tracing::warn!("{failure:#}");
                    continue;
                }
                return EndReason::Failed(failure.into());
            }
            () = shutdown.requested() => return EndReason::Requested,
            Some(asked) = inputs.requests.recv() => asked,
            () = restart.due() => {
                restart.begin();
                if let Err(error) = control_plane.spawn_extender() {
                    return EndReason::Failed(error);
                }
                continue;
            }
        };
        let request = serde_json::from_str(&asked.request).context("the line is not a request");
        let is_of_extender = request.as_ref().is_ok_and(Request::is_of_extender);
        if is_of_extender {
            restart.cancel();
        }
        let answering = answer(control_plane, request);
        tokio::pin!(answering);
        let answer = loop {
            tokio::select! {
                biased;
                Some((part, failure)) = failed.recv() => {
                    if !restart.plan(part) {
                        return EndReason::Failed(failure.into());
                    }
                    tracing::warn!("{failure:#}");
                    if is_of_extender {
                        break Message::Refused(failure.to_string());
                    }
                }
                () = shutdown.requested() => return EndReason::Requested,
                answer = &mut answering => break answer,
            }
        };
        // The command that asked may have ended.
        let _ = asked.answer.send(answer);
    }
}

async fn answer(control_plane: &ControlPlane, request: Result<Request>) -> Message {
    let handled = match request {
        Ok(request) => control_plane.handle(request).await,
        Err(error) => Err(error),
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

/// Writes one line to standard output. A closed pipe is no error: the caller of a detached cluster has ended.
fn send(message: &Message) {
    if let Ok(line) = serde_json::to_string(message) {
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

/// What the owner reacts to: requests, signals, and the end of the standard input.
struct Inputs {
    requests: mpsc::UnboundedReceiver<Asked>,
    send_request: mpsc::UnboundedSender<Asked>,
    shutdown: Shutdown,
    /// Set when the cluster is ready.
    is_ready: Arc<AtomicBool>,
}

/// Becomes true when the cluster is to end.
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
            let send_request = send_request.clone();
            thread::spawn(move || {
                for line in io::stdin().lock().lines() {
                    let Ok(request) = line else { break };
                    let (answer, answered) = oneshot::channel();
                    if send_request.send(Asked { request, answer }).is_err() {
                        break;
                    }
                    // Without an answer, the cluster ends.
                    let Ok(answer) = answered.blocking_recv() else {
                        break;
                    };
                    send(&answer);
                }
                if lifetime == Lifetime::UntilStdinCloses || !is_ready.load(Ordering::SeqCst) {
                    request_shutdown.send_replace(true);
                }
            });
        }
        Ok(Self {
            requests,
            send_request,
            is_ready,
            shutdown: Shutdown(shutdown),
        })
    }
}

impl Shutdown {
    /// Waits until the cluster is to end.
    async fn requested(&self) {
        let mut shutdown = self.0.clone();
        if shutdown.wait_for(|shutdown| *shutdown).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
