//! A round: what is decided together and written at once.

use privatekube_policy::{ClaimId, Event, Record, Refusal, Time};
use thiserror::Error;

use crate::{
    Committed, CreateError, EncodingError, Entry, Hash, Head, Imbalance, Ledger, Omitted, Place, Store,
    StoreError, balance, committed::Decisions, entry::size,
};

/// A round above this size [is full](EntryDraft::is_full): 512 KiB.
pub const MOST_BYTES: usize = 512 << 10;

/// The events of one entry are never larger than this together: 768 KiB.
pub const MOST_EVENT_BYTES: usize = 768 << 10;

/// No entry's canonical form is larger than this: 1 MiB, which leaves a third of etcd's usual limit of 1.5 MiB for
/// what a store puts around it. Records beyond it are [omitted](Omitted).
pub const MOST_ENTRY_BYTES: usize = 1 << 20;

/// The largest number that a store is asked to keep; as a time, the year 294,247.
const MOST_MICROS: u64 = i64::MAX.unsigned_abs();

/// What happens and is decided between two entries, not durable yet. While it exists, the ledger's engine can't be
/// reached. It ends with [`commit`](Self::commit); dropped before, or if the commit fails or is dropped, it leaves
/// the ledger [poisoned](crate::Poisoned), unless it [is empty](Self::is_empty).
#[derive(Debug)]
#[must_use = "a round that isn't committed poisons its ledger"]
pub struct EntryDraft<'a, S> {
    ledger: &'a mut Ledger<S>,
    time: Time,
    events: Vec<Event>,
    decisions: Decisions,
    event_bytes: usize,
    /// An error is the commit's: the engine has decided already.
    record_bytes: Result<usize, EncodingError>,
}

/// Why an event is not in a round. Nothing has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// It makes no sense to the engine.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A number that no store is asked to keep: it must be below 2^63.
    #[error("the timeout of claim {0} is beyond what can be kept: leave it out to wait for ever")]
    TimeoutTooLong(ClaimId),
    /// It fits an entry, but not this one any more: commit the round and apply the event in the next one.
    #[error("the round has no room for the event: commit it and take the next round")]
    Full,
    /// It can't be written.
    #[error("the event is not an entry's: {0}")]
    Encoding(#[from] EncodingError),
    /// It fits no entry, ever.
    #[error("the event takes {bytes} bytes: it must take at most {most}")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What it may take.
        most: usize,
    },
}

/// Why a round is not committed. The ledger is [poisoned](crate::Poisoned) and must be opened again, which shows what
/// is true.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// Somebody else wrote the entry: this writer is not the writer any more.
    #[error("entry {sequence} was written by {by}: step down, or open the ledger again")]
    Fenced {
        /// The entry.
        sequence: u64,
        /// Its writer.
        by: String,
    },
    /// The store refuses the entry. (Still, an earlier attempt whose outcome was unknown may have written it.)
    #[error("the store refuses entry {sequence}: {reason}")]
    Refused {
        /// The entry.
        sequence: u64,
        /// What the store says.
        reason: String,
    },
    /// The entry that is there in place of ours is none that a writer wrote.
    #[error("entry {sequence} is there, but {reason}")]
    Corrupt {
        /// The entry.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The entry can't be written as JSON. Nothing was written.
    #[error("entry {sequence} is not written: {error}")]
    Encoding {
        /// The entry.
        sequence: u64,
        /// Why not.
        error: EncodingError,
    },
    /// The books that would be written don't add up. Nothing was written.
    #[error("entry {sequence} is not written: {imbalance}")]
    Imbalance {
        /// The entry.
        sequence: u64,
        /// What is wrong.
        imbalance: Imbalance,
    },
}

impl<'a, S: Store> EntryDraft<'a, S> {
    pub(crate) fn begin(ledger: &'a mut Ledger<S>, now: Time) -> Self {
        let time = now.min(Time::from_micros(MOST_MICROS)).max(ledger.clock);
        // Raised before the engine changes: if it panicked, nobody knows what it holds.
        ledger.ahead = true;
        ledger.clock = time;
        let records = ledger.engine.advance(time);
        ledger.ahead = !records.is_empty();
        Self {
            record_bytes: bytes(&records),
            decisions: Decisions::of_clock(records),
            ledger,
            time,
            events: Vec::new(),
            event_bytes: 0,
        }
    }

    /// Lets `event` happen in this round. Its place tells what followed from it, once the round is committed. An error
    /// changes nothing and leaves nothing in the round.
    pub fn apply(&mut self, event: Event) -> Result<Place, ApplyError> {
        // The only number of an event that has 64 bits and no sign.
        if let Event::Arrive(arrival) = &event
            && arrival
                .timeout
                .is_some_and(|timeout| timeout.micros() > MOST_MICROS)
        {
            return Err(ApplyError::TimeoutTooLong(arrival.claim.clone()));
        }
        let bytes_of_event = size(&event)? + 1;
        if bytes_of_event > MOST_EVENT_BYTES {
            return Err(ApplyError::TooLarge {
                bytes: bytes_of_event,
                most: MOST_EVENT_BYTES,
            });
        }
        if self.event_bytes + bytes_of_event > MOST_EVENT_BYTES {
            return Err(ApplyError::Full);
        }
        let ahead = std::mem::replace(&mut self.ledger.ahead, true);
        let records = match self.ledger.engine.apply(&event) {
            Ok(records) => records,
            Err(refusal) => {
                self.ledger.ahead = ahead;
                return Err(refusal.into());
            }
        };
        self.event_bytes += bytes_of_event;
        if let Ok(sum) = &mut self.record_bytes {
            match bytes(&records) {
                Ok(more) => *sum += more,
                Err(error) => self.record_bytes = Err(error),
            }
        }
        self.events.push(event);
        Ok(self.decisions.push(records))
    }

