//! The owner of a cluster's processes: starts the parts in order, waits until each is ready, ends them in the opposite
//! order, and tells when one ends that nobody asked to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::certificates::Certificates;
use crate::config::Config;
use crate::control::Request;
use crate::description::Description;
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::ports::Ports;
use crate::process::Process;
use crate::scheduler_config::SchedulerConfig;
use crate::users::{self, User};
use crate::{binaries, extender, http_client, kubelet, nodes, part, tie};

/// Machines that build at the same time are slow; one that takes longer than this is stuck.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// An API server whose watches are open takes its time to end, and etcd can't refuse to.
const END_PATIENCE: Duration = Duration::from_secs(3);
/// The program of this process, even after the file was replaced by a newer build.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// One cluster.
pub(crate) struct Owner {
    config: Config,
    layout: Layout,
    bin_dir: PathBuf,
    extender_bin: Option<PathBuf>,
    ports: Ports,
    certificates: Certificates,
    node_names: Vec<String>,
    parts: Mutex<BTreeMap<Part, Running>>,
    kubelet: Mutex<Option<JoinHandle<()>>>,
    failures: mpsc::UnboundedSender<PartFailure>,
    begun: Instant,
}

struct Running {
    process: Process,
    /// Set before the part is ended on purpose.
    may_end: Arc<AtomicBool>,
}

impl Owner {
    /// Prepares a cluster's files. `failures` hears of each part that ends by itself.
    pub(crate) fn prepare(
        config: &Config,
        layout: &Layout,
        failures: mpsc::UnboundedSender<PartFailure>,
    ) -> Result<Self> {
        let bin_dir = binaries::bin_dir(config.bin_dir.as_deref())?;
        binaries::check(&bin_dir)?;
        let extender_bin = if config.calls_extender() {
            Some(binaries::extender(config.extender_bin.as_deref())?)
        } else {
            None
        };
        let ports = Ports::choose()?;
        let certificates = Certificates::ensure(&layout.certificates())?;
        users::write_credentials(layout, &api_server_url(&ports), &certificates.authority_pem()?)?;
        Ok(Self {
            config: config.clone(),
            layout: layout.clone(),
            bin_dir,
            extender_bin,
            ports,
            certificates,
            node_names: nodes::names(config.nodes),
            parts: Mutex::default(),
            kubelet: Mutex::default(),
            failures,
            begun: Instant::now(),
        })
    }

    /// Starts everything; returns when all is ready.
    pub(crate) async fn start(&self) -> Result<Description> {
        if let Some(extender) = &self.extender_bin {
            extender::ensure_certificates(Path::new(THIS_PROGRAM), extender, &self.layout.tls()).await?;
        }
        self.start_part(Part::Etcd).await?;
        self.start_part(Part::KubeApiserver).await?;
        let client = self.admin().await?;
        let scheduler = async {
            // Both need the API server only, so they start side by side.
            self.start_part(Part::KubeControllerManager).await?;
            self.start_part(Part::KubeScheduler).await
        };
        tokio::try_join!(scheduler, self.furnish(&client))?;
        if self.config.with_privatekube {
            self.install_privatekube().await?;
        }
        let description = self.describe();
        let text = serde_json::to_string_pretty(&description)?;
        users::write_private(&self.layout.description(), &text)?;
        Ok(description)
    }

    /// What a cluster has before anyone uses it: nodes, a kubelet, users' rights.
    async fn furnish(&self, client: &Client) -> Result<()> {
        nodes::register(client, &self.node_names).await?;
        let names = self.node_names.iter().cloned().collect();
        let kubelet = tokio::spawn(kubelet::run(client.clone(), names));
        *self.kubelet.lock().unwrap_or_else(PoisonError::into_inner) = Some(kubelet);
        bind(client, User::Tenant, "edit").await?;
        bind(client, User::SecondScheduler, "system:kube-scheduler").await?;
        bind(client, User::SecondScheduler, "system:volume-scheduler").await?;
        // The controller manager puts the role together from others.
        let edit = await_condition(
            Api::<ClusterRole>::all(client.clone()),
            "edit",
            |role: Option<&ClusterRole>| {
                role.and_then(|role| role.rules.as_ref())
                    .is_some_and(|rules| !rules.is_empty())
            },
        );
        self.within(Part::KubeControllerManager, edit).await??;
        let namespace = await_condition(
            Api::<Namespace>::all(client.clone()),
            "default",
            |namespace: Option<&Namespace>| namespace.is_some(),
        );
        self.within(Part::KubeApiserver, namespace).await??;
        tracing::info!("{} nodes are ready", self.node_names.len());
        Ok(())
    }

