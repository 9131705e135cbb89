//! The ledger's writer: turns events into committed entries.
//!
//! It owns the ledger and nothing else. Events that the engine or the ledger refuses are handed back; what was committed is
//! handed on as a value that exists only once the entry is durable.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use privatekube_api::DatasetKey;
use privatekube_kubernetes::{KubernetesStore, ServerClock};
use privatekube_ledger::{
    ApplyError, Checkpoint, CheckpointContent, CheckpointError, ClockError, ClockLimit, CommitError,
    Committed, DraftError, EntryDraft, EventIndex, Hash, Head, Ledger, OpenError, Poisoned, Replay,
    Requester, Store, StoreError,
};
use privatekube_policy::{Amount, BlockId, ClaimId, DatasetRules, Engine, Event, Phase, Span, Time};
use privatekube_view::CommittedState;
use thiserror::Error;
use tracing::{debug, warn};

use super::{
    message::{ConsumeError, ConsumeReply},
    metrics::ReadBack,
};

/// By how much an entry may be dated ahead of the API server's clock. One entry dated years ahead would unlock all that the
/// clock unlocks, and stop all timeouts until then.
const MOST_AHEAD: Span = Span::from_micros(60_000_000);

/// What entries say of the program that wrote them.
pub(super) const PROGRAM: &str = concat!("privatekube ", env!("CARGO_PKG_VERSION"));

/// What is to be written.
#[derive(Debug)]
pub(super) enum PendingEvent {
    /// An event; of a claim that arrives, with who asked for it.
    Event(Event, Option<Box<Requester>>),
    /// All of these claims are consumed, or, if one of them can't be, none.
    ConsumeAll {
        /// The claims, none of them twice.
        claims: Vec<ClaimId>,
        /// Receives the outcome, once it is durable.
        reply: ConsumeReply,
    },
}

impl From<Event> for PendingEvent {
    fn from(event: Event) -> Self {
        Self::Event(event, None)
    }
}

impl PendingEvent {
    /// Whether somebody waits until it is durable.
    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self, Self::ConsumeAll { .. })
    }

    /// Whether it consumes a claim.
    pub(super) fn consumes(&self, claim: &ClaimId) -> bool {
        match self {
            Self::Event(event, _) => {
                matches!(event, Event::Consume { claim: consumed, .. } if consumed == claim)
            }
            Self::ConsumeAll { claims, .. } => claims.contains(claim),
        }
    }

    /// The block that it retires.
    pub(super) const fn retires(&self) -> Option<&BlockId> {
        match self {
            Self::Event(Event::RetireBlock { block }, _) => Some(block),
            _ => None,
        }
    }
}

/// An event that is not in the ledger, since the engine or the ledger refused it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) event: Event,
    pub(super) error: ApplyError,
}

/// An attempt to write an entry that has ended well.
#[derive(Debug)]
pub(super) struct Written {
    /// The entry; `None` if nothing was to be written.
    pub(super) committed: Option<Committed>,
    /// The claims that were matched with their blocks in it.
    pub(super) matched: Vec<ClaimId>,
    /// The events that let a claim arrive or matched it, ascending, and the claims.
    pub(super) of_claims: Vec<(EventIndex, ClaimId)>,
    /// Events that are not in it.
    pub(super) refused: Vec<Refused>,
    /// How long it took.
    pub(super) took: Duration,
    replies: Vec<ConsumeReply>,
}

impl Written {
    /// Answers those who wait until their events are durable.
    pub(super) fn answer(self) {
        for reply in self.replies {
            // Whoever waited may have given up.
            let _ = reply.send(Ok(()));
        }
    }
}

