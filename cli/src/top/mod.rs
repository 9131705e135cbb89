//! `kubectl privacy top`: budgets, how fast they are consumed, and queues.

mod follow;
mod rows;

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use privatekube_api::DatasetKey;
use privatekube_kubernetes::datasets_with_ledger;
use privatekube_policy::Span;

use crate::{
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    ledger::MissingLedger,
    output::{OutputOption, print},
};
use follow::Followed;
use rows::Answer;

pub(crate) const HELP: &str = "\
Parts are those of a block's budget at the coordinate that kubectl get pb -o wide shows; those of a dataset are the mean of its
blocks. DAY is what was consumed within the last 24 hours, WEEK what was consumed on each day of the last seven, and LASTS for
how many days what is left would do at the latter rate.

Examples:
  kubectl privacy top                      # datasets of the namespace
  kubectl privacy top blocks -A --sort day
  kubectl privacy top claims -n data --watch
  kubectl privacy top namespaces --dataset data/taxi -o json

Needs the rights to list privacyledgerentries, and to get privacyledgercheckpoints and privacyledgercheckpointpieces, in the
namespaces of the datasets. Where old entries were removed, DAY and WEEK know what was consumed since the checkpoint.";

/// Shows budgets, how fast they are consumed, and queues.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Top {
    /// What is listed.
    #[arg(value_enum, default_value_t = What::Datasets)]
    what: What,
    /// The datasets, as NAME or NAMESPACE/NAME; may be given several times. Default: all of the namespace.
    #[arg(long, value_name = "DATASET")]
    dataset: Vec<String>,
    /// All namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// The column by which rows are sorted. Default: the one with which something has to be done first.
    #[arg(long, value_enum, value_name = "COLUMN")]
    sort: Option<Sort>,
    /// Goes on, and shows what has changed.
    #[arg(short, long)]
    watch: bool,
    /// How long to pause between two looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", requires = "watch", value_parser = pause)]
    every: Span,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Datasets: the means of their blocks, and their queues.
    Datasets,
    /// Blocks.
    Blocks,
    /// Namespaces that claim, with what each has consumed.
    Namespaces,
    /// Claims that wait, in the order of the policy.
    Claims,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By name.
    Name,
    /// The most consumed first.
    Consumed,
    /// The least left first.
    Left,
    /// The most consumed within a day first.
    Day,
    /// The most consumed within a week first.
    Week,
    /// The most waiting claims first.
    Waiting,
}

fn pause(text: &str) -> Result<Span, String> {
    let span: Span = text
        .parse()
        .map_err(|error: privatekube_policy::SpanError| error.to_string())?;
    if span.micros() < 500_000 {
        return Err("write 500ms or more: each look asks the API server".to_owned());
    }
    Ok(span)
}

impl Top {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let cluster = cluster.connect().await?;
        let mut followed = Vec::new();
        let mut notes = Vec::new();
        for dataset in self.datasets(&cluster).await? {
            match cluster.missing_for_ledger(&dataset).await? {
                Some(missing) => notes.push(format!("{dataset} is left out: {}", missing.message())),
                None => followed.push(Followed::new(&cluster, dataset)),
            }
        }
        if followed.is_empty() {
            return Err(MissingLedger(notes.join("; ")).into());
        }
        loop {
            for dataset in &mut followed {
                dataset.catch_up(cluster.now().await).await?;
            }
            let answer = Answer::of(self.what, self.sort, &followed, notes.clone());
            let text = output.written(&answer)?;
            if self.watch && stdout().is_terminal() {
                // Clears the screen, and begins at its top.
                print(&format!("\u{1b}[H\u{1b}[2J{text}"))?;
            } else {
                print(&text)?;
            }
            if !self.watch {
                return Ok(if notes.is_empty() {
                    Exit::Done
                } else {
                    Exit::NotAllowed
                });
            }
            tokio::time::sleep(Duration::from_micros(self.every.micros())).await;
        }
    }

    async fn datasets(&self, cluster: &Cluster) -> Result<Vec<DatasetKey>> {
        if !self.dataset.is_empty() {
            let keys = self.dataset.iter().map(|name| {
                DatasetKey::parse(name, &cluster.namespace)
                    .map_err(|error| anyhow::anyhow!("dataset {name:?}: {error}"))
            });
            return keys.collect();
        }
        let namespace = (!self.all_namespaces).then_some(cluster.namespace.as_str());
        if let Some(missing) = cluster.missing_in(namespace).await? {
            return Err(MissingLedger(missing.message()).into());
        }
        let found = datasets_with_ledger(&cluster.client, namespace).await;
        let found = found.context("list the ledgers")?;
        if found.is_empty() {
            bail!(
                "there is no ledger in namespace {}: -n names another one, -A means all",
                cluster.namespace
            );
        }
        Ok(found)
    }
}
