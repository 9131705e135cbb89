//! A writer's life: it opens the ledger and commits entries until it is fenced, refused or stopped.

use std::sync::{Arc, Mutex};

use privatekube_ledger::{
    CheckpointContent, CheckpointStore, ClockLimit, CommitError, Committed, DraftError, Entry, Hash, Ledger,
    OpenError, PublishError, Removal, Store, StoreError, remove_entries,
};
use privatekube_policy::{DatasetRules, Engine, Event, Phase, Record, Time};

use super::{
    checker::{Checker, Violation},
    naive::{Naive, Unopened},
    planted::Planted,
    world::SimulatedStore,
};
use crate::build::at;

/// An entry that a writer publishes.
pub(crate) struct Published {
    pub(crate) sequence: u64,
    pub(crate) hash: Hash,
    pub(crate) time: Time,
    pub(crate) records: Vec<Record>,
}

impl From<Committed> for Published {
    fn from(committed: Committed) -> Self {
        Self {
            sequence: committed.sequence,
            hash: committed.hash,
            time: committed.time,
            records: committed.records().to_vec(),
        }
    }
}

/// A ledger open for writing: the crate's, or the naive one.
enum Book {
    Ledger(Box<Ledger<SimulatedStore>>),
    Naive(Box<Naive>),
}

/// How an attempt to write ends.
enum Outcome {
    Committed(Published),
    /// There was nothing to write, and it may have been dropped.
    Nothing,
    /// The clock is too far ahead.
    WrongClock,
    /// A draft that wasn't empty was dropped.
    Dropped,
    Failed(&'static str),
}

impl Book {
    async fn open(
        store: SimulatedStore,
        name: String,
        rules: DatasetRules,
        naive: bool,
    ) -> Result<Self, Unopened> {
        if naive {
            return Naive::open(store, name, rules)
                .await
                .map(|naive| Self::Naive(Box::new(naive)));
        }
        match Ledger::open(store, name, rules).await {
            Ok(ledger) => Ok(Self::Ledger(Box::new(ledger))),
            Err(OpenError::Store(StoreError::Unreachable(_))) => Err(Unopened::Unreachable),
            Err(error) => Err(Unopened::Wrong(error.to_string())),
        }
    }

    fn sequence(&self) -> u64 {
        match self {
            Self::Ledger(ledger) => ledger.head().sequence,
            Self::Naive(naive) => naive.sequence,
        }
    }

    fn time(&self) -> Time {
        match self {
            Self::Ledger(ledger) => ledger.head().time,
            Self::Naive(naive) => naive.time,
        }
    }

    fn is_last(&self, entry: &Entry) -> bool {
        match self {
            Self::Ledger(ledger) => entry.hash() == Ok(ledger.head().hash),
            Self::Naive(naive) => naive.is_last(entry),
        }
    }

    fn engine(&self) -> &Engine {
        match self {
            Self::Ledger(ledger) => ledger.engine().unwrap(),
            Self::Naive(naive) => &naive.engine,
        }
    }

    /// Whether it can be read or written after an entry was not committed.
    fn goes_on(&mut self) -> bool {
        match self {
            Self::Ledger(ledger) => {
                let is_readable = ledger.engine().is_ok();
                ledger.draft(at(0)).is_ok() || is_readable || !ledger.is_poisoned()
            }
            // It has nothing that keeps it from it but its writer.
            Self::Naive(_) => false,
        }
    }

