//! `kubectl privacy ledger verify`: verification from outside, in a process of its own.
//!
//! Statuses are read before the ledger, so what they say must be in it. Each block's status names the entry that it is of,
//! and is compared with what the replay has after that very entry. A claim's status has to be one that the claim has, or had:
//! a status that is a moment behind is no fault, and is counted.

mod comparison;

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use kube::api::ListParams;
use privatekube_api::{DatasetKey, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset};
use privatekube_ledger::Replay;
use serde::Serialize;

use super::{
    LedgerOptions,
    checkpoints::Checkpoints,
    witness::{self, Witness},
};
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

A ledger whose old entries were removed is verified from its checkpoint on. With all entries, the digest of each checkpoint that an
entry names, and of the published one, is computed again from the replay. --archive reads an export before the cluster's entries,
so that all of them are there.

Nothing in the ledger shows that its last entries were cut off: --witness compares it with what `ledger witness` wrote before and
was kept elsewhere.

Examples:
  kubectl privacy ledger verify taxi -n data
  kubectl privacy ledger verify -A -o json
  kubectl privacy ledger verify -A --witness witness
  kubectl privacy ledger verify --file privatekube-2026-11-30.jsonl
  kubectl privacy ledger verify taxi -n data --archive privatekube-2026-11-30.jsonl

Exit status: 0 verified, 5 something is wrong, 1 a ledger can't be read.";

/// Verifies ledgers: hashes, each decision by a replay in this process, and what statuses say.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    /// The datasets, as NAME or NAMESPACE/NAME. Default: all of the namespace, or of the file.
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
    /// A file with lines of `ledger witness`, - for standard input: each ledger has to have these entries.
    #[arg(long, value_name = "FILE")]
    witness: Option<PathBuf>,
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
    /// Where it begins, if old entries were removed, and what is known of its checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<String>,
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
        let witnesses = self.witness.as_deref().map(witness::read).transpose()?;
        let mut witnesses = witnesses.unwrap_or_default();
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
            let witnesses = witnesses.remove(&dataset).unwrap_or_default();
            let verified = verify(&mut source, &dataset, statuses, witnesses).await?;
            if !is_there && verified.is_nothing() {
                bail!("there is no dataset {dataset}, and no ledger of it");
            }
            ledgers.push(verified);
        }
        // A dataset that was witnessed and has no ledger has lost all of it.
        let is_meant = |dataset: &DatasetKey| {
            let here = connected.as_ref().map(|cluster| cluster.namespace.as_str());
            self.datasets.is_empty()
                && (self.ledger.all_namespaces || here.is_none_or(|here| here == dataset.namespace))
        };
        let mut gone: Vec<_> = witnesses
            .into_iter()
            .filter(|(dataset, _)| is_meant(dataset))
            .collect();
        gone.sort_by(|(one, _), (other, _)| one.cmp(other));
        ledgers.extend(gone.into_iter().map(|(dataset, witnesses)| {
            let mut comparison = Comparison::new(&dataset, Statuses::default());
            comparison.witnesses = witnesses;
            comparison.end(&Replay::new())
        }));
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

