//! Following one kind of object: what is there, what changes, and what is gone, also when the watch was interrupted.

use std::{collections::HashMap, fmt::Debug};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::DatasetKey;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc::UnboundedReceiver, watch};
use tracing::warn;

/// What is done with what is followed.
pub(super) trait Follower<K> {
    /// It is there, or it changed.
    fn there(&mut self, object: K);
    /// It is gone. `last` is how it was last seen; `finally` says that it was exactly so when it went, and not
    /// changed since while nobody watched.
    fn gone(&mut self, last: K, finally: bool);
    /// Whether it asks for budget of that dataset, and so is to be told of again when the dataset's ledger is gone.
    fn asks(&self, _object: &K, _of: &DatasetKey) -> bool {
        false
    }
}

/// Told when all that exists was seen once.
#[derive(Debug)]
pub(super) struct Listed(watch::Sender<bool>);

/// Waits for [`Listed`].
#[derive(Clone, Debug)]
pub(super) struct WhenListed(watch::Receiver<bool>);

pub(super) fn listed() -> (Listed, WhenListed) {
    let (sender, receiver) = watch::channel(false);
    (Listed(sender), WhenListed(receiver))
}

impl WhenListed {
    pub(super) async fn wait(&self) {
        // The follower never ends before it has listed, but with the process.
        let _ = self.0.clone().wait_for(|listed| *listed).await;
    }
}

/// Follows all objects of a kind, in all namespaces, that have the labels. Objects come in the order in which they
/// were made, as far as the API server keeps it; those that ask come once more for each dataset that comes `again`.
pub(super) async fn follow<K, F>(
    client: Client,
    labels: &str,
    listed: Listed,
    mut again: UnboundedReceiver<DatasetKey>,
    mut follower: F,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    F: Follower<K>,
{
    let config = watcher::Config::default().labels(labels);
    let stream = watcher(Api::<K>::all(client), config).default_backoff();
    pin_mut!(stream);
    let mut known: HashMap<(String, String), K> = HashMap::new();
    let mut listing: Vec<K> = Vec::new();
    loop {
        let event = tokio::select! {
            Some(dataset) = again.recv() => {
                let asking = known.values().filter(|object| follower.asks(object, &dataset));
                let mut asking: Vec<K> = asking.cloned().collect();
                in_order_of_age(&mut asking);
                for object in asking {
                    follower.there(object);
                }
                continue;
            }
            event = stream.next() => event,
        };
        let Some(event) = event else {
            return;
        };
        match event {
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "a watch was interrupted, it is taken up again");
            }
            Ok(watcher::Event::Apply(object)) => {
                if let Some(before) = known.insert(key(&object), object.clone())
                    && before.meta().uid != object.meta().uid
                {
                    follower.gone(before, false);
                }
                follower.there(object);
            }
            Ok(watcher::Event::Delete(object)) => {
                known.remove(&key(&object));
                follower.gone(object, true);
            }
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(object)) => listing.push(object),
            Ok(watcher::Event::InitDone) => {
                let mut before = std::mem::take(&mut known);
                // The list is in the order of names; what came first goes first.
                in_order_of_age(&mut listing);
                for object in listing.drain(..) {
                    let same = before.remove(&key(&object));
                    if let Some(other) = same.filter(|other| other.meta().uid != object.meta().uid) {
                        follower.gone(other, false);
                    }
                    known.insert(key(&object), object.clone());
                    follower.there(object);
                }
                for (_, object) in before {
                    follower.gone(object, false);
                }
                listed.0.send_replace(true);
            }
        }
    }
}

fn in_order_of_age<K: Resource>(objects: &mut [K]) {
    objects.sort_by_key(|object| object.meta().creation_timestamp.as_ref().map(|time| time.0));
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (
        object.meta().namespace.clone().unwrap_or_default(),
        object.meta().name.clone().unwrap_or_default(),
    )
}
