//! A [`Store`] in memory.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Checkpoint, CheckpointStore, CreateError, Entry, Hash, Store, StoreError};

/// The most entries that [`CheckpointStore::read_first`] returns.
const PAGE: usize = 100;

/// A store in memory, for tests and simulators. Clones share what they hold. No method ever waits.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<u64, Entry>,
    checkpoint: Option<Checkpoint>,
    /// By the checkpoint's entry, its digest and the piece's number.
    pieces: BTreeMap<(u64, Hash, u32), Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a copy of its entries, by ascending sequence number.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.content().entries.values().cloned().collect()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Each change of a map is one call, so a panic while the lock was held left no half of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FromIterator<Entry> for MemoryStore {
    /// Makes a store of these entries; of several with the same sequence number, it keeps the last.
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.sequence, entry));
        Self(Arc::new(Mutex::new(Content {
            entries: entries.collect(),
            ..Content::default()
        })))
    }
}

impl Store for MemoryStore {
    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        match self.content().entries.entry(entry.sequence) {
            Slot::Occupied(_) => Err(CreateError::Exists),
            Slot::Vacant(slot) => {
                slot.insert(entry.clone());
                Ok(())
            }
        }
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        Ok(self.content().entries.get(&sequence).cloned())
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        let content = self.content();
        let entries = content.entries.range(after.saturating_add(1)..);
        Ok(entries.map(|(_, entry)| entry.clone()).collect())
    }

    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.content().checkpoint)
    }

    async fn read_piece(&self, checkpoint: &Checkpoint, piece: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let key = (checkpoint.head.sequence, checkpoint.digest, piece);
        Ok(self.content().pieces.get(&key).cloned())
    }

    async fn pause(&self, _attempt: u32) {}
}

impl CheckpointStore for MemoryStore {
    async fn create_piece(
        &self,
        checkpoint: &Checkpoint,
        piece: u32,
        content: &[u8],
    ) -> Result<(), CreateError> {
        let key = (checkpoint.head.sequence, checkpoint.digest, piece);
        self.content()
            .pieces
            .entry(key)
            .or_insert_with(|| content.to_vec());
        Ok(())
    }

    async fn publish(&self, checkpoint: &Checkpoint) -> Result<(), CreateError> {
        let mut content = self.content();
        let published = content.checkpoint.map_or(0, |published| published.head.sequence);
        if published >= checkpoint.head.sequence {
            return Err(CreateError::Exists);
        }
        content.checkpoint = Some(*checkpoint);
        Ok(())
    }

    async fn remove_pieces_before(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let at = checkpoint.head.sequence;
        self.content()
            .pieces
            .retain(|(sequence, _, _), _| *sequence >= at);
        Ok(())
    }

    async fn read_first(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.content().entries.values().take(PAGE).cloned().collect())
    }

    async fn remove(&self, sequence: u64) -> Result<(), StoreError> {
        self.content().entries.remove(&sequence);
        Ok(())
    }
}