    /// The time at which it happens.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.time
    }

    /// Whether it is so large that it should be committed before more is applied. Never true of an empty one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match &self.record_bytes {
            Ok(record_bytes) => self.event_bytes + record_bytes > MOST_BYTES,
            Err(_) => true,
        }
    }

    /// Whether there is nothing to write: no event was applied, and the clock decided nothing. Then it is as good as
    /// if it had never begun.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.decisions.records.is_empty()
    }

    /// Writes the round as the next entry; nothing if it [is empty](Self::is_empty). Afterwards, and only then, what
    /// was decided can be told.
    ///
    /// As long as the store doesn't say what became of the entry, it is asked again; the future may be dropped, which
    /// leaves the ledger poisoned.
    pub async fn commit(self) -> Result<Committed, CommitError> {
        let is_empty = self.is_empty();
        let Self {
            ledger,
            time,
            events,
            mut decisions,
            event_bytes,
            record_bytes,
        } = self;
        if is_empty {
            return Ok(Committed::new(ledger.head, decisions));
        }
        let sequence = ledger.head.sequence + 1;
        let unwritable = |error| CommitError::Encoding { sequence, error };
        record_bytes.map_err(unwritable)?;
        balance::check_touched(&ledger.engine, &events, &decisions.records)
            .map_err(|imbalance| CommitError::Imbalance { sequence, imbalance })?;
        let mut entry = Entry {
            sequence,
            previous: ledger.head.hash,
            writer: ledger.writer.clone(),
            time,
            rules: (sequence == 1).then(|| ledger.rules().clone()),
            events: Vec::new(),
            records: Vec::new(),
            omitted: None,
        };
        let used = size(&entry).map_err(unwritable)? + MOST_OMITTED_BYTES + event_bytes;
        let room = MOST_ENTRY_BYTES.saturating_sub(used);
        entry.events = events;
        let left_out = omit(&mut entry, &mut decisions.records, room).map_err(unwritable)?;
        let hash = entry.hash().map_err(unwritable)?;
        create(&ledger.store, &entry, hash).await?;
        ledger.head = Head { sequence, hash, time };
        ledger.ahead = false;
        decisions.records = entry.records;
        decisions.records.extend(left_out);
        Ok(Committed::new(ledger.head, decisions))
    }
}

/// What an [`Omitted`] takes at most: its keys, a count of 20 digits and a hash of 64.
const MOST_OMITTED_BYTES: usize = 128;

/// Moves `records` into `entry` while there is room, and gives back those that are left out.
fn omit(entry: &mut Entry, records: &mut Vec<Record>, room: usize) -> Result<Vec<Record>, EncodingError> {
    let mut used = 0;
    let mut fitting = 0;
    for record in &*records {
        used += size(record)? + 1;
        if used > room {
            break;
        }
        fitting += 1;
    }
    let left_out = records.split_off(fitting);
    entry.records = std::mem::take(records);
    entry.omitted = Omitted::of(&left_out)?;
    Ok(left_out)
}

/// Creates `entry` and gives up only when that is impossible.
async fn create(store: &impl Store, entry: &Entry, hash: Hash) -> Result<(), CommitError> {
    let sequence = entry.sequence;
    let mut attempt: u32 = 0;
    loop {
        match store.create(entry).await {
            Ok(()) => return Ok(()),
            Err(CreateError::Refused(reason)) => return Err(CommitError::Refused { sequence, reason }),
            // Read it at once: it is there.
            Err(CreateError::Exists) => {}
            Err(CreateError::Unknown(_)) => {
                attempt = attempt.saturating_add(1);
                store.pause(attempt).await;
            }
        }
        loop {
            match store.read(sequence).await {
                Ok(Some(written)) => {
                    return match written.hash() {
                        Ok(found) if found == hash => Ok(()),
                        Ok(_) => Err(CommitError::Fenced {
                            sequence,
                            by: written.writer,
                        }),
                        Err(error) => Err(CommitError::Corrupt {
                            sequence,
                            reason: error.to_string(),
                        }),
                    };
                }
                // It may still be on its way. To create the very same again can't do harm.
                Ok(None) => break,
                Err(StoreError::Corrupt(reason)) => return Err(CommitError::Corrupt { sequence, reason }),
                Err(StoreError::Unreachable(_)) => {
                    attempt = attempt.saturating_add(1);
                    store.pause(attempt).await;
                }
            }
        }
    }
}

/// What `records` take in an entry.
fn bytes(records: &[Record]) -> Result<usize, EncodingError> {
    records
        .iter()
        .try_fold(0, |sum, record| Ok(sum + size(record)? + 1))
}
