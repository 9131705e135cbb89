//! When checkpoints of the ledger are published, and old entries removed.
//!
//! The state of the engine is made into a checkpoint's content at once, right after an entry, and published by a task of
//! its own while entries go on. The next entry names the checkpoint.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

use privatekube_api::{DatasetKey, Subject};
use privatekube_kubernetes::{KubernetesStore, ServerClock};
use privatekube_ledger::{
    Checkpoint, CheckpointContent, CheckpointError, CheckpointStore, PublishError, Removal, remove_entries,
};
use privatekube_policy::{ClaimId, Event, Span, Time};
use tokio::{task::JoinHandle, time::Instant};
use tracing::{info, warn};

/// A checkpoint is due for so many entries at the latest, however large it is: a start reads each of them by its name.
const MOST_ENTRIES_FACTOR: u64 = 10;
/// Until then, the entries since the last checkpoint have to take this part of its size: what checkpoints cost stays in
/// proportion to what entries cost.
const LEAST_SHARE: u64 = 2;
/// The wait after a checkpoint that could not be published.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// How often entries are removed whose time is over.
const REMOVE_EVERY: Duration = Duration::from_secs(3600);
/// The most entries that are removed at a time, so that other work of the API server isn't held up for long.
const MOST_REMOVED: usize = 10_000;
/// The most claims that one event forgets: an event has at most 768 KiB, and a name of a claim some 600 bytes.
const MOST_FORGOTTEN: usize = 1000;

/// When checkpoints are published and entries removed.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointSettings {
    /// After how many entries, or somewhat later if the state is large; never if none.
    pub every: Option<NonZeroU64>,
    /// How long entries are kept that a checkpoint covers; for ever if none.
    pub keep_entries: Option<Span>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            every: NonZeroU64::new(1000),
            keep_entries: None,
        }
    }
}

/// The checkpoints of one ledger.
#[derive(Debug)]
pub(super) struct Checkpoints {
    dataset: DatasetKey,
    settings: CheckpointSettings,
    server_clock: Arc<ServerClock>,
    /// What was written since the last checkpoint.
    entries: u64,
    bytes: u64,
    /// The size of the last checkpoint's content; 0 if this process has published none.
    content_bytes: u64,
    /// The claims that had ended when the last checkpoint was made, and whose objects were gone.
    gone: HashSet<ClaimId>,
    /// Whether the claims to forget before the next checkpoint were looked for.
    has_looked: bool,
    /// The last checkpoint that is known to be published.
    published: Option<Checkpoint>,
    running: Option<Running>,
    /// No checkpoint is begun before.
    not_before: Instant,
    /// When entries are removed next.
    remove_at: Instant,
}

/// What a task is doing. It ends when this is dropped.
#[derive(Debug)]
struct Running(JoinHandle<Outcome>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task has done.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A checkpoint was published, with a content of so many bytes.
    Published(Checkpoint, u64),
    /// A checkpoint was not published.
    NotPublished(PublishError),
    /// So many entries were removed.
    Removed(u64),
    /// Nothing, for a reason that was logged.
    Nothing,
}

impl Checkpoints {
    pub(super) fn new(
        dataset: DatasetKey,
        settings: CheckpointSettings,
        server_clock: Arc<ServerClock>,
    ) -> Self {
        let now = Instant::now();
        Self {
            dataset,
            settings,
            server_clock,
            entries: 0,
            bytes: 0,
            content_bytes: 0,
            gone: HashSet::new(),
            has_looked: false,
            published: None,
            running: None,
            not_before: now,
            remove_at: now,
        }
    }

    /// Begins anew with a ledger that was opened: it has so many entries after its checkpoint.
    pub(super) fn opened(&mut self, published: Option<Checkpoint>, entries: u64) {
        self.running = None;
        self.published = published;
        (self.entries, self.bytes, self.content_bytes) = (entries, 0, 0);
        self.gone.clear();
        self.has_looked = false;
    }

    /// Counts an entry.
    pub(super) fn committed(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes as u64;
    }

    /// Whether a checkpoint is due, and nothing else is being done.
    pub(super) fn is_due(&self) -> bool {
        let Some(every) = self.settings.every.map(NonZeroU64::get) else {
            return false;
        };
        self.running.is_none()
            && self.entries >= every
            && (self.bytes >= self.content_bytes / LEAST_SHARE
                || self.entries >= every.saturating_mul(MOST_ENTRIES_FACTOR))
            && Instant::now() >= self.not_before
    }

