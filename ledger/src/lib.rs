//! The ledger: the durable, fenced, hash-chained sequence of entries in which privacy budget is granted and
//! consumed.
//!
//! An [`Entry`] holds events, and the records that the engine of `privatekube-policy` returned for them.
//! Entry n+1 can be created once, so whoever creates it is the writer, and no lease has to be trusted. An
//! [`EntryDraft`] collects the events that arrive while the last entry is being written, and becomes the next
//! entry. Its records may be published when [`EntryDraft::commit`] has returned a [`Committed`], and not
//! before: until then the draft borrows the [`Ledger`], and if the draft is lost, the ledger is [`Poisoned`]
//! and says nothing more.
//!
//! A [`Store`] keeps the entries. This crate contains one in memory, [`MemoryStore`], and knows nothing of
//! Kubernetes, HTTP, clocks, threads or an async runtime: time is an argument, and the same code runs on a
//! simulated store with simulated faults.
//!
//! A [`Checkpoint`] is the engine's state after an entry: a ledger is opened from it, and entries before it may
//! be [removed](remove_entries). All writers of a ledger whose entries may be removed have to be of this crate,
//! or follow the same rules: a name that was removed can be created again, and never counts.
//!
//! Begin reading at [`Entry`] (what is written), then [`Store`] (what a store guarantees), then [`Ledger`]
//! and [`EntryDraft`] (writing), then [`Replay`] and [`verify`] (following and checking), then
//! [`CheckpointContent`].
//!
//! # Examples
//!
//! ```
//! use privatekube_ledger::{Ledger, MemoryStore, verify};
//! use privatekube_policy::{
//!     Arrival, Composition, Demand, Event, Policy, Record, DatasetRules, Revision, Time, Unlocking, Weight,
//! };
//!
//! # futures::executor::block_on(async {
//! let composition = Composition::Basic;
//! let whole = composition.capacity("1".parse()?, "0".parse()?)?;
//! let half = composition.capacity("0.5".parse()?, "0".parse()?)?;
//! let rules = DatasetRules { policy: Policy::Dpf, unlocking: Unlocking::Immediate, composition, revision: Revision::CURRENT };
//! let store = MemoryStore::new();
//! let mut ledger = Ledger::open(store.clone(), "extender-0".to_owned(), rules).await?;
//!
//! let mut draft = ledger.draft(Time::from_micros(1_000_000))?;
//! draft.apply(Event::AddBlock { block: "taxi".into(), capacity: whole })?;
//! let arrival = draft.apply(Event::Arrive(Arrival {
//!     claim: "count".into(),
//!     demands: vec![Demand { blocks: vec!["taxi".into()], budget: half }],
//!     min_blocks: 1,
//!     timeout: None,
//!     priority: 0,
//!     weight: Weight::default(),
//! }))?;
//! // Nothing is written yet, and nothing can be read.
//! assert!(store.entries().is_empty());
//! let committed = draft.commit().await?;
//! assert!(matches!(committed.records_of(arrival).last(), Some(Record::Granted { .. })));
//!
//! // Anyone who has the entries can check them.
//! assert_eq!(verify(store.entries())?.hash, committed.hash);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
#![forbid(unsafe_code)]

mod balance;
mod checkpoint;
mod clock;
mod committed;
mod draft;
mod entry;
mod hash;
mod head;
mod ledger;
mod memory;
mod requester;
mod store;
mod verify;

pub use balance::Imbalance;
pub use checkpoint::{
    Checkpoint, CheckpointContent, CheckpointError, CheckpointMark, ContentError, ContentReader, PIECE_BYTES,
    PublishError, Removal, remove_entries,
};
pub use clock::{ClockError, ClockLimit};
pub use committed::{Committed, EventIndex};
pub use draft::{
    ApplyError, CommitError, EntryDraft, FULL_DRAFT_BYTES, MOST_ENTRY_BYTES, MOST_EVENT_BYTES,
    MOST_REQUESTER_BYTES,
};
pub use entry::{ENTRY_VERSION, EncodingError, Entry, Omitted};
pub use hash::{Hash, HashError};
pub use head::Head;
pub use ledger::{DraftError, Ledger, OpenError, Poisoned};
pub use memory::MemoryStore;
pub use requester::{MOST_IMAGES, MOST_NAME_BYTES, MOST_TEXT_BYTES, Requester};
pub use store::{CheckpointStore, CreateError, Store, StoreError};
pub use verify::{Replay, Summary, VerifyError, verify};
