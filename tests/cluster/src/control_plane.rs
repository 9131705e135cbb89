//! [`ControlPlane`]: the parts of a cluster. It starts them in order, waits until each is ready, and creates
//! what a cluster has from its beginning: nodes, a kubelet, and the users' rights.
//!
//! The processes themselves are kept by [`Supervisor`], the parts' command lines are in `part.rs`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
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
use crate::description::Description;
use crate::kubectl::Kubectl;
use crate::kubelet::{KubeletOptions, KubeletServer};
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::ports::Ports;
use crate::protocol::Request;
use crate::real_node::{self, NodeSpec, ready};
use crate::scheduler_config::SchedulerConfig;
use crate::supervisor::{Supervisor, THIS_PROGRAM};
use crate::users::{self, User};
use crate::{binaries, extender, http_client, kubelet, nodes, part, service};

/// A cluster's control plane and its fake nodes.
pub(crate) struct ControlPlane {
    config: Config,
    layout: Layout,
    bin_dir: PathBuf,
    extender_bin: Option<PathBuf>,
    ports: Ports,
    certificates: Certificates,
    node_names: Vec<String>,
    node: Option<NodeSpec>,
    supervisor: Supervisor,
    /// What the nodes and the extender's Service need while the cluster runs.
    background: Mutex<Option<JoinHandle<()>>>,
    begun: Instant,
}

impl ControlPlane {
    /// Writes a cluster's certificates and credentials, and chooses its ports. `failures` receives each part
    /// that ends by itself.
    pub(crate) fn prepare(
        config: &Config,
        layout: &Layout,
        failures: mpsc::UnboundedSender<(Part, PartFailure)>,
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
        let node = match &config.real_node {
            Some(options) => Some(NodeSpec::of(options, layout, &ports)?),
            None => None,
        };
        if let Some(node) = &node {
            certificates.make_kubelets(node.link.node)?;
        }
        users::write_credentials(layout, &api_server_url(&ports), &certificates.authority_pem()?)?;
        Ok(Self {
            config: config.clone(),
            layout: layout.clone(),
            bin_dir,
            extender_bin,
            ports,
            certificates,
            node_names: match node {
                Some(_) => vec![real_node::NODE_NAME.to_owned()],
                None => nodes::names(config.nodes),
            },
            node,
            supervisor: Supervisor::new(layout, failures),
            background: Mutex::default(),
            begun: Instant::now(),
        })
    }

    /// Starts all parts that the configuration names, and waits until they are ready.
    pub(crate) async fn start(&self) -> Result<Description> {
        if let Some(extender) = &self.extender_bin {
            extender::ensure_certificates(Path::new(THIS_PROGRAM), extender, &self.layout.tls()).await?;
        }
        self.start_part(Part::Etcd).await?;
        self.start_part(Part::KubeApiserver).await?;
        let client = self.admin().await?;
        let scheduler = async {
            // Both need only the API server, so they start at the same time.
            self.start_part(Part::KubeControllerManager).await?;
            self.start_part(Part::KubeScheduler).await
        };
        tokio::try_join!(scheduler, self.create_initial_objects(&client))?;
        if self.config.with_privatekube {
            self.install_privatekube().await?;
        }
        let description = self.describe();
        let text = serde_json::to_string_pretty(&description)?;
        users::write_private(&self.layout.description(), &text)?;
        Ok(description)
    }

    /// Creates what a cluster has from its beginning: nodes, a kubelet, and the users' rights.
    async fn create_initial_objects(&self, client: &Client) -> Result<()> {
        let fake_nodes = if self.node.is_some() {
            self.start_part(Part::Node).await?;
            None
        } else {
            Some(self.create_fake_nodes(client).await?)
        };
        let keeps_service = self.config.with_privatekube;
        let service = service::keep(client.clone(), self.ports.extender);
        let background = tokio::spawn(async move {
            let service = async {
                if keeps_service {
                    service.await;
                }
            };
            let nodes = async {
                if let Some(nodes) = fake_nodes {
                    Box::pin(nodes).await;
                }
            };
            tokio::join!(nodes, service);
        });
        *self.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        bind(client, User::Tenant, "edit").await?;
        bind(client, User::SecondScheduler, "system:kube-scheduler").await?;
        bind(client, User::SecondScheduler, "system:volume-scheduler").await?;
        // The controller manager aggregates the role `edit` from others.
        let edit = await_condition(
            Api::<ClusterRole>::all(client.clone()),
            "edit",
            |role: Option<&ClusterRole>| {
                role.and_then(|role| role.rules.as_ref())
                    .is_some_and(|rules| !rules.is_empty())
            },
        );
        self.supervisor
            .within_ready_timeout(Part::KubeControllerManager, edit)
            .await??;
        let namespace = await_condition(
            Api::<Namespace>::all(client.clone()),
            "default",
            |namespace: Option<&Namespace>| namespace.is_some(),
        );
        self.supervisor
            .within_ready_timeout(Part::KubeApiserver, namespace)
            .await??;
        tracing::info!("{} nodes are ready", self.node_names.len());
        Ok(())
    }

