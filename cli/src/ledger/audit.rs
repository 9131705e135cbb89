//! `kubectl privacy ledger audit`: each decision with who asked, what for, by which rules, what was charged and what is left.

mod report;
mod trail;

use anyhow::{Result, bail};
use clap::Args;
use privatekube_api::Subject;
use privatekube_backup::Reading;
use privatekube_policy::{BlockId, ClaimId};

use super::LedgerOptions;
use crate::{cluster::ClusterOptions, exit::Exit, output::OutputOption};
use report::Answer;
use trail::Trail;

pub(crate) const HELP: &str = "\
Everything is read from the ledger, verified and computed again by a replay in this process: the hash of each entry covers who
asked, too. The user is the one whom the API server knew when the claim or its pod was made. A pod that a Job made was made by
the Job's controller; the trail names the Job. Who asked is unknown of claims that an earlier version let arrive.

Where old entries were removed, the trail begins after the checkpoint; what is before it is in the archive (--archive).

Examples:
  kubectl privacy ledger audit taxi -n data
  kubectl privacy ledger audit taxi -n data --block taxi-2026-11-19 --after 120
  kubectl privacy ledger audit -A --claims-of research -o json
  kubectl privacy ledger audit data/taxi --claim train-x7k2p --file export.jsonl

Exit status: 0 done, 5 a ledger can't be verified.";

/// Tells of each decision who asked, what for, by which rules it was made, what was charged and what is left.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Audit {
    /// The datasets, as NAME or NAMESPACE/NAME. Default: all of the namespace, or of the file.
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
    /// Only decisions about this block, with its amounts.
    #[arg(long, value_name = "NAME")]
    block: Option<String>,
    /// Only claims of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    claims_of: Option<String>,
    /// Only this claim: the name of its object or pod, or its name in the ledger, KIND/NAMESPACE/NAME/UID.
    #[arg(long, value_name = "NAME")]
    claim: Option<String>,
    /// Only claims that this user asked for.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only decisions after this entry.
    #[arg(long, value_name = "ENTRY", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    ledger: LedgerOptions,
}

/// Which decisions are told of.
#[derive(Clone, Debug, Default)]
struct Filter {
    block: Option<BlockId>,
    namespace: Option<String>,
    claim: Option<String>,
    user: Option<String>,
    after: u64,
}

impl Audit {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let (mut source, _) = self.ledger.source(cluster).await?;
        let datasets = self
            .ledger
            .datasets(&source, &self.datasets, cluster.namespace.as_deref())
            .await?;
        let filter = Filter {
            block: self.block.as_deref().map(BlockId::from),
            namespace: self.claims_of,
            claim: self.claim,
            user: self.user,
            after: self.after,
        };
        let mut answer = Answer::default();
        for dataset in datasets {
            let mut trail = Trail::new(filter.clone());
            let replay = source
                .read(&dataset, |reading| match reading {
                    Reading::Earlier(entry) => trail.earlier(entry),
                    Reading::Gap => trail.gap(),
                    Reading::Base(replay) => trail.begin(replay),
                    Reading::Entry(entry, committed, replay) => trail.entry(entry, committed, replay),
                    Reading::Checkpoint(..) | Reading::Damaged(..) => {}
                })
                .await?;
            if let Some(name) = &filter.block
                && answer.ledgers.is_empty()
                && replay.engine().is_some_and(|engine| engine.block(name).is_none())
                && self.datasets.len() == 1
            {
                bail!("the ledger of {dataset} has no block {name}");
            }
            answer.ledgers.extend(trail.end(&dataset, &replay));
        }
        output.print(&answer)?;
        Ok(Exit::Done)
    }
}

impl Filter {
    fn has_claim(&self, id: &ClaimId) -> bool {
        if self.namespace.is_none() && self.claim.is_none() {
            return true;
        }
        let subject = Subject::of(id);
        let of_namespace = self.namespace.as_deref().is_none_or(|namespace| {
            subject
                .as_ref()
                .is_some_and(|subject| subject.namespace == namespace)
        });
        let is_named = self.claim.as_deref().is_none_or(|name| {
            id.as_str() == name
                || subject
                    .as_ref()
                    .is_some_and(|subject| subject.name == name || subject.claim_name() == name)
        });
        of_namespace && is_named
    }

    fn has_block(&self, block: &BlockId) -> bool {
        self.block.as_ref().is_none_or(|wanted| wanted == block)
    }
}

#[cfg(test)]
mod tests {
    use privatekube_ledger::{Entry, Ledger, MemoryStore, Replay, Requester};
    use privatekube_policy::{Event, Time};

