//! Following and checking a ledger, entry by entry.

use privatekube_policy::{DatasetRules, DatasetRulesError, Engine, Record, Refusal, Time};
use thiserror::Error;

use crate::{
    Committed, EncodingError, Entry, Hash, Head, Imbalance, Omitted, balance, committed::Decisions,
    entry::count,
};

/// What follows from a ledger's entries, each of them checked against all before it. Auditors, openers and followers
/// are this.
#[derive(Debug)]
pub struct Replay {
    /// None before the first entry, and after one that could not be followed.
    engine: Option<Engine>,
    head: Head,
    is_broken: bool,
}

/// Why something is not an entry of a ledger. Which entry it is, it says by its sequence number.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// An entry is missing, there twice, or not in its place.
    #[error("entry {expected} should come next, but it is entry {found}")]
    Sequence {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The entry, or the one before it, is not what it was when it was written.
    #[error(
        "entry {sequence} follows an entry with hash {found}, but the entry before it has hash {expected}: one of the \
         two was changed"
    )]
    Previous {
        /// The entry.
        sequence: u64,
        /// The hash of the entry before it.
        expected: Hash,
        /// The hash that it names.
        found: Hash,
    },
    /// Time went back.
    #[error("entry {sequence} is of {found:?}, before the entry before it, which is of {before:?}")]
    Time {
        /// The entry.
        sequence: u64,
        /// The time of the entry before it.
        before: Time,
        /// Its time.
        found: Time,
    },
    /// The first entry has no rules.
    #[error("entry 1 has no rules: the first entry must have one")]
    NoSetting,
    /// Another entry has a rules.
    #[error("entry {sequence} has a rules: only entry 1 may have one")]
    SettingAgain {
        /// The entry.
        sequence: u64,
    },
    /// The rules can't be used.
    #[error("entry 1 has a rules that can't be used: {0}")]
    DatasetRules(DatasetRulesError),
    /// The entry has no canonical form, and so no hash.
    #[error("entry {sequence}: {error}")]
    Encoding {
        /// The entry.
        sequence: u64,
        /// Why not.
        error: EncodingError,
    },
    /// An event that makes no sense where it stands.
    #[error("entry {sequence}, event {event}: {refusal}")]
    Event {
        /// The entry.
        sequence: u64,
        /// The event's place in it, from 0.
        event: usize,
        /// Why it makes no sense.
        refusal: Refusal,
    },
    /// A record that doesn't follow from the events, or one that follows and isn't there.
    #[error(
        "entry {sequence}, record {record}: {} is written, but {} follows from the events",
        shown(.written.as_deref()),
        shown(.follows.as_deref())
    )]
    Record {
        /// The entry.
        sequence: u64,
        /// The record's place in it, from 0.
        record: usize,
        /// What is written there.
        written: Option<Box<Record>>,
        /// What follows there.
        follows: Option<Box<Record>>,
    },
    /// Omitted records that don't follow from the events.
    #[error("entry {sequence} omits {written:?}, but {follows:?} follows from the events")]
    Omitted {
        /// The entry.
        sequence: u64,
        /// What is written.
        written: Option<Omitted>,
        /// What follows.
        follows: Option<Omitted>,
    },
    /// The books of a block don't add up.
    #[error("after entry {sequence}, {imbalance}")]
    Imbalance {
        /// The entry.
        sequence: u64,
        /// What is wrong.
        imbalance: Imbalance,
    },
    /// An entry before could not be followed, so nothing can be said of what comes after it.
    #[error("entry {sequence} could not be followed, so nothing after it can be")]
    Broken {
        /// The entry that could not.
        sequence: u64,
    },
}

fn shown(record: Option<&Record>) -> String {
    record.map_or_else(|| "nothing".to_owned(), |record| format!("{record:?}"))
}

/// What a ledger that was verified holds.
///
/// The last entry is vouched for by no other: whoever wants to know that nothing was cut off or changed at the end
/// compares `sequence` and `hash` with what was told elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The sequence number of the last entry, which is how many there are.
    pub sequence: u64,
    /// The hash of the last entry.
    pub hash: Hash,
    /// The time of the last entry.
    pub time: Time,
    /// The dataset's rules; none in an empty ledger.
    pub rules: Option<DatasetRules>,
    /// How many blocks were added.
    pub blocks: usize,
    /// How many claims arrived.
    pub claims: usize,
    /// How many events happened.
    pub events: u64,
    /// How many records followed.
    pub records: u64,
}

/// Checks a ledger from its first entry on: sequence, hashes, time, rules, that the events give the very records
/// that are written, and that the books of every block add up after every entry.
pub fn verify(entries: impl IntoIterator<Item = Entry>) -> Result<Summary, VerifyError> {
    let mut replay = Replay::new();
    let (mut events, mut records) = (0, 0);
    for entry in entries {
        let committed = replay.push(&entry)?;
        events += count(committed.events());
        records += count(committed.records().len());
    }
    replay.check()?;
    Ok(Summary {
        sequence: replay.head.sequence,
        hash: replay.head.hash,
        time: replay.head.time,
        rules: replay.engine().map(|engine| engine.rules().clone()),
        blocks: replay.engine().map_or(0, |engine| engine.blocks().count()),
        claims: replay.engine().map_or(0, |engine| engine.claims().count()),
        events,
        records,
    })
}

