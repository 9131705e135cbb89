//! `kubectl privacy ledger`: verifies ledgers from outside, exports them, and tells what they say of claims, blocks and
//! namespaces.

mod audit;
mod checkpoints;
mod export;
mod history;
mod spent_before;
mod statement;
mod verify;
mod witness;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use privatekube_api::DatasetKey;
use privatekube_backup::ExportFile;
use privatekube_kubernetes::datasets_with_ledger;
use privatekube_policy::{ClaimId, Event, Record};

use crate::{
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    output::OutputOption,
    state::Source,
};

/// Verifies ledgers, exports them, and tells what they say.
#[derive(Debug, Args)]
pub(crate) struct LedgerCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verifies ledgers: hashes, each decision by a replay in this process, and what statuses say.
    Verify(verify::Verify),
    /// Writes ledgers and their datasets and blocks to a file.
    Export(export::Export),
    /// Writes the number and the hash of the last entry of each ledger, to be kept outside of the cluster.
    Witness(witness::WitnessCommand),
    /// Tells what happened to a claim, entry by entry.
    History(history::History),
    /// Tells who consumed what of a block, or what a namespace consumed, when and for what.
    Statement(statement::Statement),
    /// Tells of each decision who asked, what for, by which rules it was made, what was charged and what is left.
    Audit(audit::Audit),
}

impl LedgerCommand {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        match self.command {
            Command::Verify(command) => command.run(cluster, output).await,
            Command::Export(command) => command.run(cluster, output).await,
            Command::Witness(command) => command.run(cluster, output).await,
            Command::History(command) => command.run(cluster, output).await,
            Command::Statement(command) => command.run(cluster, output).await,
            Command::Audit(command) => command.run(cluster, output).await,
        }
    }
}

/// Which ledgers are read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LedgerOptions {
    /// A file that `ledger export` or `privatekube-extender export` wrote, or an export directory, in place of the cluster.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A file that an export wrote, or an export directory, whose entries are read before the cluster's, for a cluster whose old entries were removed;
    /// may be given several times, the earliest first.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) archive: Vec<PathBuf>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

impl LedgerOptions {
    /// The source, and the cluster if it is one.
    pub(crate) async fn source(&self, cluster: &ClusterOptions) -> Result<(Source, Option<Cluster>)> {
        if let Some(file) = &self.file {
            return Ok((open(file)?, None));
        }
        let cluster = cluster.connect().await?;
        let source = if self.archive.is_empty() {
            Source::Cluster(cluster.clone())
        } else {
            let files = self.archive.iter().map(|file| ExportFile::open(file));
            Source::Archive(files.collect::<Result<_, _>>()?, cluster.clone())
        };
        Ok((source, Some(cluster)))
    }

    /// The datasets that are meant: those that are named, or all of the file, the namespace or the cluster.
    pub(crate) async fn datasets(
        &self,
        source: &Source,
        named: &[String],
        namespace: Option<&str>,
    ) -> Result<Vec<DatasetKey>> {
        let keys = named.iter().map(|name| {
            let namespace = match source {
                Source::Cluster(cluster) | Source::Archive(_, cluster) => cluster.namespace.as_str(),
                Source::File(_) => namespace.unwrap_or("default"),
            };
            DatasetKey::parse(name, namespace).map_err(|error| anyhow::anyhow!("dataset {name:?}: {error}"))
        });
        let keys: Vec<DatasetKey> = keys.collect::<Result<_>>()?;
        if !keys.is_empty() {
            if let Source::Cluster(cluster) | Source::Archive(_, cluster) = source {
                for key in &keys {
                    if let Some(missing) = cluster.missing_for_ledger(key).await? {
                        return Err(MissingLedger(missing.message()).into());
                    }
                }
            }
            return Ok(keys);
        }
        let found = match source {
            Source::File(_) => source.in_file(),
            Source::Cluster(cluster) | Source::Archive(_, cluster) => {
                let namespace = (!self.all_namespaces).then_some(cluster.namespace.as_str());
                if let Some(missing) = cluster.missing_in(namespace).await? {
                    return Err(MissingLedger(missing.message()).into());
                }
                let found = datasets_with_ledger(&cluster.client, namespace).await;
                found.context("list the ledgers")?
            }
        };
        if found.is_empty() {
            bail!("there is no ledger: -n names another namespace, -A means all");
        }
        Ok(found)
    }
}

pub(crate) use verify::is_wrong;

/// A ledger may not be read.
#[derive(Debug)]
pub(crate) struct MissingLedger(pub(crate) String);

impl std::fmt::Display for MissingLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MissingLedger {}

/// Opens a file that an export wrote, and verifies all of it.
pub(crate) fn open(file: &Path) -> Result<Source> {
    Ok(Source::File(Box::new(ExportFile::open(file)?)))
}

/// The claim that an event is about.
fn claim_of_event(event: &Event) -> Option<&ClaimId> {
    match event {
        Event::Arrive(arrival) => Some(&arrival.claim),
        Event::Match { claim, .. }
        | Event::Consume { claim, .. }
        | Event::Release { claim, .. }
        | Event::Withdraw { claim }
        | Event::NeverRan { claim } => Some(claim),
        Event::AddBlock { .. }
        | Event::RetireBlock { .. }
        | Event::WriteOff { .. }
        | Event::Forget { .. } => None,
    }
}

/// The claim that a record is about.
pub(crate) fn claim_of_record(record: &Record) -> Option<&ClaimId> {
    match record {
        Record::Waits { claim }
        | Record::Granted { claim, .. }
        | Record::Denied { claim, .. }
        | Record::Expired { claim, .. }
        | Record::Withdrawn { claim }
        | Record::Consumed { claim, .. }
        | Record::Released { claim, .. } => Some(claim),
        Record::BlockAdded { .. }
        | Record::BlockRetired { .. }
        | Record::WrittenOff { .. }
        | Record::Unlocked { .. } => None,
    }
}