    /// Creates the fake nodes. What it returns keeps them alive, and plays their kubelet, for ever.
    async fn create_fake_nodes(&self, client: &Client) -> Result<impl Future<Output = ()> + Send + use<>> {
        let server = KubeletServer::bind(&self.certificates).await?;
        nodes::register(client, &self.node_names, server.address()?).await?;
        let options = KubeletOptions {
            nodes: self.node_names.iter().cloned().collect(),
            folder: self.layout.pods(),
            pods_end_after: self
                .config
                .pods_end_after
                .map(SignedDuration::try_from)
                .transpose()
                .context("pods_end_after is too long")?,
        };
        let kubelet = kubelet::run(client.clone(), options, server);
        let heartbeats = nodes::keep_alive(client.clone(), self.node_names.clone());
        Ok(async move {
            tokio::join!(kubelet, heartbeats);
        })
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
        service::create(&self.admin().await?, self.ports.extender).await?;
        self.start_part(Part::Extender).await
    }

    /// Starts a part that isn't running, and waits until it is ready.
    pub(crate) async fn start_part(&self, part: Part) -> Result<()> {
        match part {
            Part::Etcd => {
                self.spawn(part, part::etcd(&self.layout, &self.ports, self.config.durable))?;
                self.supervisor
                    .within_ready_timeout(part, http_client::until_plain_ready(self.ports.etcd, "/health"))
                    .await?;
            }
            Part::KubeApiserver => {
                self.spawn(
                    part,
                    part::api_server(&self.layout, &self.ports, &self.certificates, self.node.is_some()),
                )?;
                let client = self.admin().await?;
                self.supervisor
                    .within_ready_timeout(part, http_client::until_ready(&client, "/readyz"))
                    .await?;
            }
            Part::KubeControllerManager => {
                // It serves nothing. Whoever needs its work waits for that.
                self.spawn(part, part::controller_manager(&self.layout, &self.certificates))?;
                return Ok(());
            }
            Part::KubeScheduler => return self.start_scheduler(self.config.calls_extender()).await,
            Part::SecondScheduler => bail!("a second scheduler is started by its name"),
            Part::Extender => {
                self.spawn_extender()?;
                self.supervisor
                    .within_ready_timeout(part, extender::until_leading(self.ports.extender))
                    .await?;
            }
            Part::Node => {
                let node = self.node.as_ref();
                let node = node.context("the cluster was started without a real node")?;
                let client = self.admin().await?;
                let before = ready::last_heartbeat(&client).await?;
                let spec = node.write()?.into_os_string();
                self.spawn(part, vec!["node".into(), "keep".into(), "--spec".into(), spec])?;
                let ready = Box::pin(ready::until_pods_can_run(&client, before.as_ref()));
                self.supervisor.within_ready_timeout(part, ready).await??;
            }
        }
        tracing::info!("{part} is ready");
        Ok(())
    }

    /// Starts the extender without waiting until it is ready. The API server finds it by its Service.
    pub(crate) fn spawn_extender(&self) -> Result<()> {
        let kubeconfig = self.layout.kubeconfig(User::Extender);
        let mut arguments = extender::serve_arguments(&self.layout, &kubeconfig, self.ports.extender, None);
        // Extenders that tests start may be earlier builds, which have no such page.
        let page = format!("127.0.0.1:{}", self.ports.extender.status);
        arguments.extend(["--status-address".into(), page.into()]);
        self.spawn(Part::Extender, arguments)
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

    /// Starts a scheduler, without extender, for the pods whose `schedulerName` is `name`.
    async fn start_second_scheduler(&self, name: &str) -> Result<()> {
        let kubeconfig = self.layout.kubeconfig(User::SecondScheduler);
        let config = SchedulerConfig {
            kubeconfig: &kubeconfig,
            name: Some(name),
            extender: None,
        };
        // To authenticate those who read its metrics takes more rights than its own user has.
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
        self.supervisor
            .within_ready_timeout(part, http_client::until_ready(&client, "/readyz"))
            .await?;
        tracing::info!("{part} is ready");
        Ok(())
    }

    /// Carries out a request of the cluster's caller.
    pub(crate) async fn handle(&self, request: Request) -> Result<()> {
        match request {
            Request::Stop(part) => self.supervisor.stop(part).await,
            Request::Kill(part) => self.supervisor.kill(part).await,
            Request::Start(part) => self.start_part(part).await,
            Request::StartScheduler { extender } => self.start_scheduler(extender).await,
            Request::StartSecondScheduler { name } => self.start_second_scheduler(&name).await,
        }
    }

    fn spawn(&self, part: Part, arguments: Vec<OsString>) -> Result<()> {
        let program = match (part, &self.extender_bin) {
            (Part::Extender, Some(program)) => program.clone(),
            (Part::Extender, None) => bail!("the cluster was started without the extender"),
            (Part::Node, _) => PathBuf::from(THIS_PROGRAM),
            _ => self.bin_dir.join(part.program()),
        };
        self.supervisor.start(part, &program, arguments)
    }

    /// Ends everything: in order, or, `by_force`, all at once by SIGKILL.
    pub(crate) async fn end(&self, by_force: bool) {
        if let Some(background) = self
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            background.abort();
        }
        self.supervisor.end_all(by_force).await;
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

/// The URL at which a scheduler serves health and metrics.
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
