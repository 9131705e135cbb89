//! PrivateKube's extender as a process: its command line, and [`Extender`], the handle of one that a test
//! owns.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::http_client;
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::ports::ExtenderPorts;
use crate::process::{self, Process};
use crate::tie;
use crate::users::User;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The time for an extender to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The arguments that start an extender for the cluster in `layout`. The API server calls the webhooks at the port
/// `webhooks`; if there is none, by their Service.
pub(crate) fn serve_arguments(
    layout: &Layout,
    kubeconfig: &Path,
    ports: ExtenderPorts,
    webhooks: Option<u16>,
) -> Vec<OsString> {
    let address = |port: u16| OsString::from(format!("127.0.0.1:{port}"));
    let mut arguments = vec![
        "serve".into(),
        "--kubeconfig".into(),
        kubeconfig.as_os_str().to_owned(),
        "--tls-dir".into(),
        layout.tls().into_os_string(),
        "--scheduler-address".into(),
        address(ports.scheduler),
        "--webhook-address".into(),
        address(ports.webhook),
        "--health-address".into(),
        address(ports.health),
    ];
    if let Some(port) = webhooks {
        arguments.extend(["--webhook-url".into(), format!("https://127.0.0.1:{port}").into()]);
    }
    arguments
}

/// Lets the extender create its certificates, unless they exist.
pub(crate) async fn ensure_certificates(tool: &Path, extender: &Path, tls: &Path) -> Result<()> {
    if tls.join("ca.crt").exists() && tls.join("scheduler.key").exists() {
        return Ok(());
    }
    let mut command = tie::tied(tool, extender);
    command.args([OsStr::new("certificates"), OsStr::new("--out"), tls.as_os_str()]);
    command.args(["--host", "127.0.0.1", "--host", "localhost"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = process::output(command).await?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} certificates: {}: {}",
            extender.display(),
            output.status,
            complaint.trim()
        );
    }
    Ok(())
}

/// Waits until the extender at `ports` is ready and answers the scheduler.
pub(crate) async fn until_leading(ports: ExtenderPorts) {
    http_client::until_plain_ready(ports.health, "/readyz").await;
    http_client::until_plain_ready(ports.health, "/leaderz").await;
}

/// Options of an extender that a test starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtenderOptions {
    /// Arguments after the usual ones.
    pub arguments: Vec<OsString>,
    /// Environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Leaves out the webhooks' URL, so that the API server finds them by their Service, as where the extender runs
    /// inside the cluster. Only a cluster that was started with [`Config::with_privatekube`](crate::Config) has one.
    pub by_service: bool,
    /// Another kubeconfig than the extender's own, such as one that names a proxy.
    pub kubeconfig: Option<PathBuf>,
}

/// An extender that the caller owns: it is killed when this handle is dropped, and when the caller dies.
#[derive(Debug)]
pub struct Extender {
    process: Process,
    ports: ExtenderPorts,
    log: PathBuf,
}

impl Extender {
    pub(crate) fn start(
        tool: &Path,
        program: &Path,
        layout: &Layout,
        ports: ExtenderPorts,
        webhooks: u16,
        options: &ExtenderOptions,
    ) -> Result<Self> {
        let log = layout.log(Part::Extender);
        let out = Layout::open_log(&log)?;
        let webhooks = (!options.by_service).then_some(webhooks);
        let own = layout.kubeconfig(User::Extender);
        let kubeconfig = options.kubeconfig.as_deref().unwrap_or(&own);
        let arguments = serve_arguments(layout, kubeconfig, ports, webhooks);
        let mut command: Command = tie::tied(tool, program);
        command
            .args(arguments)
            .args(&options.arguments)
            .envs(options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("can't share a log")?)
            .stdout(out)
            .process_group(0);
        let process = Process::start(command).context("can't start the extender")?;
        Ok(Self { process, ports, log })
    }

    /// The extender's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The log file. It also holds the output of the extenders before this one.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The ports at which it listens.
    #[must_use]
    pub const fn ports(&self) -> ExtenderPorts {
        self.ports
    }

    /// Waits until the extender is ready, whether it leads or not; an error if it ends instead, or takes too long.
    pub async fn wait_ready(&self) -> Result<()> {
        self.wait(
            "ready",
            http_client::until_plain_ready(self.ports.health, "/readyz"),
        )
        .await
    }

    /// Waits until the extender is ready, leads, and answers the scheduler; an error if it ends instead, or takes too long.
    pub async fn wait_leading(&self) -> Result<()> {
        self.wait("leading", until_leading(self.ports)).await
    }

    async fn wait(&self, what: &str, until: impl Future<Output = ()>) -> Result<()> {
        let what = tokio::select! {
            () = until => return Ok(()),
            status = self.process.ended() => format!("the extender ended ({})", shown(status)),
            () = tokio::time::sleep(READY_TIMEOUT) => format!("the extender is not {what} after {READY_TIMEOUT:?}"),
        };
        Err(PartFailure::new(what, &self.log).into())
    }

    /// Waits until the extender ends by itself.
    pub async fn ended(&self) -> Option<ExitStatus> {
        self.process.ended().await
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Kills the process by SIGKILL, and waits until it has ended.
    pub async fn kill(self) -> Result<()> {
        self.process.end(Duration::ZERO).await
    }

    /// Stops the process by SIGTERM, and waits until it has ended; an error if it doesn't end in time.
    pub async fn stop(self) -> Result<Option<ExitStatus>> {
        self.process.signal(rustix::process::Signal::TERM)?;
        tokio::time::timeout(STOP_TIMEOUT, self.process.ended())
            .await
            .map_err(|_| {
                let what = format!("the extender did not end within {STOP_TIMEOUT:?} of SIGTERM");
                PartFailure::new(what, &self.log).into()
            })
    }
}

impl Drop for Extender {
    fn drop(&mut self) {
        // An error means that the process has ended.
        let _ = self.process.signal(rustix::process::Signal::KILL);
        self.process.wait_blocking(KILL_TIMEOUT);
    }
}

/// An exit status in words.
pub(crate) fn shown(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "exit status unknown".to_owned(), |status| status.to_string())
}
