//! `kubectl privacy ledger verify`: verification from outside, in a process of its own.
//!
//! Statuses are read before the ledger, so what they say must be in it. Each block's status names the entry that it is of,
//! and is compared with what the replay has after that very entry. A claim's status has to be one that the claim has, or had:
//! a status that is a moment behind is no fault, and is counted.

mod comparison;

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::Args;
use kube::api::ListParams;
use privatekube_api::{DatasetKey, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset};
use serde::Serialize;

use super::LedgerOptions;
use crate::{
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    output::{Form, OutputOption, Report},
    state::{Source, blocks},
};
use comparison::Comparison;

/// How many statuses that are behind are named.
const MOST_NAMED: usize = 10;

pub(crate) const HELP: &str = "\
Checks of each ledger: that every entry has the hash of its content and of its predecessor, that times don't go back, that
exactly the written decisions follow from the events, that the amounts of each block add up, and that no status of a dataset,
block or claim says what the ledger doesn't.

Nothing in the ledger shows that its last entries were cut off: compare the number and the hash of the last entry with a copy
that was kept elsewhere.

Examples:
  kubectl privacy ledger verify taxi -n data
  kubectl privacy ledger verify -A -o json
  kubectl privacy ledger verify --file privatekube-2026-11-30.jsonl

Exit status: 0 verified, 5 something is wrong, 1 a ledger can't be read.";

/// Verifies ledgers: hashes, each decision by a replay in this process, and what statuses say.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    /// The datasets, as NAME or NAMESPACE/NAME. Default: all of the namespace, or of the file.
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
    #[command(flatten)]
    ledger: LedgerOptions,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    is_verified: bool,
    ledgers: Vec<Verified>,
}

/// What was found of a ledger.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    dataset: String,
    entries: u64,
    /// The hash of the last entry.
    hash: String,
    /// The time of the last entry.
    last: Option<String>,
    blocks: usize,
    claims: usize,
    decisions: usize,
    /// How many statuses were compared; none of a file, which has none.
    statuses: usize,
    /// What is wrong.
    pub(super) problems: Vec<String>,
    /// Statuses that are behind the ledger.
    behind: Vec<String>,
    /// What could not be compared, and why.
    notes: Vec<String>,
}

/// The statuses of a dataset's objects.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    pub(super) dataset: Option<PrivateDataset>,
    pub(super) blocks: Vec<PrivateDataBlock>,
    pub(super) claims: Vec<PrivacyBudgetClaim>,
    pub(super) notes: Vec<String>,
}

impl Verify {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let (mut source, connected) = self.ledger.source(cluster).await?;
        let namespace = cluster.namespace.as_deref();
        let datasets = self.ledger.datasets(&source, &self.datasets, namespace).await?;
        let mut ledgers = Vec::new();
        for dataset in datasets {
            let statuses = match &connected {
                Some(cluster) => read_statuses(cluster, &dataset).await?,
                None => Statuses::default(),
            };
            let is_there = connected.is_none() || statuses.dataset.is_some();
            let verified = verify(&mut source, &dataset, statuses).await?;
            if !is_there && verified.is_nothing() {
                bail!("there is no dataset {dataset}, and no ledger of it");
            }
            ledgers.push(verified);
        }
        let is_verified = ledgers.iter().all(|ledger| ledger.problems.is_empty());
        output.print(&Answer { is_verified, ledgers })?;
        Ok(if is_verified { Exit::Done } else { Exit::Wrong })
    }
}

async fn read_statuses(cluster: &Cluster, dataset: &DatasetKey) -> Result<Statuses> {
    let mut notes = Vec::new();
    let namespace = if cluster.may("list", "privacybudgetclaims", "").await? {
        None
    } else {
        notes.push(format!(
            "statuses of claims in other namespaces than {} were not compared: you may not list them",
            dataset.namespace
        ));
        Some(dataset.namespace.as_str())
    };
    let mut claims: Vec<PrivacyBudgetClaim> = cluster.list(namespace, &ListParams::default()).await?;
    claims.retain(|claim| {
        let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
        DatasetKey::parse(&claim.spec.dataset, namespace).is_ok_and(|key| key == *dataset)
    });
    Ok(Statuses {
        dataset: cluster.get(&dataset.namespace, &dataset.name).await?,
        blocks: blocks(cluster, dataset).await?,
        claims,
        notes,
    })
}

