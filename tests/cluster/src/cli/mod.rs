//! The command line: one file for each subcommand.

mod build;
mod down;
mod parts;
mod run;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::config::Config;
use crate::owner::{self, Lifetime, OwnerOptions};
use crate::{binaries, tie};

/// A real Kubernetes control plane with fake nodes, in a directory of its own, ready in seconds.
#[derive(Debug, Parser)]
#[command(name = "privatekube-cluster", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster and return when it is ready; it lives until `down`
    #[command(
        after_help = "Example:\n  privatekube-cluster up --nodes 5 --kubeconfig-out .local/kubeconfig\n  \
        KUBECONFIG=.local/kubeconfig kubectl get nodes"
    )]
    Up(up::Up),
    /// End the cluster that `up` started
    #[command(
        after_help = "Example:\n  privatekube-cluster down\n  privatekube-cluster down --remove   # and \
        forget everything it stored"
    )]
    Down(down::Down),
    /// Stop a part of the cluster that `up` started; the cluster goes on without it
    #[command(
        after_help = "Example:\n  privatekube-cluster stop extender\n  kubectl apply -f \
        examples/quickstart/03-runs-at-once.yaml   # is refused\n  privatekube-cluster start extender"
    )]
    Stop(parts::Stop),
    /// Start a stopped part again, and wait until it is ready
    #[command(after_help = "Example:\n  privatekube-cluster start extender")]
    Start(parts::PartArguments),
    /// Stop a part and start it again
    #[command(
        after_help = "Example:\n  privatekube-cluster restart extender          # as an upgrade does\n  \
        privatekube-cluster restart extender --kill   # as a crash does"
    )]
    Restart(parts::Stop),
    /// Run a command against a cluster that lives as long as the command
    #[command(
        after_help = "Example:\n  privatekube-cluster run --nodes 2 -- kubectl get nodes\n\nThe command gets \
        KUBECONFIG, and a PATH that begins with kubectl's directory. Its exit code is this program's."
    )]
    Run(run::Run),
    /// Own a cluster: the process behind `up` and `run`
    #[command(
        after_help = "Example:\n  privatekube-cluster serve --dir /tmp/one --ephemeral\n\nWhen the cluster is \
        ready, one line of JSON on standard output describes it. SIGTERM and SIGINT end it. With \
        --until-stdin-closes, lines of JSON on standard input are requests, such as {\"stop\":\"kube-scheduler\"}, \
        {\"start-scheduler\":{\"extender\":false}} and {\"start-second-scheduler\":{\"name\":\"other\"}}."
    )]
    Serve(ServeArguments),
    /// Build the control plane, or Prometheus, from source with Go
    #[command(
        after_help = "Example:\n  privatekube-cluster build\n  privatekube-cluster build prometheus\n\nThe first build takes minutes and tells what it \
        compiles; when the programs are those of the module's versions already, nothing is done."
    )]
    Build(build::Build),
    /// Become a program that the kernel kills when the parent process ends
    #[command(
        hide = true,
        after_help = "Example:\n  privatekube-cluster tie --parent $$ -- sleep 1000"
    )]
    Tie {
        /// The process that must still be the parent
        #[arg(long)]
        parent: i32,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// The options of a cluster.
#[derive(Debug, Clone, Args)]
struct ClusterArguments {
    /// How many fake nodes
    #[arg(long, default_value_t = Config::default().nodes)]
    nodes: usize,
    /// Let the scheduler call PrivateKube's extender, which is started by someone else
    #[arg(long)]
    extender: bool,
    /// Apply PrivateKube's manifests, start its extender and let the scheduler call it
    #[arg(long)]
    with_privatekube: bool,
    /// How long after its start a pod succeeds, such as 10s, unless its annotations or its restart policy Always say
    /// something else [default: it runs until it is deleted]
    #[arg(long, value_parser = duration)]
    pods_end_after: Option<Duration>,
    /// Let etcd wait for the disk on each write
    #[arg(long)]
    durable: bool,
    /// The directory of the control plane's programs [default: .local/bin of the workspace]
    #[arg(long, env = binaries::BIN_DIR_VARIABLE)]
    bin_dir: Option<PathBuf>,
    /// PrivateKube's extender [default: beside this program]
    #[arg(long)]
    extender_bin: Option<PathBuf>,
    /// The kustomization that --with-privatekube applies [default: manifests/base of the workspace]
    #[arg(long)]
    manifests: Option<PathBuf>,
}

/// A duration as users write it.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "not a duration such as 10s, 300ms or 1h".to_owned())
}

impl ClusterArguments {
    fn config(self) -> Config {
        Config {
            nodes: self.nodes,
            extender: self.extender,
            with_privatekube: self.with_privatekube,
            pods_end_after: self.pods_end_after,
            durable: self.durable,
            bin_dir: self.bin_dir,
            dir: None,
            extender_bin: self.extender_bin,
            manifests: self.manifests,
        }
    }
}

#[derive(Debug, Args)]
struct ServeArguments {
    /// The cluster's directory
    #[arg(long)]
    dir: PathBuf,
    /// Write another copy of the administrator's kubeconfig
    #[arg(long)]
    kubeconfig_out: Option<PathBuf>,
    /// Remove the directory at the end
    #[arg(long)]
    ephemeral: bool,
    /// End when standard input does, and take requests from it
    #[arg(long)]
    until_stdin_closes: bool,
    /// Outlive the caller and its terminal, but only once the cluster is ready
    #[arg(long, hide = true)]
    detached: bool,
    #[command(flatten)]
    cluster: ClusterArguments,
}

/// Runs the program and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) => up.execute().map(|()| ExitCode::SUCCESS),
        Command::Down(down) => down.execute().map(|()| ExitCode::SUCCESS),
        Command::Stop(stop) => stop.stop().map(|()| ExitCode::SUCCESS),
        Command::Start(start) => start.start().map(|()| ExitCode::SUCCESS),
        Command::Restart(restart) => restart.restart().map(|()| ExitCode::SUCCESS),
        Command::Run(run) => runtime()?.block_on(run.execute()),
        Command::Build(build) => build.execute().map(|()| ExitCode::SUCCESS),
        Command::Serve(arguments) => {
            log_to_standard_error();
            let options = OwnerOptions {
                config: arguments.cluster.config(),
                dir: arguments.dir,
                kubeconfig_out: arguments.kubeconfig_out,
                ephemeral: arguments.ephemeral,
                lifetime: match (arguments.until_stdin_closes, arguments.detached) {
                    (true, _) => Lifetime::UntilStdinCloses,
                    (false, true) => Lifetime::Detached,
                    (false, false) => Lifetime::UntilSignalled,
                },
            };
            Ok(runtime()?.block_on(owner::run(options)))
        }
        Command::Tie { parent, command } => match tie::become_tied(parent, &command)? {},
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")
}

/// Logs for people to read, with the seconds since the start.
fn log_to_standard_error() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("warn,privatekube_cluster=info,kube_client=off")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
}

/// The directory of the cluster that `up` starts and `down` ends.
fn cluster_dir(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => Ok(dir),
        None => Ok(binaries::workspace_root()
            .context("name a directory with --dir")?
            .join(".local/cluster")),
    }
}