    use super::*;
    use crate::{
        fixture::{BEGIN, add_block, arrival, at_checkpoint, consume, id, key, rules},
        output::{Form, Report as _},
    };

    /// On b1, small is granted and consumed, of which it is known who asked; large waits, of which it isn't; huge is denied.
    async fn written() -> Vec<Entry> {
        let store = MemoryStore::new();
        let mut ledger = Ledger::open(store.clone(), "extender-0".to_owned(), rules())
            .await
            .unwrap();
        ledger.set_program("privatekube 0.1.0".to_owned());
        let small = Requester {
            user: Some("alice@example.com".to_owned()),
            service_account: Some("trainer".to_owned()),
            owner: Some("Job/weekly".to_owned()),
            images: vec!["train:1".to_owned(), "proxy:2".to_owned()],
            mechanism: Some("gaussian(sigma=4)".to_owned()),
            purpose: Some("fares\u{1b}[2J".to_owned()),
            ..Requester::unknown(id("small"))
        };
        let lists = vec![
            vec![(add_block("b1"), None), (add_block("b2"), None)],
            vec![(arrival("small", "gaussian(sigma=4)"), Some(small))],
            vec![
                (arrival("large", "gaussian(sigma=1)"), None),
                (arrival("huge", "gaussian(sigma=0.1)"), None),
            ],
            vec![(consume("small"), None)],
            vec![(Event::NeverRan { claim: id("small") }, None)],
        ];
        for (minute, events) in (0..).zip(lists) {
            let time = Time::from_micros((BEGIN + 60 * minute) * 1_000_000);
            let mut draft = ledger.draft(time).unwrap();
            for (event, requester) in events {
                draft.apply_requested(event, requester).unwrap();
            }
            draft.commit().await.unwrap();
        }
        store.entries()
    }

    /// The trail of the entries after a checkpoint, of which those from `earlier` on are there.
    fn trail(entries: &[Entry], filter: Filter, base: Option<u64>, earlier: u64) -> Answer {
        let mut trail = Trail::new(filter);
        let mut replay = Replay::new();
        if let Some(base) = base {
            for entry in entries
                .iter()
                .filter(|entry| (earlier..=base).contains(&entry.sequence))
            {
                trail.earlier(entry);
            }
            replay = at_checkpoint(entries, base);
            trail.begin(&replay);
        }
        for entry in entries.iter().filter(|entry| entry.sequence > base.unwrap_or(0)) {
            let committed = replay.push(entry).unwrap();
            trail.entry(entry, &committed, &replay);
        }
        Answer {
            ledgers: trail.end(&key(), &replay).into_iter().collect(),
        }
    }

