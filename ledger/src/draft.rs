//! The draft of an entry: applies events to the engine and commits the entry.

use privatekube_policy::{ClaimId, Engine, Event, Record, Refusal, Time};
use thiserror::Error;

use crate::{
    Committed, CreateError, EncodingError, Entry, EventIndex, Hash, Head, Imbalance, Ledger, Omitted,
    Requester, Store, StoreError, balance, committed::Decisions, entry::size,
};

/// The size above which a draft [is full](EntryDraft::is_full), in bytes of its events, requesters and records: 512 KiB.
pub const FULL_DRAFT_BYTES: usize = 512 << 10;

/// The largest size of all events of one entry together, in bytes: 768 KiB.
pub const MOST_EVENT_BYTES: usize = 768 << 10;

/// The largest size of a [requester](Requester), in bytes: 128 KiB, far above what a [cut](Requester::cut) one can take. All
/// events and requesters of one entry together take at most this beyond [`MOST_EVENT_BYTES`], so that a claim never fails to
/// arrive because of its requester.
pub const MOST_REQUESTER_BYTES: usize = 128 << 10;

/// The largest size of an entry's canonical form, in bytes: 1 MiB, which leaves a third of etcd's usual limit of
/// 1.5 MiB for what a store adds. Records that don't fit are [omitted](Omitted).
pub const MOST_ENTRY_BYTES: usize = 1 << 20;

/// The largest number of microseconds that an entry may have, because a store need only keep signed 64-bit
/// integers. As a time, it is in the year 294,247.
const MOST_MICROS: u64 = i64::MAX.unsigned_abs();

/// The next entry of a ledger before it is committed: the events applied so far, and the records that
/// followed.
///
/// A draft borrows the ledger, so nothing can read the engine's uncommitted state. [`commit`](Self::commit) ends
/// it. If the draft is dropped before, or the commit fails or is dropped, the ledger is
/// [poisoned](crate::Poisoned), unless the draft [is empty](Self::is_empty).
#[derive(Debug)]
#[must_use = "a draft that isn't committed poisons its ledger"]
pub struct EntryDraft<'a, S> {
    ledger: &'a mut Ledger<S>,
    time: Time,
    events: Vec<Event>,
    decisions: Decisions,
    event_bytes: usize,
    requesters: Vec<Requester>,
    requester_bytes: usize,
    /// The size of the records. An error is returned by the commit, because the engine has already changed when it
    /// occurs.
    record_bytes: Result<usize, EncodingError>,
}

/// Why an event is not applied. Neither the draft nor the engine has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApplyError {
    /// The engine refuses the event.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The timeout is 2^63 microseconds or more, which a store need not be able to keep.
    #[error("the timeout of claim {0} is beyond what can be kept: leave it out to wait for ever")]
    TimeoutTooLong(ClaimId),
    /// The event fits an entry, but not this one any more: commit the draft and apply the event to the next one.
    #[error("the entry has no room for the event: commit it and apply the event to the next entry")]
    Full,
    /// The event can't be encoded.
    #[error("the event can't be in an entry: {0}")]
    Encoding(#[from] EncodingError),
    /// The event is too large for any entry.
    #[error("the event takes {bytes} bytes: it must take at most {most}")]
    TooLarge {
        /// The event's size.
        bytes: usize,
        /// The largest size that is accepted.
        most: usize,
    },
}

/// Why an entry is not committed. The ledger is [poisoned](crate::Poisoned) and has to be opened again, which
/// shows whether the entry was written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// Another writer wrote the entry: this writer is fenced.
    #[error("entry {sequence} was written by {by}: step down, or open the ledger again")]
    Fenced {
        /// The entry.
        sequence: u64,
        /// The other writer's name.
        by: String,
    },
    /// A checkpoint stands at the entry or a later one: other writers wrote the entry and more, and it was removed,
    /// so that it could be created again. This writer is fenced.
    #[error(
        "entry {sequence} was written before by another, and a checkpoint stands at entry {at}: step down, or open the \
             ledger again"
    )]
    Covered {
        /// The entry.
        sequence: u64,
        /// The entry that the checkpoint stands at.
        at: u64,
    },
    /// The store refuses the entry. (It may be written all the same, by an earlier attempt whose outcome is
    /// unknown.)
    #[error("the store refuses entry {sequence}: {reason}")]
    Refused {
        /// The entry.
        sequence: u64,
        /// The store's message.
        reason: String,
    },
    /// The store has another entry of this sequence number, which is no valid entry of any writer.
    #[error("entry {sequence} is there, but {reason}")]
    Corrupt {
        /// The entry.
        sequence: u64,
        /// What is wrong with the entry in the store.
        reason: String,
    },
    /// The entry can't be encoded. Nothing was written.
    #[error("entry {sequence} is not written: {error}")]
    Encoding {
        /// The entry.
        sequence: u64,
        /// Why not.
        error: EncodingError,
    },
    /// The amounts of a block don't add up after the entry. Nothing was written.
    #[error("entry {sequence} is not written: {imbalance}")]
    Imbalance {
        /// The entry.
        sequence: u64,
        /// The block, and what is wrong.
        imbalance: Imbalance,
    },
}

