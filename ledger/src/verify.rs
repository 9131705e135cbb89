//! Replays a ledger entry by entry and checks it: for auditors, for followers, and when a ledger is opened.

use std::collections::VecDeque;

use privatekube_policy::{ClaimId, DatasetRules, DatasetRulesError, Engine, Record, Refusal, Time};
use thiserror::Error;

use crate::{
    Checkpoint, CheckpointMark, Committed, ContentError, ENTRY_VERSION, EncodingError, Entry, Hash, Head,
    Imbalance, Omitted, OpenError, Store, StoreError, balance, committed::Decisions, entry::count,
    requester::misplaced,
};

/// How many hashes of the last entries a replay remembers. A checkpoint that stands at an earlier one makes a reader read
/// the ledger again.
const MOST_HASHES: usize = 1 << 16;
/// How often a ledger is read again whose checkpoint moved on meanwhile.
const MOST_READINGS: u32 = 8;

/// Applies a ledger's entries to an engine, and checks each against all before it.
#[derive(Debug)]
pub struct Replay {
    /// None before the first entry, and after an entry that failed.
    engine: Option<Engine>,
    head: Head,
    is_broken: bool,
    /// The checkpoint that it began with.
    base: Option<Checkpoint>,
    /// The checkpoint that there was when reading began, if it stands at an entry that the replay has.
    known: Option<Checkpoint>,
    /// The hashes of the last entries that were pushed, the last one of which is `head`'s.
    hashes: VecDeque<Hash>,
    /// The newest version of entries' format that it reads.
    newest: u32,
}

