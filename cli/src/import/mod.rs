//! `kubectl privacy import`: makes manifests of the objects of the system that came with the OSDI 2021 paper (group
//! columbia.github.com).
//!
//! What a block has consumed there can't be consumed once more: the block that is made states its budget and what was spent of
//! it (`spec.spent`), rounded up, and what was allocated counts as spent. Everything that is made is checked by the functions that admission uses, and what
//! can't be carried over is told.

mod amounts;
mod block;
mod claim;
mod old_cluster;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_api::{PrivateDataset, is_label_name};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cluster::ClusterOptions,
    documents::documents,
    exit::Exit,
    output::{Form, OutputOption, Report, print},
    table::Table,
};
use block::ImportedBlock;

/// The group of the objects.
const GROUP: &str = "columbia.github.com/";

pub(crate) const HELP: &str = "\
It reads the objects of the old system with their statuses, which say what was consumed: from files, from the standard input, or,
if neither is named, from the cluster.

Blocks become blocks that state what was spent of their budgets; claims that wait become claims. Claims that were granted are not
made again: what they hold counts as consumed. Apply the manifests once, in a cluster in which nothing of the old system runs
any more: budget that both systems grant is spent twice.

Examples:
  kubectl privacy import -A --context old --out new.yaml
  kubectl get privatedatablocks.columbia.github.com,privacybudgetclaims.columbia.github.com -A -o yaml |
    kubectl privacy import -f - --out new.yaml
  kubectl privacy import old.yaml --unlock-arrivals 400 --out - > new.yaml

Exit status: 0 all was carried over, 3 some was not, and is told.";

/// Makes manifests of the objects of the OSDI 2021 system, with what their blocks have left.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Import {
    /// Files of objects in YAML or JSON; - for the standard input. Default: the objects of the cluster.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, as kubectl has it.
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// All namespaces of the cluster.
    #[arg(short = 'A', long, conflicts_with_all = ["files", "filename"])]
    all_namespaces: bool,
    /// The file to write the manifests to. It must not exist; - for the standard output, with the report on standard error.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many arrivals unlock a block of the datasets that are made.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    unlock_arrivals: u32,
}

/// The report.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Imported {
    datasets: Vec<String>,
    blocks: Vec<ImportedBlock>,
    claims: Vec<String>,
    /// What was not carried over, and why.
    not_carried_over: Vec<String>,
    /// What was, with a difference.
    notes: Vec<String>,
    #[serde(skip)]
    pub(crate) manifests: Vec<Value>,
}

impl Import {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let mut objects = Vec::new();
        if self.files.is_empty() && self.filename.is_empty() {
            objects = old_cluster::objects(&cluster.connect().await?, self.all_namespaces).await?;
        }
        for file in self.files.iter().chain(&self.filename) {
            for document in documents(file)? {
                collect(document, &mut objects);
            }
        }
        let imported = import(&objects, self.unlock_arrivals);
        if imported.manifests.is_empty() {
            bail!(
                "no object of group columbia.github.com could be carried over: {}",
                imported.not_carried_over.join("; ")
            );
        }
        let mut manifests = String::new();
        for manifest in &imported.manifests {
            manifests.push_str("---\n");
            manifests.push_str(&serde_saphyr::to_string(manifest).context("the manifests can't be written")?);
        }
        let exit = if imported.not_carried_over.is_empty() {
            Exit::Done
        } else {
            Exit::Waits
        };
        if self.out.as_os_str() == "-" {
            print(&manifests)?;
            eprint!("{}", output.written(&imported)?);
            return Ok(exit);
        }
        let file = fs::File::create_new(&self.out).with_context(|| self.out.display().to_string())?;
        std::io::Write::write_all(&mut &file, manifests.as_bytes())?;
        output.print(&imported)?;
        Ok(exit)
    }
}

fn collect(document: Value, objects: &mut Vec<Value>) {
    if let Some(items) = document["items"].as_array() {
        for item in items {
            collect(item.clone(), objects);
        }
    } else if !document.is_null() {
        objects.push(document);
    }
}

/// Makes manifests of objects.
pub(crate) fn import(objects: &[Value], arrivals: u32) -> Imported {
    let mut imported = Imported::default();
    let is_ours = |object: &Value, kind: &str| {
        object["kind"] == kind
            && object["apiVersion"]
                .as_str()
                .is_some_and(|version| version.starts_with(GROUP))
    };
    let mut blocks: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for object in objects {
        let (namespace, name) = named(object);
        if is_ours(object, "PrivateDataBlock") {
            let dataset = object["spec"]["dataset"].as_str().unwrap_or_default().to_owned();
            blocks.entry((namespace, dataset)).or_default().push(object);
        } else if !is_ours(object, "PrivacyBudgetClaim") {
            let kind = object["kind"].as_str().unwrap_or("object");
            imported.not_carried_over.push(format!(
                "{kind} {namespace}/{name}: it is none of the old system's"
            ));
        }
    }
    let mut made = BTreeMap::new();
    for ((namespace, dataset), blocks) in blocks {
        if let Some(composition) = of_dataset(&namespace, &dataset, &blocks, arrivals, &mut imported) {
            made.insert((namespace, dataset), composition);
        }
    }
    for object in objects
        .iter()
        .filter(|object| is_ours(object, "PrivacyBudgetClaim"))
    {
        claim::import(object, &made, &mut imported);
    }
    imported
}

