//! The extender as one process: puts all parts together, runs them, and ends in good order. Nothing is decided here.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use privatekube_api::DatasetKey;
use privatekube_kubernetes::{ServerClock, connect_observed, datasets_with_ledger};
use privatekube_policy::DatasetRules;
use privatekube_view::View;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot, watch,
    },
    time::{Instant, sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    admission::{self, Admission, ClaimLimiter, ClaimLimits, PodTemplate, PodTemplates},
    bookkeeper::CheckpointSettings,
    bookkeeper::Message,
    certificates::{self, Clients},
    clock,
    controllers::{self, Sent},
    handles::{Handles, MeasuredBlocks},
    health,
    leadership::{Election, Label, Leadership, Replica},
    listeners::{Addresses, Limits, Listeners},
    metrics::Metrics,
    pods::Pods,
    registry::Registry,
    scheduler,
    status_page::{self, Decisions, FairnessOverTime},
    webhook_configuration,
    writers::{Events, Gates, Statuses},
};

/// The extender's configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the status page is served, a loopback address; `None` if it isn't.
    pub status_address: Option<SocketAddr>,
    /// A kubeconfig; `None` for the one of the environment, or of the cluster that this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The directory with the certificates.
    pub tls_dir: PathBuf,
    /// The addresses to listen on.
    pub addresses: Addresses,
    /// Where the API server reaches the webhooks, in place of the Service.
    pub webhook_url: Option<String>,
    /// The schedulers that call the extender.
    pub schedulers: Vec<String>,
    /// The user that the extender is for the API server.
    pub user: String,
    /// The rules of datasets without a PrivateDataset; `None` if a ledger begins only with one.
    pub defaults: Option<DatasetRules>,
    /// Which blocks have metrics of their own.
    pub measured: MeasuredBlocks,
    /// How many claims a namespace may make on a dataset.
    pub claim_limits: ClaimLimits,
    /// Where workloads carry pod templates, besides Kubernetes' own kinds.
    pub pod_templates: Vec<PodTemplate>,
    /// When checkpoints are published and entries removed.
    pub checkpoints: CheckpointSettings,
    /// The directory that ledgers are exported to, if they are.
    pub export: Option<PathBuf>,
    /// How this process is one of several; `None` if it is the only one that may run.
    pub replica: Option<Replica>,
}

/// How long an end waits for the scheduler's requests that have begun, before another replica leads.
const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// How long an end waits for entries that are being written. If that takes longer, the lease isn't released, and runs out.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// Runs the extender until it gets SIGTERM or SIGINT, or until something fails that concerns everything. Bookkeepers run on
/// the runtime of `bookkeepers`.
pub async fn serve(options: Options, bookkeepers: runtime::Handle) -> Result<()> {
    let metrics = Metrics::new()?;
    let client = connect_observed(options.kubeconfig.as_deref(), metrics.api.observer()).await?;
    let view = Arc::new(View::default());
    let pods = Arc::new(Pods::default());
    let server_clock = Arc::new(ServerClock::default());
    let (statuses, status_queue) = Statuses::new();
    let (gates, gate_queue) = Gates::new();
    let (events, event_queue) = Events::new(metrics.clone());
    let (requeue, to_requeue) = unbounded_channel();
    let leadership = match options.replica {
        Some(_) => Leadership::candidate(),
        None => Leadership::alone(),
    };
    let registry = Arc::new(Registry::new(Handles {
        client: client.clone(),
        view: Arc::clone(&view),
        server_clock: Arc::clone(&server_clock),
        pods: Arc::clone(&pods),
        known_blocks: Arc::default(),
        decisions: Arc::new(match options.status_address {
            Some(_) => Decisions::kept(),
            None => Decisions::default(),
        }),
        bookkeepers,
        statuses,
        gates,
        events: events.clone(),
        requeue,
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        defaults: options.defaults.clone(),
        writer: writer_name(),
        measured: options.measured,
        entry_version: privatekube_ledger::ENTRY_VERSION,
        checkpoints: options.checkpoints,
        export: options.export.clone(),
    }));
    let (configured, is_configured) = watch::channel(false);
    let fairness = Arc::new(FairnessOverTime::default());
    let mut listeners = listen(&options, &registry, &fairness, is_configured).await?;
    let mut scheduler_port = listen_to_scheduler(&options, &registry).await?;
    let member = Member::new(&options, &registry);
    let authority = read_authority(&options, &metrics)?;

    // None of these ends but with the process.
    let writers = async {
        tokio::join!(
            Statuses::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                events.clone(),
                leadership.clone(),
                status_queue
            ),
            Gates::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                events.clone(),
                leadership.clone(),
                gate_queue
            ),
            Events::run(client.clone(), event_queue, leadership.clone(), metrics.clone()),
            server_clock.follow(client.clone()),
            async {
                if options.status_address.is_some() {
                    fairness.keep(Arc::clone(&view)).await;
                }
            },
            webhook_configuration::keep(
                client.clone(),
                authority,
                options.webhook_url.clone(),
                leadership.clone(),
                configured
            ),
        )
    };
    let ended = tokio::select! {
        ended = keep_books(&registry, to_requeue) => ended.and(Err(anyhow!("a bookkeeper ended"))),
        _ = writers => Err(anyhow!("the writers ended")),
        ended = listeners.ended() => ended.and(Err(anyhow!("a server ended"))),
        ended = scheduler_port.ended() => ended.and(Err(anyhow!("a server ended"))),
        lost = member.lead() => Err(lost),
        signal = end_signal() => signal,
    };
    info!("ending: requests that have begun are finished");
    member.hand_over(scheduler_port, &listeners).await;
    registry.handles().decisions.end();
    listeners.end().await;
    ended
}

