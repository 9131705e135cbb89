//! A second writer, written for these tests from the description of the ledger alone: it applies events to an engine of its
//! own and creates entries, with none of the crate's drafts, commits and replays. Some worlds have such writers beside
//! others, and both have to agree on every entry. Planted faults of a writer's inside are faults of this one.

use privatekube_ledger::{CreateError, Entry, Hash, Omitted, Store, StoreError};
use privatekube_policy::{DatasetRules, Engine, Event, Record, Time};

use super::{planted::Planted, world::SimulatedStore, writer::Published};

/// How many records it writes at most; the others are omitted.
const MOST_RECORDS: usize = 6;

pub(crate) struct Naive {
    store: SimulatedStore,
    writer: String,
    pub(crate) engine: Engine,
    pub(crate) sequence: u64,
    hash: Hash,
    pub(crate) time: Time,
    rules: DatasetRules,
    planted: Option<Planted>,
}

/// Why a ledger can't be opened.
pub(crate) enum Unopened {
    Unreachable,
    Wrong(String),
}

impl Naive {
    pub(crate) async fn open(
        store: SimulatedStore,
        writer: String,
        rules: DatasetRules,
    ) -> Result<Self, Unopened> {
        let planted = store.world().planted;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            match store.read_after(entries.len() as u64).await {
                Ok(page) if page.is_empty() => break,
                Ok(page) => entries.extend(page),
                Err(StoreError::Unreachable(_)) => return Err(Unopened::Unreachable),
                Err(error) => return Err(Unopened::Wrong(error.to_string())),
            }
        }
        let rules = entries
            .first()
            .and_then(|first| first.rules.clone())
            .unwrap_or(rules);
        let engine = Engine::new(rules.clone()).map_err(|error| Unopened::Wrong(error.to_string()))?;
        let mut naive = Self {
            store,
            writer,
            engine,
            sequence: 0,
            hash: Hash::ORIGIN,
            time: Time::from_micros(0),
            rules,
            planted,
        };
        for entry in &entries {
            naive.replay(entry).map_err(Unopened::Wrong)?;
        }
        Ok(naive)
    }

    fn has(&self, planted: Planted) -> bool {
        self.planted == Some(planted)
    }

    fn hash_of(&self, entry: &Entry) -> Hash {
        let mut hashed = entry.clone();
        if self.has(Planted::HashWithoutEvents) {
            hashed.events.clear();
        }
        hashed.hash().unwrap()
    }

    /// Whether `entry` is the last one that it knows.
    pub(crate) fn is_last(&self, entry: &Entry) -> bool {
        self.hash_of(entry) == self.hash
    }

    fn replay(&mut self, entry: &Entry) -> Result<(), String> {
        let number = self.sequence + 1;
        if entry.sequence != number || entry.previous != self.hash || entry.time < self.time {
            return Err(format!(
                "entry {} doesn't follow entry {}",
                entry.sequence, self.sequence
            ));
        }
        let mut records = self.engine.advance(entry.time);
        let skipped = usize::from(self.has(Planted::SkipsEvent) && entry.events.len() > 1);
        for event in &entry.events[..entry.events.len() - skipped] {
            match self.engine.apply(event) {
                Ok(more) => records.extend(more),
                Err(_) if self.has(Planted::SkipsEvent) => {}
                Err(refusal) => return Err(format!("entry {number}: {refusal}")),
            }
        }
        if !self.has(Planted::SkipsEvent) && !self.has(Planted::TrustsRecords) {
            let kept = entry.records.len().min(records.len());
            let omitted = Omitted::of(&records[kept..]).unwrap();
            if records[..kept] != entry.records || omitted != entry.omitted {
                return Err(format!(
                    "entry {number} has other records than follow from its events"
                ));
            }
        }
        (self.sequence, self.hash, self.time) = (number, self.hash_of(entry), entry.time);
        Ok(())
    }

    /// The entry at `now` with those of `events` that the engine accepts, and its records; none if there is nothing to write.
    /// The engine has decided it then.
    pub(crate) fn draft(&mut self, now: Time, events: Vec<Event>) -> Option<(Entry, Vec<Record>)> {
        let time = if self.has(Planted::TimeGoesBack) {
            now
        } else {
            now.max(self.engine.now())
        };
        let mut records = self.engine.advance(time);
        let mut applied = Vec::new();
        for event in events {
            if let Ok(more) = self.engine.apply(&event) {
                records.extend(more);
                applied.push(event);
            }
        }
        if records.is_empty() && applied.is_empty() {
            return None;
        }
        let kept = records.len().min(MOST_RECORDS);
        let entry = Entry {
            version: 1,
            sequence: self.sequence + 1,
            previous: self.hash,
            writer: self.writer.clone(),
            program: None,
            time,
            rules: (self.sequence == 0).then(|| self.rules.clone()),
            events: applied,
            records: records[..kept].to_vec(),
            omitted: Omitted::of(&records[kept..]).unwrap(),
            checkpoint: None,
            requesters: Vec::new(),
        };
        Some((entry, records))
    }

    /// Creates the entry. An error leaves the engine ahead of the ledger.
    pub(crate) async fn commit(
        &mut self,
        entry: Entry,
        records: Vec<Record>,
    ) -> Result<Published, &'static str> {
        let hash = self.hash_of(&entry);
        let published = Published {
            sequence: entry.sequence,
            hash: entry.hash().unwrap(),
            time: entry.time,
            records,
        };
        if self.has(Planted::PublishesFirst) {
            self.store.world().flying.push(entry.clone());
            (self.sequence, self.hash, self.time) = (entry.sequence, hash, entry.time);
            return Ok(published);
        }
        'create: loop {
            match self.store.create(&entry).await {
                Ok(()) => break,
                Err(CreateError::Refused(_)) => return Err("refused"),
                Err(CreateError::Exists) => {}
                Err(CreateError::Unknown(_)) => self.store.pause(1).await,
            }
            loop {
                match self.store.read(entry.sequence).await {
                    Ok(Some(found)) if self.hash_of(&found) == hash => break 'create,
                    Ok(Some(found)) => {
                        if self.has(Planted::GoesOn) {
                            (self.sequence, self.hash, self.time) =
                                (found.sequence, self.hash_of(&found), found.time);
                        }
                        return Err("fenced");
                    }
                    Ok(None) => continue 'create,
                    Err(StoreError::Unreachable(_)) => self.store.pause(1).await,
                    Err(_) => return Err("corrupt"),
                }
            }
        }
        (self.sequence, self.hash, self.time) = (entry.sequence, hash, entry.time);
        Ok(published)
    }
}
