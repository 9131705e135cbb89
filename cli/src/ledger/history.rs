//! `kubectl privacy ledger history`: what happened to a claim.

use anyhow::{Result, bail};
use clap::Args;
use privatekube_api::{ClaimPhase, DatasetKey, Subject, moment};
use privatekube_backup::Reading;
use privatekube_ledger::{Entry, Replay};
use privatekube_policy::{ClaimId, Event, Record};
use privatekube_view::{event_of_claim, record_of_claim};
use serde::Serialize;

use super::{LedgerOptions, claim_of_event, claim_of_record};
use crate::{
    cluster::ClusterOptions,
    exit::Exit,
    explain::{Reference, find},
    output::{Form, OutputOption, Report},
    table::Table,
};

pub(crate) const HELP: &str = "\
A claim whose object is gone is still in the ledger: name its dataset, and every claim of that name is told of.

Examples:
  kubectl privacy ledger history job/train
  kubectl privacy ledger history train-x7k2p --dataset data/taxi       # also if its object is gone
  kubectl privacy ledger history pod/data/train-x7k2p/UID --dataset data/taxi --file export.jsonl";

/// Tells what happened to a claim, entry by entry.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct History {
    /// NAME, pod/NAME, job/NAME or claim/NAME, or the claim's name in the ledger, KIND/NAMESPACE/NAME/UID.
    #[arg(value_name = "NAME")]
    of: String,
    /// The dataset, for a claim whose object is gone.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    #[command(flatten)]
    ledger: LedgerOptions,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    happened: Vec<Happened>,
}

/// What happened in an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happened {
    dataset: String,
    claim: String,
    entry: u64,
    time: String,
    writer: String,
    what: String,
    #[serde(skip)]
    is_arrival: bool,
}

impl History {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let (mut source, connected) = self.ledger.source(cluster).await?;
        let mut wanted: Vec<(DatasetKey, Wanted)> = Vec::new();
        if let Some(subject) = Subject::of(&ClaimId::from(self.of.as_str())) {
            let named: Vec<String> = self.dataset.iter().cloned().collect();
            let namespace = cluster.namespace.as_deref();
            for dataset in self.ledger.datasets(&source, &named, namespace).await? {
                wanted.push((dataset, Wanted::Id(subject.id())));
            }
        } else {
            let reference = Reference::parse(&self.of).map_err(|problem| anyhow::anyhow!("{problem}"))?;
            match (&self.dataset, connected) {
                (Some(dataset), connected) => {
                    let namespace = match &connected {
                        Some(cluster) => cluster.namespace.clone(),
                        None => cluster.namespace.clone().unwrap_or_else(|| "default".to_owned()),
                    };
                    let datasets = [dataset.clone()];
                    let keys = self.ledger.datasets(&source, &datasets, Some(&namespace)).await?;
                    let name = reference.name().to_owned();
                    wanted.extend(keys.into_iter().map(|key| {
                        (
                            key,
                            Wanted::Named {
                                namespace: namespace.clone(),
                                name: name.clone(),
                            },
                        )
                    }));
                }
                (None, Some(cluster)) => {
                    let found = find(&cluster, &reference).await?;
                    let claims = found.claims.into_iter();
                    wanted.extend(claims.map(|claim| (claim.dataset, Wanted::Id(claim.subject.id()))));
                }
                (None, None) => bail!("say by --dataset in which ledger of the file to look"),
            }
        }
        let mut answer = Answer::default();
        let mut removed = None;
        for (dataset, wanted) in wanted {
            let name = dataset.to_string();
            let before = answer.happened.len();
            let replay = source
                .read(&dataset, |reading| match reading {
                    // The decisions of these can't be verified, and are in the ledger as they were published.
                    Reading::Earlier(entry) => {
                        collect(&name, &wanted, entry, &entry.records, &mut answer.happened);
                    }
                    Reading::Gap => answer.happened.truncate(before),
                    Reading::Base(replay) => {
                        let of_base = in_checkpoint(&name, &wanted, replay, &answer.happened[before..]);
                        answer.happened.splice(before..before, of_base);
                    }
                    Reading::Entry(entry, committed, _) => {
                        collect(&name, &wanted, entry, committed.records(), &mut answer.happened);
                    }
                    Reading::Checkpoint(..) | Reading::Damaged(..) => {}
                })
                .await?;
            removed = removed.or(replay.base().map(|base| base.head.sequence));
        }
        match removed {
            Some(at) if answer.happened.is_empty() => bail!(
                "the ledger has nothing of {} that is left: old entries were removed, and the checkpoint at entry {at} doesn't have \
                 it. If it ended before, it is in an export: --archive FILE reads one first",
                self.of
            ),
            None if answer.happened.is_empty() => bail!("the ledger has nothing of {}", self.of),
            _ => {}
        }
        output.print(&answer)?;
        Ok(Exit::Done)
    }
}

