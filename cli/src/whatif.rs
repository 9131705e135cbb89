//! `kubectl privacy whatif`: what other rules would have granted of the claims that a ledger has, as they arrived.
//!
//! The ledger's events happen again under other rules. What a claim does after its grant is known only of those that were
//! granted: these consume and release as they did, and not before they are granted. A claim that was never granted consumes
//! all that it is granted, at once, as in the simulator.

mod replayed;
mod settings;

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use privatekube_api::DatasetKey;
use serde::Serialize;

use crate::{
    amounts::percent,
    cluster::ClusterOptions,
    exit::Exit,
    ledger::LedgerOptions,
    output::{Form, OutputOption, Report},
    table::Table,
};
use replayed::{Outcome, Past, run};
use settings::rules;
pub(crate) use settings::{PolicyOption, UnlockOption};

pub(crate) const HELP: &str = "\
Each policy is tried with each way of unlocking; what isn't given is as in the ledger. The first row is what really happened.

Claims arrive as they did, whatever they would have learned from other answers. Those that were never granted consume all
that they would have been granted, at once.

Examples:
  kubectl privacy whatif export.jsonl --policy dpack
  kubectl privacy whatif export.jsonl --dataset data/taxi --policy dpf --policy dpack --unlock arrivals=20 --unlock 'lifetime=30d,tick=1h'
  kubectl privacy whatif --dataset data/taxi --policy fcfs --unlock immediate -o json

docs/policies.md says what each policy is for, and docs/simulator.md how to compare them on made-up workloads.";

/// Compares what other rules would have granted of a ledger's claims with what was granted.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct WhatIf {
    /// A file that an export wrote, or an export directory. Default: the cluster's ledger.
    #[arg(value_name = "EXPORT")]
    file: Option<PathBuf>,
    /// A file that an export wrote, or an export directory, whose entries are read before the cluster's, for a cluster whose old
    /// entries were removed; may be given several times, the earliest first.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    archive: Vec<PathBuf>,
    /// The dataset, as NAME or NAMESPACE/NAME. Default: the only one there is.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    /// A policy: dpf, fcfs, fcfs-refusing, round-robin, dpack, or blend=PART with DPF's part; may be given several times.
    #[arg(long, value_name = "POLICY")]
    policy: Vec<PolicyOption>,
    /// A way of unlocking: arrivals=N, lifetime=SPAN[,tick=SPAN] or immediate; may be given several times.
    #[arg(long, value_name = "UNLOCKING")]
    unlock: Vec<UnlockOption>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    dataset: String,
    /// How many entries the ledger has.
    entries: u64,
    claims: usize,
    /// What happened, and then what would have under each of the rules.
    outcomes: Vec<Outcome>,
}

impl WhatIf {
    pub(crate) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        if self.policy.is_empty() && self.unlock.is_empty() {
            bail!("say what is to be different: --policy, --unlock, or both");
        }
        let options = LedgerOptions {
            file: self.file,
            archive: self.archive,
            all_namespaces: false,
        };
        let (mut source, _) = options.source(cluster).await?;
        let named: Vec<String> = self.dataset.iter().cloned().collect();
        let datasets = options
            .datasets(&source, &named, cluster.namespace.as_deref())
            .await?;
        let [dataset] = datasets.as_slice() else {
            let several: Vec<String> = datasets.iter().map(ToString::to_string).collect();
            bail!("say by --dataset which of these is meant: {}", several.join(", "));
        };
        let mut past = Past::default();
        let replay = source
            .read(dataset, |reading| {
                if let Some((entry, committed, _)) = reading.replayed() {
                    past.add(entry, committed);
                }
            })
            .await?;
        if let Some(base) = replay.base() {
            let at = base.head.sequence;
            bail!(
                "the events up to entry {at} of {dataset} are needed, and old entries were removed: only the state at entry {at} is \
                 known, by a checkpoint. Give an export that has entry 1, by --archive FILE before the cluster's entries, or as \
                 EXPORT alone"
            );
        }
        let engine = replay.engine().context("the ledger is empty")?;
        let answer = compare(dataset, &past, engine, &self.policy, &self.unlock)?;
        output.print(&answer)?;
        Ok(Exit::Done)
    }
}

