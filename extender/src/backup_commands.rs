//! The commands `export` and `restore`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use privatekube_api::{DatasetKey, counted};
use privatekube_backup::{
    AppendReport, Clients, Completeness, DatasetExport, DatasetRestore, ExportReport, RestoreOptions,
    RestoreReport, append, export, restore,
};
use privatekube_kubernetes::{connect, connect_as};
use privatekube_policy::Time;

pub(crate) const EXPORT_HELP: &str = "\
Claims are not exported: each is in the ledger, and a claim object that is made again is another claim.

Examples:
  privatekube-extender export privatekube-$(date +%F).jsonl
  privatekube-extender export taxi.jsonl --dataset data/taxi --output json
  privatekube-extender export /srv/privatekube --append

Exit status: 0 if everything was exported, 1 if not; a ledger that can't be verified is left out, and named.";

pub(crate) const RESTORE_HELP: &str = "\
The whole export is verified and compared with the cluster before anything is written, and nothing is written if the
cluster contradicts it. What is there already stays: an interrupted restore is repeated with the same options. Ledger
entries are created as the extender's service account if that is installed, so you need the right to impersonate it.

What was granted in the ledger to pods and claim objects that don't exist any more counts as consumed.

Examples:
  privatekube-extender restore privatekube.jsonl --complete --dry-run
  privatekube-extender restore privatekube.jsonl --complete
  privatekube-extender restore nightly.jsonl --write-off 'the cluster was lost on 30 November' --dataset data/taxi

docs/operations.md says how to move to another cluster, and what to do after a loss.";

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write. It must not exist. With --append, a directory, which must exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Appends what is new since the last time to a directory, as the extender does with its option --export. A ledger that lacks
    /// what was exported before is left out.
    #[arg(long)]
    append: bool,
    /// A dataset to export, as NAMESPACE/NAME; may be given several times. Default: all.
    #[arg(long, value_name = "DATASET", value_parser = dataset)]
    dataset: Vec<DatasetKey>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that the command export wrote, or an export directory, or one within it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    completeness: CompletenessOptions,
    /// A dataset to restore, as NAMESPACE/NAME; may be given several times. Default: all in the file.
    #[arg(long, value_name = "DATASET", value_parser = dataset)]
    dataset: Vec<DatasetKey>,
    /// Leaves datasets and blocks that exist in the cluster as they are, also where they differ from the export. Ledger entries
    /// that differ are always refused.
    #[arg(long)]
    keep_existing: bool,
    /// Verifies and compares everything, says what would be written, and writes nothing.
    #[arg(long)]
    dry_run: bool,
    /// The user in whose name ledger entries are created, if it has the right to create them.
    #[arg(
        long,
        value_name = "USER",
        default_value = "system:serviceaccount:privatekube-system:privatekube-extender"
    )]
    writer: String,
    #[command(flatten)]
    common: Common,
}

/// Exactly one of the two must be given: no program can know.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct CompletenessOptions {
    /// States that nothing was decided after the export: the extender was stopped before it. What is restored is exact.
    #[arg(long)]
    complete: bool,
    /// States that decisions after the export are lost, and why. Nobody knows what they consumed, so all budget of every
    /// block that isn't allocated is written off: nothing more is granted on these blocks, ever.
    #[arg(long, value_name = "REASON", value_parser = reason)]
    write_off: Option<String>,
}

#[derive(Debug, Args)]
struct Common {
    /// A kubeconfig. Default: $KUBECONFIG, ~/.kube/config, or the cluster in which this program runs.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The form of the report on standard output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For machines.
    Json,
}

fn dataset(text: &str) -> Result<DatasetKey, String> {
    if !text.contains('/') {
        return Err("write NAMESPACE/NAME, like data/taxi".to_owned());
    }
    DatasetKey::parse(text, "").map_err(|error| error.to_string())
}

/// The reason is written into the PrivateDataset, which accepts as much.
fn reason(text: &str) -> Result<String, String> {
    let characters = text.chars().count();
    if (1..=500).contains(&characters) {
        Ok(text.to_owned())
    } else {
        Err(format!("write 1 to 500 characters; these are {characters}"))
    }
}

impl Export {
    pub(crate) async fn run(self) -> Result<()> {
        let client = connect(self.common.kubeconfig.as_deref()).await?;
        if self.append {
            let report = append(&client, &self.dataset, &self.file).await?;
            match self.common.output {
                Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
                Output::Text => print!("{}", append_text(&report)),
            }
            return whole(&self.file, &report.left_out);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(now.context("the clock shows a time before 1970")?.as_micros())?;
        let report = export(&client, &self.dataset, &self.file, Time::from_micros(now)).await?;
        match self.common.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => print!("{}", export_text(&report)),
        }
        whole(&self.file, &report.left_out)
    }
}