/// Makes a dataset and its blocks. Returns the Renyi orders, empty for basic composition; `None` if nothing can be made.
fn of_dataset(
    namespace: &str,
    name: &str,
    blocks: &[&Value],
    arrivals: u32,
    imported: &mut Imported,
) -> Option<Vec<String>> {
    let mut refuse = |why: &str| {
        imported.not_carried_over.push(format!(
            "dataset {namespace}/{name}, with {} blocks: {why}",
            blocks.len()
        ));
    };
    if !is_label_name(name) {
        refuse("its name is not that of a dataset: at most 63 lower-case letters, digits and '-'");
        return None;
    }
    let orders: BTreeSet<String> = blocks.iter().flat_map(|block| block::orders(block)).collect();
    let of_pairs = blocks
        .iter()
        .filter(|block| block["spec"]["initialBudget"]["epsDel"].is_object())
        .count();
    if of_pairs > 0 && of_pairs < blocks.len() {
        refuse(
            "some of its blocks have epsilon and delta, and others a Renyi curve: a dataset has one composition",
        );
        return None;
    }
    let mut orders: Vec<String> = orders.into_iter().collect();
    orders.sort_by(|one, other| {
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::INFINITY);
        number(one).total_cmp(&number(other))
    });
    let mut spec = json!({"policy": "DPF", "unlocking": {"arrivals": arrivals}});
    if orders.is_empty() {
        spec["composition"] = "Basic".into();
    } else {
        spec["composition"] = "Renyi".into();
        spec["orders"] = orders.iter().map(String::as_str).collect();
    }
    let manifest = json!({
        "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataset",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    let parsed: Result<PrivateDataset, _> = serde_json::from_value(manifest.clone());
    let composition = match parsed.map_err(|error| error.to_string()) {
        Ok(dataset) => match dataset.spec.rules() {
            Ok(rules) => rules.composition,
            Err(error) => {
                refuse(&error.to_string());
                return None;
            }
        },
        Err(error) => {
            refuse(&error);
            return None;
        }
    };
    imported.manifests.push(manifest);
    imported.datasets.push(format!("{namespace}/{name}"));
    imported.notes.push(format!(
        "dataset {namespace}/{name}: policy DPF with unlocking by {arrivals} arrivals, which the old system had as options of \
         its scheduler; what was unlocked before is locked again"
    ));
    for object in blocks {
        block::import(object, name, &composition, &orders, imported);
    }
    Some(orders)
}

/// An object's namespace and name.
fn named(object: &Value) -> (String, String) {
    let of = |field: &str| object["metadata"][field].as_str();
    (
        of("namespace").unwrap_or("default").to_owned(),
        of("name").unwrap_or_default().to_owned(),
    )
}

impl Report for Imported {
    fn text(&self, form: Form) -> String {
        let mut text = format!(
            "made: datasets {}, blocks {}, claims {}\n\n",
            self.datasets.len(),
            self.blocks.len(),
            self.claims.len()
        );
        if !self.blocks.is_empty() {
            let mut table = Table::new(&[
                "BLOCK",
                "DATASET",
                "OF",
                ">TOTAL",
                ">CONSUMED",
                ">ALLOCATED",
                ">LEFT",
            ]);
            for block in &self.blocks {
                for cells in &block.cells {
                    let first = [block.block.clone(), block.dataset.clone()];
                    table.row(first.into_iter().chain(cells.iter().cloned()));
                }
            }
            text.push_str(&table.text("", form.paint));
        }
        for (title, list) in [
            ("not carried over:", &self.not_carried_over),
            ("note:", &self.notes),
        ] {
            for line in list {
                let title = if title == "note:" {
                    form.paint.middling(title)
                } else {
                    form.paint.bad(title)
                };
                let _ = writeln!(text, "{title} {line}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks and claims as the old system's examples have them, with statuses.
    fn objects() -> Vec<Value> {
        let text = r#"
apiVersion: columbia.github.com/v1
kind: PrivateDataBlock
metadata: {name: block-1, namespace: privacy-example}
spec:
  dataset: taxi
  dataSource: www.columbia.edu/db/1
  dimensions: [{attribute: startTime, numericValue: "0"}, {attribute: userId, stringValue: foo}, {attribute: half, numericValue: "0.5"}]
  initialBudget: {epsDel: {epsilon: 5, delta: 0.0001}}
status:
  pendingBudget: {epsDel: {epsilon: 4, delta: 0.00008}}
  availableBudget: {epsDel: {epsilon: 0.97, delta: 0.00001996}}
  acquiredBudgetMap: {privacy-example/claim-1: {epsDel: {epsilon: 0.01, delta: 0.00000001}}}
  committedBudgetMap: {privacy-example/claim-0: {epsDel: {epsilon: 0.02, delta: 0.00000003}}}
---
apiVersion: columbia.github.com/v1
kind: PrivateDataBlock
metadata: {name: block-r, namespace: privacy-example}
spec:
  dataset: curves
  initialBudget: {renyi: [{alpha: 4, epsilon: 1.5}, {alpha: 2, epsilon: 0.5}, {alpha: 1000000, epsilon: 5}]}
status:
  committedBudgetMap: {privacy-example/claim-0: {renyi: [{alpha: 4, epsilon: 0.1}, {alpha: 1000000, epsilon: 0.3}]}}
---
apiVersion: columbia.github.com/v1
kind: PrivacyBudgetClaim
metadata: {name: claim-2, namespace: privacy-example}
spec:
  requests:
  - identifier: id-1
    allocateRequest:
      dataset: taxi
      conditions: [{attribute: startTime, operation: ">=", numericValue: "0"}, {attribute: userId, operation: is, stringValue: foo}]
      minNumberOfBlocks: 1
      maxNumberOfBlocks: 3
      timeout: 90000
      expectedBudget: {constant: {epsDel: {epsilon: 0.01, delta: 0.00000001}}}
status: {responses: [{identifier: id-1, state: pending}]}
---
apiVersion: columbia.github.com/v1
kind: PrivacyBudgetClaim
metadata: {name: claim-1, namespace: privacy-example}
spec: {requests: [{identifier: id-1, allocateRequest: {dataset: taxi, expectedBudget: {function: f}}}]}
status: {responses: [{identifier: id-1, state: success}]}
"#;
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let mut objects = Vec::new();
        for document in documents {
            collect(document, &mut objects);
        }
        objects
    }

    #[test]
    fn blocks_have_what_is_left_and_waiting_claims_are_made_again() {
        let imported = import(&objects(), 100);
        let made: Vec<String> = imported
            .manifests
            .iter()
            .map(|object| {
                format!(
                    "{} {}",
                    object["kind"].as_str().unwrap(),
                    object["metadata"]["name"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(
            made,
            [
                "PrivateDataset curves",
                "PrivateDataBlock block-r",
                "PrivateDataset taxi",
                "PrivateDataBlock block-1",
                "PrivacyBudgetClaim claim-2"
            ],
            "{:#?}",
            imported.not_carried_over
        );
        let spec = |at: usize| &imported.manifests[at]["spec"];
        assert_eq!(spec(0)["orders"], json!(["2", "4", "1000000"]));
        // What claim-0 consumed at order 2 is unknown, so all of it counts as spent there.
        assert_eq!(
            spec(1)["initialBudget"]["renyi"],
            json!([{"order": "2", "epsilon": "0.5"}, {"order": "4", "epsilon": "1.5"}, {"order": "1000000", "epsilon": "5"}])
        );
        assert_eq!(
            spec(1)["spent"]["budget"]["renyi"],
            json!([{"order": "2", "epsilon": "0.5"}, {"order": "4", "epsilon": "0.1"}, {"order": "1000000", "epsilon": "0.3"}])
        );
        assert_eq!(
            spec(3)["initialBudget"],
            json!({"epsilon": "5", "delta": "0.0001"})
        );
        assert_eq!(
            spec(3)["spent"]["budget"],
            json!({"epsilon": "0.03", "delta": "0.00000004"})
        );
        assert_eq!(
            spec(3)["dimensions"],
            json!({"startTime": 0, "userId": "foo", "half": "0.5"})
        );
        let claim = spec(4);
        assert_eq!(
            claim["selector"],
            "block.startTime >= 0 && block.userId == \"foo\""
        );
        assert_eq!(claim["blocks"], json!({"min": 1, "max": 3}));
        assert_eq!(claim["timeout"], "90000ms");
        assert_eq!(
            imported.not_carried_over.len(),
            1,
            "{:#?}",
            imported.not_carried_over
        );
        assert!(imported.not_carried_over[0].starts_with("claim privacy-example/claim-1"));
    }

    #[test]
    fn the_less_of_what_is_stated_and_what_is_computed_is_left() {
        let mut objects = objects();
        objects.truncate(1);
        objects[0]["status"]["pendingBudget"]["epsDel"]["epsilon"] = json!(3.5);
        let imported = import(&objects, 100);
        assert_eq!(
            imported.manifests[1]["spec"]["spent"]["budget"]["epsilon"],
            "0.53"
        );
        assert!(
            imported.notes.iter().any(|note| note.contains("has 4.47 left")),
            "{:?}",
            imported.notes
        );
    }

    #[test]
    fn a_block_that_is_spent_is_told_and_not_made() {
        let mut objects = objects();
        objects.truncate(1);
        objects[0]["status"]["committedBudgetMap"] =
            json!({"a/b": {"epsDel": {"epsilon": 5, "delta": 0.0001}}});
        let imported = import(&objects, 100);
        assert!(imported.blocks.is_empty());
        assert!(
            imported.not_carried_over[0].contains("nothing is left"),
            "{:?}",
            imported.not_carried_over
        );
    }
}