    /// Whether claims are to be looked for that are forgotten before the checkpoint that is due.
    pub(super) fn looks_for_gone(&self) -> bool {
        self.is_due() && !self.has_looked
    }

    /// Takes the claims that have ended and whose objects are gone, and returns the events that forget those of them that were
    /// so when the last checkpoint was made: whatever was still to be said of them, as that a pod never ran, has been said since.
    pub(super) fn forget(&mut self, gone: HashSet<ClaimId>) -> Vec<Event> {
        self.has_looked = true;
        let mut groups: BTreeMap<Option<String>, Vec<ClaimId>> = BTreeMap::new();
        for claim in gone.iter().filter(|claim| self.gone.contains(*claim)) {
            let namespace = Subject::of(claim).map(|subject| subject.namespace);
            groups.entry(namespace).or_default().push(claim.clone());
        }
        self.gone = gone;
        let mut events = Vec::new();
        for (of, mut claims) in groups {
            // The set has no order, and entries should be the same for the same decisions.
            claims.sort_unstable();
            for claims in claims.chunks(MOST_FORGOTTEN) {
                for claim in claims {
                    self.gone.remove(claim);
                }
                events.push(Event::Forget {
                    claims: claims.to_vec(),
                    of: of.clone(),
                });
            }
        }
        events
    }

    /// Publishes a checkpoint in a task of its own.
    pub(super) fn begin(&mut self, content: CheckpointContent, store: KubernetesStore) {
        (self.entries, self.bytes) = (0, 0);
        self.has_looked = false;
        let dataset = self.dataset.clone();
        self.running = Some(Running(tokio::spawn(async move {
            if let Err(error) = content.publish(&store).await {
                return Outcome::NotPublished(error);
            }
            if let Err(error) = store.remove_pieces_before(&content.checkpoint).await {
                warn!(%dataset, %error, "the pieces of an earlier checkpoint are still there; they are removed with the next one");
            }
            let bytes = content.pieces.iter().map(|piece| piece.len() as u64).sum();
            Outcome::Published(content.checkpoint, bytes)
        })));
    }

    /// Tries again after a while: the state can't be written down.
    pub(super) fn not_made(&mut self, error: &CheckpointError) {
        self.not_before = Instant::now() + AFTER_FAILURE;
        warn!(dataset = %self.dataset, %error, "a checkpoint can't be made: starts read more entries");
    }

    /// Removes entries up to the number `exported` whose time is over, in a task of its own, if that is due.
    pub(super) fn remove_if_due(&mut self, store: &KubernetesStore, exported: u64) {
        let (Some(keep), Some(checkpoint)) = (self.settings.keep_entries, self.published) else {
            return;
        };
        if self.running.is_some() || Instant::now() < self.remove_at {
            return;
        }
        // By the API server's clock: one that is wrong by years would remove what has to be kept.
        let Some(now) = self.server_clock.now() else {
            return;
        };
        self.remove_at = Instant::now() + REMOVE_EVERY;
        let removal = Removal {
            before: Time::from_micros(now.micros().saturating_sub(keep.micros())),
            up_to: exported,
            most: MOST_REMOVED,
        };
        let (store, dataset) = (store.clone(), self.dataset.clone());
        self.running = Some(Running(tokio::spawn(async move {
            match remove_entries(&store, &checkpoint, removal).await {
                Ok(0) => Outcome::Nothing,
                Ok(removed) => Outcome::Removed(removed as u64),
                Err(error) => {
                    warn!(%dataset, %error, "entries whose time is over could not be removed; that is tried again within the hour");
                    Outcome::Nothing
                }
            }
        })));
    }

    /// Whether something is being done.
    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until it is done. May be dropped.
    pub(super) async fn done(&mut self) -> Outcome {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let outcome = (&mut running.0).await.unwrap_or(Outcome::Nothing);
        self.running = None;
        match &outcome {
            Outcome::Published(checkpoint, bytes) => {
                self.published = Some(*checkpoint);
                self.content_bytes = *bytes;
                info!(
                    dataset = %self.dataset,
                    sequence = checkpoint.head.sequence,
                    pieces = checkpoint.pieces,
                    bytes,
                    "a checkpoint is published"
                );
            }
            Outcome::NotPublished(error) => {
                self.not_before = Instant::now() + AFTER_FAILURE;
                warn!(dataset = %self.dataset, %error, "a checkpoint is not published: starts read more entries");
            }
            Outcome::Removed(removed) => {
                info!(dataset = %self.dataset, removed, "entries that a checkpoint covers were removed");
            }
            Outcome::Nothing => {}
        }
        outcome
    }
}
