//! [`Bench`]: the cluster of one side, and what is measured on it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, PodTemplate};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use privatekube_cluster::{Cluster, Config, Extender};
use tokio::time::sleep;

use crate::extender_metrics::ExtenderMetrics;
use crate::figures::Figures;
use crate::processes::{Memory, Parts, cpu_seconds};
use crate::progress;
use crate::prometheus_text::sum;
use crate::requests::Requests;
use crate::side::Side;

/// A cluster is quiet when nothing waits in its extender's queues and next to nothing was stored in this many samples.
/// Processor time would say more, but what an idle API server uses differs between machines, and from minute to minute
/// on one that is shared.
const QUIET_SAMPLES: usize = 8;
const SAMPLE: Duration = Duration::from_millis(250);
/// What is stored in [`QUIET_SAMPLES`] samples of an idle cluster: the API server, the controller manager, the scheduler
/// and the extender each renew a lease, two of them every two seconds.
const QUIET_REVISIONS: u64 = 5;
/// The longest wait until a cluster is quiet. What isn't quiet then is measured all the same, and said.
const QUIET_TIMEOUT: Duration = Duration::from_secs(600);

/// A running cluster of one side.
pub(crate) struct Bench {
    side: Side,
    cluster: Cluster,
    extender: Option<Extender>,
    parts: Parts,
    namespaces: AtomicU32,
    /// The administrator's client.
    pub(crate) client: Client,
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    api_server: f64,
    etcd: f64,
    scheduler: f64,
    controller_manager: f64,
    extender: f64,
}

/// The state of a bench at the beginning of a measurement.
pub(crate) struct Window {
    cpu: Cpu,
    requests: Requests,
    extender: ExtenderMetrics,
}

/// What was spent since the beginning of a measurement.
pub(crate) struct Spent {
    /// Until the measurement's end.
    at_end: Cpu,
    /// Until the cluster was quiet after it.
    at_quiet: Cpu,
    pub(crate) requests: Requests,
    before: ExtenderMetrics,
    after: ExtenderMetrics,
}

impl Bench {
    /// Starts a cluster, and PrivateKube in it as the side says.
    pub(crate) async fn start(side: Side, nodes: u16) -> Result<Self> {
        progress(&format!("{}: starting a cluster", side.name));
        let name = side.name.clone();
        Self::try_start(side, nodes)
            .await
            .with_context(|| format!("can't start side {name}"))
    }

    async fn try_start(side: Side, nodes: u16) -> Result<Self> {
        let cluster = Cluster::start(Config {
            nodes: nodes.into(),
            extender: side.installed,
            extender_bin: side.extender.clone(),
            ..Config::default()
        })
        .await?;
        let parts = Parts::of(cluster.description().pid)?;
        let client = cluster.client().await?;
        let mut bench = Self {
            side,
            cluster,
            extender: None,
            parts,
            namespaces: AtomicU32::new(0),
            client,
        };
        if bench.side.installed {
            bench.install().await?;
        }
        Ok(bench)
    }

    /// As [`Self::start`], without PrivateKube, which [`Self::install_and_start`] installs later.
    pub(crate) async fn start_uninstalled(side: Side, nodes: u16) -> Result<Self> {
        let installed = side.installed;
        let mut bench = Self::start(
            Side {
                installed: false,
                ..side
            },
            nodes,
        )
        .await?;
        bench.side.installed = installed;
        Ok(bench)
    }

    /// Installs the definitions of the custom resources alone: nothing checks the objects that are created then.
    pub(crate) async fn install_kinds(&self) -> Result<()> {
        let kinds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/crds");
        self.cluster.install(&kinds).await
    }

    /// Installs PrivateKube and returns the seconds from its start until it was ready.
    pub(crate) async fn install_and_start(&mut self) -> Result<f64> {
        self.install_manifests().await?;
        self.restart_extender().await
    }

