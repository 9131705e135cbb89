//! Follows the objects of one kind by a watch, and reports each that exists, changes or is deleted, also while the
//! watch was interrupted.

use std::{fmt::Debug, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::DatasetKey;
use privatekube_kubernetes::refuses_streamed_lists;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    known_objects::KnownObjects,
    requeue::RequestAgain,
    store_revision::{Relist, StoreRevision},
};
use crate::metrics::Metrics;

/// What a controller does with the objects of one kind.
pub(super) trait Follower<K> {
    /// Drops what [`Self::applied`] and [`Self::deleted`] don't read of an object, which is done as soon as it arrives:
    /// when a watch begins, all objects are kept until the last one is listed.
    fn trim(object: &mut K);
    /// The object without what was only to be read once, which is kept for as long as the object exists; `None` if that is all of
    /// it.
    fn slim(object: &K) -> Option<K>;
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
///
/// The objects that exist come as the beginning of the watch, one by one: the API server takes a third of the time that pages
/// take it, since only the first page is from its cache. An API server that refuses such a watch is asked for pages.
pub(super) async fn follow<K, F>(
    (client, metrics): (Client, Metrics),
    labels: &str,
    listed: Listed,
    mut again: UnboundedReceiver<RequestAgain>,
    store: &StoreRevision,
    follower: F,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
    F: Follower<K>,
{
    let in_pages = watcher::Config::default().labels(labels);
    let mut config = in_pages.clone().streaming_lists();
    let watch = |config: &watcher::Config| {
        watcher(Api::<K>::all(client.clone()), config.clone())
            .default_backoff()
            .boxed()
    };
    let mut stream = watch(&config);
    // Whether the stream has listed all objects, so that it would resume after an error. Until then it begins its list again,
    // after a while.
    let mut resumes = false;
    let mut relisting = Relisting::default();
    let mut to_relist = store.to_relist();
    let mut relist = *to_relist.borrow_and_update();
    let mut objects = KnownObjects::new(follower);
    loop {
        let event = tokio::select! {
            Some(RequestAgain { dataset, done }) = again.recv() => {
                objects.request_again(dataset.as_ref());
                // The receiver is dropped when the process ends.
                let _ = done.send(());
                continue;
            }
            // The sender is dropped when the process ends.
            Ok(()) = to_relist.changed() => {
                relist = *to_relist.borrow_and_update();
                (stream, resumes) = (watch(&config), false);
                continue;
            }
            () = relisting.due() => {
                relisting.at = None;
                stream = watch(&config);
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
            Err(watcher::Error::WatchStartFailed(error))
                if config != in_pages && refuses_streamed_lists(&error) =>
            {
                info!(kind = %K::kind(&()), %error, "the API server streams no lists: objects are listed in pages");
                config = in_pages.clone();
                stream = watch(&config);
            }
            Err(error) => {
                warn!(kind = %K::kind(&()), %error, "a watch was interrupted; all objects are listed again");
                if std::mem::take(&mut resumes) {
                    relisting.after_error();
                }
            }
            Ok(watcher::Event::Apply(object)) => {
                relisting.pause = Duration::ZERO;
                store.saw(&object);
                objects.applied(object);
            }
            Ok(watcher::Event::Delete(object)) => {
                store.saw(&object);
                objects.deleted(object);
            }
            Ok(watcher::Event::Init) => objects.list_begins(),
            Ok(watcher::Event::InitApply(object)) => {
                store.saw(&object);
                objects.listed(object);
            }
            Ok(watcher::Event::InitDone) => {
                objects.list_ended().await;
                resumes = true;
                relisting.listed = Instant::now();
                listed.notify(relist);
            }
        }
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
