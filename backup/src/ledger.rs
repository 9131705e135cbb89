//! Reads a dataset's ledger from the cluster.

use kube::Client;
use privatekube_api::DatasetKey;
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Head, Replay, Store};

use crate::BackupError;

/// Reads a ledger page by page and verifies all of it. `each` gets every entry after it was verified, with what the ledger ends
/// with there. Returns what the whole ledger ends with.
pub(crate) async fn read_verified(
    client: &Client,
    dataset: &DatasetKey,
    mut each: impl FnMut(Entry, Head) -> Result<(), BackupError>,
) -> Result<Head, BackupError> {
    let store = KubernetesStore::new(client.clone(), dataset.clone());
    let unverified = |error| BackupError::Verify(dataset.clone(), Box::new(error));
    let mut replay = Replay::new();
    loop {
        let entries = store.read_after(replay.head().sequence).await;
        let entries = entries.map_err(|error| BackupError::Store(dataset.clone(), error))?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            replay.push(&entry).map_err(unverified)?;
            each(entry, replay.head())?;
        }
    }
    replay.check().map_err(unverified)?;
    Ok(replay.head())
}