/// Why a ledger can't be read or written any more. It has to be opened again, which reads what is true.
#[derive(Debug, Error)]
pub enum WriterError {
    /// It could not be read.
    #[error("the ledger of {0} can't be opened: {1}")]
    Open(DatasetKey, Box<OpenError>),
    /// It could not be written.
    #[error("the ledger of {0}: {1}")]
    Commit(DatasetKey, Box<CommitError>),
    /// Its last entry was deleted.
    #[error("the ledger of {0} lacks its last entry, {1}: it was deleted")]
    Lost(DatasetKey, u64),
    /// It ends before an entry that existed: this process has seen it, or a status names it.
    #[error("the ledger of {dataset} ends at entry {found}, and entry {known} existed: its end was deleted")]
    Shortened {
        /// The dataset.
        dataset: DatasetKey,
        /// An entry that existed.
        known: u64,
        /// The last entry that exists.
        found: u64,
    },
    /// Another process wrote an entry that this one has not read.
    #[error("another process wrote entry {1} of the ledger of {0}")]
    Overtaken(DatasetKey, u64),
    /// The namespace was deleted since the ledger was opened, and may have been created again.
    #[error("the namespace of {0} is not the one in which its ledger was opened")]
    OtherNamespace(DatasetKey),
    /// It doesn't have the entry that was exported last.
    #[error("the ledger of {dataset} ends at entry {found} and doesn't have entry {known} of its export in {}: it lost entries", directory.display())]
    Witnessed {
        /// The dataset.
        dataset: DatasetKey,
        /// The directory of its export.
        directory: PathBuf,
        /// The last entry of the export.
        known: u64,
        /// The last entry that exists.
        found: u64,
    },
    /// What was exported can't be read, so whether the ledger has it is unknown.
    #[error("whether the ledger of {0} lost entries is unknown: its export can't be read: {1}")]
    Export(DatasetKey, String),
    /// An entry is another one than before.
    #[error("entry {1} of the ledger of {0} was replaced by another")]
    Replaced(DatasetKey, u64),
    /// An entry can't be read.
    #[error("entry {1} of the ledger of {0} can't be read: {2}")]
    Unreadable(DatasetKey, u64, StoreError),
    /// An entry would be dated too far ahead of the API server's clock. Has the last entry's time.
    #[error("no entry is written to the ledger of {0}: {1}")]
    Clock(DatasetKey, ClockError, Time),
    /// The event that writes all budget off takes too many bytes of an entry.
    #[error(
        "the budget of {0} can't be written off: too many blocks exist that aren't in the ledger; delete their objects"
    )]
    WriteOff(DatasetKey),
    /// The bookkeeper panicked, so that its state is lost.
    #[error("the bookkeeper of {0} failed, which is a fault of PrivateKube")]
    Failed(DatasetKey),
    /// It was abandoned in the middle of an entry.
    #[error("the ledger of {0}: {1}")]
    Poisoned(DatasetKey, Poisoned),
}

impl WriterError {
    /// Whether another process wrote the next entry.
    pub(super) fn is_fenced(&self) -> bool {
        match self {
            Self::Commit(_, error) => {
                matches!(**error, CommitError::Fenced { .. } | CommitError::Covered { .. })
            }
            Self::Overtaken(..) => true,
            _ => false,
        }
    }
}

/// The writer of one dataset's ledger.
#[derive(Debug)]
pub(super) struct LedgerWriter {
    dataset: DatasetKey,
    store: KubernetesStore,
    /// This process's name in the entries.
    name: String,
    /// The clock that ours is compared with.
    server_clock: Arc<ServerClock>,
    /// `None` until there is anything to write or to read.
    ledger: Option<Box<Ledger<KubernetesStore>>>,
    /// The entries that another process has written so far, while this one follows it; `None` until there are any.
    followed: Option<Box<Replay>>,
    /// The last entry that this process has seen, also while the ledger is closed: sequence number and hash.
    last_seen: Option<(u64, Hash)>,
    /// The largest number of an entry that the status of a claim named.
    named: u64,
    /// The time up to which the last entry may be dated ahead.
    accepted_time: Option<Time>,
}

impl LedgerWriter {
    /// A writer whose ledger isn't open. `name` is that of this process.
    pub(super) const fn new(
        dataset: DatasetKey,
        store: KubernetesStore,
        name: String,
        server_clock: Arc<ServerClock>,
    ) -> Self {
        Self {
            dataset,
            store,
            name,
            server_clock,
            ledger: None,
            followed: None,
            last_seen: None,
            named: 0,
            accepted_time: None,
        }
    }