    #[tokio::test]
    async fn a_trail_says_who_asked_what_for_what_was_charged_and_what_is_left() {
        let entries = written().await;
        let answer = trail(&entries, Filter::default(), None, 1);
        let hash = entries[4].hash().unwrap();
        assert_eq!(
            answer.text(Form::default()),
            format!(
                "\
Audit of dataset data/taxi, as of 2026-11-30T10:04:00Z (entry 5, hash {hash}), verified by replay
decided by policy dpf, unlocking arrivals=4, composition Renyi at orders 2, 8, 32, revision 3

entry 2, 2026-11-30T10:01:00Z: claim/data/small/small-uid granted on all its blocks
  asked by alice@example.com, by gaussian(sigma=4); for: fares\u{fffd}[2J
  BLOCK   OF                        ALLOCATED             LEFT
  b1      epsilon at order 8   0.250000000001   7.447414907004

entry 3, 2026-11-30T10:02:00Z: claim/data/huge/huge-uid denied: block b1 can never give the 400 epsilon at order 8 \
asked: 7.697 is all that is not spent
  who asked wasn't written down when it arrived

entry 4, 2026-11-30T10:03:00Z: claim/data/small/small-uid consumed; nothing of it is left allocated
  asked by alice@example.com, by gaussian(sigma=4); for: fares\u{fffd}[2J
  BLOCK   OF                         CONSUMED             LEFT
  b1      epsilon at order 8   0.250000000001   7.447414907004

entry 5, 2026-11-30T10:04:00Z: claim/data/small/small-uid released; nothing of it is left allocated
  asked by alice@example.com, by gaussian(sigma=4); for: fares\u{fffd}[2J
  BLOCK   OF                         RETURNED             LEFT
  b1      epsilon at order 8   0.250000000001   7.697414907005
"
            )
        );
    }

    #[tokio::test]
    async fn json_has_all_digits_and_the_rules() {
        let answer = trail(&written().await, Filter::default(), None, 1);
        let answer = serde_json::to_value(&answer).unwrap();
        let ledger = &answer["ledgers"][0];
        assert_eq!(ledger["rules"]["policy"], "dpf");
        let decisions = ledger["decisions"].as_array().unwrap();
        let words: Vec<&str> = decisions
            .iter()
            .filter_map(|decision| decision["decision"].as_str())
            .collect();
        assert_eq!(words, ["granted", "denied", "consumed", "released"]);
        let granted = &decisions[0];
        assert_eq!(granted["program"], "privatekube 0.1.0");
        assert_eq!(granted["requester"]["user"], "alice@example.com");
        assert_eq!(granted["requester"]["purpose"], "fares\u{1b}[2J");
        assert_eq!((&granted["arrived"], &granted["entry"]), (&2.into(), &2.into()));
        let block = &granted["blocks"][0];
        assert_eq!(block["amounts"].as_array().unwrap().len(), 3);
        assert_eq!(block["amounts"][0]["coordinate"], "epsilon at order 2");
        assert_eq!(block["amounts"][0]["amount"], "0.062500000001");
        // What was returned is what was consumed, and it is left again.
        let (consumed, released) = (&decisions[2]["blocks"][0], &decisions[3]["blocks"][0]);
        assert_eq!(consumed["amounts"], block["amounts"]);
        assert_eq!(released["amounts"], block["amounts"]);
        assert_ne!(released["left"], consumed["left"]);
        assert!(decisions[1]["requester"].is_null());
    }

    #[tokio::test]
    async fn a_trail_is_of_what_is_asked_for() {
        let entries = written().await;
        let words = |filter: Filter| -> Vec<&'static str> {
            let answer = trail(&entries, filter, None, 1);
            let decisions = answer.ledgers.into_iter().flat_map(|ledger| ledger.decisions);
            decisions.map(|decision| decision.outcome).collect()
        };
        let all = ["granted", "denied", "consumed", "released"];
        let none: [&str; 0] = [];
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            words(Filter {
                block: Some("b1".into()),
                ..Filter::default()
            }),
            all
        );
        assert_eq!(
            words(Filter {
                block: Some("b2".into()),
                ..Filter::default()
            }),
            none
        );
        assert_eq!(
            words(Filter {
                namespace: text("data"),
                ..Filter::default()
            }),
            all
        );
        assert_eq!(
            words(Filter {
                namespace: text("dat"),
                ..Filter::default()
            }),
            none
        );
        assert_eq!(
            words(Filter {
                claim: text("huge"),
                ..Filter::default()
            }),
            ["denied"]
        );
        let full = text(id("small").as_str());
        let of_small = ["granted", "consumed", "released"];
        assert_eq!(
            words(Filter {
                claim: full,
                ..Filter::default()
            }),
            of_small
        );
        assert_eq!(
            words(Filter {
                user: text("alice@example.com"),
                ..Filter::default()
            }),
            of_small
        );
        assert_eq!(
            words(Filter {
                after: 4,
                ..Filter::default()
            }),
            ["released"]
        );
    }

    #[tokio::test]
    async fn a_trail_from_a_checkpoint_on_says_what_is_in_the_archive() {
        let entries = written().await;
        // Entry 2, in which it arrived, was removed.
        let text = trail(&entries, Filter::default(), Some(3), 3).text(Form::default());
        assert!(
            text.contains("entries up to 3 are covered by the checkpoint at entry 3"),
            "{text}"
        );
        assert!(
            text.contains("who asked is in an entry up to 3 that was removed: --archive FILE"),
            "{text}"
        );
        assert!(!text.contains("granted on all its blocks"), "{text}");
        // It is there, and its hash is in the chain.
        let text = trail(&entries, Filter::default(), Some(3), 2).text(Form::default());
        assert!(text.contains("asked by alice@example.com"), "{text}");
        // What is consumed before isn't told again, and what is returned later is all of it.
        let returned = trail(&entries, Filter::default(), Some(4), 4);
        let decisions = &returned.ledgers[0].decisions;
        assert_eq!(decisions.len(), 1);
        assert_eq!(decisions[0].outcome, "released");
        let whole = trail(&entries, Filter::default(), None, 1);
        assert_eq!(
            decisions[0].blocks[0].units,
            whole.ledgers[0].decisions[3].blocks[0].units
        );
    }

    #[tokio::test]
    async fn nothing_of_a_terminal_is_printed() {
        let wide = Form {
            wide: true,
            ..Form::default()
        };
        let text = trail(&written().await, Filter::default(), None, 1).text(wide);
        assert!(
            !text.contains('\u{1b}') && text.contains("fares\u{fffd}[2J"),
            "{text}"
        );
        assert!(text.contains("by privatekube 0.1.0 (extender-0)"), "{text}");
    }
}