fn compare(
    dataset: &DatasetKey,
    past: &Past,
    engine: &privatekube_policy::Engine,
    policies: &[PolicyOption],
    unlocks: &[UnlockOption],
) -> Result<Answer> {
    let mut outcomes = vec![Outcome::of("as it was", engine, None)];
    let own_policy = [None];
    let own_unlocking = [None];
    let policies: Vec<Option<&PolicyOption>> = policies.iter().map(Some).collect();
    let unlocks: Vec<Option<&UnlockOption>> = unlocks.iter().map(Some).collect();
    let policies = if policies.is_empty() {
        &own_policy[..]
    } else {
        &policies
    };
    let unlocks = if unlocks.is_empty() {
        &own_unlocking[..]
    } else {
        &unlocks
    };
    for policy in policies {
        for unlock in unlocks {
            let (name, rules) = rules(engine.rules(), *policy, *unlock)?;
            let other = run(past, &rules).with_context(|| name.clone())?;
            outcomes.push(Outcome::of(&name, &other, Some(engine)));
        }
    }
    Ok(Answer {
        dataset: dataset.to_string(),
        entries: past.entries(),
        claims: engine.claims().len(),
        outcomes,
    })
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let mut text = format!(
            "{}, {} claims in {} entries\n\n",
            form.paint.bold(&format!("dataset {}", self.dataset)),
            self.claims,
            self.entries
        );
        let mut table = Table::new(&[
            "RULES",
            ">GRANTED",
            ">DENIED",
            ">EXPIRED",
            ">WITHDRAWN",
            ">WAITING",
            ">MEDIAN WAIT",
            ">MEAN WAIT",
            ">CONSUMED",
            ">GAINED",
            ">LOST",
        ]);
        let change = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        for outcome in &self.outcomes {
            table.row([
                outcome.rules.clone(),
                outcome.granted.to_string(),
                outcome.denied.to_string(),
                outcome.expired.to_string(),
                outcome.withdrawn.to_string(),
                outcome.waiting.to_string(),
                outcome.median_wait.clone(),
                outcome.mean_wait.clone(),
                percent(outcome.consumed),
                change(outcome.gained),
                change(outcome.lost),
            ]);
        }
        text.push_str(&table.text("", form.paint));
        let namespaces: std::collections::BTreeSet<&String> = self
            .outcomes
            .iter()
            .flat_map(|outcome| outcome.granted_by_namespace.keys())
            .collect();
        if namespaces.len() > 1 || form.wide {
            text.push_str("\nGranted by namespace\n");
            for namespace in namespaces {
                let counts = self.outcomes.iter().map(|outcome| {
                    let count = outcome.granted_by_namespace.get(namespace);
                    format!("{} {}", count.copied().unwrap_or_default(), outcome.rules)
                });
                let counts: Vec<String> = counts.collect();
                let _ = writeln!(text, "  {namespace}: {}", counts.join(", "));
            }
        }
        text.push_str(
            "\nGAINED and LOST are claims that would have been granted and weren't, and the other way round.\n",
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use privatekube_ledger::Replay;
    use privatekube_policy::Phase;

    use super::*;
    use crate::fixture::{arrival, consume, entries, events, key};

    async fn past() -> (Past, Replay) {
        let mut lists = events();
        lists.push(vec![consume("small"), arrival("third", "gaussian(sigma=1.2)")]);
        lists.push(vec![arrival("fourth", "gaussian(sigma=3)")]);
        lists.push(vec![consume("fourth")]);
        let (mut past, mut replay) = (Past::default(), Replay::new());
        for entry in entries(lists).await {
            let committed = replay.push(&entry).unwrap();
            past.add(&entry, &committed);
        }
        (past, replay)
    }

    /// Under the ledger's own rules, what would have happened is what happened.
    #[tokio::test]
    async fn the_same_rules_decide_the_same() {
        let (past, replay) = past().await;
        let engine = replay.engine().unwrap();
        let again = run(&past, engine.rules()).unwrap();
        for id in engine.claims() {
            let phase = |engine: &privatekube_policy::Engine| engine.phase(id);
            assert_eq!(phase(&again), phase(engine), "{id}");
        }
        for block in engine.blocks() {
            assert_eq!(again.block(block), engine.block(block));
        }
    }

    #[tokio::test]
    async fn other_rules_are_compared_side_by_side() {
        let (past, replay) = past().await;
        let engine = replay.engine().unwrap();
        let unlocks = ["immediate".parse().unwrap(), "arrivals=1000".parse().unwrap()];
        let answer = compare(&key(), &past, engine, &["fcfs".parse().unwrap()], &unlocks).unwrap();
        let rules: Vec<&str> = answer
            .outcomes
            .iter()
            .map(|outcome| outcome.rules.as_str())
            .collect();
        assert_eq!(rules, ["as it was", "fcfs, immediate", "fcfs, arrivals=1000"]);
        let granted: Vec<usize> = answer.outcomes.iter().map(|outcome| outcome.granted).collect();
        assert_eq!(granted[2], 0, "a thousandth is too little for each of them");
        assert_eq!(answer.outcomes[2].lost, Some(granted[0]));
        let text = answer.text(Form::default());
        assert!(
            text.contains("dataset data/taxi, 4 claims in 6 entries"),
            "{text}"
        );
    }

    /// A claim that was never granted consumes what it is granted.
    #[tokio::test]
    async fn who_was_never_granted_consumes_its_grant() {
        let (mut past, mut replay) = (Past::default(), Replay::new());
        for entry in entries(events()).await {
            let committed = replay.push(&entry).unwrap();
            past.add(&entry, &committed);
        }
        let engine = replay.engine().unwrap();
        assert_eq!(engine.phase(&crate::fixture::id("large")), Some(Phase::Waiting));
        let (_, rules) = rules(engine.rules(), None, Some(&"immediate".parse().unwrap())).unwrap();
        let other = run(&past, &rules).unwrap();
        assert_eq!(other.phase(&crate::fixture::id("large")), Some(Phase::Consumed));
        // The other one was granted, and has not consumed anything yet.
        assert_eq!(other.phase(&crate::fixture::id("small")), Some(Phase::Granted));
    }
}
