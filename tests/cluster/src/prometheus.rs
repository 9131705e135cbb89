//! A real Prometheus as a process that a test owns ([`Prometheus`]), and promtool ([`promtool`]).

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::extender::shown;
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::ports;
use crate::process::{self, Process};
use crate::{binaries, http_client, tie};

const PROMETHEUS: &str = "prometheus";
const PROMTOOL: &str = "promtool";
/// The folder, beside the programs, of the Prometheus operator's definitions.
pub(crate) const DEFINITIONS_DIR: &str = "prometheus-operator-crd";
/// The definitions of the operator's custom resources that `monitoring/` uses.
pub(crate) const DEFINITIONS: [&str; 3] = [
    "monitoring.coreos.com_podmonitors.yaml",
    "monitoring.coreos.com_prometheusrules.yaml",
    "monitoring.coreos.com_servicemonitors.yaml",
];

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks that everything exists that `privatekube-cluster build prometheus` makes.
pub(crate) fn check(bin_dir: &Path) -> Result<()> {
    for program in [PROMETHEUS, PROMTOOL] {
        find(bin_dir, program)?;
    }
    for definition in DEFINITIONS {
        find(&bin_dir.join(DEFINITIONS_DIR), definition)?;
    }
    Ok(())
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    if !path.is_file() {
        bail!("{} is missing: build it with `make prometheus`", path.display());
    }
    Ok(path)
}

/// The folder of the Prometheus operator's custom resource definitions.
pub fn operator_definitions() -> Result<PathBuf> {
    let bin_dir = binaries::bin_dir(None)?;
    check(&bin_dir)?;
    Ok(bin_dir.join(DEFINITIONS_DIR))
}

/// Runs promtool with `arguments` and the file `input`, if any, as its standard input, and returns its output.
pub async fn promtool<I>(arguments: I, input: Option<&Path>) -> Result<Output>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = tie::tied(&binaries::tool()?, &find(&binaries::bin_dir(None)?, PROMTOOL)?);
    let stdin = match input {
        Some(path) => std::fs::File::open(path)
            .with_context(|| format!("can't read {}", path.display()))?
            .into(),
        None => Stdio::null(),
    };
    command
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process::output(command).await
}

/// A Prometheus that the caller owns: it is killed when this handle is dropped, and when the caller dies.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
    log: PathBuf,
}

impl Prometheus {
    /// Starts a Prometheus with a configuration, which keeps its data and its log in the directory `dir`, and waits until it
    /// is ready.
    pub async fn start(config: &Path, dir: &Path) -> Result<Self> {
        let program = find(&binaries::bin_dir(None)?, PROMETHEUS)?;
        let port = ports::choose_one()?;
        let log = dir.join("prometheus.log");
        let out = Layout::open_log(&log)?;
        let mut command = tie::tied(&binaries::tool()?, &program);
        command
            .arg("--config.file")
            .arg(config)
            .arg("--storage.tsdb.path")
            .arg(dir.join("data"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // Without the user interface's files, Prometheus looks for them here.
            .current_dir(dir)
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("can't share a log")?)
            .stdout(out)
            .process_group(0);
        let process = Process::start(command).context("can't start Prometheus")?;
        let prometheus = Self { process, port, log };
        prometheus.wait_ready().await?;
        Ok(prometheus)
    }

    async fn wait_ready(&self) -> Result<()> {
        let what = tokio::select! {
            () = http_client::until_plain_ready(self.port, "/-/ready") => return Ok(()),
            status = self.process.ended() => format!("Prometheus ended ({})", shown(status)),
            () = tokio::time::sleep(READY_TIMEOUT) => format!("Prometheus is not ready after {READY_TIMEOUT:?}"),
        };
        Err(PartFailure::new(what, &self.log).into())
    }

    /// The port of 127.0.0.1 at which it answers, over plain HTTP.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // An error means that the process has ended.
        let _ = self.process.signal(rustix::process::Signal::KILL);
        self.process.wait_blocking(KILL_TIMEOUT);
    }
}
