//! [`Cluster`]: a test's handle of a cluster, which ends it when dropped.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;

use crate::config::Config;
use crate::control_plane::scheduler_url;
use crate::description::Description;
use crate::extender::{self, Extender, ExtenderOptions};
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::logs;
use crate::metrics;
use crate::owner_client::OwnerClient;
use crate::part::Part;
use crate::ports::ExtenderPorts;
use crate::process::{self, Process};
use crate::protocol::Request;
use crate::users::User;
use crate::{binaries, http_client, tie};

/// With this environment variable set, clusters' directories are kept.
const KEEP_VARIABLE: &str = "PRIVATEKUBE_KEEP_CLUSTER";
/// The time for an owner to end its parts and to remove their directory.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// A running cluster. Dropping it ends all of its processes and removes its directory; so does the end of
/// this process, whatever ends it. When the start fails, the directory stays, for its logs; with
/// `PRIVATEKUBE_KEEP_CLUSTER` in the environment it always does.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    description: Description,
    layout: Layout,
    tool: PathBuf,
    owner: Process,
    owner_client: Arc<OwnerClient>,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready.
    pub async fn start(config: Config) -> Result<Self> {
        Self::start_with(config, &binaries::tool()?).await
    }

    /// As [`Self::start`], with this tool's program.
    pub(crate) async fn start_with(config: Config, tool: &Path) -> Result<Self> {
        let layout = match &config.dir {
            Some(dir) => Layout::create(dir)?,
            None => Layout::temporary()?,
        };
        let mut command = Command::new(tool);
        command
            .arg("serve")
            .arg("--dir")
            .arg(layout.dir())
            .arg("--until-stdin-closes")
            .args(config.arguments());
        if std::env::var_os(KEEP_VARIABLE).is_none() {
            command.arg("--ephemeral");
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Layout::open_log(&layout.serve_log())?)
            // A terminal sends its interrupt to the caller alone; the owner ends when its standard input
            // closes.
            .process_group(0);
        let mut child = process::spawn(command).with_context(|| format!("can't start {}", tool.display()))?;
        let requests = child.stdin.take();
        let output = child.stdout.take().context("the cluster's owner has no output")?;
        let owner = Process::adopt(child);
        let owner_client = OwnerClient::begin(requests, output, layout.serve_log());
        let description = match owner_client.until_ready().await {
            Ok(description) => description,
            Err(error) => {
                // The owner ends by itself; wait for it, so that no process is left.
                drop(owner_client);
                owner.end(END_TIMEOUT).await?;
                return Err(error);
            }
        };
        Ok(Self {
            config,
            description,
            layout,
            tool: tool.to_owned(),
            owner,
            owner_client: Arc::new(owner_client),
        })
    }

    /// The cluster's addresses, files and nodes.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.description.kubeconfig
    }

    /// A client with the administrator's credentials.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(User::Admin).await
    }

    /// A client with the credentials of `user`.
    pub async fn client_as(&self, user: User) -> Result<Client> {
        http_client::client(&self.layout.kubeconfig(user), None).await
    }

    /// Runs kubectl as the administrator, and returns its output. The error holds what it printed to standard
    /// error.
    pub async fn kubectl<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.kubectl_program().run(arguments).await
    }

    /// Runs the extender's program with the administrator's rights, for another command than `serve`, and returns its
    /// output. The error holds what it printed to standard error.
    pub async fn extender_command<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let program = binaries::extender(self.config.extender_bin.as_deref())?;
        let mut command = tie::tied(&self.tool, &program);
        self.environment(&mut command);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = process::output(command).await?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}: {}", program.display(), output.status, complaint.trim());
        }
        String::from_utf8(output.stdout).context("the extender's output is not UTF-8")
    }

    /// Applies a kustomization, and waits until the API server serves its custom resources and enforces its
    /// admission policies.
    pub async fn install(&self, manifests: &Path) -> Result<()> {
        self.kubectl_program().install(manifests).await
    }

    /// Sets a command's environment for this cluster: `KUBECONFIG`, and a `PATH` that begins with kubectl's
    /// directory.
    pub fn environment(&self, command: &mut Command) {
        self.kubectl_program().environment(command);
        let mut path = self.description.bin_dir.clone().into_os_string();
        if let Some(others) = std::env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        command.env("PATH", path);
    }

    /// Starts an extender and waits until it is ready and leads. Only one can run at a time, since it always has
    /// the same ports.
    pub async fn start_extender(&self) -> Result<Extender> {
        self.start_extender_with(&ExtenderOptions::default()).await
    }

    /// As [`Self::start_extender`], with `options`.
    pub async fn start_extender_with(&self, options: &ExtenderOptions) -> Result<Extender> {
        let extender = self.start_extender_without_waiting(options).await?;
        extender.wait_leading().await?;
        Ok(extender)
    }

    /// Starts an extender without waiting until it is ready.
    pub async fn start_extender_without_waiting(&self, options: &ExtenderOptions) -> Result<Extender> {
        self.start_extender_at(self.description.extender_ports, options)
            .await
    }

    /// Starts another extender, at other ports, and waits until it is ready, whether it leads or not. Neither the
    /// scheduler nor the API server calls it, but by way of the caller.
    pub async fn start_another_extender(&self, options: &ExtenderOptions) -> Result<Extender> {
        let ports = ExtenderPorts::choose()?;
        let extender = self.start_extender_at(ports, options).await?;
        extender.wait_ready().await?;
        Ok(extender)
    }

    async fn start_extender_at(&self, ports: ExtenderPorts, options: &ExtenderOptions) -> Result<Extender> {
        let program = binaries::extender(self.config.extender_bin.as_deref())?;
        extender::ensure_certificates(&self.tool, &program, &self.description.tls_dir).await?;
        let webhooks = self.description.extender_ports.webhook;
        Extender::start(&self.tool, &program, &self.layout, ports, webhooks, options)
    }

    /// Returns the sum over all series of one of the default scheduler's metrics; an error if it has none of
    /// that name (yet).
    pub async fn scheduler_metric(&self, name: &str) -> Result<f64> {
        let text = self.scheduler_metrics().await?;
        metrics::sum(&text, name).with_context(|| format!("the scheduler has no metric {name}"))
    }

    /// Returns the default scheduler's metrics in Prometheus' text format.
    pub async fn scheduler_metrics(&self) -> Result<String> {
        let url = scheduler_url(self.description.scheduler_port);
        let client = http_client::client(self.kubeconfig(), Some(&url)).await?;
        http_client::get_text(&client, "/metrics")
            .await
            .context("can't read the scheduler's metrics")
    }

    /// Stops the default scheduler.
    pub async fn stop_scheduler(&self) -> Result<()> {
        self.stop_part(Part::KubeScheduler).await
    }

    /// Starts the stopped default scheduler, with or without the extender, and waits until it is ready.
    pub async fn start_scheduler(&self, calls_extender: bool) -> Result<()> {
        self.owner_client
            .request(Request::StartScheduler {
                extender: calls_extender,
            })
            .await
    }

    /// Starts another scheduler, without extender, for pods whose `schedulerName` is `name`.
    /// [`Self::stop_part`] ends it.
    pub async fn start_second_scheduler(&self, name: &str) -> Result<()> {
        self.owner_client
            .request(Request::StartSecondScheduler {
                name: name.to_owned(),
            })
            .await
    }

    /// Stops a part by SIGTERM.
    pub async fn stop_part(&self, part: Part) -> Result<()> {
        self.owner_client.request(Request::Stop(part)).await
    }

    /// Kills a part by SIGKILL.
    pub async fn kill_part(&self, part: Part) -> Result<()> {
        self.owner_client.request(Request::Kill(part)).await
    }

    /// Starts a stopped part at the ports it had, and waits until it is ready.
    pub async fn start_part(&self, part: Part) -> Result<()> {
        self.owner_client.request(Request::Start(part)).await
    }

    /// The log files of all parts that have one, and of their owner.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let parts = Part::ALL.into_iter().map(|part| self.layout.log(part));
        parts
            .chain([self.layout.serve_log()])
            .filter(|path| path.exists())
            .collect()
    }

    /// The last lines of a part's log.
    #[must_use]
    pub fn tail(&self, part: Part) -> String {
        logs::tail(&self.layout.log(part))
    }

    /// Ends the cluster as dropping it does, but without blocking the runtime.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self))
            .await
            .context("the end of the cluster was not awaited")
    }

    /// Prints what may have made a test fail, before the logs are removed.
    fn explain(&self) {
        if self.owner.has_ended() {
            eprintln!(
                "the cluster had ended; its owner's log ends with:\n{}",
                logs::tail(&self.layout.serve_log())
            );
        }
        if self.layout.log(Part::Extender).exists() {
            eprintln!("the extender's log ended with:\n{}", self.tail(Part::Extender));
        }
    }

    fn kubectl_program(&self) -> Kubectl {
        Kubectl::new(&self.tool, &self.description.bin_dir, &self.layout)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
        }
        self.owner_client.end();
        if !self.owner.wait_blocking(END_TIMEOUT) {
            // The kernel kills its parts with it.
            let _ = self.owner.signal(rustix::process::Signal::KILL);
        }
    }
}
