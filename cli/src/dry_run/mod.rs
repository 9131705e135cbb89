//! `kubectl privacy dry-run`: what would become of claims and pods that nobody has made. Creates nothing, not even for a
//! moment: each demand is tried on a copy of the dataset's state in this process.

mod annotations;
mod elsewhere;
mod manifest;
mod retries;
mod shape;
mod tried;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_api::PrivacyBudgetClaim;
use serde_json::{Map, Value, json};

use crate::{
    cluster::{Cluster, ClusterOptions},
    documents::documents,
    exit::Exit,
    output::OutputOption,
};
use manifest::{Item, Requested};
use tried::{Answer, Datasets};

pub(crate) const HELP: &str = "\
Examples:
  kubectl privacy dry-run --dataset taxi --epsilon 0.5 --delta 1e-9 --blocks 'block.city == \"nyc\"'
  kubectl privacy dry-run --dataset data/taxi --mechanism 'gaussian(sigma=20)' --max-blocks 3 -n research
  kubectl privacy dry-run -f job.yaml
  helm template . | kubectl privacy dry-run -f -

What is in a file is tried in its order, each as if those before it had been granted what they would be. Nothing is charged
or written.

Exit status: 0 granted now, 3 later, 4 never or refused, 6 the ledger may not be read.";

/// Says whether claims or pods would be granted now, later or never, and what would remain. Charges and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct DryRun {
    /// A file of pods, Jobs, CronJobs, Deployments and others with pod templates, and PrivacyBudgetClaims; - for the standard
    /// input. May be given several times.
    #[arg(
        short,
        long,
        value_name = "FILE",
        conflicts_with = "dataset",
        required_unless_present = "dataset"
    )]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    demand: Demand,
}

/// A demand by flags.
#[derive(Debug, Args)]
#[group(id = "demand", multiple = true)]
struct Demand {
    /// The dataset: its name, or namespace/name.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// Epsilon on each block. Goes with --delta.
    #[arg(
        long,
        value_name = "EPSILON",
        requires = "dataset",
        conflicts_with = "mechanism"
    )]
    epsilon: Option<String>,
    /// Delta on each block.
    #[arg(long, value_name = "DELTA", requires = "epsilon")]
    delta: Option<String>,
    /// A mechanism, in place of epsilon and delta.
    #[arg(long, value_name = "MECHANISM", requires = "dataset")]
    mechanism: Option<String>,
    /// Which blocks: an expression like 'block.city == "nyc"', or all.
    #[arg(long, value_name = "EXPRESSION", requires = "dataset")]
    blocks: Option<String>,
    /// How many blocks at most, the newest.
    #[arg(long, value_name = "COUNT", requires = "dataset")]
    max_blocks: Option<u32>,
    /// How many blocks at least.
    #[arg(long, value_name = "COUNT", requires = "dataset")]
    min_blocks: Option<u32>,
    /// The claim's priority.
    #[arg(
        long,
        value_name = "PRIORITY",
        requires = "dataset",
        allow_negative_numbers = true
    )]
    priority: Option<i32>,
}

impl DryRun {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let cluster = cluster.connect().await?;
        let items = if self.filename.is_empty() {
            vec![self.demand.item(&cluster)?]
        } else {
            let mut items = Vec::new();
            for file in &self.filename {
                let found = manifest::items(documents(file)?, &cluster.namespace);
                items.extend(found.with_context(|| file.display().to_string())?);
            }
            items
        };
        if items.is_empty() {
            bail!("there is no object to try");
        }
        let mut datasets = Datasets::new(cluster);
        let mut answer = Answer::default();
        for item in items {
            answer.tried.push(datasets.try_item(item).await?);
        }
        output.print(&answer)?;
        Ok(answer.exit())
    }
}

impl Demand {
    /// The claim object that would state the demand.
    fn item(&self, cluster: &Cluster) -> Result<Item> {
        let mut budget = Map::new();
        for (name, value) in [
            ("epsilon", &self.epsilon),
            ("delta", &self.delta),
            ("mechanism", &self.mechanism),
        ] {
            if let Some(value) = value {
                budget.insert(name.to_owned(), value.as_str().into());
            }
        }
        if budget.is_empty() {
            bail!("say how much: --epsilon and --delta, or --mechanism");
        }
        let mut blocks = Map::new();
        for (name, value) in [("min", self.min_blocks), ("max", self.max_blocks)] {
            if let Some(value) = value {
                blocks.insert(name.to_owned(), value.into());
            }
        }
        let mut spec =
            json!({"dataset": self.dataset, "budget": budget, "priority": self.priority.unwrap_or_default()});
        match self.blocks.as_deref() {
            Some("all") if self.max_blocks.is_none() => {
                blocks.insert("which".to_owned(), "all".into());
            }
            Some("all") | None => {}
            Some(selector) => spec["selector"] = selector.into(),
        }
        if !blocks.is_empty() {
            spec["blocks"] = Value::Object(blocks);
        }
        let object = json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivacyBudgetClaim",
            "metadata": {"namespace": cluster.namespace, "name": "dry-run"},
            "spec": spec,
        });
        let object: PrivacyBudgetClaim = serde_json::from_value(object)?;
        let request = object.new_request().map_err(|errors| {
            let flags = [
                ("spec.budget.", "--"),
                ("spec.selector", "--blocks"),
                ("spec.blocks.min", "--min-blocks"),
                ("spec.blocks.max", "--max-blocks"),
                ("spec.dataset", "--dataset"),
                ("spec.priority", "--priority"),
                ("spec.blocks", "--blocks"),
            ];
            let mut text = errors.to_string();
            for (field, flag) in flags {
                text = text.replace(field, flag);
            }
            anyhow::anyhow!(text)
        })?;
        Ok(Item {
            what: "the demand".to_owned(),
            name: "dry-run".to_owned(),
            namespace: cluster.namespace.clone(),
            requested: Requested::Own(Box::new(request)),
            ..Item::default()
        })
    }
}
