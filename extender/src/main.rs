//! The program `privatekube-extender`: reads the command line, and serves, makes certificates, exports or restores.
#![forbid(unsafe_code)]

mod backup_commands;

use std::{
    io::IsTerminal, net::SocketAddr, num::NonZeroU64, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::{Result, bail};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use mimalloc::MiMalloc;
use privatekube_extender::{
    Addresses, AuthorityChange, CertificateRequest, CheckpointSettings, ClaimLimits, LeaseTimes,
    MeasuredBlocks, Options, OwnPod, PodTemplate, Replica, parse_status_address, serve,
};
use privatekube_policy::{Composition, DatasetRules, Orders, Policy, Revision, Span, Unlocking};
use tracing_subscriber::EnvFilter;

/// After a start with 100,000 claims, glibc's allocator held 303 MiB where this one held 291 (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Lets kube-scheduler place a pod only when the privacy budget that the pod requests is granted.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  privatekube-extender certificates --out tls --host 127.0.0.1\n  privatekube-extender serve --tls-dir tls"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the scheduler, the webhooks, health and metrics until SIGTERM or SIGINT.
    #[command(
        after_help = "Example:\n  privatekube-extender serve --kubeconfig ~/.kube/config --tls-dir tls \\\n    --scheduler-address 127.0.0.1:9444 --webhook-address 127.0.0.1:9443 --webhook-url https://127.0.0.1:9443"
    )]
    Serve(Box<Serve>),
    /// Makes the extender's certificate and the scheduler's client certificate, and a certificate authority if there is none.
    #[command(
        after_help = "The extender gets ca.crt, server.crt and server.key, the scheduler ca.crt, scheduler.crt and scheduler.key.\n\
The authority's key, authority/ca.key, goes nowhere: keep it to yourself, and give its directory by --authority\n\
to make certificates again.\n\n\
Example:\n  privatekube-extender certificates --out tls --host extender.example.org --host 127.0.0.1\n  \
kubectl create secret generic privatekube-tls -n privatekube-system \\\n    \
--from-file=tls/ca.crt --from-file=tls/server.crt --from-file=tls/server.key"
    )]
    Certificates(Certificates),
    /// Writes ledgers, datasets and blocks to one file, which the command restore puts back.
    #[command(after_help = backup_commands::EXPORT_HELP)]
    Export(backup_commands::Export),
    /// Puts ledgers, datasets and blocks of an export into a cluster.
    #[command(after_help = backup_commands::RESTORE_HELP)]
    Restore(backup_commands::Restore),
}

#[derive(Debug, Parser)]
struct Certificates {
    /// The directory to write to: ca.crt, and server and scheduler, each .crt and .key. The last four are replaced if they
    /// exist; ca.crt isn't.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The directory of the authority's key, ca.key, which is made only if there is no authority. Default: authority in OUT.
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// Makes another authority in place of the one that exists. The extender and the scheduler have to get its certificates
    /// together: each refuses what the other authority signed.
    #[arg(long)]
    replace_authority: bool,
    /// A further name or address by which the extender is reached; may be given several times.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
}

impl Certificates {
    fn run(self) -> Result<()> {
        let mut request = CertificateRequest::new(self.out);
        request.hosts = self.host;
        request.replace_authority = self.replace_authority;
        if let Some(authority) = self.authority {
            request.authority = authority;
        }
        let change = match request.generate()? {
            AuthorityChange::Made => "a new authority, with its key",
            AuthorityChange::Kept => "the authority that was there, with its key",
            AuthorityChange::Replaced => "another authority in place of the one that was there, with its key",
        };
        tracing::info!(
            "certificates are in {}, signed by {change} in {}: keep that key to yourself, it goes into no cluster",
            request.out.display(),
            request.authority.display()
        );
        Ok(())
    }
}

