//! `kubectl privacy ledger export`: what `privatekube-extender export` does, for whoever has kubectl.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::Result;
use clap::Args;
use privatekube_api::DatasetKey;
use privatekube_backup::{ExportReport, export};
use serde::Serialize;

use crate::{
    cluster::ClusterOptions,
    exit::Exit,
    output::{Form, OutputOption, Report},
    state::now,
};

pub(crate) const HELP: &str = "\
Each ledger is verified while it is read. Needs the right to list privacyledgerentries, privatedatasets and privatedatablocks
in all namespaces. docs/operations.md says how to put an export back.

Examples:
  kubectl privacy ledger export privatekube-$(date +%F).jsonl
  kubectl privacy ledger export taxi.jsonl --dataset data/taxi

Exit status: 0 exported, 5 a ledger can't be verified and was left out.";

/// Writes ledgers and their datasets and blocks to a file.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Export {
    /// The file to write. It must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A dataset to export, as NAMESPACE/NAME; may be given several times. Default: all.
    #[arg(long, value_name = "DATASET", value_parser = dataset)]
    dataset: Vec<DatasetKey>,
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

impl Export {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let cluster = cluster.connect().await?;
        let report = export(&cluster.client, &self.dataset, &self.file, now()).await?;
        let is_whole = report.left_out.is_empty();
        output.print(&Exported(report))?;
        Ok(if is_whole { Exit::Done } else { Exit::Wrong })
    }
}

impl Report for Exported {
    fn text(&self, form: Form) -> String {
        let Self(report) = self;
        let mut text = String::new();
        for dataset in &report.datasets {
            let last = dataset.last.as_deref().unwrap_or("none");
            let _ = writeln!(
                text,
                "{}: {} entries, the last of {last}, and {} blocks; hash {}",
                dataset.dataset, dataset.entries, dataset.blocks, dataset.hash
            );
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