    /// Sets the UID of the dataset's namespace, which entries name.
    pub(super) fn set_namespace(&mut self, uid: Option<String>) {
        self.store.set_namespace_uid(uid);
    }

    /// Sets the time up to which the last entry may be dated ahead of the API server's clock.
    pub(super) fn accept_time(&mut self, time: Option<Time>) {
        self.accepted_time = time;
    }

    /// Reads and verifies the ledger. An empty one is opened with `rules`; it begins with its first entry. Returns the last
    /// entry's sequence number, 0 if there is none. Entries after the number `lost_after` that this process has seen are lost,
    /// which is accepted. Of a ledger that was followed, only what is new is read.
    pub(super) async fn open(
        &mut self,
        rules: DatasetRules,
        lost_after: Option<u64>,
    ) -> Result<u64, WriterError> {
        let followed = self.take_followed().await?;
        let ledger = self.read(rules, followed).await?;
        let head = ledger.head();
        if lost_after == Some(head.sequence) {
            self.last_seen = None;
            self.named = 0;
        }
        self.reaches(self.named, head.sequence).await?;
        if let Some((sequence, hash)) = self.last_seen {
            self.reaches(sequence, head.sequence).await?;
            let covered = ledger.published().map_or(0, |published| published.head.sequence);
            let found = if sequence == head.sequence {
                head.hash
            } else if sequence < covered {
                // It may have been removed, and the checkpoint has what it led to.
                hash
            } else {
                self.read_hash(sequence).await?
            };
            if found != hash {
                return Err(WriterError::Replaced(self.dataset.clone(), sequence));
            }
        }
        self.ledger = Some(Box::new(ledger));
        self.remember();
        Ok(head.sequence)
    }

    /// The entries that were followed, unless the last one is another one by now, or is gone: then all are read again.
    async fn take_followed(&mut self) -> Result<Option<Replay>, WriterError> {
        let Some(head) = self.followed.as_ref().map(|replay| replay.head()) else {
            return Ok(None);
        };
        let unreadable = |error| WriterError::Unreadable(self.dataset.clone(), head.sequence, error);
        let last = self.store.read(head.sequence).await.map_err(unreadable)?;
        let is_same = last.is_some_and(|entry| entry.hash().is_ok_and(|hash| hash == head.hash));
        Ok(self.followed.take().filter(|_| is_same).map(|replay| *replay))
    }

    /// Reads what comes after the entries that were `followed`, or the whole ledger.
    async fn read(
        &self,
        rules: DatasetRules,
        followed: Option<Replay>,
    ) -> Result<Ledger<KubernetesStore>, WriterError> {
        let (store, name) = (self.store.clone(), self.name.clone());
        let opened = match followed {
            Some(followed) => Ledger::resume(store, name, rules, followed).await,
            None => Ledger::open(store, name, rules).await,
        };
        let mut ledger = opened.map_err(|error| WriterError::Open(self.dataset.clone(), Box::new(error)))?;
        ledger.set_program(PROGRAM.to_owned());
        Ok(ledger)
    }

    /// Reads and verifies the ledger, to follow what another process writes to it: see [`follow`](Self::follow). Returns the last
    /// entry's sequence number; without entries the ledger stays closed.
    pub(super) async fn open_to_follow(&mut self) -> Result<u64, WriterError> {
        let read = Replay::read(&self.store).await;
        let replay = read.map_err(|error| WriterError::Open(self.dataset.clone(), Box::new(error)))?;
        let sequence = replay.head().sequence;
        if sequence > 0 {
            self.followed = Some(Box::new(replay));
            self.remember();
        }
        Ok(sequence)
    }