/// Which claims are looked for.
#[derive(Debug)]
pub(super) enum Wanted {
    Id(ClaimId),
    /// Every claim that a pod or claim object of this name has, or had.
    Named {
        namespace: String,
        name: String,
    },
}

impl Wanted {
    fn is(&self, id: &ClaimId) -> bool {
        match self {
            Self::Id(wanted) => wanted == id,
            Self::Named { namespace, name } => Subject::of(id).is_some_and(|subject| {
                subject.namespace == *namespace && (subject.name == *name || subject.claim_name() == *name)
            }),
        }
    }
}

/// What a checkpoint has of the claims that are wanted and did not arrive in the entries that are left before it.
fn in_checkpoint(dataset: &str, wanted: &Wanted, replay: &Replay, happened: &[Happened]) -> Vec<Happened> {
    let Some(engine) = replay.engine() else {
        return Vec::new();
    };
    let head = replay.head();
    let known = |id: &ClaimId| {
        let arrived = |happened: &Happened| happened.claim == id.as_str() && happened.is_arrival;
        happened.iter().any(arrived)
    };
    let found = engine.claims().filter(|id| wanted.is(id) && !known(id));
    let found = found.filter_map(|id| {
        let phase = ClaimPhase::from(engine.phase(id)?);
        Some(Happened {
            dataset: dataset.to_owned(),
            claim: id.to_string(),
            entry: head.sequence,
            time: moment(head.time),
            writer: String::new(),
            what: format!(
                "it came in an entry that was removed; the checkpoint at this entry has it as {}",
                phase.as_str()
            ),
            is_arrival: false,
        })
    });
    found.collect()
}

/// Adds what an entry has of the claims that are wanted. Of a replayed entry, all records are here, also those that the entry
/// leaves out.
pub(super) fn collect(
    dataset: &str,
    wanted: &Wanted,
    entry: &Entry,
    records: &[Record],
    happened: &mut Vec<Happened>,
) {
    let of_event = |event| {
        let id = claim_of_event(event).filter(|id| wanted.is(id))?;
        let is_arrival = matches!(event, Event::Arrive(_));
        Some((id.clone(), event_of_claim(event, id)?, is_arrival))
    };
    let of_record = |record| {
        let id = claim_of_record(record).filter(|id| wanted.is(id))?;
        Some((id.clone(), record_of_claim(record, id)?, false))
    };
    let events = entry.events.iter().filter_map(of_event);
    let records = records.iter().filter_map(of_record);
    happened.extend(events.chain(records).map(|(id, what, is_arrival)| Happened {
        dataset: dataset.to_owned(),
        claim: id.to_string(),
        entry: entry.sequence,
        time: moment(entry.time),
        writer: entry.writer.clone(),
        what,
        is_arrival,
    }));
}

impl Report for Answer {
    fn text(&self, form: Form) -> String {
        let mut claims: Vec<(&str, &str)> = Vec::new();
        for happened in &self.happened {
            let of = (happened.dataset.as_str(), happened.claim.as_str());
            if !claims.contains(&of) {
                claims.push(of);
            }
        }
        let mut texts = Vec::new();
        for (dataset, claim) in claims {
            let columns: &[&str] = if form.wide {
                &[">ENTRY", "TIME", "WHAT", "WRITER"]
            } else {
                &[">ENTRY", "TIME", "WHAT"]
            };
            let mut table = Table::new(columns);
            let of = self
                .happened
                .iter()
                .filter(|happened| happened.dataset == dataset && happened.claim == claim);
            for happened in of {
                let cells = [
                    happened.entry.to_string(),
                    happened.time.clone(),
                    happened.what.clone(),
                    happened.writer.clone(),
                ];
                table.row(cells.into_iter().take(columns.len()));
            }
            let title = form.paint.bold(claim);
            texts.push(format!(
                "{title} on dataset {dataset}\n{}",
                table.text("  ", form.paint)
            ));
        }
        texts.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{consume, entries, events};

    #[tokio::test]
    async fn a_history_has_events_and_decisions() {
        let mut lists = events();
        lists.push(vec![consume("small")]);
        let wanted = Wanted::Named {
            namespace: "data".to_owned(),
            name: "small".to_owned(),
        };
        let (mut replay, mut answer) = (Replay::new(), Answer::default());
        for entry in entries(lists).await {
            let committed = replay.push(&entry).unwrap();
            collect(
                "data/taxi",
                &wanted,
                &entry,
                committed.records(),
                &mut answer.happened,
            );
        }
        assert_eq!(
            answer.text(Form::default()),
            "\
claim/data/small/small-uid on dataset data/taxi
  ENTRY   TIME                   WHAT
      2   2026-11-30T10:01:00Z   it arrived, with 1 block
      2   2026-11-30T10:01:00Z   granted on all its blocks
      4   2026-11-30T10:03:00Z   all that is allocated is to be consumed
      4   2026-11-30T10:03:00Z   consumed; nothing of it is left allocated
"
        );
    }
}