async fn verify(
    source: &mut Source,
    dataset: &DatasetKey,
    statuses: Statuses,
    witnesses: Vec<Witness>,
) -> Result<Verified> {
    let mut comparison = Comparison::new(dataset, statuses);
    comparison.witnesses = witnesses;
    let replayed = match source.marks(dataset).await {
        Ok(marks) => {
            comparison.checkpoints = Checkpoints::new(marks);
            let read = source.read(dataset, |reading| comparison.read(&reading));
            read.await
        }
        Err(error) => Err(error),
    };
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
                    error: FileError::Verify(_) | FileError::Checkpoint { .. },
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
        for says in &self.checkpoints {
            let _ = writeln!(text, "  {says}");
        }
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

    use privatekube_ledger::{CheckpointMark, Hash};

    use privatekube_backup::Reading;

    use super::*;
    use crate::fixture::{at_checkpoint, claim, consume, entries, events, key};
    use crate::state::Marked;

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

    /// What is found of a ledger whose entry 4 names a checkpoint at entry 2 with this digest, or with the right one.
    async fn marked(digest: Option<Hash>, base: Option<u64>) -> Verified {
        let mut lists = events();
        lists.push(vec![consume("small")]);
        let mut entries = entries(lists).await;
        let mark = at_checkpoint(&entries, 2).base().unwrap().mark();
        let digest = digest.unwrap_or(mark.digest);
        entries[3].checkpoint = Some(CheckpointMark { digest, ..mark });
        let marked = Marked {
            by: 4,
            mark: entries[3].checkpoint.unwrap(),
        };
        let mut comparison = Comparison::new(&key(), Statuses::default());
        comparison.checkpoints = Checkpoints::new(vec![marked]);
        let mut replay = Replay::new();
        if let Some(at) = base {
            replay = at_checkpoint(&entries, at);
            comparison.read(&Reading::Earlier(&entries[1]));
            comparison.read(&Reading::Base(&replay));
        }
        for entry in entries
            .iter()
            .filter(|entry| base.is_none_or(|base| entry.sequence > base))
        {
            let committed = replay.push(entry).unwrap();
            comparison.read(&Reading::Entry(entry, &committed, &replay));
        }
        comparison.end(&replay)
    }

    #[tokio::test]
    async fn a_ledger_that_lacks_what_was_kept_elsewhere_lost_entries() {
        let mut lists = events();
        lists.push(vec![consume("small")]);
        let entries = entries(lists).await;
        let found = |sequence: u64, hash: Hash| {
            let mut comparison = Comparison::new(&key(), Statuses::default());
            comparison.witnesses = vec![Witness::new(&key(), sequence, hash)];
            let mut replay = Replay::new();
            for entry in &entries {
                let committed = replay.push(entry).unwrap();
                comparison.read(&Reading::Entry(entry, &committed, &replay));
            }
            comparison.end(&replay).problems
        };
        assert!(found(2, entries[1].hash().unwrap()).is_empty());
        let other = found(2, Hash::ORIGIN);
        assert!(
            other[0].contains("entries were lost, and others written"),
            "{other:?}"
        );
        let last = entries.len();
        let behind = found(9, Hash::ORIGIN);
        let says =
            format!("its witness has entry 9, and the ledger ends with entry {last}: entries were lost");
        assert_eq!(behind, [says]);
    }

    #[tokio::test]
    async fn a_checkpoint_that_an_entry_names_is_computed_again() {
        let right = marked(None, None).await;
        assert!(right.problems.is_empty(), "{:?}", right.problems);
        assert!(right.checkpoints[0].starts_with("1 checkpoint that entries name agrees"));
        let wrong = marked(Some(Hash::ORIGIN), None).await;
        let [problem] = wrong.problems.as_slice() else {
            panic!("{:?}", wrong.problems)
        };
        let names = format!(
            "the checkpoint at entry 2 has the digest {} by entry 4",
            Hash::ORIGIN
        );
        assert!(problem.starts_with(&names), "{problem}");
    }

    #[tokio::test]
    async fn a_ledger_whose_old_entries_were_removed_says_where_it_begins() {
        let verified = marked(None, Some(2)).await;
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
        let text = verified.text(Form::default());
        assert!(
            text.contains("entry 1 was removed; the state at entry 2 is that of the checkpoint with digest "),
            "{text}"
        );
        assert!(text.contains(", which entry 4 names\n"), "{text}");
        let unnamed = marked(None, Some(3)).await.text(Form::default());
        assert!(unnamed.contains("entries 2 to 3"), "{unnamed}");
        assert!(unnamed.contains("which no entry names yet"), "{unnamed}");
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