    async fn install_manifests(&self) -> Result<()> {
        let of_workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/base");
        let manifests = self.side.manifests.clone().unwrap_or_else(of_workspace);
        self.cluster.install(&manifests).await
    }

    async fn install(&mut self) -> Result<()> {
        self.install_manifests().await?;
        let extender = self.cluster.start_extender().await?;
        if self.side.runs {
            self.extender = Some(extender);
        } else {
            extender.stop().await?;
        }
        for object in &self.side.omitted {
            self.cluster.kubectl(["delete", object]).await?;
        }
        Ok(())
    }

    /// The side's name.
    pub(crate) fn name(&self) -> &str {
        &self.side.name
    }

    /// Whether PrivateKube's extender runs.
    pub(crate) fn has_extender(&self) -> bool {
        self.extender.is_some()
    }

    /// Creates a new namespace and returns its name.
    pub(crate) async fn new_namespace(&self) -> Result<String> {
        let name = format!("load-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("can't create the namespace {name}"))?;
        Ok(name)
    }

    /// Begins a measurement, once the cluster is quiet.
    pub(crate) async fn begin(&self) -> Result<Window> {
        let requests = self.requests().await?;
        let extender = self.extender_metrics().await?;
        // To print its metrics costs the API server a moment of processor time, which isn't measured.
        self.wait_until_quiet().await?;
        Ok(Window {
            cpu: self.cpu()?,
            requests,
            extender,
        })
    }

    /// Ends a measurement, and waits until the cluster is quiet.
    pub(crate) async fn end(&self, window: Window) -> Result<Spent> {
        let at_end = self.cpu()?.since(window.cpu);
        let at_quiet = self.wait_until_quiet().await?.since(window.cpu);
        Ok(Spent {
            at_end,
            at_quiet,
            requests: self.requests().await?.since(&window.requests),
            before: window.extender,
            after: self.extender_metrics().await?,
        })
    }

    /// Waits until the cluster is quiet, and returns the processor time that all had used one sample after the last
    /// write: what a write leaves to do, such as events for those who watch, is done by then.
    pub(crate) async fn wait_until_quiet(&self) -> Result<Cpu> {
        let begun = Instant::now();
        let mut samples = VecDeque::new();
        loop {
            let sample = (self.cpu()?, self.revision().await?);
            samples.push_back(sample);
            if let Some(&(_, earlier)) = samples.iter().rev().nth(QUIET_SAMPLES) {
                samples.pop_front();
                let written = sample.1.saturating_sub(earlier);
                if written <= QUIET_REVISIONS && self.extender_metrics().await?.queued() == 0.0 {
                    return Ok(samples[0].0);
                }
            }
            if begun.elapsed() > QUIET_TIMEOUT {
                progress(&format!("{}: not quiet within {QUIET_TIMEOUT:?}", self.name()));
                return Ok(sample.0);
            }
            sleep(SAMPLE).await;
        }
    }

    /// The revision of what is stored, which every write increments.
    async fn revision(&self) -> Result<u64> {
        let first = ListParams::default().limit(1);
        let list = Api::<PodTemplate>::all(self.client.clone())
            .list_metadata(&first)
            .await;
        let version = list
            .context("can't list pod templates")?
            .metadata
            .resource_version;
        version
            .as_deref()
            .and_then(|version| version.parse().ok())
            .with_context(|| format!("the API server calls its revision {version:?}, which is no number"))
    }

    /// Ends the extender by SIGTERM and starts it again. Returns the seconds from its start until it was ready.
    pub(crate) async fn restart_extender(&mut self) -> Result<f64> {
        if let Some(extender) = self.extender.take() {
            extender.stop().await?;
        }
        let begun = Instant::now();
        self.extender = Some(self.cluster.start_extender().await?);
        Ok(begun.elapsed().as_secs_f64())
    }

    /// The extender's memory; `None` without an extender.
    pub(crate) fn extender_memory(&self) -> Result<Option<Memory>> {
        let pid = self.extender.as_ref().map(Extender::pid);
        pid.map(Memory::of).transpose()
    }

    /// The API server's memory.
    pub(crate) fn api_server_memory(&self) -> Result<Memory> {
        Memory::of(self.parts.api_server)
    }

    pub(crate) async fn requests(&self) -> Result<Requests> {
        Ok(Requests::read(&self.api_server_metrics().await?))
    }

    /// The size of etcd's file, in MiB. It never shrinks, and what was removed leaves room in it.
    pub(crate) async fn stored_mib(&self) -> Result<f64> {
        let bytes = sum(&self.api_server_metrics().await?, "apiserver_storage_size_bytes");
        Ok(bytes / f64::from(1 << 20))
    }

    async fn api_server_metrics(&self) -> Result<String> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        self.client
            .request_text(request)
            .await
            .context("can't read the API server's metrics")
    }

