//! A simulated store whose requests are lost, late, doubled or answered wrongly, and whose entries somebody deletes or
//! edits by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
};

use privatekube_ledger::{
    Checkpoint, CheckpointStore, ClockLimit, CreateError, Entry, Hash, Store, StoreError,
};
use privatekube_policy::{BlockId, Engine, Event, Span, Time};

use super::{planted::Planted, rng::Rng, workload};

/// How far an entry may be dated ahead of the other clock, in microseconds.
const MOST_AHEAD: u64 = 40;

/// An entry as the store has it: an edit by hand leaves the hash that was written.
#[derive(Clone)]
struct Stored {
    entry: Entry,
    hash: Hash,
}

/// The state that all writers share. Only one of them moves at a time.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) planted: Option<Planted>,
    stored: BTreeMap<u64, Stored>,
    /// The entries as they were created, but for those that were written off. Nobody edits these.
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The checkpoint that was published last, and the pieces of all.
    checkpoint: Option<Checkpoint>,
    pieces: BTreeMap<(u64, Hash, u32), Vec<u8>>,
    /// Whether writers publish checkpoints and remove entries in this world.
    pub(crate) compacts: bool,
    /// Whether writers forget claims that ended in this world.
    pub(crate) forgets: bool,
    /// Requests to create that were sent and have not arrived. Each may arrive at any time, or never.
    pub(crate) flying: Vec<Entry>,
    /// How many requests fail, in percent.
    pub(crate) faults: u64,
    /// How many of the next requests are throttled.
    throttled: u64,
    /// How many of the next creates find the store full.
    full: u64,
    /// Lives between the look at their last entry and the end of their commit.
    busy: BTreeSet<u64>,
    /// The last entry that statuses name.
    pub(crate) named: u64,
    /// The last entry before those that are accepted as lost.
    pub(crate) written_off_after: Option<u64>,
    /// Whether somebody deletes and edits entries in this world.
    pub(crate) tampers: bool,
    /// How often entries were deleted, edited or repaired by hand, which watches show.
    pub(crate) by_hand: u64,
    /// How many blocks exist.
    pub(crate) blocks: u64,
    /// How often each kind of fault or answer has happened, so that a test can check that it does.
    pub(crate) seen: BTreeMap<&'static str, u32>,
    pub(crate) now: u64,
    /// What happened, if it is to be told.
    pub(crate) history: Option<Vec<String>>,
}

/// A writer's connection to the world's store.
#[derive(Clone)]
pub(crate) struct SimulatedStore {
    world: Arc<Mutex<World>>,
    life: u64,
    created: Arc<Mutex<Option<Entry>>>,
    /// The checkpoint that was read first, for a planted fault.
    seen: Arc<Mutex<Seen>>,
}

/// The checkpoint that a process read first, once it has read one.
type Seen = std::cell::OnceCell<Option<Checkpoint>>;

/// Keeps others from deleting entries by hand while a life looks at its last entry and commits the next.
pub(crate) struct Busy(SimulatedStore);

impl Drop for Busy {
    fn drop(&mut self) {
        let life = self.0.life;
        self.0.world().busy.remove(&life);
    }
}

impl World {
    pub(crate) fn new(seed: u64, planted: Option<Planted>, tells: bool) -> Self {
        let mut rng = Rng::new(seed);
        // Other planted faults are found without checkpoints.
        let compacts = planted.map_or_else(|| rng.chance(40), Planted::is_about_checkpoints);
        // Planted faults are found without it.
        let forgets = planted.is_none() && rng.chance(40);
        Self {
            forgets,
            faults: *rng.pick(&[0, 5, 20, 40]),
            tampers: rng.chance(30) || planted.is_some_and(Planted::is_about_tampering),
            by_hand: 0,
            rng,
            planted,
            stored: BTreeMap::new(),
            entries: BTreeMap::new(),
            checkpoint: None,
            pieces: BTreeMap::new(),
            compacts,
            flying: Vec::new(),
            throttled: 0,
            full: 0,
            busy: BTreeSet::new(),
            named: 0,
            written_off_after: None,
            blocks: 4,
            seen: BTreeMap::new(),
            now: 10_000,
            history: tells.then(Vec::new),
        }
    }

