//! The extender as one process: everything is put together here, and nothing is decided.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, anyhow};
use kube::{
    Api, Client,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_api::{DatasetKey, LABEL_DATASET, PrivacyLedgerEntry};
use privatekube_policy::DatasetRules;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};
use tracing::info;

use crate::{
    admission::{self, Admission},
    bookkeeper::{Desk, Message},
    certificates::{self, Clients},
    client, clock, controllers,
    metrics::Metrics,
    pods::Pods,
    registry::Registry,
    scheduler,
    servers::{self, Addresses, Servers},
    view::View,
    webhooks,
    writers::{Announcer, Gates, Statuses},
};

/// What the extender is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// A kubeconfig; none for the one of the environment or of the cluster that it runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The directory with the certificates.
    pub tls_dir: PathBuf,
    /// Where it listens.
    pub addresses: Addresses,
    /// Where the API server reaches the webhooks, in place of the Service.
    pub webhook_url: Option<String>,
    /// Schedulers that call it.
    pub schedulers: Vec<String>,
    /// The user that it is for the API server.
    pub user: String,
    /// The rules of datasets that have no object.
    pub defaults: DatasetRules,
    /// Blocks of a dataset that have metrics of their own, at most.
    pub most_blocks_measured: usize,
}

/// Entries listed at once to find which ledgers exist.
const PAGE: u32 = 500;

/// Serves until it is told to end.
pub async fn serve(options: Options) -> Result<()> {
    let client = client(&options).await?;
    let metrics = Metrics::new()?;
    let view = Arc::new(View::default());
    let pods = Arc::new(Pods::default());
    let (statuses, status_marks) = Statuses::new();
    let (gates, gate_marks) = Gates::new();
    let (announcer, inbox) = Announcer::new();
    let desk = Desk {
        client: client.clone(),
        view: Arc::clone(&view),
        pods: Arc::clone(&pods),
        statuses,
        gates,
        announcer: announcer.clone(),
        metrics: metrics.clone(),
        defaults: options.defaults.clone(),
        writer: writer(),
        most_blocks_measured: options.most_blocks_measured,
    };
    let registry = Arc::new(Registry::new(desk));
    let (webhooks_right, webhooks_are_right) = watch::channel(false);

    let mut servers = Servers::new();
    let admission = Admission {
        registry: Arc::clone(&registry),
        schedulers: options.schedulers.clone().into(),
        user: options.user.clone().into(),
    };
    let (tls, addresses) = (&options.tls_dir, options.addresses);
    let health = servers::health(Arc::clone(&view), webhooks_are_right, metrics.clone());
    servers
        .serve_plain("health and metrics", addresses.health, health)
        .await?;
    let scheduler = scheduler::router(Arc::clone(&registry));
    servers
        .serve_tls(
            "the scheduler",
            addresses.scheduler,
            tls,
            Clients::Proven,
            scheduler,
        )
        .await?;
    let webhooks = admission::router(admission);
    servers
        .serve_tls("webhooks", addresses.webhook, tls, Clients::Anyone, webhooks)
        .await?;
    let authority = certificates::authority(tls)?;

    // None of these ends but with the process.
    let writers = async {
        tokio::join!(
            Statuses::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                announcer.clone(),
                status_marks
            ),
            Gates::run(
                client.clone(),
                Arc::clone(&pods),
                Arc::clone(&view),
                metrics.clone(),
                gate_marks
            ),
            Announcer::run(client.clone(), inbox, metrics.clone()),
            webhooks::keep(
                client.clone(),
                authority,
                options.webhook_url.clone(),
                webhooks_right
            ),
        )
    };
    let work = keep_books(&registry);
    let ended = tokio::select! {
        ended = work => ended.and(Err(anyhow!("a bookkeeper ended"))),
        _ = writers => Err(anyhow!("the writers ended")),
        ended = servers.ended() => ended.and(Err(anyhow!("a server ended"))),
        signal = told_to_end() => signal,
    };
    info!("ending: requests that have begun are finished");
    servers.end().await;
    ended
}

/// Reads every ledger, follows what exists, and keeps the books until something can't go on.
async fn keep_books(registry: &Arc<Registry>) -> Result<()> {
    registry.open(ledgers(&registry.desk().client).await?).await?;
    let (seen, all_seen) = oneshot::channel();
    let completed = async {
        all_seen.await?;
        registry.send_all(|| Message::AllSeen);
        registry.flush().await;
        registry.desk().view.set_complete();
        registry.desk().metrics.ready.set(1);
        controllers::look_at_all(registry);
        info!("everything that is committed has been read");
        Ok::<_, anyhow::Error>(())
    };
    tokio::select! {
        ended = registry.run() => ended.map_err(anyhow::Error::from),
        ((), completed) = async { tokio::join!(controllers::run(Arc::clone(registry), seen), completed) } => completed,
    }
}

async fn told_to_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn client(options: &Options) -> Result<Client> {
    let config = match &options.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("read the kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use the kubeconfig {}", path.display()))?
        }
        None => kube::Config::infer()
            .await
            .context("find a kubeconfig, or the cluster that this runs in")?,
    };
    client::patient(config).context("make a client of the API server")
}

/// Who writes, for the ledger: which pod or machine, and when it started.
fn writer() -> String {
    let host = std::env::var("POD_NAME")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_else(|_| "extender".into());
    format!("{host}/{}/{}", std::process::id(), clock::now().micros())
}

/// The datasets that have a ledger.
async fn ledgers(client: &Client) -> Result<Vec<DatasetKey>> {
    let api: Api<PrivacyLedgerEntry> = Api::all(client.clone());
    let mut datasets = std::collections::BTreeSet::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api
            .list_metadata(&params)
            .await
            .context("list the ledgers' entries")?;
        for entry in page.items {
            let labels = entry.metadata.labels.unwrap_or_default();
            if let (Some(namespace), Some(name)) = (entry.metadata.namespace, labels.get(LABEL_DATASET)) {
                datasets.insert(DatasetKey {
                    namespace,
                    name: name.clone(),
                });
            }
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(datasets.into_iter().collect()),
        }
    }
}
