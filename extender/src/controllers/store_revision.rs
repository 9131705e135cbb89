//! Notices that the cluster's store went back, because etcd was restored from a backup.
//!
//! The API server doesn't tell. A watch that goes on from a resource version that the store had before is accepted, and
//! delivers nothing until the store is that far again: what is created meanwhile is never seen. So the store's revision is
//! read from time to time, and all objects are listed anew once it is less than before.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use kube::{Api, Client, Resource, api::ListParams};
use privatekube_api::PrivateDataset;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, error};

/// How often the revision is read.
const READ_EVERY: Duration = Duration::from_secs(15);

/// The newest revision of the store that was seen.
#[derive(Debug)]
pub(super) struct StoreRevision {
    newest: AtomicU64,
    /// Sends each time that the store went back.
    went_back: watch::Sender<()>,
}

impl StoreRevision {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
            went_back: watch::Sender::new(()),
        }
    }

    /// Is notified when the store went back.
    pub(super) fn went_back(&self) -> watch::Receiver<()> {
        self.went_back.subscribe()
    }

    /// Remembers the revision at which an object was written. Only custom resources are surely in the same store.
    pub(super) fn saw<K: Resource<DynamicType = ()>>(&self, object: &K) {
        if K::group(&()) == PrivateDataset::group(&())
            && let Some(revision) = number(object.meta().resource_version.as_deref())
        {
            self.newest.fetch_max(revision, Ordering::Relaxed);
        }
    }

    /// Compares the store's revision with what was seen, for ever. It is that of a list, which is etcd's and only grows.
    pub(super) async fn follow(&self, client: Client) {
        let api: Api<PrivateDataset> = Api::all(client);
        let one = ListParams::default().limit(1);
        let mut read = interval(READ_EVERY);
        read.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            read.tick().await;
            // A list is not older than what was seen before it was requested.
            let seen = self.newest.load(Ordering::Relaxed);
            let revision = match api.list_metadata(&one).await {
                Ok(list) => list.metadata.resource_version,
                Err(error) => {
                    debug!(%error, "the store's revision can't be read");
                    continue;
                }
            };
            let Some(revision) = number(revision.as_deref()) else {
                continue;
            };
            if revision >= seen {
                self.newest.fetch_max(revision, Ordering::Relaxed);
            } else {
                self.newest.store(revision, Ordering::Relaxed);
                error!(
                    before = seen,
                    now = revision,
                    "the cluster's store went back: etcd was restored from a backup. All objects are listed again, and datasets \
                     whose ledgers had grown are stopped (docs/operations.md)"
                );
                self.went_back.send_replace(());
            }
        }
    }
}

/// A resource version that isn't a number can't be compared.
fn number(revision: Option<&str>) -> Option<u64> {
    revision?.parse().ok()
}