async fn verify(source: &mut Source, dataset: &DatasetKey, statuses: Statuses) -> Result<Verified> {
    let mut comparison = Comparison::new(dataset, statuses);
    let replayed = source
        .replay(dataset, |entry, committed, replay| {
            comparison.entry(entry, committed, replay);
        })
        .await;
    match replayed {
        Ok(replay) => Ok(comparison.end(&replay)),
        Err(error) if is_wrong(&error) => {
            comparison.verified.problems.push(format!("{error:#}"));
            Ok(comparison.verified)
        }
        Err(error) => Err(error),
    }
}

/// Whether an error says that a ledger is wrong, and not that it can't be read.
pub(crate) fn is_wrong(error: &anyhow::Error) -> bool {
    use privatekube_backup::{BackupError, FileError};
    use privatekube_ledger::StoreError;
    matches!(
        error.downcast_ref::<BackupError>(),
        Some(
            BackupError::Verify(..)
                | BackupError::Store(_, StoreError::Corrupt(_))
                | BackupError::File {
                    error: FileError::Verify(_),
                    ..
                }
        )
    )
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let texts: Vec<String> = self.ledgers.iter().map(|ledger| ledger.text(form)).collect();
        texts.join("\n")
    }
}

impl Verified {
    /// Whether there is no entry, and nothing is wrong with that.
    const fn is_nothing(&self) -> bool {
        self.entries == 0 && self.problems.is_empty()
    }