    async fn write(
        &mut self,
        now: Time,
        limit: Option<&ClockLimit>,
        events: Vec<Event>,
        drops: bool,
    ) -> Outcome {
        match self {
            Self::Ledger(ledger) => {
                let draft = match limit {
                    Some(limit) => ledger.draft_within(now, limit),
                    None => ledger.draft(now).map_err(DraftError::from),
                };
                let mut draft = match draft {
                    Ok(draft) => draft,
                    Err(DraftError::Clock(_)) => return Outcome::WrongClock,
                    Err(DraftError::Poisoned(_)) => return Outcome::Failed("poisoned for no reason"),
                };
                for event in events {
                    draft.apply(event).ok();
                }
                let is_empty = draft.is_empty();
                if drops {
                    drop(draft);
                    return if is_empty {
                        Outcome::Nothing
                    } else {
                        Outcome::Dropped
                    };
                }
                match draft.commit().await {
                    Ok(_) if is_empty => Outcome::Nothing,
                    Ok(committed) => Outcome::Committed(committed.into()),
                    Err(CommitError::Fenced { .. }) => Outcome::Failed("fenced"),
                    Err(CommitError::Covered { .. }) => Outcome::Failed("fenced by a checkpoint"),
                    Err(CommitError::Refused { .. }) => Outcome::Failed("refused"),
                    Err(CommitError::Encoding { .. }) => Outcome::Failed("encoding"),
                    Err(CommitError::Imbalance { .. }) => Outcome::Failed("imbalance"),
                    Err(CommitError::Corrupt { .. }) => Outcome::Failed("corrupt"),
                }
            }
            Self::Naive(naive) => {
                if limit.is_some_and(|limit| limit.check(naive.time, now.max(naive.engine.now())).is_err()) {
                    return Outcome::WrongClock;
                }
                match naive.draft(now, events) {
                    None => Outcome::Nothing,
                    Some(_) if drops => Outcome::Dropped,
                    Some((entry, records)) => match naive.commit(entry, records).await {
                        Ok(published) => Outcome::Committed(published),
                        Err(why) => Outcome::Failed(why),
                    },
                }
            }
        }
    }
}

/// Opens the ledger; none if it can't be opened, which is a violation unless somebody has tampered with it.
async fn open(
    store: &SimulatedStore,
    life: u64,
    rules: &DatasetRules,
    naive: bool,
    checker: &Mutex<Checker>,
) -> Option<Book> {
    // Several writers may have the same name at once: no safety rests on it.
    let name = format!("w{}", store.world().rng.below(3));
    loop {
        let (by_hand, was_whole) = {
            let world = store.world();
            (world.by_hand, world.is_whole())
        };
        match Book::open(store.clone(), name.clone(), rules.clone(), naive).await {
            Ok(book) => {
                let sequence = book.sequence();
                store
                    .world()
                    .tell(|| format!("life {life} ({name}): has opened the ledger at entry {sequence}"));
                return Some(book);
            }
            Err(Unopened::Unreachable) => store.wait().await,
            Err(Unopened::Wrong(why)) => {
                store
                    .world()
                    .tell(|| format!("life {life}: can't open the ledger: {why}"));
                let seen_by_hand = store.world().by_hand;
                let is_excused = seen_by_hand != by_hand || !was_whole;
                if is_excused {
                    store.note("stopped: not a ledger");
                } else {
                    checker.lock().unwrap().report(Violation::NotALedger(why));
                }
                return None;
            }
        }
    }
}

/// A writer's life. (A crash drops the future.)
pub(crate) async fn write(
    store: SimulatedStore,
    life: u64,
    rules: DatasetRules,
    naive: bool,
    checker: Arc<Mutex<Checker>>,
) {
    let Some(mut book) = open(&store, life, &rules, naive, &checker).await else {
        return;
    };
    // Once somebody deletes entries, statuses are looked at.
    let mut by_hand = 0;
    let mut jump = 0;
    loop {
        store.wait().await;
        let _busy = store.busy();
        let looks_back = store.world().tampers && book.sequence() > 0;
        if looks_back && !store.planted(Planted::IgnoresLastEntry) {
            match store.read(book.sequence()).await {
                Ok(Some(entry)) if book.is_last(&entry) => {}
                Err(StoreError::Unreachable(_)) => continue,
                _ => return store.note("stopped: its last entry is gone or another"),
            }
        }
        let (seen_by_hand, named) = {
            let world = store.world();
            (world.by_hand, world.named)
        };
        let is_shorter = seen_by_hand != by_hand && named > book.sequence();
        if is_shorter && !store.planted(Planted::IgnoresStatuses) {
            return store.note("stopped: a status names a later entry");
        }
        by_hand = seen_by_hand;
        let write_off = {
            let engine = book.engine();
            store
                .world()
                .write_off(book.sequence(), |block| engine.block(block).is_some())
        };
        let (mut now, limit, events) = {
            let mut world = store.world();
            if world.rng.chance(2) {
                jump = *world.rng.pick(&[0, 0, 0, 5_000, -5_000]);
            }
            let now = world.clock(jump);
            let events = world.events(book.engine());
            (at(now), world.limit(), events)
        };
        let is_lost = write_off.is_some();
        let drops = store.world().rng.chance(3) && !is_lost;
        // The clock must decide nothing before the write-off: it doesn't know what is lost.
        if is_lost && !store.planted(Planted::WritesOffLate) {
            now = book.time();
        }
        let events = write_off.map_or(events, |event| vec![event]);
        let (sequence, micros) = (book.sequence(), now.micros());
        store
            .world()
            .tell(|| format!("life {life}: after entry {sequence}, at {micros} µs: {events:?}"));
        let limited = (!store.planted(Planted::TimeUnlimited)).then_some(&limit);
        match book.write(now, limited, events, drops).await {
            Outcome::Nothing => store.note("nothing to write"),
            Outcome::WrongClock => store.note("clock too far ahead"),
            Outcome::Committed(published) => {
                store.note(if is_lost {
                    "publishes a write-off"
                } else {
                    "publishes"
                });
                let compacts = {
                    let mut world = store.world();
                    world.named = world.named.max(published.sequence);
                    checker.lock().unwrap().check_commit(
                        life,
                        &published,
                        book.engine(),
                        &limit,
                        &world.entries,
                    );
                    world.compacts && world.rng.chance(40)
                };
                if compacts && let Book::Ledger(ledger) = &mut book {
                    compact(&store, ledger).await;
                }
            }
            Outcome::Dropped => {
                store.note("draft dropped");
                check_poisoned(&mut book, life, &checker);
                let planted = store.world().planted;
                if !matches!(planted, Some(Planted::KeepsDropped | Planted::GoesOn)) {
                    return;
                }
            }
            Outcome::Failed(why) => {
                store.note(why);
                check_poisoned(&mut book, life, &checker);
                if !store.planted(Planted::GoesOn) {
                    checker.lock().unwrap().fence(life);
                    return;
                }
            }
        }
    }
}

/// Checks that a ledger whose draft was lost says nothing more.
fn check_poisoned(book: &mut Book, life: u64, checker: &Mutex<Checker>) {
    if book.goes_on() {
        checker.lock().unwrap().not_poisoned(life);
    }
}

/// Publishes a checkpoint, and removes some of the entries before it.
async fn compact(store: &SimulatedStore, ledger: &mut Ledger<SimulatedStore>) {
    let planted = store.world().planted;
    let engine = ledger.engine().unwrap();
    let forgotten = match planted {
        Some(Planted::CheckpointForgetsWaiting) => forgets(engine, Phase::Waiting),
        Some(Planted::CheckpointForgetsConsumed) => forgets(engine, Phase::Consumed),
        _ => None,
    };
    let content = match forgotten {
        Some(engine) => CheckpointContent::of(&engine, ledger.head()).unwrap(),
        None => ledger.checkpoint().unwrap(),
    };
    let most = usize::try_from(store.world().rng.below(8)).unwrap();
    let before = at(store.world().now);
    let checkpoint = content.checkpoint;
    if planted == Some(Planted::RemovesBeforePublished) {
        remove_all(store, checkpoint.head.sequence - 1).await;
    }
    let published = content.publish(store).await;
    match published {
        Ok(()) => ledger.mark(checkpoint.mark()),
        Err(PublishError::Superseded(_)) => return store.note("checkpoint superseded"),
        Err(_) => return store.note("checkpoint not published"),
    }
    store.remove_pieces_before(&checkpoint).await.ok();
    if planted == Some(Planted::RemovesTooMuch) {
        return remove_all(store, checkpoint.head.sequence).await;
    }
    remove_entries(store, &checkpoint, Removal::older_than(before, most))
        .await
        .ok();
}

/// Removes all entries up to `last`, as no writer does: the crate removes nothing that its checkpoint can't replace.
async fn remove_all(store: &SimulatedStore, last: u64) {
    for sequence in 1..=last {
        store.remove(sequence).await.ok();
    }
}

/// The engine as it is without one of its claims in this phase, if it has any.
fn forgets(engine: &Engine, phase: Phase) -> Option<Engine> {
    let claim = engine
        .claims()
        .find(|claim| engine.phase(claim) == Some(phase))?
        .clone();
    let mut forgetful = engine.clone();
    let event = match phase {
        Phase::Waiting => Event::Withdraw { claim },
        _ => Event::NeverRan { claim },
    };
    forgetful.apply(&event).ok()?;
    Some(forgetful)
}

/// Commits one entry, in a world without faults.
pub(crate) async fn recover(store: SimulatedStore, rules: DatasetRules, naive: bool) -> Result<(), String> {
    let opened = Book::open(store.clone(), "last".to_owned(), rules, naive).await;
    let mut book = opened.map_err(|error| match error {
        Unopened::Unreachable => "the store is unreachable".to_owned(),
        Unopened::Wrong(why) => why,
    })?;
    let block = Event::AddBlock {
        block: "last".into(),
        capacity: privatekube_policy::Budget::new(vec![1, 1]).map_err(|error| error.to_string())?,
    };
    let now = at(store.world().now);
    match book.write(now, None, vec![block], false).await {
        Outcome::Committed(_) => Ok(()),
        Outcome::Failed(why) => Err(why.to_owned()),
        Outcome::Nothing | Outcome::WrongClock | Outcome::Dropped => Err("nothing was written".to_owned()),
    }
}