/// Why an entry is not the next one of a ledger. `sequence` is the entry's number.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// A later version of PrivateKube wrote the entry.
    #[error(
        "entry {sequence} has version {version} of its format, which a later version of PrivateKube wrote: this one reads up \
         to version {newest}"
    )]
    Newer {
        /// The entry.
        sequence: u64,
        /// The version of its format.
        version: u32,
        /// The newest version that is read.
        newest: u32,
    },
    /// An entry is missing, repeated, or out of order.
    #[error("entry {expected} should come next, but it is entry {found}")]
    Sequence {
        /// The number that comes next.
        expected: u64,
        /// The entry's number.
        found: u64,
    },
    /// The entry, or the one before it, was changed after it was written.
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
    /// The entry is earlier than the one before it.
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
    #[error("entry 1 has no rules: the first entry must have them")]
    NoRules,
    /// Another entry has rules.
    #[error("entry {sequence} has rules: only entry 1 may have them")]
    RulesAgain {
        /// The entry.
        sequence: u64,
    },
    /// The rules can't be used.
    #[error("entry 1 has rules that can't be used: {0}")]
    DatasetRules(DatasetRulesError),
    /// The entry can't be encoded, and so has no hash.
    #[error("entry {sequence}: {error}")]
    Encoding {
        /// The entry.
        sequence: u64,
        /// Why not.
        error: EncodingError,
    },
    /// The engine refuses an event.
    #[error("entry {sequence}, event {event}: {refusal}")]
    Event {
        /// The entry.
        sequence: u64,
        /// The event's index in the entry, from 0.
        event: usize,
        /// Why the engine refuses it.
        refusal: Refusal,
    },
    /// The entry says who asked for a claim that doesn't arrive in it, or says so twice or not in the order of arrival.
    #[error(
        "entry {sequence} says who asked for claim {claim}, which doesn't arrive in it in this place: it was written by no \
             writer"
    )]
    Requester {
        /// The entry.
        sequence: u64,
        /// The claim.
        claim: ClaimId,
    },
    /// A record doesn't follow from the events, or one that follows is missing.
    #[error(
        "entry {sequence}, record {record}: {} is written, but {} follows from the events",
        shown(.written.as_deref()),
        shown(.follows.as_deref())
    )]
    Record {
        /// The entry.
        sequence: u64,
        /// The record's index in the entry, from 0.
        record: usize,
        /// The record that is written there, if any.
        written: Option<Box<Record>>,
        /// The record that follows there, if any.
        follows: Option<Box<Record>>,
    },
    /// The omitted records don't follow from the events.
    #[error("entry {sequence} omits {written:?}, but {follows:?} follows from the events")]
    Omitted {
        /// The entry.
        sequence: u64,
        /// What is written.
        written: Option<Omitted>,
        /// What follows.
        follows: Option<Omitted>,
    },
    /// The amounts of a block don't add up.
    #[error("after entry {sequence}, {imbalance}")]
    Imbalance {
        /// The entry.
        sequence: u64,
        /// The block, and what is wrong.
        imbalance: Imbalance,
    },
    /// The entry names a checkpoint with another digest than the one that the replay began with.
    #[error(
        "entry {sequence} names {marked:?}, and the checkpoint there has the digest {found}: it was changed"
    )]
    Checkpoint {
        /// The entry.
        sequence: u64,
        /// What it names.
        marked: CheckpointMark,
        /// The digest of the checkpoint that the replay began with.
        found: Hash,
    },
    /// The checkpoint's content can't be used, and entries before it were removed.
    #[error("the checkpoint at entry {sequence} can't be used, and entry 1 is not there any more: {error}")]
    Content {
        /// The entry that the checkpoint stands at.
        sequence: u64,
        /// What is wrong with it.
        error: ContentError,
    },
    /// The entry that a checkpoint stands at is another one.
    #[error(
        "the checkpoint stands at entry {sequence} with the hash {expected}, and the entry has the hash {found}"
    )]
    OtherEntry {
        /// The entry.
        sequence: u64,
        /// The hash that the checkpoint names.
        expected: Hash,
        /// The entry's hash.
        found: Hash,
    },
    /// The state that a checkpoint has doesn't follow from the entries.
    #[error(
        "the checkpoint at entry {} has the digest {}{}, and the state that follows from the entries has the digest \
         {found}: one of the two was changed",
        .marked.sequence, .marked.digest, .by.map_or_else(String::new, |by| format!(" by entry {by}"))
    )]
    State {
        /// The checkpoint.
        marked: CheckpointMark,
        /// The entry that names it; none of the published one.
        by: Option<u64>,
        /// The digest of the state after the entry that it stands at.
        found: Hash,
    },
    /// The entry that a checkpoint stands at is missing.
    #[error("the checkpoint stands at entry {sequence}, which is not there")]
    NoEntry {
        /// The entry.
        sequence: u64,
    },
    /// An earlier entry failed, so no later one can be checked.
    #[error("entry {sequence} could not be replayed, so no later entry can be")]
    Broken {
        /// The entry that failed.
        sequence: u64,
    },
}

fn shown(record: Option<&Record>) -> String {
    record.map_or_else(|| "nothing".to_owned(), |record| format!("{record:?}"))
}

/// What a verified ledger holds.
///
/// No later entry confirms the last one: whoever wants to know that nothing was cut off or changed at the end
/// compares `sequence` and `hash` with a copy kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The sequence number of the last entry, which is the number of entries.
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
    /// How many events were applied.
    pub events: u64,
    /// How many records followed.
    pub records: u64,
}

