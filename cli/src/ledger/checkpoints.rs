//! The checkpoints of a ledger that is verified: which are compared with the state that follows from the entries, and which can't
//! be.

use std::collections::BTreeMap;

use privatekube_api::counted;
use privatekube_backup::{Reading, check_state};
use privatekube_ledger::{Checkpoint, CheckpointMark, Replay};

use crate::state::Marked;

/// What is known of the checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// The checkpoints that entries name, by the entries that they stand at.
    marks: BTreeMap<u64, Vec<Marked>>,
    /// The published one.
    published: Option<Checkpoint>,
    /// The entry that names it.
    named_by: Option<u64>,
    /// The first entry that there is.
    first: Option<u64>,
    /// The checkpoint that the replay begins with.
    base: Option<Checkpoint>,
    /// How many that entries name were compared with the state.
    compared: u64,
    last: u64,
}

impl Checkpoints {
    pub(super) fn new(marks: Vec<Marked>) -> Self {
        let mut found = Self::default();
        for marked in marks {
            found.marks.entry(marked.mark.sequence).or_default().push(marked);
        }
        found
    }

    /// Compares the checkpoints that stand at the last entry of `replay`. Returns what is wrong.
    pub(super) fn entry(&mut self, replay: &Replay) -> Vec<String> {
        let marks = self.marks.remove(&replay.head().sequence).unwrap_or_default();
        let mut problems = Vec::new();
        for Marked { by, mark } in marks {
            self.compared += 1;
            if self.is_published(&mark) {
                self.named_by = Some(by);
            }
            problems.extend(
                check_state(replay, mark, Some(by))
                    .err()
                    .map(|error| error.to_string()),
            );
        }
        problems
    }

    fn is_published(&self, mark: &CheckpointMark) -> bool {
        self.published.is_some_and(|published| published.mark() == *mark)
    }

    pub(super) fn read(&mut self, reading: &Reading<'_>) {
        match reading {
            Reading::Checkpoint(published, _) => self.published = Some(**published),
            Reading::Gap => self.first = None,
            Reading::Base(replay) => self.base = replay.base().copied(),
            Reading::Earlier(entry) | Reading::Entry(entry, ..) => {
                self.first.get_or_insert(entry.sequence);
                self.last = entry.sequence;
            }
            Reading::Damaged(..) => {}
        }
    }

    /// What was verified, and what could not be, in sentences.
    pub(super) fn says(&self) -> Vec<String> {
        let mut says = Vec::new();
        if let Some(base) = &self.base {
            let at = base.head.sequence;
            let first = self.first.unwrap_or(at);
            let named = self
                .marks
                .get(&at)
                .and_then(|marks| marks.iter().find(|marked| marked.mark == base.mark()));
            let named = match named {
                Some(marked) => format!("which entry {} names", marked.by),
                None => "which no entry names yet".to_owned(),
            };
            says.push(format!(
                "{} removed; the state at entry {at} is that of the checkpoint with digest {}, {named}",
                numbers(1, first.saturating_sub(1)),
                base.digest
            ));
            if first < at {
                says.push(format!(
                    "of {}, the chain of hashes was verified, and not the decisions",
                    numbers(first, at)
                        .trim_end_matches(" was")
                        .trim_end_matches(" were")
                ));
            }
            let others = self.marks.iter().filter(|(sequence, _)| **sequence < at);
            let others: usize = others.map(|(_, marks)| marks.len()).sum();
            if others > 0 {
                says.push(format!(
                    "{} that entries name could not be computed again: --archive FILE reads an export with the old entries first",
                    counted(others as u64, "earlier checkpoint", "earlier checkpoints")
                ));
            }
        } else if let Some(published) = &self.published {
            let at = published.head.sequence;
            let named = match self.named_by {
                Some(by) => format!("entry {by} names it"),
                None => "no entry names it yet".to_owned(),
            };
            says.push(format!(
                "the checkpoint at entry {at} has the digest {}, which follows from the entries; {named}",
                published.digest
            ));
        }
        if self.compared > 0 {
            says.push(format!(
                "{} that entries name {} with the state that follows from the entries",
                counted(self.compared, "checkpoint", "checkpoints"),
                if self.compared == 1 {
                    "agrees"
                } else {
                    "agree or are named below"
                }
            ));
        }
        says
    }
}

/// `entry 1 was` or `entries 1 to 4 were`.
fn numbers(first: u64, last: u64) -> String {
    if first == last {
        format!("entry {first} was")
    } else {
        format!("entries {first} to {last} were")
    }
}
