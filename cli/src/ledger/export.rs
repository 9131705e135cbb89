//! `kubectl privacy ledger export`: what `privatekube-extender export` does, for whoever has kubectl.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::api::ListParams;
use privatekube_api::{DatasetKey, PrivateDataset};
use privatekube_backup::{AppendReport, DatasetExport, ExportReport, append, export};
use privatekube_kubernetes::datasets_with_ledger;
use serde::Serialize;

use crate::{
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    output::{Form, OutputOption, Report},
};

pub(crate) const HELP: &str = "\
Each ledger is verified while it is read. Needs the rights to get and list privacyledgerentries, privatedatasets and
privatedatablocks, and to get privacyledgercheckpoints and privacyledgercheckpointpieces; with --append, to get namespaces,
too. Kubernetes' role `view` has them; -A needs them in all namespaces. docs/operations.md says how to put an export back.

Examples:
  kubectl privacy ledger export privatekube-$(date +%F).jsonl -A
  kubectl privacy ledger export shop.jsonl -n shop
  kubectl privacy ledger export taxi.jsonl --dataset data/taxi
  kubectl privacy ledger export /srv/privatekube --append -A

Exit status: 0 exported, 5 a ledger can't be verified and was left out.";

/// Writes ledgers and their datasets and blocks to a file.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Export {
    /// The file to write. It must not exist. With --append, a directory, which must exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Appends what is new since the last time to a directory, as the extender does with its option --export. A ledger that lacks
    /// what was exported before is left out.
    #[arg(long)]
    append: bool,
    /// A dataset to export, as NAMESPACE/NAME; may be given several times. Default: all of the namespace.
    #[arg(long, value_name = "DATASET", value_parser = dataset, conflicts_with = "all_namespaces")]
    dataset: Vec<DatasetKey>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

fn dataset(text: &str) -> Result<DatasetKey, String> {
    if !text.contains('/') {
        return Err("write NAMESPACE/NAME, like data/taxi".to_owned());
    }
    DatasetKey::parse(text, "").map_err(|error| error.to_string())
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Exported(ExportReport);

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Appended(AppendReport);

impl Export {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let cluster = cluster.connect().await?;
        let datasets = if self.dataset.is_empty() && !self.all_namespaces {
            in_namespace(&cluster).await?
        } else {
            self.dataset
        };
        // No datasets mean all.
        if self.append {
            let report = append(&cluster.client, &datasets, &self.file).await?;
            let is_whole = report.left_out.is_empty();
            output.print(&Appended(report))?;
            return Ok(if is_whole { Exit::Done } else { Exit::Wrong });
        }
        let report = export(&cluster.client, &datasets, &self.file, cluster.now().await).await?;
        let is_whole = report.left_out.is_empty();
        output.print(&Exported(report))?;
        Ok(if is_whole { Exit::Done } else { Exit::Wrong })
    }
}

/// The datasets of the namespace: those with an object, and those that have a ledger alone. There is at least one.
async fn in_namespace(cluster: &Cluster) -> Result<Vec<DatasetKey>> {
    let namespace = cluster.namespace.as_str();
    let with_ledger = datasets_with_ledger(&cluster.client, Some(namespace)).await;
    let with_ledger = with_ledger.with_context(|| format!("list the ledgers in namespace {namespace}"))?;
    let objects: Vec<PrivateDataset> = cluster.list(Some(namespace), &ListParams::default()).await?;
    datasets(namespace, with_ledger, objects)
}

fn datasets(
    namespace: &str,
    with_ledger: Vec<DatasetKey>,
    objects: Vec<PrivateDataset>,
) -> Result<Vec<DatasetKey>> {
    let names = objects.into_iter().filter_map(|object| object.metadata.name);
    let with_object = names.map(|name| DatasetKey {
        namespace: namespace.to_owned(),
        name,
    });
    let found: BTreeSet<DatasetKey> = with_ledger.into_iter().chain(with_object).collect();
    if found.is_empty() {
        bail!(
            "there is no dataset and no ledger in namespace {namespace}: -n names another one, -A means all"
        );
    }
    Ok(found.into_iter().collect())
}

impl Report for Exported {
    fn text(&self, form: Form) -> String {
        let Self(report) = self;
        let mut text = String::new();
        for dataset in &report.datasets {
            let _ = match &dataset.last {
                Some(last) => writeln!(
                    text,
                    "{}: {} entries{}, the last of {last}, and {} blocks; hash {}",
                    dataset.dataset,
                    dataset.entries,
                    began(dataset),
                    dataset.blocks,
                    dataset.hash
                ),
                None => writeln!(
                    text,
                    "{}: no entries yet, and {} blocks",
                    dataset.dataset, dataset.blocks
                ),
            };
        }
        for problem in &report.left_out {
            let _ = writeln!(text, "{} {problem}", form.paint.bad("left out:"));
        }
        let _ = writeln!(
            text,
            "{}: {} of the datasets that were meant",
            report.file.display(),
            report.datasets.len()
        );
        text
    }
}

impl Report for Appended {
    fn text(&self, form: Form) -> String {
        let Self(report) = self;
        let mut text = String::new();
        for dataset in &report.datasets {
            let _ = writeln!(
                text,
                "{}: exported up to entry {}",
                dataset.dataset, dataset.sequence
            );
        }
        for problem in &report.left_out {
            let _ = writeln!(text, "{} {problem}", form.paint.bad("left out:"));
        }
        text
    }
}

/// From which entry on the ledger is in the file.
fn began(dataset: &DatasetExport) -> String {
    match dataset.checkpoint {
        Some(at) if dataset.first > 1 => format!(
            " from {} on with the checkpoint at entry {at}, since earlier ones were removed",
            dataset.first
        ),
        Some(at) => format!(" with the checkpoint at entry {at}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_datasets_of_a_namespace_have_a_ledger_or_an_object() {
        let key = |name: &str| DatasetKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let object = |name: &str| -> PrivateDataset {
            serde_json::from_value(json!({
                "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataset",
                "metadata": {"namespace": "shop", "name": name}, "spec": {"unlocking": {"arrivals": 10}},
            }))
            .unwrap()
        };
        let found = datasets(
            "shop",
            vec![key("sales"), key("gone")],
            vec![object("sales"), object("new")],
        );
        assert_eq!(found.unwrap(), [key("gone"), key("new"), key("sales")]);
        let error = datasets("shop", Vec::new(), Vec::new()).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no dataset and no ledger in namespace shop"),
            "{error}"
        );
    }

    #[test]
    fn all_namespaces_and_a_dataset_exclude_each_other() {
        let parse = |more: &[&str]| {
            let words = ["kubectl-privacy", "ledger", "export", "x.jsonl"]
                .iter()
                .chain(more);
            crate::Cli::try_parse_from(words).is_ok()
        };
        assert!(parse(&["-A"]) && parse(&["-n", "shop"]) && parse(&["--dataset", "data/taxi"]));
        assert!(!parse(&["-A", "--dataset", "data/taxi"]));
    }
}