/// Checks a ledger from its first entry on: sequence numbers, hashes, times and rules, that exactly the
/// written records follow from the events, and that the amounts of every block add up after every entry.
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
    /// A replay before the first entry.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            engine: None,
            head: Head::ORIGIN,
            is_broken: false,
            base: None,
            known: None,
            hashes: VecDeque::new(),
            newest: ENTRY_VERSION,
        }
    }

    /// A replay before the first entry, of a ledger whose published checkpoint is known. The entry that it stands at must have
    /// the hash that it names.
    #[must_use]
    pub fn knowing(checkpoint: Checkpoint) -> Self {
        Self {
            known: Some(checkpoint),
            ..Self::new()
        }
    }

    /// A replay after the entry that a checkpoint stands at, whose state `engine` has.
    pub(crate) fn at(checkpoint: Checkpoint, engine: Engine) -> Self {
        Self {
            engine: Some(engine),
            head: checkpoint.head,
            is_broken: false,
            base: Some(checkpoint),
            known: Some(checkpoint),
            hashes: VecDeque::from([checkpoint.head.hash]),
            newest: ENTRY_VERSION,
        }
    }

    /// Reads a ledger: its checkpoint, if it has one, and then the entries after it.
    ///
    /// Afterwards it reads the checkpoint again. If that has moved on beyond what was read, the ledger is read again:
    /// entries may have been removed meanwhile, and then created again by a request that was delayed, which are no
    /// part of the ledger.
    ///
    /// A checkpoint whose content can't be used is passed over as long as no entry before it was removed.
    pub async fn read(store: &impl Store) -> Result<Self, OpenError> {
        let mut last = None;
        for attempt in 1..=MOST_READINGS {
            let checkpoint = store.checkpoint().await?;
            let begun = match checkpoint {
                None => Some(Self::new()),
                Some(checkpoint) => Self::begin(store, checkpoint).await?,
            };
            last = begun.is_none().then_some(checkpoint).flatten();
            if let Some(mut replay) = begun
                && replay.read_on(store).await?
            {
                return Ok(replay);
            }
            store.pause(attempt).await;
        }
        let problem = match last {
            Some(checkpoint) => format!(
                "entry {}, which its checkpoint stands at, or a piece of the checkpoint is missing: put it back",
                checkpoint.head.sequence
            ),
            None => "its checkpoint moved on again and again while it was read".to_owned(),
        };
        Err(StoreError::Unreachable(problem).into())
    }

    /// A replay that begins with a checkpoint. None if it is gone.
    async fn begin(store: &impl Store, checkpoint: Checkpoint) -> Result<Option<Self>, OpenError> {
        let sequence = checkpoint.head.sequence;
        let error = match checkpoint.restore(store).await? {
            Ok(None) => return Ok(None),
            Ok(Some(engine)) => match store.read(sequence).await? {
                // Either a later checkpoint was published meanwhile, or the read was out of date, or somebody deleted it.
                None => return Ok(None),
                Some(entry) => {
                    let found = entry
                        .hash()
                        .map_err(|error| VerifyError::Encoding { sequence, error })?;
                    let expected = checkpoint.head.hash;
                    if found != expected {
                        return Err(VerifyError::OtherEntry {
                            sequence,
                            expected,
                            found,
                        }
                        .into());
                    }
                    return Ok(Some(Self::at(checkpoint, engine)));
                }
            },
            Err(error) => error,
        };
        match store.read(1).await? {
            Some(_) => Ok(Some(Self::knowing(checkpoint))),
            None => Err(VerifyError::Content { sequence, error }.into()),
        }
    }

    /// Reads and pushes the entries after those that it has. Returns `false` if the checkpoint has moved on beyond what
    /// was read: nothing that follows from this replay may be relied on, and the ledger has to be
    /// [read](Self::read) again.
    pub async fn read_on(&mut self, store: &impl Store) -> Result<bool, OpenError> {
        self.newest = store.entry_version();
        loop {
            let entries = store.read_after(self.head.sequence).await?;
            if entries.is_empty() {
                break;
            }
            // Each entry is freed once it is applied.
            for entry in entries {
                if let Err(error) = self.push(&entry) {
                    // Entries that were removed meanwhile leave gaps, and ones created again have other hashes.
                    let moved_on = !self.has(store.checkpoint().await?.as_ref());
                    return if moved_on { Ok(false) } else { Err(error.into()) };
                }
            }
        }
        Ok(self.has(store.checkpoint().await?.as_ref()))
    }

    /// Whether the published checkpoint, if there is one, stands at an entry that the replay has. If not, entries may have
    /// been removed while they were read, and nothing that follows from this replay may be relied on.
    #[must_use]
    pub fn has(&self, checkpoint: Option<&Checkpoint>) -> bool {
        let Some(checkpoint) = checkpoint else {
            return true;
        };
        if self.known.as_ref() == Some(checkpoint) {
            return checkpoint.head.sequence <= self.head.sequence;
        }
        let Some(behind) = self.head.sequence.checked_sub(checkpoint.head.sequence) else {
            return false;
        };
        let hash = usize::try_from(behind).ok().and_then(|behind| {
            let at = self.hashes.len().checked_sub(behind.checked_add(1)?)?;
            self.hashes.get(at)
        });
        hash == Some(&checkpoint.head.hash)
    }

    /// The checkpoint that was published when reading began, if it stands at an entry that the replay has.
    pub(crate) fn known(&self) -> Option<&Checkpoint> {
        let known = self.known.as_ref();
        known.filter(|known| known.head.sequence <= self.head.sequence)
    }

    /// The checkpoint that it began with; none if it began with the first entry.
    #[must_use]
    pub const fn base(&self) -> Option<&Checkpoint> {
        self.base.as_ref()
    }

    /// Checks and applies the next entry. It is durable, so its records may be published.
    ///
    /// An entry with a wrong sequence number, predecessor, time or rules changes nothing. After an entry
    /// whose events or records are wrong, every further entry fails.
    pub fn push(&mut self, entry: &Entry) -> Result<Committed, VerifyError> {
        self.check_not_broken()?;
        self.check_version(entry)?;
        self.check_place(entry)?;
        let sequence = entry.sequence;
        let hash = entry
            .hash()
            .map_err(|error| VerifyError::Encoding { sequence, error })?;
        if let Some(known) = self.known.filter(|known| known.head.sequence == sequence)
            && known.head.hash != hash
        {
            return Err(VerifyError::OtherEntry {
                sequence,
                expected: known.head.hash,
                found: hash,
            });
        }
        let mut engine = match (self.engine.take(), &entry.rules) {
            (Some(engine), _) => engine,
            (None, Some(rules)) => Engine::new(rules.clone()).map_err(VerifyError::DatasetRules)?,
            (None, None) => return Err(VerifyError::NoRules),
        };
        self.is_broken = true;
        let decisions = apply(&mut engine, entry)?;
        self.is_broken = false;
        self.engine = Some(engine);
        self.head = Head {
            sequence,
            hash,
            time: entry.time,
        };
        self.hashes.push_back(hash);
        if self.hashes.len() > MOST_HASHES {
            self.hashes.pop_front();
        }
        Ok(Committed::new(self.head, decisions, 0))
    }

    /// Checks the amounts of every block, not only of those that the last entries name.
    pub fn check(&self) -> Result<(), VerifyError> {
        self.check_not_broken()?;
        let sequence = self.head.sequence;
        self.engine
            .as_ref()
            .map_or(Ok(()), balance::check_all)
            .map_err(|imbalance| VerifyError::Imbalance { sequence, imbalance })
    }

    /// The blocks and claims after the last entry; none before the first, or after an entry that failed.
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

    const fn check_not_broken(&self) -> Result<(), VerifyError> {
        if self.is_broken {
            let sequence = self.head.sequence + 1;
            return Err(VerifyError::Broken { sequence });
        }
        Ok(())
    }

    const fn check_version(&self, entry: &Entry) -> Result<(), VerifyError> {
        if entry.version >= 1 && entry.version <= self.newest {
            return Ok(());
        }
        Err(VerifyError::Newer {
            sequence: entry.sequence,
            version: entry.version,
            newest: self.newest,
        })
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
        if let (Some(marked), Some(base)) = (entry.checkpoint, &self.base)
            && marked.sequence == base.head.sequence
            && marked.digest != base.digest
        {
            return Err(VerifyError::Checkpoint {
                sequence,
                marked,
                found: base.digest,
            });
        }
        if let Some(claim) = misplaced(&entry.events, &entry.requesters) {
            let claim = claim.clone();
            return Err(VerifyError::Requester { sequence, claim });
        }
        match &entry.rules {
            None if sequence == 1 => Err(VerifyError::NoRules),
            Some(_) if sequence > 1 => Err(VerifyError::RulesAgain { sequence }),
            _ => Ok(()),
        }
    }
}

/// Applies the events of `entry` to `engine`, and compares the records that follow with those that are
/// written.
fn apply(engine: &mut Engine, entry: &Entry) -> Result<Decisions, VerifyError> {
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
