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
    /// The number of times that all objects were to be listed again.
    relist: watch::Sender<Relist>,
}

/// The number of a request to list all objects again.
pub(super) type Relist = u64;

impl StoreRevision {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
            relist: watch::Sender::new(0),
        }
    }

    /// Is notified when all objects are to be listed again.
    pub(super) fn to_relist(&self) -> watch::Receiver<Relist> {
        self.relist.subscribe()
    }

    /// Has all objects listed again.
    pub(super) fn relist(&self) -> Relist {
        self.relist.send_modify(|number| *number = number.wrapping_add(1));
        *self.relist.borrow()
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
                self.relist();
            }
        }
    }
}

/// A resource version that isn't a number can't be compared.
fn number(revision: Option<&str>) -> Option<u64> {
    revision?.parse().ok()
}
