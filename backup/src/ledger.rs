//! Reads a dataset's ledger from the cluster.

use kube::Client;
use privatekube_api::DatasetKey;
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{
    Checkpoint, Committed, ContentError, ContentReader, Entry, OpenError, Replay, Store, StoreError,
    VerifyError,
};

use crate::{
    BackupError,
    chain::{Chain, Pushed},
};

/// How often reading begins again whose checkpoint was replaced meanwhile.
const MOST_ATTEMPTS: u32 = 8;

/// What reading a ledger gives, in the order in which it comes.
#[derive(Debug)]
pub enum Reading<'a> {
    /// The published checkpoint and its pieces, if there is one: before any entry.
    Checkpoint(&'a Checkpoint, &'a [Vec<u8>]),
    /// The published checkpoint can't be used, and all entries are there.
    Damaged(&'a Checkpoint, &'a ContentError),
    /// An entry up to the one that the checkpoint stands at, where the first entries were removed. Its hash and its place in the
    /// chain are verified; its decisions can't be.
    Earlier(&'a Entry),
    /// The state of the checkpoint, with which the replay begins: before the first [`Entry`](Self::Entry), where the first entries
    /// were removed.
    Base(&'a Replay),
    /// What [`Earlier`](Self::Earlier) gave so far is no part of the ledger, because entries after it are missing: a delayed
    /// request created again what was removed.
    Gap,
    /// An entry that was verified, with its decisions and the state after it.
    Entry(&'a Entry, &'a Committed, &'a Replay),
}

impl<'a> Reading<'a> {
    /// The entry, if it is one that was verified by replay.
    #[must_use]
    pub const fn replayed(&self) -> Option<(&'a Entry, &'a Committed, &'a Replay)> {
        match self {
            Self::Entry(entry, committed, replay) => Some((entry, committed, replay)),
            _ => None,
        }
    }
}

/// Reads the state after a ledger's last entry: from its checkpoint, if it has one.
pub async fn read_state(client: &Client, dataset: &DatasetKey) -> Result<Replay, BackupError> {
    let store = KubernetesStore::new(client.clone(), dataset.clone());
    let replay = Replay::read(&store).await.map_err(|error| match error {
        OpenError::Store(error) => BackupError::Store(dataset.clone(), error),
        OpenError::Verify(error) => BackupError::Verify(dataset.clone(), Box::new(error)),
        OpenError::DatasetRules(error) => {
            BackupError::Verify(dataset.clone(), Box::new(VerifyError::DatasetRules(error)))
        }
    })?;
    let checked = replay.check();
    checked.map_err(|error| BackupError::Verify(dataset.clone(), Box::new(error)))?;
    Ok(replay)
}

/// Reads all entries that there are of a ledger, page by page, and verifies them: from entry 1 on, or from the checkpoint if
/// entries before it were removed. Returns the state after the last one.
pub async fn read_verified(
    client: &Client,
    dataset: &DatasetKey,
    mut each: impl FnMut(Reading<'_>) -> Result<(), BackupError>,
) -> Result<Replay, BackupError> {
    let store = KubernetesStore::new(client.clone(), dataset.clone());
    let unread = |error| BackupError::Store(dataset.clone(), error);
    let unverified = |error| BackupError::Verify(dataset.clone(), Box::new(error));
    let published = published(&store).await.map_err(unread)?;
    let mut page = store.read_after(0).await.map_err(unread)?;
    let is_whole = page.first().is_some_and(|first| first.sequence == 1)
        && page.windows(2).all(|two| two[1].sequence == two[0].sequence + 1);
    let mut chain = match published {
        None => Chain::whole(None),
        Some((checkpoint, pieces)) => {
            let mut content = ContentReader::new();
            let read = pieces.iter().try_for_each(|piece| content.push(piece));
            match read.and_then(|()| content.finish(checkpoint)) {
                Ok(replay) => {
                    each(Reading::Checkpoint(&checkpoint, &pieces))?;
                    if is_whole {
                        Chain::whole(Some(checkpoint))
                    } else {
                        Chain::from_checkpoint(replay)
                    }
                }
                Err(error) if is_whole => {
                    each(Reading::Damaged(&checkpoint, &error))?;
                    Chain::whole(None)
                }
                Err(error) => {
                    let sequence = checkpoint.head.sequence;
                    return Err(unverified(VerifyError::Content { sequence, error }));
                }
            }
        }
    };
    let moved_on = || {
        let problem = "its checkpoint moved on while it was read, and entries may have been removed: repeat the command";
        unread(StoreError::Unreachable(problem.to_owned()))
    };
    let mut attempt = 0;
    loop {
        for entry in std::mem::take(&mut page) {
            match chain.push(&entry) {
                Ok(Pushed::Replayed(committed)) => {
                    each(Reading::Entry(&entry, &committed, chain.replay()))?;
                }
                Ok(Pushed::Earlier { after_gap }) => {
                    if after_gap {
                        each(Reading::Gap)?;
                    }
                    each(Reading::Earlier(&entry))?;
                    if let Some(replay) = chain.reached(entry.sequence) {
                        each(Reading::Base(replay))?;
                    }
                }
                Err(error) => {
                    let now = store.checkpoint().await.map_err(unread)?;
                    return Err(if chain.replay().has(now.as_ref()) {
                        unverified(error)
                    } else {
                        moved_on()
                    });
                }
            }
        }
        page = store.read_after(chain.last()).await.map_err(unread)?;
        if page.is_empty() {
            let now = store.checkpoint().await.map_err(unread)?;
            if chain.replay().has(now.as_ref()) {
                break;
            }
            // The checkpoint may stand at an entry that was written after the last read.
            attempt += 1;
            if attempt == MOST_ATTEMPTS {
                chain.check_reached().map_err(unverified)?;
                return Err(moved_on());
            }
            store.pause(attempt).await;
        }
    }
    chain.finish().map_err(unverified)
}

/// The published checkpoint with its pieces.
pub(crate) async fn published(
    store: &KubernetesStore,
) -> Result<Option<(Checkpoint, Vec<Vec<u8>>)>, StoreError> {
    for attempt in 1..=MOST_ATTEMPTS {
        let Some(checkpoint) = store.checkpoint().await? else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        for piece in 0..checkpoint.pieces {
            match store.read_piece(&checkpoint, piece).await? {
                Some(content) => pieces.push(content),
                None => break,
            }
        }
        // Pieces are removed when a later checkpoint was published.
        let is_current = store.checkpoint().await? == Some(checkpoint);
        if pieces.len() as u64 == u64::from(checkpoint.pieces) || (is_current && attempt == MOST_ATTEMPTS) {
            return Ok(Some((checkpoint, pieces)));
        }
        store.pause(attempt).await;
    }
    let problem = "its checkpoint moved on again and again while it was read";
    Err(StoreError::Unreachable(problem.to_owned()))
}