    async fn extender_metrics(&self) -> Result<ExtenderMetrics> {
        if !self.has_extender() {
            return Ok(ExtenderMetrics::default());
        }
        ExtenderMetrics::read(self.cluster.description().extender_ports.health)
            .await
            .context("can't read the extender's metrics")
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let extender = self.extender.as_ref().map(|extender| cpu_seconds(extender.pid()));
        Ok(Cpu {
            api_server: cpu_seconds(self.parts.api_server)?,
            etcd: cpu_seconds(self.parts.etcd)?,
            scheduler: cpu_seconds(self.parts.scheduler)?,
            controller_manager: cpu_seconds(self.parts.controller_manager)?,
            extender: extender.transpose()?.unwrap_or_default(),
        })
    }

    /// Ends the extender and the cluster.
    pub(crate) async fn stop(self) -> Result<()> {
        if let Some(extender) = self.extender {
            extender.kill().await?;
        }
        self.cluster.stop().await
    }
}

impl Cpu {
    /// The API server's seconds.
    pub(crate) fn api_server(self) -> f64 {
        self.api_server
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            api_server: self.api_server - before.api_server,
            etcd: self.etcd - before.etcd,
            scheduler: self.scheduler - before.scheduler,
            controller_manager: self.controller_manager - before.controller_manager,
            extender: self.extender - before.extender,
        }
    }

    /// Adds each part's time, multiplied, as `PART CPU, UNIT`.
    pub(crate) fn add_to(self, figures: &mut Figures, factor: f64, unit: &str) {
        let all = [
            ("API server", self.api_server),
            ("etcd", self.etcd),
            ("scheduler", self.scheduler),
            ("controller manager", self.controller_manager),
            ("extender", self.extender),
        ];
        for (part, seconds) in all {
            figures.add(format!("{part} CPU, {unit}"), seconds * factor);
        }
    }
}

impl Spent {
    /// Adds what was spent, divided by the number of items that it was spent on.
    pub(crate) fn add_to(&self, figures: &mut Figures, item: &str, count: f64) {
        figures.add(
            format!("API server CPU until the last, ms per {item}"),
            self.at_end.api_server * 1000.0 / count,
        );
        self.at_quiet
            .add_to(figures, 1000.0 / count, &format!("ms per {item}"));
        for verb in ["filter", "bind"] {
            let durations = self.after.durations(verb);
            if let Some(durations) = durations.since(&self.before.durations(verb)) {
                figures.add(format!("{verb}, mean ms"), durations.mean_ms());
                figures.add(format!("{verb}, 99 of 100 within ms"), durations.p99_ms());
            }
        }
        figures.add(format!("writes per {item}"), self.requests.writes() / count);
        figures.add(
            format!("extender's writes of statuses, claims, gates and Events per {item}"),
            (self.after.writes() - self.before.writes()) / count,
        );
        figures.add("ledger entries", self.requests.count("POST privacyledgerentries"));
        figures.add("lists", self.requests.lists());
        for (request, times) in self.requests.iter() {
            figures.add(format!("{request} per {item}"), times / count);
        }
    }
}
