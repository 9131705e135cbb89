//! A cluster as a test sees it: a handle that owns everything.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use kube::Client;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::control::{Message, Request};
use crate::description::Description;
use crate::extender::{self, Extender, ExtenderOptions};
use crate::kubectl::Kubectl;
use crate::layout::Layout;
use crate::logs;
use crate::metrics;
use crate::owner::scheduler_url;
use crate::part::Part;
use crate::process::{self, Process};
use crate::users::User;
use crate::{binaries, http_client};

/// Set it, and clusters' directories stay after their end.
const KEEP_VARIABLE: &str = "PRIVATEKUBE_KEEP_CLUSTER";
/// How long an owner may take to end its parts and to remove their directory.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// A running cluster. Dropping it ends all of its processes and removes its directory; so does the end of this process,
/// whatever ends it.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    description: Description,
    layout: Layout,
    tool: PathBuf,
    owner: Process,
    /// The owner lives as long as this is open.
    requests: Mutex<Option<ChildStdin>>,
    messages: tokio::sync::Mutex<mpsc::UnboundedReceiver<Message>>,
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
            // A terminal's interrupt is for the caller; the owner follows when its input closes.
            .process_group(0);
        let mut child = process::spawn(command).with_context(|| format!("can't start {}", tool.display()))?;
        let requests = child.stdin.take();
        let output = child.stdout.take().context("the cluster's owner has no output")?;
        let owner = Process::adopt(child);
        let (send, mut messages) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                let message = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Message::Failed(format!("the owner said {line:?}: {error}")));
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let description = match messages.recv().await {
            Some(Message::Ready(description)) => *description,
            Some(Message::Failed(reason)) => return Err(anyhow!(reason).context("the cluster did not start")),
            Some(other) => bail!("the cluster's owner said {other:?} before it was ready"),
            None => bail!(
                "the cluster's owner ended; it said:\n{}",
                logs::tail(&layout.serve_log())
            ),
        };
        Ok(Self {
            config,
            description,
            layout,
            tool: tool.to_owned(),
            owner,
            requests: Mutex::new(requests),
            messages: tokio::sync::Mutex::new(messages),
        })
    }

    /// Where everything is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.description.kubeconfig
    }

    /// A client of the administrator.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(User::Admin).await
    }

    /// A client of someone else.
    pub async fn client_as(&self, user: User) -> Result<Client> {
        http_client::client(&self.layout.kubeconfig(user), None).await
    }

    /// Runs kubectl as the administrator; returns what it prints, or an error with its complaint.
    pub async fn kubectl<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.kubectl_program().run(arguments).await
    }

    /// Applies a kustomization and waits until the API server serves its custom resources.
    pub async fn install(&self, manifests: &Path) -> Result<()> {
        self.kubectl_program().install(manifests).await
    }

    /// Points a command at this cluster, with kubectl first in its `PATH`.
    pub fn environment(&self, command: &mut Command) {
        self.kubectl_program().environment(command);
        let mut path = self.description.bin_dir.clone().into_os_string();
        if let Some(others) = std::env::var_os("PATH") {
            path.push(":");
            path.push(others);
        }
        command.env("PATH", path);
    }

    /// Starts an extender and waits until it is ready. One at a time: it always has the same ports.
    pub async fn start_extender(&self) -> Result<Extender> {
        self.start_extender_with(&ExtenderOptions::default()).await
    }

    /// As [`Self::start_extender`], with more arguments or environment.
    pub async fn start_extender_with(&self, options: &ExtenderOptions) -> Result<Extender> {
        let extender = self.start_extender_without_waiting(options).await?;
        extender.wait_ready().await?;
        Ok(extender)
    }

    /// Starts an extender whose readiness is awaited separately, or never.
    pub async fn start_extender_without_waiting(&self, options: &ExtenderOptions) -> Result<Extender> {
        let program = binaries::extender(self.config.extender_bin.as_deref())?;
        extender::ensure_certificates(&self.tool, &program, &self.description.tls_dir).await?;
        Extender::start(
            &self.tool,
            &program,
            &self.layout,
            self.description.extender_ports,
            options,
        )
    }

    /// The sum over all series of one of the default scheduler's metrics; an error when it has none of that name (yet).
    pub async fn scheduler_metric(&self, name: &str) -> Result<f64> {
        let text = self.scheduler_metrics().await?;
        metrics::sum(&text, name).with_context(|| format!("the scheduler has no metric {name}"))
    }

    /// All of the default scheduler's metrics, in Prometheus' text format.
    pub async fn scheduler_metrics(&self) -> Result<String> {
        let url = scheduler_url(self.description.scheduler_port);
        let client = http_client::client(self.kubeconfig(), Some(&url)).await?;
        http_client::get_text(&client, "/metrics")
            .await
            .context("can't read the scheduler's metrics")
    }

    /// Ends the default scheduler.
    pub async fn stop_scheduler(&self) -> Result<()> {
        self.stop_part(Part::KubeScheduler).await
    }

    /// Starts the default scheduler after it was ended, with or without the extender, and waits until it is ready.
    pub async fn start_scheduler(&self, calls_extender: bool) -> Result<()> {
        self.request(&Request::StartScheduler {
            extender: calls_extender,
        })
        .await
    }

    /// Starts another scheduler, without extender, for pods whose `schedulerName` is `name`. [`Self::stop_part`] ends it.
    pub async fn start_second_scheduler(&self, name: &str) -> Result<()> {
        self.request(&Request::StartSecondScheduler {
            name: name.to_owned(),
        })
        .await
    }

    /// Ends a part in an orderly way.
    pub async fn stop_part(&self, part: Part) -> Result<()> {
        self.request(&Request::Stop(part)).await
    }

    /// Ends a part by SIGKILL.
    pub async fn kill_part(&self, part: Part) -> Result<()> {
        self.request(&Request::Kill(part)).await
    }

    /// Starts a part that was ended, with the ports it had, and waits until it is ready.
    pub async fn start_part(&self, part: Part) -> Result<()> {
        self.request(&Request::Start(part)).await
    }

    /// The logs of all parts that have one, and of their owner.
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

    /// Ends the cluster, as dropping it does, without blocking the runtime.
    pub async fn stop(self) -> Result<()> {
        tokio::task::spawn_blocking(move || drop(self))
            .await
            .context("the end of the cluster was not awaited")
    }

    fn kubectl_program(&self) -> Kubectl {
        Kubectl::new(&self.tool, &self.description.bin_dir, &self.layout)
    }

    /// Asks the owner; don't drop the returned future before it is done, or the next answer is this one's.
    async fn request(&self, request: &Request) -> Result<()> {
        let mut messages = self.messages.lock().await;
        let line = serde_json::to_string(request)? + "\n";
        let sent = match self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(requests) => requests.write_all(line.as_bytes()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        match messages.recv().await {
            Some(Message::Done) => Ok(()),
            Some(Message::Refused(reason)) => Err(anyhow!(reason)),
            Some(Message::Failed(reason)) => Err(anyhow!(reason).context("the cluster is over")),
            Some(other) => bail!("the cluster's owner said {other:?}"),
            None => {
                sent.context("the cluster is over")?;
                bail!(
                    "the cluster's owner ended; it said:\n{}",
                    logs::tail(&self.layout.serve_log())
                )
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() && self.layout.log(Part::Extender).exists() {
            eprintln!("the extender's log ended with:\n{}", self.tail(Part::Extender));
        }
        drop(
            self.requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if !self.owner.wait_blocking(END_PATIENCE) {
            // Its parts go with it.
            let _ = self.owner.signal(rustix::process::Signal::KILL);
        }
    }
}