/// An error if anything was left out.
fn whole(path: &Path, left_out: &[String]) -> Result<()> {
    if left_out.is_empty() {
        return Ok(());
    }
    bail!("{} is incomplete: {}", path.display(), left_out.join("; "));
}

impl Restore {
    pub(crate) async fn run(self) -> Result<()> {
        let kubeconfig = self.common.kubeconfig.as_deref();
        let objects = connect(kubeconfig).await?;
        let writer = connect_as(kubeconfig, &self.writer).await?;
        let entries = if may_write(&writer).await {
            writer
        } else {
            tracing::info!(
                "{} may not create ledger entries here: they are created as you",
                self.writer
            );
            objects.clone()
        };
        let completeness = match self.completeness.write_off {
            Some(reason) => Completeness::WriteOff(reason),
            None => Completeness::Complete,
        };
        let options = RestoreOptions {
            completeness,
            datasets: self.dataset,
            keep_existing: self.keep_existing,
            dry_run: self.dry_run,
        };
        let report = restore(&Clients { objects, entries }, &self.file, &options).await?;
        match self.common.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
            Output::Text => print!("{}", restore_text(&report)),
        }
        Ok(())
    }
}

/// Whether a user may create ledger entries. It may not before the manifests are installed, or if we may not act in its name.
async fn may_write(client: &Client) -> bool {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some("privatekube.dev".to_owned()),
                resource: Some("privacyledgerentries".to_owned()),
                verb: Some("create".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = api.create(&PostParams::default(), &review).await;
    answer.is_ok_and(|answer| answer.status.is_some_and(|status| status.allowed))
}

fn append_text(report: &AppendReport) -> String {
    let mut text = String::new();
    for dataset in &report.datasets {
        let _ = writeln!(
            text,
            "{}: exported up to entry {}",
            dataset.dataset, dataset.sequence
        );
    }
    for problem in &report.left_out {
        let _ = writeln!(text, "left out: {problem}");
    }
    text
}

fn export_text(report: &ExportReport) -> String {
    let mut text = String::new();
    for dataset in &report.datasets {
        let last = dataset
            .last
            .as_deref()
            .map_or(String::new(), |time| format!(", the last of {time}"));
        let _ = writeln!(
            text,
            "{}: {}{}{last}, {}; hash {}",
            dataset.dataset,
            counted(dataset.entries, "ledger entry", "ledger entries"),
            began(dataset),
            counted(dataset.blocks, "block", "blocks"),
            dataset.hash
        );
    }
    for problem in &report.left_out {
        let _ = writeln!(text, "left out: {problem}");
    }
    let _ = writeln!(
        text,
        "{} in {}",
        counted(report.datasets.len(), "dataset is", "datasets are"),
        report.file.display()
    );
    text
}

/// From which entry on the ledger is in the file, and with which checkpoint.
fn began(dataset: &DatasetExport) -> String {
    let from = match dataset.first {
        1 => String::new(),
        first => format!(" from {first} on, since earlier ones were removed"),
    };
    let checkpoint = dataset
        .checkpoint
        .map(|at| format!(", with the checkpoint at entry {at}"));
    from + &checkpoint.unwrap_or_default()
}

fn restore_text(report: &RestoreReport) -> String {
    let mut text = format!("export of {}\n", report.exported);
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for dataset in &report.datasets {
        let _ = writeln!(text, "{}", dataset_text(dataset));
    }
    text.push_str(if report.dry_run {
        "nothing was written: this was a dry run\n"
    } else {
        "the ledgers in the cluster are verified\n"
    });
    text
}

fn dataset_text(dataset: &DatasetRestore) -> String {
    let mut text = format!(
        "{}: {} created, {} there; PrivateDataset {}; {} created, {} there",
        dataset.dataset,
        counted(dataset.entries_created, "ledger entry", "ledger entries"),
        counted(dataset.entries_present, "was", "were"),
        dataset.private_dataset,
        counted(dataset.blocks_created, "block", "blocks"),
        counted(dataset.blocks_present, "was", "were")
    );
    if dataset.entries_covered > 0 {
        let _ = write!(
            text,
            "; {} left out, since the cluster's checkpoint covers them",
            counted(dataset.entries_covered, "entry was", "entries were")
        );
    }
    if let Some(at) = dataset.checkpoint {
        let _ = write!(text, "; the checkpoint at entry {at} published");
    }
    if dataset.entries_later > 0 {
        let _ = write!(
            text,
            "; the ledger goes on here, with {}",
            counted(dataset.entries_later, "entry", "entries")
        );
    }
    if dataset.settled > 0 {
        let first = dataset.settled_claims.join(", ");
        let _ = write!(
            text,
            "; {} as consumed, since their pods or objects are gone: {first}",
            counted(dataset.settled, "granted claim counts", "granted claims count")
        );
    }
    if dataset.written_off {
        text.push_str("; all budget that isn't allocated is written off");
    }
    text
}