/// This process as one of several, or alone.
struct Member {
    registry: Arc<Registry>,
    election: Option<Arc<Election>>,
    label: Option<Label>,
    drain: Duration,
}

impl Member {
    fn new(options: &Options, registry: &Arc<Registry>) -> Self {
        let handles = registry.handles();
        let replica = options.replica.as_ref();
        let election = replica.map(|replica| {
            Arc::new(Election::new(
                handles.client.clone(),
                replica,
                handles.leadership.clone(),
                handles.metrics.leadership.clone(),
            ))
        });
        if election.is_none() {
            handles.metrics.leadership.leads(true);
        }
        let pod = replica.and_then(|replica| replica.pod.clone());
        let drain = replica.filter(|replica| replica.pod.is_some());
        Self {
            registry: Arc::clone(registry),
            election,
            label: pod.map(|pod| Label::new(handles.client.clone(), pod)),
            drain: drain.map(|replica| replica.drain).unwrap_or_default(),
        }
    }

    /// Stands for election once everything is read, so that a replica which becomes the leader has almost nothing left to read.
    /// Returns only when the lease was lost.
    async fn lead(&self) -> anyhow::Error {
        let Some(election) = &self.election else {
            return std::future::pending().await;
        };
        let handles = self.registry.handles();
        handles.leadership.until_caught_up().await;
        let label = async {
            handles.leadership.until_took_over().await;
            match &self.label {
                Some(label) => label.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Err(lost) = Arc::clone(election).run() => lost.into(),
            () = label => anyhow!("the label isn't kept any more"),
        }
    }

    /// Lets another replica lead, if this one leads: ends what has begun, and then releases the lease. The webhooks are served for
    /// a while still.
    async fn hand_over(&self, scheduler_port: Listeners, listeners: &Listeners) {
        listeners.give_last_answers();
        let leadership = &self.registry.handles().leadership;
        let led = leadership.leads();
        // The scheduler makes another connection, which the Service sends to the next leader.
        if timeout(LAST_REQUESTS, scheduler_port.end()).await.is_err() {
            warn!("requests of the scheduler that had begun are dropped");
        }
        let Some(election) = &self.election else { return };
        let is_done = leadership.end(LAST_ENTRIES).await;
        if led && is_done {
            election.release().await;
        } else if led {
            warn!("an entry is still being written: the lease isn't released, and runs out");
        }
        if let Some(label) = self.label.as_ref().filter(|_| led) {
            label.remove().await;
        }
        sleep(self.drain).await;
    }
}

/// Listens on all ports but the scheduler's, with the same limits for each. Health is served first, and answers while the rest starts.
async fn listen(
    options: &Options,
    registry: &Arc<Registry>,
    fairness: &Arc<FairnessOverTime>,
    webhooks_configured: watch::Receiver<bool>,
) -> Result<Listeners> {
    let handles = registry.handles();
    let (tls, addresses) = (&options.tls_dir, options.addresses);
    let mut listeners = Listeners::new(Limits::default());
    let health = health::router(
        Arc::clone(&handles.view),
        handles.leadership.clone(),
        webhooks_configured,
        handles.metrics.clone(),
    );
    listeners
        .serve_apart("health and metrics", addresses.health, health)
        .await?;
    if let Some(at) = options.status_address {
        let page = status_page::router(Arc::clone(registry), Arc::clone(fairness));
        let limits = status_page::limits();
        listeners
            .serve_apart_within(limits, "the status page", at, page)
            .await?;
    }
    let webhooks = admission::router(Admission {
        registry: Arc::clone(registry),
        schedulers: options.schedulers.clone().into(),
        user: options.user.clone().into(),
        limiter: Arc::new(ClaimLimiter::new(options.claim_limits)),
        templates: Arc::new(PodTemplates::new(&options.pod_templates)),
    });
    let at = addresses.webhook;
    listeners
        .serve_tls("webhooks", at, tls, Clients::Anyone, webhooks)
        .await?;
    Ok(listeners)
}

/// Listens on the scheduler's port, which ends before the others.
async fn listen_to_scheduler(options: &Options, registry: &Arc<Registry>) -> Result<Listeners> {
    let mut listeners = Listeners::new(Limits::default());
    let (router, at) = (
        scheduler::router(Arc::clone(registry)),
        options.addresses.scheduler,
    );
    let tls = &options.tls_dir;
    listeners
        .serve_tls("the scheduler", at, tls, Clients::Authenticated, router)
        .await?;
    Ok(listeners)
}

/// Reads the certificate authority, and looks at the certificates.
fn read_authority(options: &Options, metrics: &Metrics) -> Result<String> {
    let authority = certificates::authority(&options.tls_dir)?;
    metrics.certificates.measure(&options.tls_dir);
    if options.webhook_url.is_none()
        && let Err(error) = certificates::check_webhook_name(&options.tls_dir)
    {
        error!("{error:#}");
    }
    Ok(authority)
}

/// Reads every ledger, follows all objects, and runs the bookkeepers until one fails.
pub(crate) async fn keep_books(
    registry: &Arc<Registry>,
    to_requeue: UnboundedReceiver<Option<DatasetKey>>,
) -> Result<()> {
    let handles = registry.handles();
    let datasets = datasets_with_ledger(&handles.client, None).await;
    registry
        .open(datasets.context("list the ledgers' entries")?)
        .await?;
    let began = Instant::now();
    let (blocks, blocks_sent) = oneshot::channel();
    let (all, all_sent) = oneshot::channel();
    let completed = async {
        blocks_sent.await?;
        registry.flush().await;
        handles.view.set_read();
        handles.metrics.ready.set(1);
        handles.leadership.caught_up();
        info!(
            took = ?began.elapsed(),
            "the ledgers, datasets and blocks have been read: claims that are in a ledger are known"
        );
        all_sent.await?;
        registry.send_all(|| Message::AllListed);
        registry.flush().await;
        handles.view.set_complete();
        controllers::check_all_pods(registry);
        info!(took = ?began.elapsed(), "all claim objects and pods have been read");
        Ok::<_, anyhow::Error>(())
    };
    let taking_over = async {
        if !handles.leadership.is_elected() {
            return;
        }
        handles.leadership.until_leading().await;
        let began = Instant::now();
        registry.lead().await;
        handles.leadership.took_over();
        info!(took = ?began.elapsed(), "the ledgers are written and the scheduler is answered by this process");
    };
    tokio::select! {
        ended = registry.run() => ended.map_err(anyhow::Error::from),
        ((), completed) = async {
            tokio::join!(
                controllers::run(Arc::clone(registry), Sent { blocks, all }, to_requeue),
                async { tokio::join!(completed, taking_over).0 }
            )
        } => completed,
    }
}

/// Waits for SIGTERM or SIGINT.
async fn end_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// This process's name in ledger entries: its pod or machine, its process id, and when it started.
fn writer_name() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "extender".into());
    format!("{host}/{}/{}", std::process::id(), clock::now().micros())
}