    /// Reads the next entry of a ledger that is followed; `None` if there is no more. Returns it with the claims that were matched
    /// in it.
    pub(super) async fn follow(&mut self) -> Result<Option<(Committed, Vec<ClaimId>)>, WriterError> {
        let Some(replay) = &mut self.followed else {
            return Ok(None);
        };
        let next = replay.head().sequence.saturating_add(1);
        let unreadable = |error| WriterError::Unreadable(self.dataset.clone(), next, error);
        let Some(entry) = self.store.read(next).await.map_err(unreadable)? else {
            return Ok(None);
        };
        let committed = replay
            .push(&entry)
            .map_err(|error| WriterError::Open(self.dataset.clone(), Box::new(OpenError::Verify(error))))?;
        let matched = entry.events.into_iter().filter_map(|event| match event {
            Event::Match { claim, .. } => Some(claim),
            _ => None,
        });
        let matched = matched.collect();
        self.remember();
        Ok(Some((committed, matched)))
    }

    /// Checks that the ledger has an entry that the status of a claim names. Only the extender writes statuses. Once budget was
    /// written off, claims may name entries that are lost.
    pub(super) async fn check_named(&mut self, named: u64) -> Result<(), WriterError> {
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        let wrote_off = ledger
            .engine()
            .is_ok_and(|engine| engine.last_write_off().is_some());
        if wrote_off {
            return Ok(());
        }
        let found = ledger.head().sequence;
        self.named = self.named.max(named);
        self.reaches(named, found).await
    }

    /// Checks that a ledger which was read up to entry `found` has entry `known`. If it has the entry after `found`, another
    /// process has written it since; only if it has not was its end deleted.
    pub(super) async fn reaches(&self, known: u64, found: u64) -> Result<(), WriterError> {
        if known <= found {
            return Ok(());
        }
        let next = found.saturating_add(1);
        let unreadable = |error| WriterError::Unreadable(self.dataset.clone(), next, error);
        if self.store.read(next).await.map_err(unreadable)?.is_some() {
            return Err(WriterError::Overtaken(self.dataset.clone(), next));
        }
        Err(WriterError::Shortened {
            dataset: self.dataset.clone(),
            known,
            found,
        })
    }

    /// The last entry; `None` while the ledger is neither open nor followed.
    fn head(&self) -> Option<Head> {
        let of_ledger = self.ledger.as_ref().map(|ledger| ledger.head());
        of_ledger.or_else(|| self.followed.as_ref().map(|replay| replay.head()))
    }

    /// The number of the last entry; 0 if there is none.
    pub(super) fn last_sequence(&self) -> u64 {
        self.head().map_or(0, |head| head.sequence)
    }

    /// The hash of an entry that must exist, which isn't read if it is the last one.
    pub(super) async fn hash_of(&self, sequence: u64) -> Result<Hash, WriterError> {
        match self.head().filter(|head| head.sequence == sequence) {
            Some(head) => Ok(head.hash),
            None => self.read_hash(sequence).await,
        }
    }

    /// Remembers the last entry.
    fn remember(&mut self) {
        self.last_seen = self
            .head()
            .filter(|head| head.sequence > 0)
            .map(|head| (head.sequence, head.hash))
            .or(self.last_seen);
    }

    /// The hash of an entry that must exist.
    async fn read_hash(&self, sequence: u64) -> Result<Hash, WriterError> {
        let unreadable = |error| WriterError::Unreadable(self.dataset.clone(), sequence, error);
        match self.store.read(sequence).await.map_err(unreadable)? {
            None => Err(WriterError::Lost(self.dataset.clone(), sequence)),
            Some(entry) => entry
                .hash()
                .map_err(|error| unreadable(StoreError::Corrupt(error.to_string()))),
        }
    }

    /// The checkpoint that was published when the ledger was opened, and how many entries come after it.
    pub(super) fn published(&self) -> (Option<Checkpoint>, u64) {
        let Some(ledger) = &self.ledger else {
            return (None, 0);
        };
        let published = ledger.published().copied();
        let at = published.map_or(0, |published| published.head.sequence);
        (published, ledger.head().sequence.saturating_sub(at))
    }