#[derive(Debug, Parser)]
struct Serve {
    /// A kubeconfig. Default: $KUBECONFIG, ~/.kube/config, or the cluster in which this program runs.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The directory with the certificates, as the certificates command writes it.
    #[arg(long, value_name = "DIR", default_value = "/etc/privatekube/tls")]
    tls_dir: PathBuf,
    /// Where the scheduler's requests are served, with TLS. The client needs a certificate of the tls-dir's authority.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9444")]
    scheduler_address: SocketAddr,
    /// Where the webhooks are served, with TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9443")]
    webhook_address: SocketAddr,
    /// Where health and metrics are served, without TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    health_address: SocketAddr,
    /// Where the status page is served, without TLS; it isn't by default. It shows the claims of all namespaces, so this has to
    /// be a loopback address, like 127.0.0.1:8090, which is read by kubectl port-forward.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_status_address)]
    status_address: Option<SocketAddr>,
    /// Where the API server reaches the webhooks, in place of the Service; for an extender outside of the cluster.
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// A scheduler that calls this extender; may be given several times.
    #[arg(long, value_name = "NAME", default_value = "default-scheduler")]
    scheduler_name: Vec<String>,
    /// The user name that the API server knows this extender by.
    #[arg(
        long,
        value_name = "USER",
        default_value = "system:serviceaccount:privatekube-system:privatekube-extender"
    )]
    user: String,
    /// Lets a dataset begin with a block, without a PrivateDataset. Its rules are those of the two options below, for ever, also
    /// if a PrivateDataset is made a moment later. Without this, blocks and claims wait for their PrivateDataset.
    #[arg(long)]
    default_rules: bool,
    /// The composition of datasets without a PrivateDataset: how their budgets add up. With --default-rules.
    #[arg(long, value_enum, default_value_t = CompositionName::Renyi)]
    default_composition: CompositionName,
    /// How datasets without a PrivateDataset unlock budget: arrivals=N, lifetime=SPAN or immediate. With --default-rules.
    #[arg(long, value_name = "HOW", default_value = "arrivals=100", value_parser = unlocking)]
    default_unlocking: Unlocking,
    /// The most blocks of a dataset that have metrics of their own; the others are summed in one.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    metrics_most_blocks: usize,
    /// Gives these blocks metrics of their epsilon at each Renyi order, which are some 15 times as many.
    #[arg(long)]
    metrics_orders: bool,
    /// The most claims of a namespace on a dataset, those of pods included, that wait; more are refused until some are decided.
    #[arg(long, value_name = "COUNT", default_value_t = ClaimLimits::default().waiting, value_parser = clap::value_parser!(u32).range(1..))]
    namespace_most_waiting: u32,
    /// The most claims of a namespace on a dataset, those of pods included, that are made within a minute.
    #[arg(long, value_name = "COUNT", default_value_t = ClaimLimits::default().arrivals, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    namespace_most_arrivals: u32,
    /// Where objects of another kind carry pod templates, which are checked if the webhook configuration sends these objects,
    /// like kubeflow.org/pytorchjobs=spec.pytorchReplicaSpecs.*.template; may be given several times.
    #[arg(long, value_name = "GROUP/RESOURCE=PATH")]
    pod_template: Vec<PodTemplate>,
    /// After how many entries a ledger's checkpoint is published, or somewhat later if the state is large: a start reads the
    /// checkpoint and the entries after it. 0 publishes none.
    #[arg(long, value_name = "ENTRIES", default_value_t = 1000)]
    checkpoint_every: u64,
    /// How long ledger entries are kept that a checkpoint covers, like 2160h; older ones are deleted. Default: for ever. The
    /// extender needs the right to delete them, which the component retention gives it.
    #[arg(long, value_name = "SPAN")]
    keep_entries: Option<Span>,
    /// A directory on another volume than etcd's, which must exist. The process that leads appends each ledger's committed entries to
    /// it, and compares each ledger with it before it writes: one that lacks what was exported is stopped. With --keep-entries,
    /// entries are removed once they are exported.
    #[arg(long, value_name = "DIR", value_parser = export_directory)]
    export: Option<PathBuf>,
    /// Whether this process may be one of several: one of them leads, writes the ledgers and answers the scheduler; the others
    /// answer the webhooks, and one of them takes over. Without it, a second process would be ended by the ledger.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,
    /// The name of the lease that the leader holds.
    #[arg(long, value_name = "NAME", default_value = "privatekube-extender")]
    lease_name: String,
    /// The namespace of the lease.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "privatekube-system"
    )]
    lease_namespace: String,
    /// This process's name in the lease: no other process may have it, and the same one should have it again after a restart.
    /// Default: the pod's name, $POD_NAME; outside of a pod, the machine's name with the scheduler-address.
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// How long others wait since they saw the leader renew the lease last, before one of them takes it. Whole seconds, from 2s
    /// to 60s.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = duration)]
    lease_duration: Duration,
    /// How long the leader grants and writes since it renewed the lease last. At least 500ms less than the duration.
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = duration)]
    lease_renew_deadline: Duration,
    /// How often the leader renews the lease. At most half of the deadline.
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = duration)]
    lease_renew_every: Duration,
    /// How long the webhooks are served after SIGTERM, until the API server calls another replica. Only in a pod: what has no
    /// POD_NAME is behind no Service.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = duration)]
    drain: Duration,
    /// The pod's name, which the leader's label is written to. In a pod, the manifests set it.
    #[arg(long, hide = true, value_name = "NAME", env = "POD_NAME")]
    pod_name: Option<String>,
    /// The format of logs.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// A directory that exists: a volume that isn't mounted is no empty export.
fn export_directory(text: &str) -> Result<PathBuf> {
    let path = PathBuf::from(text);
    if !path.is_dir() {
        bail!("it is no directory: mount its volume, or create it");
    }
    Ok(path)
}

/// Parses a span of time, of at most an hour.
fn duration(text: &str) -> Result<Duration> {
    let span: Span = text.parse()?;
    let duration = Duration::from_micros(span.micros());
    if duration > Duration::from_secs(3600) {
        bail!("at most 1h is accepted");
    }
    Ok(duration)
}

