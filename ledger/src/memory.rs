//! A [`Store`] in memory.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{CreateError, Entry, Store, StoreError};

/// A store in memory, for tests and simulators. Clones share their entries. No method ever waits.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<BTreeMap<u64, Entry>>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of its entries, by ascending sequence number.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.content().values().cloned().collect()
    }

    fn content(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Each change of the map is one call, so a panic while the lock was held left no half of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromIterator<Entry> for MemoryStore {
    /// Makes a store of these entries; of several with the same sequence number, it keeps the last.
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let content = entries.into_iter().map(|entry| (entry.sequence, entry));
        Self(Arc::new(Mutex::new(content.collect())))
    }
}

impl Store for MemoryStore {
    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        match self.content().entry(entry.sequence) {
            Slot::Occupied(_) => Err(CreateError::Exists),
            Slot::Vacant(slot) => {
                slot.insert(entry.clone());
                Ok(())
            }
        }
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        Ok(self.content().get(&sequence).cloned())
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let content = self.content();
        let entries = content.iter().filter(|(sequence, _)| **sequence > after);
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }

    async fn pause(&self, _attempt: u32) {}
}