    pub(super) fn text(&self, form: Form) -> String {
        let paint = form.paint;
        let outcome = if self.problems.is_empty() {
            paint.good("verified")
        } else {
            paint.bad("WRONG")
        };
        let mut text = format!("{}: {outcome}\n", paint.bold(&self.dataset));
        let _ = match &self.last {
            Some(last) => writeln!(
                text,
                "  {} entries, the last of {last} with hash {}\n  {} blocks, {} claims, {} decisions by replay",
                self.entries, self.hash, self.blocks, self.claims, self.decisions
            ),
            None if self.is_nothing() => writeln!(text, "  no entries yet"),
            None => writeln!(text, "  no entry could be verified"),
        };
        for problem in &self.problems {
            let _ = writeln!(text, "  {} {problem}", paint.bad("wrong:"));
        }
        if self.statuses > 0 {
            let _ = writeln!(text, "  {} statuses compared", self.statuses);
        }
        if !self.behind.is_empty() {
            let named: Vec<&str> = self.behind.iter().take(MOST_NAMED).map(String::as_str).collect();
            let _ = writeln!(
                text,
                "  {} {} statuses are those of a moment ago: {}",
                paint.middling("behind:"),
                self.behind.len(),
                named.join(", ")
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {} {note}", paint.middling("note:"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use privatekube_api::{Amounts, ClaimPhase};
    use privatekube_ledger::Replay;
    use serde_json::json;

    use super::*;
    use crate::fixture::{claim, consume, entries, events, key};

    /// Verifies the ledger against a status of block b1 and one of claim small.
    async fn verified(change: impl Fn(&mut PrivateDataBlock, &mut PrivacyBudgetClaim)) -> Verified {
        let mut lists = events();
        lists.push(vec![consume("small")]);
        let entries = entries(lists).await;
        let mut small = claim("small", "gaussian(sigma=4)");
        small.status = serde_json::from_value(json!({"phase": "Consumed", "sequence": 4})).unwrap();
        let mut block: PrivateDataBlock = serde_json::from_value(json!({
            "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataBlock",
            "metadata": {"namespace": "data", "name": "b1"}, "spec": {"dataset": "taxi"},
        }))
        .unwrap();
        let mut replay = Replay::new();
        for entry in entries.iter().take(3) {
            replay.push(entry).unwrap();
        }
        // The status is that of entry 3, one behind.
        let state = replay.engine().unwrap().block(&"b1".into()).unwrap();
        let composition = &replay.engine().unwrap().rules().composition;
        let amounts = |units: &[i128]| {
            let orders = ["2", "8", "32"].iter().enumerate();
            let renyi: Vec<_> = orders
                .map(|(at, order)| json!({"order": order, "epsilon": composition.display_units(at, units[at])}))
                .collect();
            json!({"epsilon": composition.display_units(0, units[0]), "renyi": renyi})
        };
        let total: Vec<i128> = state
            .capacity
            .units()
            .iter()
            .map(|units| (*units).into())
            .collect();
        block.status = serde_json::from_value(json!({
            "ledgerSequence": 3, "total": amounts(&total), "locked": amounts(&state.locked),
            "available": amounts(&state.available), "allocated": amounts(&state.allocated),
            "consumed": amounts(&state.consumed),
        }))
        .unwrap();
        change(&mut block, &mut small);
        let statuses = Statuses {
            blocks: vec![block],
            claims: vec![small],
            ..Statuses::default()
        };
        let mut comparison = Comparison::new(&key(), statuses);
        let mut replay = Replay::new();
        for entry in &entries {
            let committed = replay.push(entry).unwrap();
            comparison.entry(entry, &committed, &replay);
        }
        comparison.end(&replay)
    }

    #[tokio::test]
    async fn statuses_that_are_of_an_entry_are_compared_with_it() {
        let verified = verified(|_, _| {}).await;
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        assert_eq!((verified.statuses, verified.entries), (2, 4));
        let text = verified.text(Form::default());
        assert!(
            text.starts_with("data/taxi: verified\n  4 entries, the last of 2026-11-30T10:03:00Z with hash ")
        );
    }

    #[tokio::test]
    async fn a_status_that_was_changed_is_found() {
        let changed = verified(|block, _| {
            let status = block.status.as_mut().unwrap();
            let renyi = status.consumed.as_mut().unwrap().renyi.as_mut().unwrap();
            renyi[1].epsilon = Some("0.1".to_owned());
        })
        .await;
        assert_eq!(
            changed.problems,
            ["block b1, status of entry 3: consumed is 0.1 of epsilon at order 8, and the ledger says 0"]
        );
        let phase =
            |phase: ClaimPhase| verified(move |_, claim| claim.status.as_mut().unwrap().phase = Some(phase));
        assert!(phase(ClaimPhase::Released).await.problems[0].contains("never decided: it is Consumed"));
        let behind = phase(ClaimPhase::Granted).await;
        assert_eq!(behind.behind, ["claim data/small"]);
        let lost = verified(|block, _| block.status.as_mut().unwrap().ledger_sequence = Some(9)).await;
        assert!(
            lost.problems[0].contains("entries were lost"),
            "{:?}",
            lost.problems
        );
    }

    #[tokio::test]
    async fn a_block_that_never_came_to_the_ledger_has_no_budget_to_compare() {
        let without = |total: Option<Amounts>| {
            verified(move |block, _| {
                block.metadata.name = Some("p1".to_owned());
                block.status =
                    serde_json::from_value(json!({"ledgerSequence": 3, "summary": "deleted"})).unwrap();
                block.status.as_mut().unwrap().total = total.clone();
            })
        };
        let verified = without(None).await;
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        assert_eq!(verified.statuses, 2);
        let stated = without(Some(Amounts::default())).await;
        assert_eq!(
            stated.problems,
            ["block p1: its status has a budget at entry 3, and the ledger has no such block there"]
        );
    }

    #[test]
    fn a_ledger_without_entries_says_so() {
        let verified = Comparison::new(&key(), Statuses::default()).end(&Replay::new());
        assert!(verified.is_nothing());
        assert_eq!(
            verified.text(Form::default()),
            "data/taxi: verified\n  no entries yet\n"
        );
        let wrong = Verified {
            problems: vec!["entry 1 has another hash".to_owned()],
            ..verified
        };
        assert!(!wrong.is_nothing());
        assert!(
            wrong
                .text(Form::default())
                .starts_with("data/taxi: WRONG\n  no entry could be verified\n")
        );
    }
}
