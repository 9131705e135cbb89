//! The extender as one process: puts all parts together, runs them, and ends in good order. Nothing is decided here.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

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
};
use tracing::info;

use crate::{
    admission::{self, Admission, ClaimLimiter, ClaimLimits, PodTemplate, PodTemplates},
    bookkeeper::CheckpointSettings,
    bookkeeper::Message,
    certificates::{self, Clients},
    clock, controllers,
    handles::{Handles, MeasuredBlocks},
    health,
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
}

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
        metrics: metrics.clone(),
        defaults: options.defaults.clone(),
        writer: writer_name(),
        measured: options.measured,
        checkpoints: options.checkpoints,
    }));
    let (configured, is_configured) = watch::channel(false);
    let fairness = Arc::new(FairnessOverTime::default());
    let mut listeners = listen(&options, &registry, &fairness, is_configured).await?;
    let authority = certificates::authority(&options.tls_dir)?;
    metrics.certificates.measure(&options.tls_dir);

    // None of these ends but with the process.
    let writers = async {
        tokio::join!(
            Statuses::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                events.clone(),
                status_queue
            ),
            Gates::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                events.clone(),
                gate_queue
            ),
            Events::run(client.clone(), event_queue, metrics.clone()),
            server_clock.follow(client.clone()),
            async {
                if options.status_address.is_some() {
                    fairness.keep(Arc::clone(&view)).await;
                }
            },
            webhook_configuration::keep(client.clone(), authority, options.webhook_url.clone(), configured),
        )
    };
    let ended = tokio::select! {
        ended = keep_books(&registry, to_requeue) => ended.and(Err(anyhow!("a bookkeeper ended"))),
        _ = writers => Err(anyhow!("the writers ended")),
        ended = listeners.ended() => ended.and(Err(anyhow!("a server ended"))),
        signal = end_signal() => signal,
    };
    registry.handles().decisions.end();
    info!("ending: requests that have begun are finished");
    listeners.end().await;
    ended
}

/// Listens on all ports, with the same limits for each. Health is served first, and answers while the rest starts.
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
    let scheduler = scheduler::router(Arc::clone(registry));
    let at = addresses.scheduler;
    listeners
        .serve_tls("the scheduler", at, tls, Clients::Authenticated, scheduler)
        .await?;
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

/// Reads every ledger, follows all objects, and runs the bookkeepers until one fails.
pub(crate) async fn keep_books(
    registry: &Arc<Registry>,
    to_requeue: UnboundedReceiver<DatasetKey>,
) -> Result<()> {
    let handles = registry.handles();
    let datasets = datasets_with_ledger(&handles.client, None).await;
    registry
        .open(datasets.context("list the ledgers' entries")?)
        .await?;
    let (listed, all_listed) = oneshot::channel();
    let completed = async {
        all_listed.await?;
        registry.send_all(|| Message::AllListed);
        registry.flush().await;
        handles.view.set_complete();
        handles.metrics.ready.set(1);
        controllers::check_all_pods(registry);
        info!("everything that is committed has been read");
        Ok::<_, anyhow::Error>(())
    };
    tokio::select! {
        ended = registry.run() => ended.map_err(anyhow::Error::from),
        ((), completed) = async { tokio::join!(controllers::run(Arc::clone(registry), listed, to_requeue), completed) } => completed,
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
