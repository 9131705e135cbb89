//! Follows the objects of one kind by a watch, and reports each that exists, changes or is deleted, also while the
//! watch was interrupted.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::DatasetKey;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    task::yield_now,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    requeue::RequestAgain,
    store_revision::{Relist, StoreRevision},
};
use crate::metrics::Metrics;
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};

/// What a controller does with the objects of one kind.
pub(super) trait Follower<K> {
    /// Drops what [`Self::applied`] and [`Self::deleted`] don't read of an object, which is done as soon as it arrives:
    /// when a watch begins, all objects are kept until the last one is listed.
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
    /// Without a dataset, whatever the object requests is requested again.
    fn request_again(&mut self, _object: &K, _dataset: Option<&DatasetKey>) {}
}

/// Notifies each [`WhenListed`] once every object that exists was handed to the follower: for the first time, and after each time
/// that all were to be listed again.
#[derive(Debug)]
pub(super) struct Listed(watch::Sender<Option<Relist>>);

/// Waits for the notification of a [`Listed`].
#[derive(Clone, Debug)]
pub(super) struct WhenListed(watch::Receiver<Option<Relist>>);

/// A notifier, and what waits for it.
pub(super) fn listed() -> (Listed, WhenListed) {
    let (sender, receiver) = watch::channel(None);
    (Listed(sender), WhenListed(receiver))
}

impl Listed {
    /// All objects were handed over, from a list that began after `relist` was requested.
    pub(super) fn notify(&self, relist: Relist) {
        self.0.send_replace(Some(relist));
    }
}

impl WhenListed {
    /// Whether all objects were listed once.
    pub(super) fn is_listed(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(super) async fn wait(&self) {
        // The sender is dropped only when the process ends.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// Waits until all objects were listed in a list that began after `relist` was requested.
    pub(super) async fn wait_for(&self, relist: Relist) {
        let is_later = |listed: &Option<Relist>| listed.is_some_and(|listed| listed >= relist);
        let _ = self.0.clone().wait_for(is_later).await;
    }
}

/// How many listed objects are handed to the follower before other tasks have their turn.
const HANDED_AT_ONCE: usize = 256;
/// The first pause between two lists, doubled each time up to the longest, if watches fail as soon as they began.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Follows all objects of a kind, in all namespaces, that have the labels. Listed objects are handed to `follower` in
/// the order of their creation, to the second, which is all that the API server stores. For each dataset received from
/// `again`, [`Follower::request_again`] is called with every object.
///
/// A watch that was interrupted isn't resumed: all objects are listed again. Etcd may have been restored from a backup
/// meanwhile, and then the API server refuses to resume from a resource version that etcd doesn't have, or accepts it and
/// delivers nothing. `store` notices that, too, for a watch that wasn't interrupted.
pub(super) async fn follow<K, F>(
    (client, metrics): (Client, Metrics),
    labels: &str,
    listed: Listed,
    mut again: UnboundedReceiver<RequestAgain>,
    store: &StoreRevision,
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
    // Whether the stream has listed all objects, so that it would resume after an error. Until then it begins its list again,
    // after a while.
    let mut resumes = false;
    let mut relisting = Relisting::default();
    let mut to_relist = store.to_relist();
    let mut relist = *to_relist.borrow_and_update();
    let mut known: HashMap<Key, Kept> = HashMap::new();
    let mut listing: Vec<(Key, Kept)> = Vec::new();
    loop {
        let event = tokio::select! {
            Some(RequestAgain { dataset, done }) = again.recv() => {
                let mut objects: Vec<(&Key, &Kept)> = known.iter().collect();
                objects.sort_by_key(|(key, object)| (object.created, *key));
                for object in objects.into_iter().filter_map(|(_, object)| object.object()) {
                    follower.request_again(&object, dataset.as_ref());
                }
                // The receiver is dropped when the process ends.
                let _ = done.send(());
                continue;
            }
            // The sender is dropped when the process ends.
            Ok(()) = to_relist.changed() => {
                relist = *to_relist.borrow_and_update();
                (stream, resumes) = (watch(), false);
                continue;
            }
            () = relisting.due() => {
                relisting.at = None;
                stream = watch();
                continue;
            }
            event = stream.next(), if relisting.at.is_none() => event,
        };
        let Some(event) = event else {
            return;
        };
        match &event {
            Err(_) => metrics.watches.interrupted(&K::kind(&())),
            Ok(_) => metrics.watches.delivered(&K::kind(&())),
        }
        match event {
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "a watch was interrupted; all objects are listed again");
                if std::mem::take(&mut resumes) {
                    relisting.after_error();
                }
            }
            Ok(watcher::Event::Apply(object)) => {
                relisting.pause = Duration::ZERO;
                store.saw(&object);
                let object = trimmed::<K, F>(object);
                let before = known.insert(key(&object), Kept::slim::<K, F>(object.clone()));
                if let Some(before) = before
                    .filter(|before| before.is_another(&object))
                    .and_then(|before| before.object())
                {
                    follower.deleted(before, false);
                }
                follower.applied(object);
            }
            Ok(watcher::Event::Delete(object)) => {
                store.saw(&object);
                known.remove(&key(&object));
                follower.deleted(trimmed::<K, F>(object), true);
            }
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                store.saw(&object);
                let object = trimmed::<K, F>(object);
                listing.push((key(&object), Kept::whole(&object)));
            }
            Ok(watcher::Event::InitDone) => {
                hand_over(std::mem::take(&mut listing), &mut known, &mut follower).await;
                resumes = true;
                relisting.listed = Instant::now();
                listed.notify(relist);
            }
        }
    }
}