    /// The events of an entry.
    pub(crate) fn events(&mut self, engine: &Engine) -> Vec<Event> {
        let blocks = self.blocks;
        let events = (0..self.rng.below(6)).map(|_| workload::event(&mut self.rng, blocks));
        let mut events = events.collect::<Vec<_>>();
        if self.forgets && self.rng.chance(15) {
            let forgotten = workload::forget(&mut self.rng, engine);
            if forgotten.is_some() {
                self.note("forgets claims");
            }
            events = forgotten.into_iter().collect();
        }
        events
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Adds a line to the history.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(format!("{:>6} µs  {}", self.now, line()));
        }
    }

    /// Notes what happened to a life, and tells it.
    pub(crate) fn note_of(&mut self, life: u64, what: &'static str) {
        self.note(what);
        self.tell(|| format!("life {life}: {what}"));
    }

    /// The time of a clock that is up to 10 microseconds off, and `jump` besides.
    pub(crate) fn clock(&mut self, jump: i64) -> u64 {
        self.now += self.rng.below(6);
        let clock = (self.now + self.rng.below(20)).saturating_sub(10);
        clock.saturating_add_signed(jump)
    }

    /// What the time of an entry is compared with.
    pub(crate) const fn limit(&self) -> ClockLimit {
        ClockLimit {
            reference: Time::from_micros(self.now),
            most_ahead: Span::from_micros(MOST_AHEAD),
        }
    }

    pub(crate) fn put(&mut self, entry: &Entry) -> Result<(), CreateError> {
        let sequence = entry.sequence;
        if self.stored.contains_key(&sequence) && self.planted != Some(Planted::CreatesTwice) {
            self.note("exists");
            return Err(CreateError::Exists);
        }
        if self.planted == Some(Planted::Forgets) && self.rng.chance(5) {
            return Ok(());
        }
        let hash = entry.hash().unwrap();
        let entry = entry.clone();
        if self.planted == Some(Planted::CreatesTwice) {
            self.entries.insert(sequence, entry.clone());
        } else {
            self.entries.entry(sequence).or_insert_with(|| entry.clone());
        }
        self.stored.insert(sequence, Stored { entry, hash });
        self.tell(|| format!("the store creates entry {sequence}"));
        Ok(())
    }

    /// The first entry that readers need: that of the checkpoint. Earlier ones may have been removed, and created again by
    /// requests that were late.
    fn first_needed(&self) -> u64 {
        self.checkpoint.map_or(1, |checkpoint| checkpoint.head.sequence)
    }

    /// Whether the store holds what was created and is needed.
    pub(crate) fn is_whole(&self) -> bool {
        self.stored.keys().next_back() == self.entries.keys().next_back() && self.first_wrong().is_none()
    }

    /// The first entry that is missing or was changed.
    fn first_wrong(&self) -> Option<u64> {
        let mut entries = self.entries.range(self.first_needed()..);
        let wrong = entries.find(|(sequence, entry)| {
            let stored = self.stored.get(sequence);
            stored.is_none_or(|stored| stored.entry != **entry)
        });
        wrong.map(|(sequence, _)| *sequence)
    }

    /// Whether the entries from this one on may be lost: statuses name them, none of them returned budget (which nobody could
    /// know any more), no writer is about to write, and no create of these numbers is on its way.
    fn can_lose(&self, from: u64) -> bool {
        let returns = |event: &Event| {
            matches!(
                event,
                Event::Release { .. }
                    | Event::Withdraw { .. }
                    | Event::NeverRan { .. }
                    | Event::Forget { .. }
            )
        };
        let is_quiet = self.busy.is_empty() && self.flying.iter().all(|entry| entry.sequence < from);
        let is_last = |sequence: &u64| *sequence <= self.named;
        (is_quiet || self.planted == Some(Planted::DeletedWhilePending))
            && from > self.first_needed()
            && self.entries.keys().all(is_last)
            && !self
                .entries
                .range(from..)
                .any(|(_, entry)| entry.events.iter().any(returns))
    }

    /// Somebody deletes the last entry by hand, or edits one.
    pub(crate) fn tamper(&mut self) {
        let Some((&last, _)) = self.stored.last_key_value() else {
            return;
        };
        if !self.is_whole() {
            return;
        }
        self.by_hand += 1;
        if self.rng.chance(50) {
            if self.can_lose(last) {
                self.stored.remove(&last);
                self.note("last entry deleted");
                self.tell(|| format!("somebody deletes entry {last}"));
            }
            return;
        }
        let first = self.first_needed();
        if first > last {
            return;
        }
        let sequence = first + self.rng.below(last + 1 - first);
        let keeps_hash = self.rng.chance(50);
        let Some(stored) = self.stored.get_mut(&sequence) else {
            return;
        };
        if keeps_hash {
            stored.entry.writer.push('!');
            self.note("entry edited");
            self.tell(|| format!("somebody edits entry {sequence}"));
        } else if stored.entry.records.pop().is_some() {
            stored.hash = stored.entry.hash().unwrap();
            self.note("entry edited with its hash");
            self.tell(|| {
                format!("somebody removes a record from entry {sequence}, and writes the right hash")
            });
        }
    }

    /// Somebody puts back what was deleted or edited, or accepts that it is lost. Returns the last entry before the lost ones.
    pub(crate) fn repair(&mut self, may_lose: bool) -> Option<u64> {
        let wrong = self.first_wrong()?;
        self.by_hand += 1;
        if may_lose && self.rng.chance(50) && self.can_lose(wrong) {
            let after = wrong - 1;
            self.stored.split_off(&wrong);
            self.entries.split_off(&wrong);
            self.named = after;
            self.written_off_after = Some(after);
            self.blocks += 4;
            self.note("entries written off");
            self.tell(|| format!("somebody accepts that the entries after {after} are lost"));
            return Some(after);
        }
        self.stored.clear();
        for (sequence, entry) in self.entries.clone() {
            let hash = entry.hash().unwrap();
            self.stored.insert(sequence, Stored { entry, hash });
        }
        self.note("entries put back");
        self.tell(|| "somebody puts all entries back".to_owned());
        None
    }

    /// From now on every request succeeds.
    pub(crate) fn end_faults(&mut self) {
        (self.faults, self.throttled, self.full) = (0, 0, 0);
    }

    /// What a ledger without the entries that are lost has to begin with, if it ends here.
    pub(crate) fn write_off(&self, sequence: u64, knows: impl Fn(&BlockId) -> bool) -> Option<Event> {
        let after = self.written_off_after.filter(|after| *after == sequence)?;
        let blocks = (0..self.blocks).map(|block| BlockId::from(format!("b{block}")));
        Some(Event::WriteOff {
            after,
            unknown_blocks: blocks.filter(|block| !knows(block)).collect(),
            reason: "lost".to_owned(),
        })
    }

    fn read(stored: &Stored) -> Result<Entry, StoreError> {
        if stored.entry.hash() == Ok(stored.hash) {
            Ok(stored.entry.clone())
        } else {
            let sequence = stored.entry.sequence;
            Err(StoreError::Corrupt(format!("entry {sequence} was edited")))
        }
    }

    /// Whether the next request is throttled.
    fn throttles(&mut self) -> bool {
        if self.throttled == 0 && self.faults > 0 && self.rng.below(200) == 0 {
            self.throttled = 2 + self.rng.below(6);
        }
        if self.throttled == 0 {
            return false;
        }
        self.throttled -= 1;
        self.note("throttled");
        true
    }

    /// Whether the next create finds the store full.
    fn is_full(&mut self) -> bool {
        if self.full == 0 && self.faults > 0 && self.rng.below(200) == 0 {
            self.full = 1 + self.rng.below(4);
        }
        if self.full == 0 {
            return false;
        }
        self.full -= 1;
        self.note("full");
        true
    }
}