    async fn install_privatekube(&self) -> Result<()> {
        let manifests = match &self.config.manifests {
            Some(manifests) => manifests.clone(),
            None => binaries::workspace_root()
                .context("name the manifests with --manifests")?
                .join("manifests/base"),
        };
        self.kubectl().install(&manifests).await?;
        tracing::info!("{} is applied", manifests.display());
        self.start_part(Part::Extender).await
    }

    /// Starts a part that isn't running, and waits until it is ready.
    pub(crate) async fn start_part(&self, part: Part) -> Result<()> {
        match part {
            Part::Etcd => {
                self.spawn(part, part::etcd(&self.layout, &self.ports, self.config.durable))?;
                self.within(part, http_client::until_plain_ready(self.ports.etcd, "/health"))
                    .await?;
            }
            Part::KubeApiserver => {
                self.spawn(
                    part,
                    part::api_server(&self.layout, &self.ports, &self.certificates),
                )?;
                let client = self.admin().await?;
                self.within(part, http_client::until_ready(&client, "/readyz"))
                    .await?;
            }
            Part::KubeControllerManager => {
                // It serves nothing; its work is what is waited for.
                self.spawn(part, part::controller_manager(&self.layout, &self.certificates))?;
                return Ok(());
            }
            Part::KubeScheduler => return self.start_scheduler(self.config.calls_extender()).await,
            Part::SecondScheduler => bail!("a second scheduler is started by its name"),
            Part::Extender => {
                let ports = self.ports.extender;
                self.spawn(
                    part,
                    extender::serve_arguments(&self.layout, ports, ports.webhook),
                )?;
                self.within(part, extender::until_ready(self.ports.extender))
                    .await?;
            }
        }
        tracing::info!("{part} is ready");
        Ok(())
    }

    /// Starts the default scheduler, with or without the extender.
    async fn start_scheduler(&self, calls_extender: bool) -> Result<()> {
        let part = Part::KubeScheduler;
        let tls = self.layout.tls();
        if calls_extender && !tls.join("ca.crt").exists() {
            bail!("the cluster was started without the extender's certificates");
        }
        let kubeconfig = self.layout.kubeconfig(User::Scheduler);
        let config = SchedulerConfig {
            kubeconfig: &kubeconfig,
            name: None,
            extender: calls_extender.then_some((self.ports.extender.scheduler, tls.as_path())),
        };
        self.run_scheduler(part, &config, &kubeconfig, self.ports.scheduler)
            .await
    }

    /// Starts a scheduler for the pods that name it.
    async fn start_second_scheduler(&self, name: &str) -> Result<()> {
        let kubeconfig = self.layout.kubeconfig(User::SecondScheduler);
        let config = SchedulerConfig {
            kubeconfig: &kubeconfig,
            name: Some(name),
            extender: None,
        };
        // Its own user may schedule and no more; to check who reads its metrics takes more than that.
        let authentication = self.layout.kubeconfig(User::Admin);
        self.run_scheduler(
            Part::SecondScheduler,
            &config,
            &authentication,
            self.ports.second_scheduler,
        )
        .await
    }

    async fn run_scheduler(
        &self,
        part: Part,
        config: &SchedulerConfig<'_>,
        authentication: &Path,
        serving_port: u16,
    ) -> Result<()> {
        let file = self.layout.scheduler_config(part);
        users::write_private(&file, &serde_json::to_string_pretty(&config.render())?)?;
        self.spawn(
            part,
            part::scheduler(
                &self.layout,
                &self.certificates,
                &file,
                authentication,
                serving_port,
            ),
        )?;
        let url = scheduler_url(serving_port);
        let client = http_client::client(&self.layout.kubeconfig(User::Admin), Some(&url)).await?;
        self.within(part, http_client::until_ready(&client, "/readyz"))
            .await?;
        tracing::info!("{part} is ready");
        Ok(())
    }

    /// Does what the cluster's caller asks.
    pub(crate) async fn handle(&self, request: Request) -> Result<()> {
        match request {
            Request::Stop(part) => self.end_part(part, END_PATIENCE).await,
            Request::Kill(part) => self.end_part(part, Duration::ZERO).await,
            Request::Start(part) => self.start_part(part).await,
            Request::StartScheduler { extender } => self.start_scheduler(extender).await,
            Request::StartSecondScheduler { name } => self.start_second_scheduler(&name).await,
        }
    }

