//! `kubectl privacy explain`: why a claim waits or was refused, what would change that, and what would fit now.

mod claim;
mod of_status;
mod subject;

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::{
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    output::{Form, OutputOption, Report},
    state::{DatasetState, NoLedger, Source},
};
use claim::ClaimExplanation;
use subject::Named;
pub(crate) use subject::{Reference, find};

pub(crate) const HELP: &str = "\
Examples:
  kubectl privacy explain train                     # a pod, claim or Job of that name
  kubectl privacy explain job/train -n data
  kubectl privacy explain pbc/weekly-report -o wide # all blocks
  kubectl privacy explain pod/train-x7k2p -o json

Needs the rights to list privacyledgerentries, and to get privacyledgercheckpoints and privacyledgercheckpointpieces, in the
dataset's namespace. Without it, it says what the statuses say.

Exit status: 0 granted or used, 3 waits, 4 refused, expired or withdrawn, 6 the ledger may not be read.";

/// Explains why a claim waits or was refused: what each block has and lacks, its place in the queue, when unlocking alone
/// would be enough, and what would fit now.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Explain {
    /// NAME, pod/NAME, job/NAME or claim/NAME.
    #[arg(value_name = "NAME", value_parser = Reference::parse)]
    of: Reference,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// What was asked about: `job data/train`.
    of: String,
    /// What there is to say beside the claims.
    notes: Vec<String>,
    claims: Vec<ClaimExplanation>,
}

impl Explain {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let cluster = cluster.connect().await?;
        let found = find(&cluster, &self.of).await?;
        let (mut claims, mut states) = (Vec::new(), States::default());
        let mut exit = Exit::Done;
        for named in &found.claims {
            let explained = explain(&cluster, &mut states, named).await?;
            exit = exit.or(explained.exit());
            claims.push(explained);
        }
        if found.waits {
            exit = exit.or(Exit::Waits);
        }
        output.print(&Answer {
            of: found.of,
            notes: found.notes,
            claims,
        })?;
        Ok(exit)
    }
}

/// The datasets that were read, or why their ledgers may not be read.
type States = BTreeMap<privatekube_api::DatasetKey, Result<DatasetState, String>>;

async fn explain(cluster: &Cluster, states: &mut States, named: &Named) -> Result<ClaimExplanation> {
    let key = &named.dataset;
    if !states.contains_key(key) {
        let state = match cluster.missing_for_ledger(key).await? {
            Some(missing) => Err(missing.message()),
            None => match Source::Cluster(cluster.clone()).dataset(key).await {
                Ok(state) => Ok(state),
                Err(error) if error.is::<NoLedger>() => return Ok(claim::without_ledger(named, &error)),
                Err(error) => return Err(error),
            },
        };
        states.insert(key.clone(), state);
    }
    match states.get(key) {
        Some(Ok(state)) => Ok(claim::explained(named, state)),
        Some(Err(missing)) => of_status::explained(cluster, named, missing).await,
        None => anyhow::bail!("dataset {key} was not read"),
    }
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let mut text = String::new();
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        for (at, claim) in self.claims.iter().enumerate() {
            if at > 0 || !self.notes.is_empty() {
                text.push('\n');
            }
            text.push_str(&claim.text(form));
        }
        text
    }
}
