//! A simulated store whose requests are lost, late, doubled or answered wrongly.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
};

use privatekube_ledger::{CreateError, Entry, Store, StoreError};

use super::rng::Rng;

/// The state that all writers share. Only one of them moves at a time.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// Requests to create that were sent and have not arrived. Each may arrive at any time, or never.
    pub(crate) flying: Vec<Entry>,
    /// How many requests fail, in percent.
    pub(crate) faults: u64,
    /// How often each kind of fault or answer has happened, so that a test can check that it does.
    pub(crate) seen: BTreeMap<&'static str, u32>,
    pub(crate) now: u64,
}

/// A deliberate fault of a store or of a writer's commit, which the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Planted {
    /// A commit that takes `Exists` for success.
    ExistsIsSuccess,
    /// A commit that takes `Unknown` for success.
    UnknownIsSuccess,
    /// A commit that takes any entry that it reads back for its own.
    AnyEntryIsOurs,
    /// A store in which the last to create an entry wins.
    CreatesTwice,
    /// A store that loses an entry after it said that it is durable.
    Forgets,
}

/// A writer's connection to the world's store.
#[derive(Clone)]
pub(crate) struct SimulatedStore {
    world: Arc<Mutex<World>>,
    planted: Option<Planted>,
    created: Arc<Mutex<Option<Entry>>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            faults: *rng.pick(&[0, 5, 20, 40]),
            rng,
            entries: BTreeMap::new(),
            flying: Vec::new(),
            seen: BTreeMap::new(),
            now: 1_000,
        }
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The time of a clock that is up to 10 microseconds off.
    pub(crate) fn clock(&mut self) -> u64 {
        self.now += self.rng.below(6);
        (self.now + self.rng.below(20)).saturating_sub(10)
    }

    pub(crate) fn put(&mut self, entry: &Entry, planted: Option<Planted>) -> Result<(), CreateError> {
        let is_there = self.entries.contains_key(&entry.sequence);
        if is_there && planted != Some(Planted::CreatesTwice) {
            self.note("exists");
            return Err(CreateError::Exists);
        }
        if planted == Some(Planted::Forgets) && self.rng.chance(5) {
            return Ok(());
        }
        self.entries.insert(entry.sequence, entry.clone());
        Ok(())
    }
}

impl SimulatedStore {
    pub(crate) fn new(world: Arc<Mutex<World>>, planted: Option<Planted>) -> Self {
        Self {
            world,
            planted,
            created: Arc::default(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
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
        self.world().put(entry, self.planted)
    }

    fn note(&self, what: &'static str) {
        self.world().note(what);
    }

    async fn attempt(&self, entry: &Entry) -> Result<(), CreateError> {
        let unknown = Err(CreateError::Unknown("no answer".to_owned()));
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
                if self.world().rng.chance(20) {
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
        match (self.attempt(entry).await, self.planted) {
            (Err(CreateError::Exists), Some(Planted::ExistsIsSuccess))
            | (Err(CreateError::Unknown(_)), Some(Planted::UnknownIsSuccess)) => Ok(()),
            (created, _) => created,
        }
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        self.wait().await;
        if self.has_fault() {
            self.note("read failed");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        let mut entry = self.world().entries.get(&sequence).cloned();
        if self.has_fault() {
            self.note("read out of date");
            entry = None;
        }
        if self.planted == Some(Planted::AnyEntryIsOurs) && entry.is_some() {
            entry.clone_from(&self.created.lock().unwrap());
        }
        self.wait().await;
        Ok(entry)
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.wait().await;
        if self.has_fault() {
            self.note("list failed");
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        let (page, entries) = {
            let mut world = self.world();
            let page = world.rng.below(4) + 1;
            (
                page,
                world
                    .entries
                    .range(after + 1..)
                    .map(|(_, entry)| entry.clone())
                    .collect::<Vec<_>>(),
            )
        };
        if self.has_fault() {
            self.note("list out of date");
            return Ok(Vec::new());
        }
        self.wait().await;
        Ok(entries.into_iter().take(usize::try_from(page).unwrap()).collect())
    }

    async fn pause(&self, _attempt: u32) {
        self.wait().await;
    }
}