/// Hands all objects of a list to the follower, and then the deletion of those that were `known` and aren't listed any more.
async fn hand_over<K, F>(mut listing: Vec<(Key, Kept)>, known: &mut HashMap<Key, Kept>, follower: &mut F)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize,
    F: Follower<K>,
{
    let mut before = std::mem::take(known);
    // The API server lists objects by name.
    listing.sort_by_key(|(_, object)| object.created);
    for (handed, (key, listed)) in listing.into_iter().enumerate() {
        // There may be a hundred thousand, and others wait for this thread.
        if handed % HANDED_AT_ONCE == 0 {
            yield_now().await;
        }
        let same = before.remove(&key);
        let Some(object) = listed.object::<K>() else {
            continue;
        };
        let other = same.filter(|other| other.is_another(&object));
        if let Some(other) = other.and_then(|other| other.object()) {
            follower.deleted(other, false);
        }
        known.insert(key, Kept::slim::<K, F>(object.clone()));
        follower.applied(object);
    }
    for object in gone(before).iter().filter_map(Kept::object) {
        follower.deleted(object, false);
    }
}

/// When all objects are listed again after an error: at once, but after a while if watches keep failing.
struct Relisting {
    at: Option<Instant>,
    pause: Duration,
    /// When they were listed last.
    listed: Instant,
}

impl Default for Relisting {
    fn default() -> Self {
        Self {
            at: None,
            pause: Duration::ZERO,
            listed: Instant::now(),
        }
    }
}

impl Relisting {
    fn after_error(&mut self) {
        if self.listed.elapsed() > LONGEST_PAUSE {
            self.pause = Duration::ZERO;
        }
        self.at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// An object's namespace and name.
type Key = (String, String);

/// The objects that a list doesn't have any more, in an order that doesn't depend on the map.
fn gone(before: HashMap<Key, Kept>) -> Vec<Kept> {
    #[cfg(test)]
    if planted::is(Planted::WatchesForget) {
        return Vec::new();
    }
    let mut gone: Vec<(Key, Kept)> = before.into_iter().collect();
    gone.sort_by(|one, other| one.0.cmp(&other.0));
    gone.into_iter().map(|(_, object)| object).collect()
}

/// An object that exists. It is kept as JSON, which takes a fraction of what the object's type takes in memory.
pub(super) struct Kept {
    uid: Option<String>,
    created: Option<jiff::Timestamp>,
    json: Box<[u8]>,
}

impl Kept {
    /// What is kept of an object that was handed to the follower.
    pub(super) fn slim<K, F>(mut object: K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
        F: Follower<K>,
    {
        F::slim(&mut object);
        Self::whole(&object)
    }

    fn whole<K>(object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let json = serde_json::to_vec(object).unwrap_or_else(|error| {
            warn!(kind = %K::kind(&()), %error, "an object can't be kept");
            Vec::new()
        });
        Self {
            uid: object.meta().uid.clone(),
            created: created(object),
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
