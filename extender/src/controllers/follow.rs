//! Follows the objects of one kind by a watch, and reports each that exists, changes or is deleted, also while the
//! watch was interrupted.

use std::{collections::HashMap, fmt::Debug};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::DatasetKey;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc::UnboundedReceiver, watch};
use tracing::warn;

use super::requeue::RequestAgain;

/// What a controller does with the objects of one kind.
pub(super) trait Follower<K> {
    /// Drops what [`Self::applied`] and [`Self::deleted`] don't read of an object, which is done as soon as it arrives:
    /// when a watch begins, all objects are held at once.
    fn trim(object: &mut K);
    /// Drops what was only to be read once. What is left is kept for as long as the object exists.
    fn slim(object: &mut K);
    /// Handles an object that exists, or was changed.
    fn applied(&mut self, object: K);
    /// Handles a deletion. `last` is the last state that the watch delivered, slimmed or not. `is_final` means that the object was in
    /// this state when it was deleted; otherwise it may have changed before, while the watch was interrupted.
    fn deleted(&mut self, last: K, is_final: bool);
    /// Requests budget again for an object that requests budget of `dataset`, because the ledger was deleted or opened
    /// again.
    fn request_again(&mut self, _object: &K, _dataset: &DatasetKey) {}
}

/// Notifies each [`WhenListed`] once every object that exists was handed to the follower.
#[derive(Debug)]
pub(super) struct Listed(watch::Sender<bool>);

/// Waits for the notification of a [`Listed`].
#[derive(Clone, Debug)]
pub(super) struct WhenListed(watch::Receiver<bool>);

/// A notifier, and what waits for it.
pub(super) fn listed() -> (Listed, WhenListed) {
    let (sender, receiver) = watch::channel(false);
    (Listed(sender), WhenListed(receiver))
}

impl WhenListed {
    pub(super) async fn wait(&self) {
        // The sender is dropped only when the process ends.
        let _ = self.0.clone().wait_for(|listed| *listed).await;
    }
}

/// The number of failures in a row after which a watch isn't resumed: all objects are listed again. After etcd was
/// restored from a backup, the API server refuses to resume from a resource version that etcd doesn't have, however
/// often it is tried.
const FAILURES_UNTIL_LIST: u32 = 3;

/// Follows all objects of a kind, in all namespaces, that have the labels. Listed objects are handed to `follower` in
/// the order of their creation, to the second, which is all that the API server stores. For each dataset received from
/// `again`, [`Follower::request_again`] is called with every object.
pub(super) async fn follow<K, F>(
    client: Client,
    labels: &str,
    listed: Listed,
    mut again: UnboundedReceiver<RequestAgain>,
    mut follower: F,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
    F: Follower<K>,
{
    let config = watcher::Config::default().labels(labels);
    let watch = || {
        watcher(Api::<K>::all(client.clone()), config.clone())
            .default_backoff()
            .boxed()
    };
    let mut stream = watch();
    let mut failures = 0;
    let mut known: HashMap<Key, Kept> = HashMap::new();
    let mut listing: Vec<K> = Vec::new();
    loop {
        let event = tokio::select! {
            Some(RequestAgain { dataset, done }) = again.recv() => {
                let mut objects: Vec<&Kept> = known.values().collect();
                objects.sort_by_key(|object| object.created);
                for object in objects.into_iter().filter_map(Kept::object) {
                    follower.request_again(&object, &dataset);
                }
                // The receiver is dropped when the process ends.
                let _ = done.send(());
                continue;
            }
            event = stream.next() => event,
        };
        let Some(event) = event else {
            return;
        };
        match event {
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "a watch was interrupted; it is resumed");
                failures += 1;
                if failures == FAILURES_UNTIL_LIST {
                    failures = 0;
                    stream = watch();
                }
            }
            Ok(watcher::Event::Apply(object)) => {
                failures = 0;
                let object = trimmed::<K, F>(object);
                let before = known.insert(key(&object), Kept::new::<K, F>(object.clone()));
                if let Some(before) = before
                    .filter(|before| before.is_another(&object))
                    .and_then(|before| before.object())
                {
                    follower.deleted(before, false);
                }
                follower.applied(object);
            }
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&key(&object));
                follower.deleted(trimmed::<K, F>(object), true);
            }
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(object)) => listing.push(trimmed::<K, F>(object)),
            Ok(watcher::Event::InitDone) => {
                let mut before = std::mem::take(&mut known);
                // The API server lists objects by name.
                listing.sort_by_key(created);
                for object in listing.drain(..) {
                    let same = before.remove(&key(&object));
                    let other = same.filter(|other| other.is_another(&object));
                    if let Some(other) = other.and_then(|other| other.object()) {
                        follower.deleted(other, false);
                    }
                    known.insert(key(&object), Kept::new::<K, F>(object.clone()));
                    follower.applied(object);
                }
                listing = Vec::new();
                for object in before.into_values().filter_map(|gone| gone.object()) {
                    follower.deleted(object, false);
                }
                failures = 0;
                listed.0.send_replace(true);
            }
        }
    }
}

/// An object's namespace and name.
type Key = (String, String);

/// An object that exists, slimmed. It is kept as JSON, which takes a fraction of what the object's type takes in memory.
pub(super) struct Kept {
    uid: Option<String>,
    created: Option<jiff::Timestamp>,
    json: Box<[u8]>,
}

impl Kept {
    pub(super) fn new<K, F>(mut object: K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
        F: Follower<K>,
    {
        F::slim(&mut object);
        let json = serde_json::to_vec(&object).unwrap_or_else(|error| {
            warn!(kind = %K::kind(&()), %error, "an object can't be kept");
            Vec::new()
        });
        Self {
            uid: object.meta().uid.clone(),
            created: created(&object),
            json: json.into(),
        }
    }

    /// How many bytes it takes.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.json.len()
    }

    fn is_another<K: Resource>(&self, object: &K) -> bool {
        self.uid != object.meta().uid
    }

    pub(super) fn object<K: DeserializeOwned>(&self) -> Option<K> {
        let object = serde_json::from_slice(&self.json);
        object
            .inspect_err(|error| warn!(%error, "an object that was kept can't be read"))
            .ok()
    }
}

/// An object without what nobody reads.
pub(super) fn trimmed<K: Resource, F: Follower<K>>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    F::trim(&mut object);
    object
}

fn created<K: Resource>(object: &K) -> Option<jiff::Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

fn key<K: Resource>(object: &K) -> Key {
    (
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}