    /// The content of a checkpoint at the last entry. None if the ledger is closed, or its engine is later than its last entry.
    pub(super) fn checkpoint(&self) -> Result<Option<CheckpointContent>, CheckpointError> {
        match self.ledger.as_ref().map(|ledger| ledger.checkpoint()) {
            None | Some(Err(CheckpointError::NotAtEntry)) => Ok(None),
            Some(made) => made.map(Some),
        }
    }

    /// Lets the next entry name a checkpoint that was published.
    pub(super) fn mark(&mut self, checkpoint: &Checkpoint) {
        if let Some(ledger) = &mut self.ledger {
            ledger.mark(checkpoint.mark());
        }
    }

    /// The store of the ledger.
    pub(super) const fn store(&self) -> &KubernetesStore {
        &self.store
    }

    /// Closes the ledger: it is to be opened with other rules, or there is nothing to write.
    pub(super) fn close(&mut self) {
        self.ledger = None;
        self.followed = None;
    }

    /// Whether the ledger is open, be it to write or to follow it.
    pub(super) const fn is_open(&self) -> bool {
        self.ledger.is_some() || self.followed.is_some()
    }

    /// What is committed; `None` while there is no ledger.
    pub(super) fn state(&self) -> Result<Option<CommittedState<'_>>, WriterError> {
        let Some(ledger) = &self.ledger else {
            let followed = self.followed.as_ref();
            return Ok(followed.and_then(|replay| {
                let (engine, sequence) = (replay.engine()?, replay.head().sequence);
                Some(CommittedState { engine, sequence })
            }));
        };
        let engine = ledger
            .engine()
            .map_err(|error| WriterError::Poisoned(self.dataset.clone(), error))?;
        let sequence = ledger.head().sequence;
        Ok(Some(CommittedState { engine, sequence }))
    }

    /// The last entry's time; the start of time if there is none.
    pub(super) fn last_time(&self) -> Time {
        self.head().map_or_else(Time::default, |head| head.time)
    }

    /// The engine; `None` while there is no ledger.
    pub(super) fn engine(&self) -> Result<Option<&Engine>, WriterError> {
        Ok(self.state()?.map(|state| state.engine))
    }

    /// The rules of an open ledger that has no entry yet.
    pub(super) fn rules_before_first_entry(&self) -> Option<&DatasetRules> {
        let ledger = self.ledger.as_ref()?;
        (ledger.head().sequence == 0).then(|| ledger.rules())
    }

    /// Checks that the last entry still exists and is the one that was written. Its absence may be the only sign that a ledger
    /// was deleted, or that the cluster's store was restored from an older backup.
    /// Returns `None` if there is none.
    pub(super) async fn check_last_entry(&self) -> Result<Option<ReadBack>, WriterError> {
        let Some(head) = self.head().filter(|head| head.sequence > 0) else {
            return Ok(None);
        };
        match self.read_hash(head.sequence).await {
            Ok(hash) if hash == head.hash => Ok(Some(ReadBack::Same)),
            Ok(_) => Err(WriterError::Replaced(self.dataset.clone(), head.sequence)),
            Err(WriterError::Unreadable(_, _, error @ StoreError::Unreachable(_))) => {
                warn!(dataset = %self.dataset, %error, "whether the ledger still exists is unknown");
                Ok(Some(ReadBack::Unknown))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes one entry with as many of the `pending` events as it holds, and what the clock decides by `now`. Without a
    /// ledger, drops them all and returns `None`.
    pub(super) async fn write(
        &mut self,
        pending: &mut VecDeque<PendingEvent>,
        now: Time,
    ) -> Result<Option<Written>, WriterError> {
        let Some(ledger) = &mut self.ledger else {
            drop_all(&self.dataset, pending);
            return Ok(None);
        };
        let began = Instant::now();
        let head = ledger.head();
        let accepted = self.accepted_time.filter(|accepted| *accepted >= head.time);
        let limit = self.server_clock.now().map(|reference| ClockLimit {
            // Nothing later than what the ledger has already is accepted.
            reference: accepted.map_or(reference, |_| reference.max(head.time)),
            most_ahead: MOST_AHEAD,
        });
        let draft = match limit {
            Some(limit) => ledger.draft_within(now, &limit),
            None => ledger.draft(now).map_err(DraftError::from),
        };
        let mut draft = draft.map_err(|error| match error {
            DraftError::Poisoned(error) => WriterError::Poisoned(self.dataset.clone(), error),
            DraftError::Clock(error) => WriterError::Clock(self.dataset.clone(), error, head.time),
        })?;
        let (mut replies, mut refused) = (Vec::new(), Vec::new());
        let (mut matched, mut of_claims) = (Vec::new(), Vec::new());
        while !draft.is_full() {
            match pending.pop_front() {
                None => break,
                Some(PendingEvent::ConsumeAll { claims, reply }) => match consume_all(&mut draft, &claims) {
                    Consumption::Done => replies.push(reply),
                    Consumption::Refused(why) => {
                        // Whoever waited may have given up.
                        let _ = reply.send(Err(ConsumeError::Refused(why)));
                    }
                    Consumption::EntryFull(claims) => {
                        pending.push_front(PendingEvent::ConsumeAll { claims, reply });
                        break;
                    }
                },
                Some(PendingEvent::Event(event, requester)) => {
                    let applied = draft.apply_requested(event.clone(), requester.as_deref().cloned());
                    match applied {
                        Ok(index) => match event {
                            Event::Match { claim, .. } => {
                                of_claims.push((index, claim.clone()));
                                matched.push(claim);
                            }
                            Event::Arrive(arrival) => of_claims.push((index, arrival.claim)),
                            _ => {}
                        },
                        Err(ApplyError::Full) => {
                            pending.push_front(PendingEvent::Event(event, requester));
                            break;
                        }
                        Err(error) => refused.push(Refused { event, error }),
                    }
                }
            }
        }
        let is_empty = draft.is_empty();
        let committed = draft
            .commit()
            .await
            .map_err(|error| WriterError::Commit(self.dataset.clone(), Box::new(error)))?;
        self.remember();
        Ok(Some(Written {
            committed: (!is_empty).then_some(committed),
            matched,
            of_claims,
            refused,
            took: began.elapsed(),
            replies,
        }))
    }
}

/// How the consumption of several claims went on in one entry.
enum Consumption {
    /// All are consumed.
    Done,
    /// None is consumed.
    Refused(String),
    /// The entry is full; these claims are to be consumed by the next one.
    EntryFull(Vec<ClaimId>),
}

/// Consumes all of `claims`, or, if one of them is not granted, none. The clock ends only claims that wait, so what was granted
/// in one entry still is in the next.
fn consume_all(draft: &mut EntryDraft<'_, KubernetesStore>, claims: &[ClaimId]) -> Consumption {
    for claim in claims {
        match draft.engine().claim(claim).map(|claim| claim.phase) {
            Some(Phase::Granted | Phase::Consumed) => {}
            Some(phase) => return Consumption::Refused(format!("claim {claim} is {phase:?}, not Granted")),
            None => return Consumption::Refused(format!("claim {claim} is not in the ledger")),
        }
    }
    for (at, claim) in claims.iter().enumerate() {
        let consume = Event::Consume {
            claim: claim.clone(),
            amount: Amount::All,
        };
        match draft.apply(consume) {
            Ok(_) => {}
            Err(ApplyError::Full) => return Consumption::EntryFull(claims[at..].to_vec()),
            Err(error) => return Consumption::Refused(error.to_string()),
        }
    }
    Consumption::Done
}

fn drop_all(dataset: &DatasetKey, pending: &mut VecDeque<PendingEvent>) {
    for pending in pending.drain(..) {
        debug!(%dataset, ?pending, "dropped an event: the dataset has no ledger");
        if let PendingEvent::ConsumeAll { reply, .. } = pending {
            let _ = reply.send(Err(ConsumeError::Closed));
        }
    }
}
