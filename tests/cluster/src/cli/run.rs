//! `run`: runs a command against a cluster that ends with the command.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::ClusterArguments;
use crate::cluster::Cluster;
use crate::process::Process;
use crate::tie;

/// The variable in which the command finds the address of the extender's status page.
const STATUS_PAGE_VARIABLE: &str = "PRIVATEKUBE_STATUS_PAGE";
/// The variable in which the command finds the address of the extender's metrics.
const METRICS_VARIABLE: &str = "PRIVATEKUBE_METRICS";

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl Run {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let tool = std::env::current_exe().context("this program's own path is unknown")?;
        let mut interrupts = signal(SignalKind::interrupt()).context("can't listen to signals")?;
        let mut terminations = signal(SignalKind::terminate()).context("can't listen to signals")?;
        let has_extender = self.cluster.with_privatekube;
        let config = self.cluster.config()?;
        if config.real_node.is_some() {
            eprintln!("starting a cluster with a real node");
        } else {
            eprintln!("starting a cluster of {} nodes", config.nodes);
        }
        let cluster = tokio::select! {
            cluster = Cluster::start_with(config, &tool) => cluster?,
            _ = interrupts.recv() => return Ok(ExitCode::from(130)),
            _ = terminations.recv() => return Ok(ExitCode::from(143)),
        };
        eprintln!(
            "the cluster is ready after {:.1} s",
            cluster.description().seconds_to_ready
        );
        let Some((program, arguments)) = self.command.split_first() else {
            return Ok(ExitCode::SUCCESS);
        };
        let mut command = tie::tied(&tool, Path::new(program));
        command.args(arguments);
        cluster.environment(&mut command);
        command.env(super::DIR_VARIABLE, &cluster.description().dir);
        if has_extender {
            let page = cluster.description().status_page();
            eprintln!("the status page is at {page}");
            command.env(STATUS_PAGE_VARIABLE, page);
            command.env(METRICS_VARIABLE, cluster.description().metrics());
        }
        let process = Process::start(command).context("can't start the command")?;
        let status = loop {
            tokio::select! {
                status = process.ended() => break status,
                // A terminal sends the interrupt to the command as well, which decides what to do.
                _ = interrupts.recv() => {}
                _ = terminations.recv() => process.signal(rustix::process::Signal::TERM)?,
            }
        };
        cluster.stop().await?;
        Ok(status.map_or(ExitCode::FAILURE, exit_code))
    }
}

/// The command's exit code; if a signal ended it, 128 plus the signal's number, as in a shell.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
