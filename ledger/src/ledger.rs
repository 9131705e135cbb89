//! The ledger as its writer holds it.

use privatekube_policy::{DatasetRules, DatasetRulesError, Engine, Time};
use thiserror::Error;

use crate::{EntryDraft, Head, Replay, Store, StoreError, VerifyError};

/// A dataset's ledger, open for writing.
///
/// There may be any number of writers: the store lets one of them create the next entry, and the others learn with
/// their next commit that they are fenced. A ledger that holds a round that was not committed, or not surely, is
/// poisoned: it tells and takes nothing more. Open it again.
#[derive(Debug)]
pub struct Ledger<S> {
    pub(crate) store: S,
    pub(crate) writer: String,
    pub(crate) engine: Engine,
    pub(crate) head: Head,
    /// The latest time that the engine was told, which may have decided nothing and be in no entry.
    pub(crate) clock: Time,
    /// Whether the engine is ahead of the store. It is raised before the engine changes and lowered when the change
    /// is durable, so that whatever happens in between (an error, a lost round, a dropped future) leaves it raised.
    pub(crate) ahead: bool,
}

/// The ledger holds a round that was not committed, so it can tell nothing that is surely true.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the ledger holds a round that was not committed: open it again")]
pub struct Poisoned;

/// Why a ledger can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store could not be read. Opening again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds is not a ledger, or was tampered with. Nothing may be granted before a person has looked.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The ledger is empty, and the rules that it should begin with can't be used.
    #[error(transparent)]
    DatasetRules(#[from] DatasetRulesError),
}

impl<S: Store> Ledger<S> {
    /// Reads and [verifies](crate::verify) all that `store` holds.
    ///
    /// `writer` names who writes from now on, for people and for whoever is fenced; no safety rests on the name.
    /// `rules` is what an empty ledger begins with. One that isn't empty keeps its own: see
    /// [`rules`](Self::rules). Nothing is written.
    pub async fn open(store: S, writer: String, rules: DatasetRules) -> Result<Self, OpenError> {
        Self::resume(store, writer, rules, Replay::new()).await
    }

    /// As [`open`](Self::open), but reads only what comes after what `replay` has seen: a follower that takes over
    /// has nothing to load.
    pub async fn resume(
        store: S,
        writer: String,
        rules: DatasetRules,
        mut replay: Replay,
    ) -> Result<Self, OpenError> {
        loop {
            let entries = store.read_after(replay.head().sequence).await?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                replay.push(entry)?;
            }
        }
        replay.check()?;
        let head = replay.head();
        let engine = match replay.into_engine() {
            Some(engine) => engine,
            None => Engine::new(rules)?,
        };
        Ok(Self {
            store,
            writer,
            engine,
            head,
            clock: head.time,
            ahead: false,
        })
    }

    /// Begins a round at `now`: the engine's clock is advanced to it before any event. If `now` is earlier than what
    /// the engine was told before, that time is taken in its place: clocks may go back, the ledger's never does.
    pub fn draft(&mut self, now: Time) -> Result<EntryDraft<'_, S>, Poisoned> {
        if self.ahead {
            return Err(Poisoned);
        }
        Ok(EntryDraft::begin(self, now))
    }
}

impl<S> Ledger<S> {
    /// Blocks and claims after the last entry, and nothing that isn't durable. (Its clock may be later than the last
    /// entry, if nothing was decided since: that follows from the time alone.)
    pub const fn engine(&self) -> Result<&Engine, Poisoned> {
        if self.ahead {
            Err(Poisoned)
        } else {
            Ok(&self.engine)
        }
    }

    /// The rules that hold: those of the first entry; while there is none, those that it was opened with.
    #[must_use]
    pub const fn rules(&self) -> &DatasetRules {
        self.engine.rules()
    }

    /// The last entry known to be written.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Who writes.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Whether it holds a round that was not committed, and so tells and takes nothing more.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.ahead
    }

    /// Its store, to open it again.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}
