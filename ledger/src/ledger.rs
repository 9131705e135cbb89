//! A ledger open for writing.

use privatekube_policy::{DatasetRules, DatasetRulesError, Engine, Time};
use thiserror::Error;

use crate::{
    Checkpoint, CheckpointContent, CheckpointError, CheckpointMark, ClockError, ClockLimit, EntryDraft, Head,
    Replay, Store, StoreError, VerifyError,
};

/// A dataset's ledger, open for writing.
///
/// There may be any number of writers: the store lets one of them create the next entry, and the others learn
/// with their next commit that they are fenced. A draft that was not committed, or may not have been, poisons
/// the ledger: it can be neither read nor written any more, and has to be opened again.
#[derive(Debug)]
pub struct Ledger<S> {
    pub(crate) store: S,
    pub(crate) writer: String,
    /// What each entry says of the program that the writer is.
    pub(crate) program: Option<String>,
    pub(crate) engine: Engine,
    pub(crate) head: Head,
    /// The latest time that the engine was advanced to. It may be later than the last entry, if nothing
    /// followed from it.
    pub(crate) clock: Time,
    /// Whether the engine is ahead of the store. It is set before the engine changes and cleared when the
    /// change is durable, so whatever happens in between (an error, a dropped draft, a dropped future) leaves
    /// it set.
    pub(crate) is_ahead: bool,
    /// The checkpoint that the next entry names.
    pub(crate) unmarked: Option<CheckpointMark>,
    /// The checkpoint that was published when the ledger was opened.
    published: Option<Checkpoint>,
}

/// The ledger's engine is ahead of the store, because a draft was not committed: it says nothing that is
/// surely true.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the ledger holds an entry that was not committed: open it again")]
pub struct Poisoned;

/// Why a draft within a limit can't begin. Nothing has changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DraftError {
    /// An earlier draft was lost.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The entry would be dated too far ahead.
    #[error(transparent)]
    Clock(#[from] ClockError),
}

/// Why a ledger can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store could not be read. Opening the ledger again may succeed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds is not a ledger, or was tampered with. Nothing may be granted before a person has
    /// looked at it.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The ledger is empty, and the rules that it should begin with can't be used.
    #[error(transparent)]
    DatasetRules(#[from] DatasetRulesError),
}

impl<S: Store> Ledger<S> {
    /// Reads the ledger of `store`: its checkpoint, if it has one, and then the entries after it, which are
    /// [verified](crate::verify). Nothing is written. See [`Replay::read`].
    ///
    /// `writer` is the name that entries get, for people and for the writers that are fenced; no safety rests
    /// on it. `rules` are those of an empty ledger. A ledger with entries keeps its own: see
    /// [`rules`](Self::rules).
    pub async fn open(store: S, writer: String, rules: DatasetRules) -> Result<Self, OpenError> {
        let replay = Replay::read(&store).await?;
        Self::of(store, writer, rules, replay)
    }

    /// As [`open`](Self::open), but reads only the entries after those that `replay` has seen: a follower
    /// that becomes the writer has almost nothing to read.
    pub async fn resume(
        store: S,
        writer: String,
        rules: DatasetRules,
        mut replay: Replay,
    ) -> Result<Self, OpenError> {
        if !replay.read_on(&store).await? {
            replay = Replay::read(&store).await?;
        }
        Self::of(store, writer, rules, replay)
    }

    fn of(store: S, writer: String, rules: DatasetRules, replay: Replay) -> Result<Self, OpenError> {
        replay.check()?;
        let (head, published) = (replay.head(), replay.known().copied());
        let engine = match replay.into_engine() {
            Some(engine) => engine,
            None => Engine::new(rules)?,
        };
        Ok(Self {
            store,
            writer,
            program: None,
            engine,
            head,
            clock: head.time,
            is_ahead: false,
            unmarked: None,
            published,
        })
    }

    /// Begins the next entry at `now`, to which the engine's clock is advanced before any event. If `now` is
    /// earlier than the engine's clock, the engine's clock is taken instead: a writer's clock may go back,
    /// the ledger's never does.
    ///
    /// A [write-off](privatekube_policy::Event::WriteOff) belongs in an entry of its own at the time of the
    /// [head](Self::head): at a later time the clock decides first, and may grant what lost entries have granted.
    pub fn draft(&mut self, now: Time) -> Result<EntryDraft<'_, S>, Poisoned> {
        if self.is_ahead {
            return Err(Poisoned);
        }
        Ok(EntryDraft::begin(self, now))
    }

    /// Begins the next entry at `now` as [`draft`](Self::draft) does, unless the entry would be dated beyond
    /// `limit`. After an error nothing has changed, the engine's clock included.
    pub fn draft_within(&mut self, now: Time, limit: &ClockLimit) -> Result<EntryDraft<'_, S>, DraftError> {
        // The engine's clock may be later than both: a draft that was empty has advanced it.
        limit.check(self.head.time, now.max(self.clock))?;
        Ok(self.draft(now)?)
    }
}

impl<S> Ledger<S> {
    /// The blocks and claims after the last entry: nothing in it isn't durable. (Its clock may be later than
    /// the last entry, if nothing followed from the time since.)
    pub const fn engine(&self) -> Result<&Engine, Poisoned> {
        if self.is_ahead {
            Err(Poisoned)
        } else {
            Ok(&self.engine)
        }
    }

    /// Returns a checkpoint of the state after the last entry. The engine's clock must be at that entry, as it is when the
    /// ledger was just opened or the entry committed: a draft advances it. Costs time and memory for everything that
    /// the engine holds.
    pub fn checkpoint(&self) -> Result<CheckpointContent, CheckpointError> {
        if self.is_ahead || self.head.sequence == 0 || self.engine.now() != self.head.time {
            return Err(CheckpointError::NotAtEntry);
        }
        CheckpointContent::of(&self.engine, self.head)
    }

    /// The checkpoint that was published when the ledger was opened, if it stands at one of its entries.
    #[must_use]
    pub const fn published(&self) -> Option<&Checkpoint> {
        self.published.as_ref()
    }

    /// Lets the next entry name a checkpoint that was published, so that the chain of hashes covers it.
    pub const fn mark(&mut self, mark: CheckpointMark) {
        self.unmarked = Some(mark);
    }

    /// The rules of the first entry; without entries, the rules that the ledger was opened with.
    #[must_use]
    pub const fn rules(&self) -> &DatasetRules {
        self.engine.rules()
    }

    /// The last entry that is known to be written.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Lets each entry say which program the writer is, in which version: what it decides may depend on that.
    pub fn set_program(&mut self, program: String) {
        self.program = Some(program);
    }

    /// The writer's name.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// Whether a draft was not committed, so that the ledger can be neither read nor written.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.is_ahead
    }

    /// The store, to open the ledger again.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }
}