impl Default for Replay {
    fn default() -> Self {
        Self::new()
    }
}

impl Replay {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            engine: None,
            head: Head::ORIGIN,
            is_broken: false,
        }
    }

    /// Checks and follows the next entry. It is durable, so what it decided can be told.
    ///
    /// An entry whose place, predecessor, time or rules is wrong changes nothing. After one whose content is wrong
    /// nothing more can be followed.
    pub fn push(&mut self, entry: &Entry) -> Result<Committed, VerifyError> {
        self.check_followed()?;
        self.check_place(entry)?;
        let sequence = entry.sequence;
        let hash = entry
            .hash()
            .map_err(|error| VerifyError::Encoding { sequence, error })?;
        let mut engine = match (self.engine.take(), &entry.rules) {
            (Some(engine), _) => engine,
            (None, Some(rules)) => Engine::new(rules.clone()).map_err(VerifyError::DatasetRules)?,
            (None, None) => return Err(VerifyError::NoSetting),
        };
        self.is_broken = true;
        let decisions = follow(&mut engine, entry)?;
        self.is_broken = false;
        self.engine = Some(engine);
        self.head = Head {
            sequence,
            hash,
            time: entry.time,
        };
        Ok(Committed::new(self.head, decisions))
    }

    /// Checks the books of every block, not only of those that the last entries were about.
    pub fn check(&self) -> Result<(), VerifyError> {
        self.check_followed()?;
        let sequence = self.head.sequence;
        self.engine
            .as_ref()
            .map_or(Ok(()), balance::check_all)
            .map_err(|imbalance| VerifyError::Imbalance { sequence, imbalance })
    }

    /// Blocks and claims after the last entry; none before the first, or after one that could not be followed.
    #[must_use]
    pub const fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The last entry.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    pub(crate) fn into_engine(self) -> Option<Engine> {
        self.engine
    }

    const fn check_followed(&self) -> Result<(), VerifyError> {
        if self.is_broken {
            let sequence = self.head.sequence + 1;
            return Err(VerifyError::Broken { sequence });
        }
        Ok(())
    }

    fn check_place(&self, entry: &Entry) -> Result<(), VerifyError> {
        let (sequence, head) = (entry.sequence, self.head);
        if sequence != head.sequence + 1 {
            return Err(VerifyError::Sequence {
                expected: head.sequence + 1,
                found: sequence,
            });
        }
        if entry.previous != head.hash {
            return Err(VerifyError::Previous {
                sequence,
                expected: head.hash,
                found: entry.previous,
            });
        }
        if entry.time < head.time {
            return Err(VerifyError::Time {
                sequence,
                before: head.time,
                found: entry.time,
            });
        }
        match &entry.rules {
            None if sequence == 1 => Err(VerifyError::NoSetting),
            Some(_) if sequence > 1 => Err(VerifyError::SettingAgain { sequence }),
            _ => Ok(()),
        }
    }
}

/// Lets what `entry` says happen to `engine`, and compares what follows with what is written.
fn follow(engine: &mut Engine, entry: &Entry) -> Result<Decisions, VerifyError> {
    let sequence = entry.sequence;
    let mut decisions = Decisions::of_clock(engine.advance(entry.time));
    for (at, event) in entry.events.iter().enumerate() {
        let records = engine.apply(event).map_err(|refusal| VerifyError::Event {
            sequence,
            event: at,
            refusal,
        })?;
        decisions.push(records);
    }
    let follows = &decisions.records;
    let kept = match entry.omitted {
        Some(_) => entry.records.len().min(follows.len()),
        None => follows.len(),
    };
    let (kept, left_out) = follows.split_at(kept);
    if let Some(record) =
        (0..kept.len().max(entry.records.len())).find(|at| kept.get(*at) != entry.records.get(*at))
    {
        let boxed = |record: Option<&Record>| record.cloned().map(Box::new);
        return Err(VerifyError::Record {
            sequence,
            record,
            written: boxed(entry.records.get(record)),
            follows: boxed(kept.get(record)),
        });
    }
    let left_out = Omitted::of(left_out).map_err(|error| VerifyError::Encoding { sequence, error })?;
    if left_out != entry.omitted {
        return Err(VerifyError::Omitted {
            sequence,
            written: entry.omitted.clone(),
            follows: left_out,
        });
    }
    balance::check_touched(engine, &entry.events, &decisions.records)
        .map_err(|imbalance| VerifyError::Imbalance { sequence, imbalance })?;
    Ok(decisions)
}
