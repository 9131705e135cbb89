//! The command line: one file for each subcommand.

mod build;
mod down;
mod image;
mod node;
mod parts;
mod run;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::config::{Config, RealNode};
use crate::owner::{self, Lifetime, OwnerOptions};
use crate::real_node::CannotRunNodes;
use crate::{binaries, real_node, tie};

/// The exit code when this machine can't run a real node: `EX_UNAVAILABLE` of sysexits.h.
const CANNOT_RUN_NODES: u8 = 69;
/// The variable in which the command of `run` finds the cluster's directory.
const DIR_VARIABLE: &str = "PRIVATEKUBE_CLUSTER_DIR";

/// A real Kubernetes control plane with fake nodes or one real node, in a directory of its own, ready in seconds.
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
        KUBECONFIG, a PATH that begins with kubectl's directory, and PRIVATEKUBE_CLUSTER_DIR. Its exit code is this program's."
    )]
    Run(run::Run),
    /// Make a container image for a real node from directories
    #[command(
        after_help = "Example:\n  privatekube-cluster image --name example.dev/trainer:1 --from rootfs\n  \
        privatekube-cluster run --node real --image example.dev/trainer:1 -- kubectl run t \
        --image=example.dev/trainer:1\n\nThe archive is in .local/realnode/images of the workspace."
    )]
    Image(image::Image),
    /// Make a container image for a real node with Python and packages
    #[command(
        after_help = "Example:\n  privatekube-cluster python-image --name example.dev/trainer:1 --requirements \
        requirements.txt\n\nAn image that exists with the same requirements isn't made again."
    )]
    PythonImage(image::PythonImage),
    /// Load an image into the real node of a cluster that is up
    #[command(after_help = "Example:\n  privatekube-cluster load-image example.dev/trainer:1")]
    LoadImage(image::LoadImage),
    /// Tell whether this machine can run a real node, and what it lacks: the exit code is 0 or 69
    #[command(after_help = "Example:\n  privatekube-cluster check-node")]
    CheckNode,
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
    /// Be a process of a real node
    #[command(
        hide = true,
        after_help = "Example:\n  privatekube-cluster node keep --spec .local/cluster/node.json"
    )]
    Node(node::Node),
    /// Become a program that the kernel kills when the parent process ends
    #[command(
        hide = true,
        after_help = "Example:\n  privatekube-cluster tie --parent $$ -- sleep 1000"
    )]
    Tie {
        /// The process that must still be the parent
        #[arg(long)]
        parent: i32,
        /// A cgroup that the program is to be in
        #[arg(long)]
        cgroup: Vec<PathBuf>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// The options of a cluster.
#[derive(Debug, Clone, Args)]
struct ClusterArguments {
    /// Fake nodes, or one real node where pods run as containers
    #[arg(long, value_enum, default_value_t = NodeKind::Fake)]
    node: NodeKind,
    /// How many fake nodes [default: 3]
    #[arg(long)]
    nodes: Option<usize>,
    /// An image that the real node has from its beginning, besides privatekube.dev/busybox:1; repeat it for more
    #[arg(long)]
    image: Vec<String>,
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

/// What the nodes of a cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NodeKind {
    Fake,
    Real,
}

/// A duration as users write it.
fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "not a duration such as 10s, 300ms or 1h".to_owned())
}

impl ClusterArguments {
    /// The configuration; an error if options contradict each other, or if this machine can't run a real node.
    fn config(self) -> Result<Config> {
        let is_real = self.node == NodeKind::Real;
        let of_the_other = [
            ("--nodes", is_real && self.nodes.is_some()),
            ("--pods-end-after", is_real && self.pods_end_after.is_some()),
            ("--image", !is_real && !self.image.is_empty()),
        ];
        if let Some((option, _)) = of_the_other.iter().find(|(_, given)| *given) {
            let kind = if is_real { "fake" } else { "real" };
            bail!("{option} needs --node {kind}");
        }
        if is_real {
            real_node::check_machine()?;
        }
        Ok(Config {
            nodes: self.nodes.unwrap_or(Config::default().nodes),
            real_node: is_real.then_some(RealNode { images: self.image }),
            extender: self.extender,
            with_privatekube: self.with_privatekube,
            pods_end_after: self.pods_end_after,
            durable: self.durable,
            bin_dir: self.bin_dir,
            dir: None,
            extender_bin: self.extender_bin,
            manifests: self.manifests,
        })
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
            match error.downcast_ref::<CannotRunNodes>() {
                Some(_) => ExitCode::from(CANNOT_RUN_NODES),
                None => ExitCode::FAILURE,
            }
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
                config: arguments.cluster.config()?,
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
        Command::Image(image) => image.execute().map(|()| ExitCode::SUCCESS),
        Command::PythonImage(image) => image.execute().map(|()| ExitCode::SUCCESS),
        Command::LoadImage(image) => image.execute().map(|()| ExitCode::SUCCESS),
        Command::CheckNode => {
            real_node::check_machine()?;
            println!("This machine can run a real node.");
            Ok(ExitCode::SUCCESS)
        }
        Command::Node(node) => node.execute().map(|()| ExitCode::SUCCESS),
        Command::Tie {
            parent,
            cgroup,
            command,
        } => match tie::become_tied(parent, &cgroup, &command)? {},
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
