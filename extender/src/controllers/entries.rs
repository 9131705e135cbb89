//! Tells the bookkeepers of a process that follows when there are new entries.
//!
//! Of the entries only their names come by the watch. Each is read by its bookkeeper, by its name and in order, as a writer
//! reads it: so nothing is lost or doubled by a watch that begins again, and a ledger of many entries isn't listed.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
};
use privatekube_api::{DatasetKey, LABEL_DATASET, PrivacyLedgerEntry};
use tokio::time::sleep;
use tracing::debug;

use crate::{bookkeeper::Message, registry::Registry};

/// How long the API server lets a watch last, in seconds.
const WATCH_SECONDS: u32 = 290;
/// The pause after a watch was interrupted.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the entries until this process leads.
pub(super) async fn follow(registry: &Arc<Registry>) {
    let leadership = &registry.handles().leadership;
    if leadership.leads() {
        return;
    }
    tokio::select! {
        () = leadership.until_leading() => {}
        () = follow_for_ever(registry) => {}
    }
}

async fn follow_for_ever(registry: &Registry) {
    let api: Api<PrivacyLedgerEntry> = Api::all(registry.handles().client.clone());
    loop {
        if let Err(error) = follow_once(registry, &api).await {
            debug!(%error, "the watch of the ledgers' entries was interrupted");
            sleep(PAUSE).await;
        }
    }
}

/// Follows the entries that are created from now on, until the watch ends.
async fn follow_once(registry: &Registry, api: &Api<PrivacyLedgerEntry>) -> Result<(), kube::Error> {
    let now = api.list_metadata(&ListParams::default().limit(1)).await?;
    let version = now.metadata.resource_version.unwrap_or_default();
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    let mut events = api.watch_metadata(&params, &version).await?.boxed();
    // What came before the watch.
    registry.send_all(|| Message::EntriesChanged);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(entry) | WatchEvent::Modified(entry) | WatchEvent::Deleted(entry) => {
                if let Some(dataset) = dataset(&entry) {
                    registry.send(&dataset, Message::EntriesChanged);
                }
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

/// The dataset whose ledger an entry belongs to.
fn dataset(entry: &PartialObjectMeta<PrivacyLedgerEntry>) -> Option<DatasetKey> {
    Some(DatasetKey {
        namespace: entry.metadata.namespace.clone()?,
        name: entry.metadata.labels.as_ref()?.get(LABEL_DATASET)?.clone(),
    })
}
