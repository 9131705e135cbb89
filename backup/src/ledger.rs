//! Reads a dataset's ledger from the cluster.

use kube::Client;
use privatekube_api::DatasetKey;
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Committed, Entry, Replay, Store};

use crate::BackupError;

/// Reads a ledger page by page and verifies all of it. `each` gets every entry after it was verified, with its records and the
/// state after it. Returns the state after the last one.
pub async fn read_verified(
    client: &Client,
    dataset: &DatasetKey,
    mut each: impl FnMut(Entry, &Committed, &Replay) -> Result<(), BackupError>,
) -> Result<Replay, BackupError> {
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
            let committed = replay.push(&entry).map_err(unverified)?;
            each(entry, &committed, &replay)?;
        }
    }
    replay.check().map_err(unverified)?;
    Ok(replay)
}