impl<'a, S: Store> EntryDraft<'a, S> {
    /// Begins a draft at time `now`, and lets the engine decide what follows from the time alone.
    pub(crate) fn begin(ledger: &'a mut Ledger<S>, now: Time) -> Self {
        let time = now.min(Time::from_micros(MOST_MICROS)).max(ledger.clock);
        // The ledger is marked before the engine changes, so that it is poisoned if the engine panics.
        ledger.is_ahead = true;
        ledger.clock = time;
        let records = ledger.engine.advance(time);
        ledger.is_ahead = !records.is_empty();
        Self {
            record_bytes: bytes(&records),
            decisions: Decisions::of_clock(records),
            ledger,
            time,
            events: Vec::new(),
            event_bytes: 0,
            requesters: Vec::new(),
            requester_bytes: 0,
        }
    }

    /// The engine as it is after the events that the draft has.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.ledger.engine
    }

    /// Applies `event` to the engine and adds it to the draft. The returned index gives access to the records
    /// that followed from it, once the draft is committed. After an error, nothing has changed.
    pub fn apply(&mut self, event: Event) -> Result<EventIndex, ApplyError> {
        self.apply_requested(event, None)
    }

    /// Applies `event` as [`apply`](Self::apply) does. If a claim arrives by it, the entry says who asked for the claim:
    /// `requester`, [cut](Requester::cut). For other events and other claims it isn't kept.
    pub fn apply_requested(
        &mut self,
        event: Event,
        requester: Option<Requester>,
    ) -> Result<EventIndex, ApplyError> {
        // The timeout is the only unsigned 64-bit number of an event; a store need only keep signed ones.
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
        let arrives = |requester: &Requester| matches!(&event, Event::Arrive(arrival) if arrival.claim == requester.claim);
        let requester = requester.filter(|requester| arrives(requester) && !requester.is_unknown());
        let mut requester = requester.map(Requester::cut);
        let mut bytes_of_requester = match &requester {
            Some(requester) => size(requester)? + 1,
            None => 0,
        };
        if bytes_of_requester > MOST_REQUESTER_BYTES {
            // Only the name of a claim can be so long. The claim arrives all the same.
            (requester, bytes_of_requester) = (None, 0);
        }
        let of_both = self.event_bytes + bytes_of_event + self.requester_bytes + bytes_of_requester;
        if of_both > MOST_EVENT_BYTES + MOST_REQUESTER_BYTES {
            return Err(ApplyError::Full);
        }
        let was_ahead = std::mem::replace(&mut self.ledger.is_ahead, true);
        let records = match self.ledger.engine.apply(&event) {
            Ok(records) => records,
            Err(refusal) => {
                self.ledger.is_ahead = was_ahead;
                return Err(refusal.into());
            }
        };
        self.event_bytes += bytes_of_event;
        self.requester_bytes += bytes_of_requester;
        self.requesters.extend(requester);
        if let Ok(sum) = &mut self.record_bytes {
            match bytes(&records) {
                Ok(more) => *sum += more,
                Err(error) => self.record_bytes = Err(error),
            }
        }
        self.events.push(event);
        Ok(self.decisions.push(records))
    }

    /// The entry's time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.time
    }

    /// Whether the draft is so large that it should be committed before more events are applied. An empty
    /// draft is never full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match &self.record_bytes {
            Ok(record_bytes) => self.event_bytes + self.requester_bytes + record_bytes > FULL_DRAFT_BYTES,
            Err(_) => true,
        }
    }

    /// Whether there is nothing to write: no event was applied, and no record followed from the time alone. To
    /// drop an empty draft doesn't poison the ledger.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events.is_empty() && self.decisions.records.is_empty()
    }

    /// Writes the entry, unless the draft [is empty](Self::is_empty). Only what the commit returns may be
    /// published.
    ///
    /// As long as it is unknown whether the entry was written, the commit reads the entry and tries to create it
    /// again. Then it reads the checkpoint: an entry that a checkpoint covers was created before, and removed. The
    /// future may be dropped, which leaves the ledger poisoned.
    pub async fn commit(self) -> Result<Committed, CommitError> {
        let is_empty = self.is_empty();
        let Self {
            ledger,
            time,
            events,
            mut decisions,
            event_bytes,
            requesters,
            requester_bytes: _,
            record_bytes,
        } = self;
        if is_empty {
            return Ok(Committed::new(ledger.head, decisions, 0));
        }
        let sequence = ledger.head.sequence + 1;
        let unwritable = |error| CommitError::Encoding { sequence, error };
        record_bytes.map_err(unwritable)?;
        balance::check_touched(&ledger.engine, &events, &decisions.records)
            .map_err(|imbalance| CommitError::Imbalance { sequence, imbalance })?;
        let mut entry = Entry {
            version: ledger.store.entry_version(),
            sequence,
            previous: ledger.head.hash,
            writer: ledger.writer.clone(),
            program: ledger.program.clone(),
            time,
            rules: (sequence == 1).then(|| ledger.rules().clone()),
            events: Vec::new(),
            records: Vec::new(),
            omitted: None,
            checkpoint: ledger.unmarked,
            requesters,
        };
        let used = size(&entry).map_err(unwritable)? + MOST_OMITTED_BYTES + event_bytes;
        let room = MOST_ENTRY_BYTES.saturating_sub(used);
        entry.events = events;
        let (left_out, record_bytes) = omit(&mut entry, &mut decisions.records, room).map_err(unwritable)?;
        let hash = entry.hash().map_err(unwritable)?;
        create(&ledger.store, &entry, hash).await?;
        check_not_covered(&ledger.store, sequence).await?;
        ledger.head = Head { sequence, hash, time };
        ledger.unmarked = None;
        ledger.is_ahead = false;
        decisions.records = entry.records;
        decisions.records.extend(left_out);
        let bytes = used - MOST_OMITTED_BYTES + record_bytes;
        Ok(Committed::new(ledger.head, decisions, bytes))
    }
}