    fn spawn(&self, part: Part, arguments: Vec<OsString>) -> Result<()> {
        let mut parts = self.parts();
        if parts.contains_key(&part) {
            bail!("{part} is running already");
        }
        let program = match (part, &self.extender_bin) {
            (Part::Extender, Some(program)) => program.clone(),
            (Part::Extender, None) => bail!("the cluster was started without the extender"),
            _ => self.bin_dir.join(part.program()),
        };
        let log = self.layout.log(part);
        let out = Layout::open_log(&log)?;
        let mut command = tie::tied(Path::new(THIS_PROGRAM), &program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("can't share a log")?)
            .stdout(out)
            // A terminal's interrupt is for the owner, who ends its parts in order.
            .process_group(0);
        let process = Process::start(command).with_context(|| format!("can't start {part}"))?;
        let may_end = Arc::new(AtomicBool::new(false));
        tokio::spawn({
            let (process, may_end, failures) = (process.clone(), Arc::clone(&may_end), self.failures.clone());
            async move {
                let status = extender::shown(process.ended().await);
                if !may_end.load(Ordering::SeqCst) {
                    let _ = failures.send(PartFailure::new(
                        format!("{part} ended unexpectedly ({status})"),
                        &log,
                    ));
                }
            }
        });
        parts.insert(part, Running { process, may_end });
        Ok(())
    }

    /// Gives a part's answer some time.
    async fn within<T>(&self, part: Part, answer: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout(READY_TIMEOUT, answer).await.map_err(|_| {
            PartFailure::new(
                format!("{part} is not ready after {READY_TIMEOUT:?}"),
                &self.layout.log(part),
            )
            .into()
        })
    }

    async fn end_part(&self, part: Part, patience: Duration) -> Result<()> {
        let Some(running) = self.parts().remove(&part) else {
            bail!("{part} is not running")
        };
        running.may_end.store(true, Ordering::SeqCst);
        running
            .process
            .end(patience)
            .await
            .with_context(|| format!("can't end {part}"))
    }

    /// Ends everything; at once and by force when nothing of it is kept.
    pub(crate) async fn end(&self, by_force: bool) {
        if let Some(kubelet) = self.kubelet.lock().unwrap_or_else(PoisonError::into_inner).take() {
            kubelet.abort();
        }
        let parts = std::mem::take(&mut *self.parts());
        for running in parts.values() {
            running.may_end.store(true, Ordering::SeqCst);
        }
        if by_force {
            for running in parts.values() {
                // An error means that there is nothing left to end.
                let _ = running.process.signal(rustix::process::Signal::KILL);
            }
        }
        for (part, running) in parts.iter().rev() {
            let patience = if by_force { Duration::ZERO } else { END_PATIENCE };
            if let Err(error) = running.process.end(patience).await {
                tracing::warn!("{part}: {error:#}");
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Part, Running>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admin(&self) -> Result<Client> {
        http_client::client(&self.layout.kubeconfig(User::Admin), None).await
    }

    fn kubectl(&self) -> Kubectl {
        Kubectl::new(Path::new(THIS_PROGRAM), &self.bin_dir, &self.layout)
    }

    fn describe(&self) -> Description {
        Description {
            dir: self.layout.dir().to_owned(),
            kubeconfig: self.layout.kubeconfig(User::Admin),
            api_server: api_server_url(&self.ports),
            scheduler_port: self.ports.scheduler,
            second_scheduler_port: self.ports.second_scheduler,
            extender_ports: self.ports.extender,
            tls_dir: self.layout.tls(),
            bin_dir: self.bin_dir.clone(),
            nodes: self.node_names.clone(),
            pid: std::process::id(),
            seconds_to_ready: self.begun.elapsed().as_secs_f64(),
        }
    }
}

fn api_server_url(ports: &Ports) -> String {
    format!("https://127.0.0.1:{}", ports.api_server)
}

/// Where a scheduler serves health and metrics.
pub(crate) fn scheduler_url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

/// Gives a user a role in the whole cluster.
async fn bind(client: &Client, user: User, role: &str) -> Result<()> {
    let name = format!("privatekube-cluster:{}:{role}", user.name());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name()}],
    });
    Api::<ClusterRoleBinding>::all(client.clone())
        .patch(
            &name,
            &PatchParams::apply("privatekube-cluster").force(),
            &Patch::Apply(&binding),
        )
        .await
        .with_context(|| format!("can't give {} the role {role}", user.name()))?;
    Ok(())
}