impl SimulatedStore {
    pub(crate) fn new(world: Arc<Mutex<World>>, life: u64) -> Self {
        Self {
            world,
            life,
            created: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn planted(&self, planted: Planted) -> bool {
        self.world().planted == Some(planted)
    }

    pub(crate) fn busy(&self) -> Busy {
        let life = self.life;
        self.world().busy.insert(life);
        Busy(self.clone())
    }

    pub(crate) fn note(&self, what: &'static str) {
        let life = self.life;
        self.world().note_of(life, what);
    }

    /// Lets other writers move. A writer may crash here.
    pub(crate) async fn wait(&self) {
        let mut turns = {
            let mut world = self.world();
            *world.rng.pick(&[0, 0, 1, 1, 2, 5])
        };
        std::future::poll_fn(|_| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            Poll::Pending
        })
        .await;
    }

    fn has_fault(&self) -> bool {
        let mut world = self.world();
        let percent = world.faults;
        world.rng.chance(percent)
    }

    fn put(&self, entry: &Entry) -> Result<(), CreateError> {
        self.world().put(entry)
    }

    async fn attempt(&self, entry: &Entry) -> Result<(), CreateError> {
        let unknown = Err(CreateError::Unknown("no answer".to_owned()));
        if self.world().throttles() {
            self.wait().await;
            return Err(CreateError::Unknown("too many requests (429)".to_owned()));
        }
        if self.world().is_full() {
            self.wait().await;
            return Err(CreateError::Refused("the store is full".to_owned()));
        }
        if !self.has_fault() {
            self.wait().await;
            let created = self.put(entry);
            self.wait().await;
            return created;
        }
        let fault = self.world().rng.below(7);
        match fault {
            0 => {
                self.note("create lost");
                self.wait().await;
                unknown
            }
            1 => {
                self.wait().await;
                self.note("create done, answer lost");
                self.put(entry).ok();
                self.wait().await;
                unknown
            }
            2 => {
                self.note("create late");
                self.world().flying.push(entry.clone());
                self.wait().await;
                unknown
            }
            3 => {
                self.wait().await;
                self.note("create repeated by the client");
                self.put(entry).ok();
                self.wait().await;
                let created = self.put(entry);
                self.wait().await;
                created
            }
            4 => {
                self.note("create doubled on its way");
                self.world().flying.push(entry.clone());
                self.wait().await;
                let created = self.put(entry);
                self.wait().await;
                created
            }
            5 => {
                self.note("create late without an answer, ever");
                self.world().flying.push(entry.clone());
                std::future::pending().await
            }
            _ => {
                self.wait().await;
                let is_refused = self.world().rng.chance(20);
                if is_refused {
                    self.note("create refused");
                    return Err(CreateError::Refused("forbidden".to_owned()));
                }
                unknown
            }
        }
    }
}

impl Store for SimulatedStore {
    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        *self.created.lock().unwrap() = Some(entry.clone());
        let (life, sequence) = (self.life, entry.sequence);
        self.world()
            .tell(|| format!("life {life}: sends entry {sequence}"));
        let answer = self.attempt(entry).await;
        self.world()
            .tell(|| format!("life {life}: is answered {answer:?}"));
        let planted = self.world().planted;
        match (answer, planted) {
            (Err(CreateError::Exists), Some(Planted::ExistsIsSuccess))
            | (Err(CreateError::Unknown(_)), Some(Planted::UnknownIsSuccess)) => Ok(()),
            (created, _) => created,
        }
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        self.wait().await;
        let is_throttled = self.world().throttles();
        if is_throttled || self.has_fault() {
            self.note("read failed");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        let mut entry = {
            let world = self.world();
            world.stored.get(&sequence).map(World::read).transpose()?
        };
        if self.has_fault() {
            self.note("read out of date");
            entry = None;
        }
        let created = self.created.lock().unwrap().clone();
        if let (Some(found), Some(created)) = (&mut entry, created)
            && created.sequence == sequence
        {
            let takes = match self.world().planted {
                Some(Planted::AnyEntryIsOurs) => true,
                Some(Planted::ComparesNames) => created.writer == found.writer,
                _ => false,
            };
            if takes {
                *found = created;
            }
        }
        self.wait().await;
        Ok(entry)
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.wait().await;
        let is_throttled = self.world().throttles();
        if is_throttled || self.has_fault() {
            self.note("list failed");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        let entries = {
            let mut world = self.world();
            let page = usize::try_from(world.rng.below(4) + 1).unwrap();
            let stored = world.stored.range(after + 1..).take(page);
            stored
                .map(|(_, stored)| World::read(stored))
                .collect::<Result<Vec<_>, _>>()?
        };
        if self.has_fault() {
            self.note("list out of date");
            return Ok(Vec::new());
        }
        self.wait().await;
        if after > 0 && self.planted(Planted::ReadsOnePage) {
            return Ok(Vec::new());
        }
        Ok(entries)
    }

    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.wait().await;
        let is_throttled = self.world().throttles();
        if is_throttled || self.has_fault() {
            self.note("checkpoint not read");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        // Never out of date: this read is linearizable.
        let current = self.world().checkpoint;
        let checkpoint = self.planted_checkpoint(current);
        self.wait().await;
        Ok(checkpoint)
    }

    async fn read_piece(&self, checkpoint: &Checkpoint, piece: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.wait().await;
        if self.has_fault() {
            self.note("piece not read");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        let key = (checkpoint.head.sequence, checkpoint.digest, piece);
        let content = self.world().pieces.get(&key).cloned();
        if content.is_none() {
            self.note("piece is gone");
        }
        self.wait().await;
        Ok(content)
    }

    async fn pause(&self, _attempt: u32) {
        self.wait().await;
    }
}

impl SimulatedStore {
    /// What a process with a planted fault takes for the checkpoint.
    fn planted_checkpoint(&self, current: Option<Checkpoint>) -> Option<Checkpoint> {
        let has_created = self.created.lock().unwrap().is_some();
        let seen = self.seen.lock().unwrap();
        match self.world().planted {
            Some(Planted::RemembersCheckpoint) => *seen.get_or_init(|| current),
            Some(Planted::IgnoresCheckpointAfterCreate) if has_created => None,
            Some(Planted::IgnoresCheckpointAfterReading) if !has_created => *seen.get_or_init(|| current),
            _ => current,
        }
    }

    /// Makes a change that may be lost, or be made while its answer is lost.
    async fn change(
        &self,
        change: impl FnOnce(&mut World) -> Result<(), CreateError>,
    ) -> Result<(), CreateError> {
        let unknown = Err(CreateError::Unknown("no answer".to_owned()));
        self.wait().await;
        if self.has_fault() {
            let is_lost = self.world().rng.chance(50);
            if is_lost {
                self.note("change lost");
                return unknown;
            }
            change(&mut self.world()).ok();
            self.note("change done, answer lost");
            self.wait().await;
            return unknown;
        }
        let changed = change(&mut self.world());
        self.wait().await;
        changed
    }
}

impl CheckpointStore for SimulatedStore {
    async fn create_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
        content: &[u8],
    ) -> Result<(), CreateError> {
        let key = (checkpoint.head.sequence, checkpoint.digest, piece);
        self.change(|world| {
            world.pieces.entry(key).or_insert_with(|| content.to_vec());
            Ok(())
        })
        .await
    }

    async fn publish(&self, checkpoint: &Checkpoint) -> Result<(), CreateError> {
        let life = self.life;
        self.change(|world| {
            let at = world.checkpoint.map_or(0, |published| published.head.sequence);
            let sequence = checkpoint.head.sequence;
            if at >= sequence && world.planted != Some(Planted::EarlierCheckpointReplaces) {
                return Err(CreateError::Exists);
            }
            world.checkpoint = Some(*checkpoint);
            world.note_of(life, "checkpoint published");
            world.tell(|| format!("life {life}: the checkpoint is at entry {sequence}"));
            Ok(())
        })
        .await
    }

    async fn remove_pieces_before(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let at = checkpoint.head.sequence;
        self.wait().await;
        self.world().pieces.retain(|(sequence, _, _), _| *sequence >= at);
        Ok(())
    }

    async fn read_first(&self) -> Result<Vec<Entry>, StoreError> {
        self.read_after(0).await
    }

    async fn remove(&self, sequence: u64) -> Result<(), StoreError> {
        let life = self.life;
        let removed = self.change(|world| {
            if world.stored.remove(&sequence).is_some() {
                world.note("entry removed");
                world.tell(|| format!("life {life}: removes entry {sequence}"));
            }
            Ok(())
        });
        removed
            .await
            .map_err(|error| StoreError::Unreachable(error.to_string()))
    }
}