impl Serve {
    /// How this process is one of several.
    fn replica(&self) -> Result<Option<Replica>> {
        if !self.leader_elect {
            return Ok(None);
        }
        let times = LeaseTimes {
            duration: self.lease_duration,
            renew_deadline: self.lease_renew_deadline,
            renew_every: self.lease_renew_every,
        };
        let namespace = self.lease_namespace.clone();
        let pod_name = self.pod_name.clone().filter(|name| !name.is_empty());
        let pod = pod_name.map(|name| OwnPod {
            namespace: namespace.clone(),
            name,
        });
        let identity = match (&self.identity, &pod) {
            (Some(identity), _) => identity.clone(),
            (None, Some(pod)) => pod.name.clone(),
            // Two processes on a machine can't listen at the same address.
            (None, None) => format!("{}/{}", host_name(), self.scheduler_address),
        };
        Ok(Some(Replica {
            namespace,
            lease: self.lease_name.clone(),
            identity,
            times: times.check()?,
            pod,
            drain: self.drain,
        }))
    }
}

/// The name of this machine.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "extender".to_owned()
    } else {
        name
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompositionName {
    /// Renyi differential privacy: budgets are epsilons at Renyi orders.
    Renyi,
    /// Basic composition: epsilons and deltas are added.
    Basic,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Parses the unlocking of `--default-unlocking`. A lifetime is divided into 1000 ticks, which last at least a second
/// each.
fn unlocking(text: &str) -> Result<Unlocking> {
    let (how, much) = text.split_once('=').unwrap_or((text, ""));
    let unlocking = match how {
        "immediate" if much.is_empty() => Unlocking::Immediate,
        "arrivals" => Unlocking::Arrivals(much.parse()?),
        "lifetime" => {
            let lifetime: Span = much.parse()?;
            let tick = Span::from_micros((lifetime.micros() / 1000).max(Span::from_secs(1).micros()));
            Unlocking::Lifetime { lifetime, tick }
        }
        _ => bail!("write arrivals=N, lifetime=SPAN (like 720h) or immediate"),
    };
    Ok(unlocking)
}

impl TryFrom<Serve> for Options {
    type Error = anyhow::Error;

    fn try_from(serve: Serve) -> Result<Self> {
        Ok(Self {
            replica: serve.replica()?,
            status_address: serve.status_address,
            kubeconfig: serve.kubeconfig,
            tls_dir: serve.tls_dir,
            addresses: Addresses {
                scheduler: serve.scheduler_address,
                webhook: serve.webhook_address,
                health: serve.health_address,
            },
            webhook_url: serve.webhook_url,
            schedulers: serve.scheduler_name,
            user: serve.user,
            defaults: serve.default_rules.then_some(DatasetRules {
                policy: Policy::Dpf,
                unlocking: serve.default_unlocking,
                composition: match serve.default_composition {
                    CompositionName::Renyi => Composition::Renyi(Orders::default()),
                    CompositionName::Basic => Composition::Basic,
                },
                revision: Revision::CURRENT,
            }),
            measured: MeasuredBlocks {
                most_blocks: serve.metrics_most_blocks,
                orders: serve.metrics_orders,
            },
            claim_limits: ClaimLimits {
                waiting: serve.namespace_most_waiting,
                arrivals: serve.namespace_most_arrivals,
            },
            pod_templates: serve.pod_template,
            checkpoints: CheckpointSettings {
                every: NonZeroU64::new(serve.checkpoint_every),
                keep_entries: serve.keep_entries,
            },
            export: serve.export,
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = match &cli.command {
        Command::Serve(serve) => serve.log_format,
        Command::Certificates(_) | Command::Export(_) | Command::Restore(_) => LogFormat::Text,
    };
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=error"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Has memory given out in small pages: of huge ones, which the allocator asks for, a part that is in use keeps the whole, so that
/// a fifth more memory is taken after a start.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay enabled: more memory may be taken");
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Certificates(certificates) => certificates.run(),
        Command::Export(export) => tokio::runtime::Runtime::new()?.block_on(export.run()),
        Command::Restore(restore) => tokio::runtime::Runtime::new()?.block_on(restore.run()),
        Command::Serve(options) => {
            without_huge_pages();
            let options = Options::try_from(*options)?;
            if let Some(defaults) = &options.defaults {
                defaults.check()?;
            }
            // Bookkeepers compute for longer than requests do, so that they have threads of their own.
            let bookkeepers = tokio::runtime::Builder::new_multi_thread()
                .thread_name("bookkeeper")
                .enable_all()
                .build()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let served = runtime.block_on(serve(options, bookkeepers.handle().clone()));
            // An entry whose creation isn't answered yet is found by the next process.
            bookkeepers.shutdown_background();
            served
        }
    }
}
