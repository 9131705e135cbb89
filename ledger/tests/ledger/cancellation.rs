//! Drops a commit at each of its waits, whatever the store does meanwhile.

use std::{
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::executor::block_on;
use privatekube_ledger::{Checkpoint, CreateError, Entry, MemoryStore, Poisoned, Store, StoreError, verify};

use crate::build::{at, block, claim, open};

/// The outcome of an attempt to create an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Kept,
    Lost,
    KeptUnsaid,
    KeptTwice,
}

/// A store that waits before and after each request, and whose creates have planned outcomes.
#[derive(Clone)]
struct Planned {
    kept: MemoryStore,
    plan: Arc<Mutex<Vec<Fate>>>,
    unreadable: Arc<Mutex<u32>>,
}

impl Planned {
    fn new(kept: MemoryStore, plan: &[Fate], unreadable: u32) -> Self {
        Self {
            kept,
            plan: Arc::new(Mutex::new(plan.iter().rev().copied().collect())),
            unreadable: Arc::new(Mutex::new(unreadable)),
        }
    }
}

impl Planned {
    fn is_unreadable(&self) -> bool {
        let mut times = self.unreadable.lock().unwrap();
        let is_unreadable = *times > 0;
        *times = times.saturating_sub(1);
        is_unreadable
    }
}

async fn wait() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl Store for Planned {
    async fn create(&self, entry: &Entry) -> Result<(), CreateError> {
        let fate = self.plan.lock().unwrap().pop().unwrap_or(Fate::Kept);
        wait().await;
        let unknown = Err(CreateError::Unknown("no answer".to_owned()));
        let answer = match fate {
            Fate::Kept => self.kept.create(entry).await,
            Fate::Lost => unknown,
            Fate::KeptUnsaid => self.kept.create(entry).await.and(unknown),
            Fate::KeptTwice => {
                self.kept.create(entry).await.ok();
                self.kept.create(entry).await
            }
        };
        wait().await;
        answer
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>, StoreError> {
        wait().await;
        if self.is_unreadable() {
            return Err(StoreError::Unreachable("no answer".to_owned()));
        }
        self.kept.read(sequence).await
    }

    async fn read_after(&self, after: u64) -> Result<Vec<Entry>, StoreError> {
        self.kept.read_after(after).await
    }

    async fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.kept.checkpoint().await
    }

    async fn read_piece(&self, checkpoint: &Checkpoint, piece: u32) -> Result<Option<Vec<u8>>, StoreError> {
        self.kept.read_piece(checkpoint, piece).await
    }

    async fn pause(&self, _: u32) {
        wait().await;
    }
}

/// Drops a commit at its `waits`-th wait. Returns whether it ended before that.
fn dropped_after(plan: &[Fate], unreadable: u32, waits: usize) -> bool {
    let kept = MemoryStore::new();
    let planned = Planned::new(kept.clone(), &[], 0);
    let mut ledger = open(Planned::new(kept.clone(), plan, unreadable));
    let mut draft = ledger.draft(at(5)).unwrap();
    let event = draft.apply(block("b1", 10)).unwrap();
    draft.apply(claim("c1", 10, &["b1"])).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let outcome = {
        let mut commit = pin!(draft.commit());
        (0..waits).find_map(|_| match commit.as_mut().poll(&mut context) {
            Poll::Ready(committed) => Some(committed.unwrap()),
            Poll::Pending => None,
        })
    };
    if let Some(committed) = &outcome {
        assert_eq!(Ok(committed.hash), kept.entries()[0].hash(), "{plan:?} {waits}");
        assert_eq!(committed.records_of(event).len(), 1);
        assert_eq!(ledger.head().sequence, 1);
        ledger.engine().unwrap();
    } else {
        assert_eq!(ledger.draft(at(6)).map(|_| ()).unwrap_err(), Poisoned);
        assert_eq!(ledger.engine().map(|_| ()).unwrap_err(), Poisoned);
        assert_eq!(ledger.head().sequence, 0);
    }

    // Opened again, the ledger has the whole entry or nothing of it.
    let mut again = open(planned);
    assert_eq!(again.head().sequence, kept.entries().len() as u64);
    let mut draft = again.draft(at(7)).unwrap();
    if draft.apply(block("b1", 10)).is_ok() {
        assert!(outcome.is_none());
    }
    let second = draft.apply(claim("c2", 10, &["b1"])).unwrap();
    let mut commit = pin!(draft.commit());
    let committed = loop {
        if let Poll::Ready(committed) = commit.as_mut().poll(&mut context) {
            break committed.unwrap();
        }
    };
    assert!(!committed.records_of(second).is_empty());
    let granted = kept.entries().into_iter().flat_map(|entry| entry.records);
    let granted = granted.filter(|record| matches!(record, privatekube_policy::Record::Granted { .. }));
    assert_eq!(granted.count(), 1, "{plan:?} {waits}");
    verify(kept.entries()).unwrap();
    outcome.is_some()
}

#[test]
fn a_commit_dropped_at_any_wait_poisons_and_the_ledger_opens_again() {
    let fates = [Fate::Kept, Fate::Lost, Fate::KeptUnsaid, Fate::KeptTwice];
    let mut dropped = 0;
    for first in fates {
        for second in fates {
            for unreadable in 0..3 {
                let waits = (0..100).find(|waits| dropped_after(&[first, second], unreadable, *waits));
                dropped += waits.expect("a commit that has no fault left to meet ends");
            }
        }
    }
    assert!(dropped > 200, "{dropped}");
}

#[test]
fn a_commit_whose_first_wait_never_came_wrote_nothing() {
    let kept = MemoryStore::new();
    let mut ledger = open(kept.clone());
    let mut draft = ledger.draft(at(5)).unwrap();
    draft.apply(block("b1", 10)).unwrap();
    drop(draft.commit());
    assert!(ledger.is_poisoned());
    assert_eq!(block_on(kept.read(1)).unwrap(), None);
}
