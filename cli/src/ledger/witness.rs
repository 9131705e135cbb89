//! `kubectl privacy ledger witness`: the last entry of each ledger, to be kept outside of the cluster, and how a ledger is compared
//! with what was kept.

use std::{collections::HashMap, fmt::Write as _, fs, io::Read as _, path::Path};

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_api::DatasetKey;
use privatekube_ledger::Hash;
use serde::Serialize;

use super::LedgerOptions;
use crate::{
    cluster::ClusterOptions,
    exit::Exit,
    output::{Form, OutputOption, Report},
};

/// The most bytes of a file with witnesses.
const MOST_BYTES: u64 = 16 << 20;

pub(crate) const HELP: &str = "\
Writes one line for each ledger: its dataset, the number of its last entry, and that entry's hash. Kept where nobody who may change
this cluster may change it, such a line shows later that entries were cut off: `ledger verify --witness` compares.

Examples:
  kubectl privacy ledger witness -A >witness
  kubectl --context other create configmap privatekube-witness --from-file=witness
  kubectl privacy ledger verify -A --witness witness

Exit status: 0 written, 5 a ledger can't be verified, 1 one can't be read.";

/// Writes the number and the hash of the last entry of each ledger.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct WitnessCommand {
    /// The datasets, as NAME or NAMESPACE/NAME. Default: all of the namespace, or of the file.
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
    #[command(flatten)]
    ledger: LedgerOptions,
}

/// The last entry that a ledger had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Witness {
    dataset: String,
    pub(super) sequence: u64,
    pub(super) hash: Hash,
}

impl Witness {
    pub(super) fn new(dataset: &DatasetKey, sequence: u64, hash: Hash) -> Self {
        Self {
            dataset: dataset.to_string(),
            sequence,
            hash,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Witnesses(Vec<Witness>);

impl WitnessCommand {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let (mut source, _) = self.ledger.source(cluster).await?;
        let namespace = cluster.namespace.as_deref();
        let mut witnesses = Vec::new();
        for dataset in self.ledger.datasets(&source, &self.datasets, namespace).await? {
            let head = source.state(&dataset).await?.head();
            if head.sequence > 0 {
                witnesses.push(Witness::new(&dataset, head.sequence, head.hash));
            }
        }
        output.print(&Witnesses(witnesses))?;
        Ok(Exit::Done)
    }
}

impl Report for Witnesses {
    fn text(&self, _form: Form) -> String {
        let mut text = String::new();
        for witness in &self.0 {
            let _ = writeln!(text, "{} {} {}", witness.dataset, witness.sequence, witness.hash);
        }
        text
    }
}

/// Reads what was kept: from a file, or from standard input if the path is `-`.
pub(super) fn read(path: &Path) -> Result<HashMap<DatasetKey, Vec<Witness>>> {
    let reading = || format!("read the witnesses in {}", path.display());
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MOST_BYTES).read_to_string(&mut text)
    } else {
        let file = fs::File::open(path).with_context(reading)?;
        file.take(MOST_BYTES).read_to_string(&mut text)
    };
    read.with_context(reading)?;
    parse(&text).with_context(reading)
}

fn parse(text: &str) -> Result<HashMap<DatasetKey, Vec<Witness>>> {
    let mut witnesses: HashMap<DatasetKey, Vec<Witness>> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split_whitespace();
        let Some(dataset) = words.next() else { continue };
        let (sequence, hash, rest) = (words.next(), words.next(), words.next());
        let key = DatasetKey::parse(dataset, "")
            .ok()
            .filter(|_| dataset.contains('/'));
        let sequence = sequence.and_then(|sequence| sequence.parse().ok());
        let hash = hash.and_then(|hash| hash.parse().ok());
        let (Some(key), Some(sequence), Some(hash), None) = (key, sequence, hash, rest) else {
            bail!(
                "line {number} is no witness: write NAMESPACE/NAME, a number and a hash of 64 hexadecimal digits"
            );
        };
        let witness = Witness::new(&key, sequence, hash);
        witnesses.entry(key).or_default().push(witness);
    }
    if witnesses.is_empty() {
        bail!("there is no witness in it");
    }
    Ok(witnesses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written_and_another_one_is_refused() {
        let hash = Hash::of(b"last");
        let key = DatasetKey::parse("data/taxi", "").unwrap();
        let witness = Witness::new(&key, 57, hash);
        let text = Witnesses(vec![witness.clone()]).text(Form::default());
        assert_eq!(text, format!("data/taxi 57 {hash}\n"));
        let read = parse(&text).unwrap();
        assert_eq!(read.get(&key), Some(&vec![witness]));
        for wrong in [
            "",
            "\n",
            "data/taxi 57",
            &format!("taxi 57 {hash}"),
            &format!("data/taxi x {hash}"),
            &format!("data/taxi 57 {hash} more"),
            "data/taxi 57 abc",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