/// The largest size of an [`Omitted`], in bytes: its keys, a count of 20 digits and a hash of 64.
const MOST_OMITTED_BYTES: usize = 128;

/// Moves `records` into `entry` up to `room` bytes. Returns the records that don't fit, and the size of those that do.
fn omit(
    entry: &mut Entry,
    records: &mut Vec<Record>,
    room: usize,
) -> Result<(Vec<Record>, usize), EncodingError> {
    let mut used = 0;
    let mut fitting = 0;
    for record in &*records {
        let more = size(record)? + 1;
        if used + more > room {
            break;
        }
        used += more;
        fitting += 1;
    }
    let left_out = records.split_off(fitting);
    entry.records = std::mem::take(records);
    entry.omitted = Omitted::of(&left_out)?;
    Ok((left_out, used))
}

/// Creates `entry` in the store. Repeats until it is known whether the entry was written.
async fn create(store: &impl Store, entry: &Entry, hash: Hash) -> Result<(), CommitError> {
    let sequence = entry.sequence;
    let mut attempt: u32 = 0;
    loop {
        match store.create(entry).await {
            Ok(()) => return Ok(()),
            Err(CreateError::Refused(reason)) => return Err(CommitError::Refused { sequence, reason }),
            // The read below shows whether this or another writer created the entry.
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
                // The attempt may still succeed later. Another attempt is safe, because a store creates an entry
                // only once.
                Ok(None) => break,
                // A writer of a later version wrote it. Who that is can't be read.
                Err(StoreError::Newer { .. }) => {
                    let by = "a later version of PrivateKube".to_owned();
                    return Err(CommitError::Fenced { sequence, by });
                }
                Err(StoreError::Corrupt(reason)) => return Err(CommitError::Corrupt { sequence, reason }),
                Err(StoreError::Unreachable(_)) => {
                    attempt = attempt.saturating_add(1);
                    store.pause(attempt).await;
                }
            }
        }
    }
}

/// Checks that no checkpoint stands at the entry `sequence`, which was just created, or at a later one. Otherwise the entry
/// existed before and was removed, and this one is a second one of the same name.
///
/// The entry before may be there all the same, so that nothing but the checkpoint tells.
async fn check_not_covered(store: &impl Store, sequence: u64) -> Result<(), CommitError> {
    let mut attempt: u32 = 0;
    loop {
        match store.checkpoint().await {
            Ok(Some(checkpoint)) if checkpoint.head.sequence >= sequence => {
                let at = checkpoint.head.sequence;
                return Err(CommitError::Covered { sequence, at });
            }
            Ok(_) => return Ok(()),
            Err(error @ StoreError::Newer { .. }) => {
                let reason = error.to_string();
                return Err(CommitError::Corrupt { sequence, reason });
            }
            Err(StoreError::Corrupt(reason)) => return Err(CommitError::Corrupt { sequence, reason }),
            Err(StoreError::Unreachable(_)) => {
                attempt = attempt.saturating_add(1);
                store.pause(attempt).await;
            }
        }
    }
}

/// The size of `records` in an entry, in bytes.
fn bytes(records: &[Record]) -> Result<usize, EncodingError> {
    records
        .iter()
        .try_fold(0, |sum, record| Ok(sum + size(record)? + 1))
}
