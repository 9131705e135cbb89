//! [`FakeApiServer`]: what a test sets up, and what it looks at afterwards.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::watch, time::timeout};

use crate::{
    faults::{Fault, Faults, Hold},
    request::{Key, LoggedRequest, RequestFilter},
    service,
    store::Store,
    writes::{self, text},
};

/// How long [`FakeApiServer::until`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API server in memory. Clones are the same server.
///
/// Where a method takes an object's `name`, `NAMESPACE/NAME` names the one in that namespace; a bare name
/// finds the only object of that name, cluster-wide or in any namespace, and panics when there are several.
#[derive(Clone, Debug)]
pub struct FakeApiServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Sends whenever the state may have changed.
    changed: watch::Sender<()>,
    /// Sends whenever watches may have something to deliver, or end.
    watchable: watch::Sender<()>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) admission: Option<Admission>,
    observer: Option<Observer>,
    /// The resource version up to which the observer was told of changes.
    observed: u64,
    pub(crate) store: Store,
    pub(crate) log: Vec<LoggedRequest>,
    /// How many requests were cleared from the log.
    pub(crate) cleared: usize,
    pub(crate) faults: Faults,
    /// While true, watches deliver nothing.
    pub(crate) watches_paused: bool,
    /// The clients whose watches deliver nothing.
    pub(crate) watches_paused_of: BTreeSet<String>,
    /// How often all watches were ended.
    pub(crate) watches_ended: usize,
}

impl State {
    /// What differs when watches have something to deliver, or end.
    fn watchable(&self) -> (u64, usize, bool, usize) {
        (
            self.store.version(),
            self.watches_ended,
            self.watches_paused,
            self.watches_paused_of.len(),
        )
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("store", &self.store)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Says why an object may not be created: called with the resource's plural name, the object, and that of its namespace.
type Admission = Box<dyn FnMut(&str, &Value, Option<&Value>) -> Result<(), String> + Send>;

/// Is told of each change: the resource's plural name, and the object before and after.
type Observer = Box<dyn FnMut(&str, Option<&Value>, Option<&Value>) + Send>;

/// What a server stored at some time. See [`FakeApiServer::copy`].
#[derive(Clone, Debug)]
pub struct StoreCopy(Store);

impl Default for FakeApiServer {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
            watchable: watch::Sender::new(()),
        }))
    }
}

impl FakeApiServer {
    /// A client of this server, whose default namespace is `default`. Call it inside of a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_named("")
    }

    /// The same, of which each request is logged with a name: see [`LoggedRequest::client`].
    #[must_use]
    pub fn client_named(&self, name: &str) -> Client {
        let (server, name): (_, Arc<str>) = (self.clone(), name.into());
        let service =
            tower::service_fn(move |request| service::answer(server.clone(), Arc::clone(&name), request));
        Client::new(service, "default")
    }

    /// Lets `clock` date objects, in place of the machine's clock.
    pub fn set_clock(&self, clock: fn() -> Timestamp) {
        self.with(|state| state.store.clock = clock);
    }

    /// Calls `observer` with each change from now on: the resource's plural name, and the object before and after. It is called
    /// inside of the server, so it must not call the server.
    pub fn observe(&self, observer: impl FnMut(&str, Option<&Value>, Option<&Value>) + Send + 'static) {
        self.with(|state| {
            state.observed = state.store.version();
            state.observer = Some(Box::new(observer));
        });
    }

    /// Lets `admission` refuse the creation of objects, as an admission policy does: it is called when a request is served, with
    /// the resource's plural name, the object, and that of its namespace. It must not call the server.
    pub fn admit(
        &self,
        admission: impl FnMut(&str, &Value, Option<&Value>) -> Result<(), String> + Send + 'static,
    ) {
        self.with(|state| state.admission = Some(Box::new(admission)));
    }

    /// Lets `chooser` choose the fault of each request for which none was injected. It is called inside of the server, so it
    /// must not call the server.
    pub fn choose_faults(&self, chooser: impl FnMut(&LoggedRequest) -> Option<Fault> + Send + 'static) {
        self.with(|state| state.faults.choose(Some(Box::new(chooser))));
    }

    /// Forgets what chooses faults.
    pub fn choose_no_faults(&self) {
        self.with(|state| state.faults.choose(None));
    }

    /// Creates an object, or replaces all of it, its status included. It is kept as given: what is missing of
    /// UID, creation time and generation is added, the resource version is always new. Where the object's UID
    /// is another than that of the one before, watches see that one deleted and this one added.
    ///
    /// # Panics
    /// If the object has no name, or can't be written as JSON.
    #[expect(clippy::expect_used, reason = "what a test puts is an object")]
    pub fn put(&self, resource: &str, object: &impl Serialize) {
        let object = serde_json::to_value(object).expect("the object is JSON");
        let metadata = &object["metadata"];
        let key = Key {
            resource: resource.to_owned(),
            namespace: text(metadata, "namespace").to_owned(),
            name: text(metadata, "name").to_owned(),
        };
        assert!(!key.name.is_empty(), "the object has no name");
        self.with(|state| writes::put(&mut state.store, key, object));
    }

    /// Removes an object at once, whatever its finalizers; nothing if it isn't there. With a namespace,
    /// everything in it is removed too.
    pub fn delete(&self, resource: &str, name: &str) {
        self.with(|state| {
            if let Some(key) = find(&state.store, resource, name) {
                state.store.remove(&key);
            }
        });
    }

    /// An object, or None if it isn't there.
    #[must_use]
    pub fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.read(|state| {
            let key = find(&state.store, resource, name)?;
            state.store.get(&key).cloned()
        })
    }

    /// All objects of a resource, in the order of namespace and name.
    #[must_use]
    pub fn all(&self, resource: &str) -> Vec<Value> {
        self.read(|state| {
            let objects = state.store.iter().filter(|(key, _)| key.resource == resource);
            objects.map(|(_, object)| object.clone()).collect()
        })
    }

    /// The requests received so far that the filter chooses, oldest first, held and refused ones included.
    #[must_use]
    pub fn requests(&self, filter: &RequestFilter) -> Vec<LoggedRequest> {
        self.read(|state| {
            let requests = state.log.iter().filter(|request| filter.matches(request));
            requests.cloned().collect()
        })
    }

    /// The number of requests received so far that the filter chooses.
    #[must_use]
    pub fn count(&self, filter: &RequestFilter) -> usize {
        self.requests(filter).len()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.with(|state| {
            state.cleared += state.log.len();
            state.log.clear();
        });
    }

    /// The next `times` requests that the filter chooses meet the fault. Of several faults for a request, the
    /// one that was injected first is used up first.
    pub fn inject(&self, filter: &RequestFilter, times: usize, fault: Fault) {
        self.with(|state| state.faults.inject(filter.clone(), times, fault));
    }

    /// Forgets the faults that are left.
    pub fn clear_faults(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Requests that the filter chooses wait, logged and unserved, until the [`Hold`] is dropped.
    pub fn hold(&self, filter: &RequestFilter) -> Hold {
        self.with(|state| state.faults.hold(filter.clone()))
    }

    /// Lets watches deliver nothing until [`Self::resume_watches`], so that what they see is behind what is
    /// read.
    pub fn pause_watches(&self) {
        self.with(|state| state.watches_paused = true);
    }

    /// Lets watches deliver again, beginning with what they missed.
    pub fn resume_watches(&self) {
        self.with(|state| state.watches_paused = false);
    }

    /// As [`Self::pause_watches`], for the watches of one client.
    pub fn pause_watches_of(&self, client: &str) {
        self.with(|state| state.watches_paused_of.insert(client.to_owned()));
    }

    /// Lets the watches of one client deliver again.
    pub fn resume_watches_of(&self, client: &str) {
        self.with(|state| state.watches_paused_of.remove(client));
    }

    /// Closes all watches that are open. A client can go on where it was.
    pub fn end_watches(&self) {
        self.with(|state| state.watches_ended += 1);
    }

    /// Ends all watches that are open with `410 Gone`. Watches and pages of lists can't go on from an earlier
    /// resource version: a client must list anew.
    pub fn expire_watches(&self) {
        self.with(|state| state.store.forget_history());
    }

    /// A copy of all that is stored now.
    #[must_use]
    pub fn copy(&self) -> StoreCopy {
        StoreCopy(self.read(|state| state.store.clone()))
    }

    /// Puts back what was stored when `copy` was made, as a restart of an API server whose etcd was restored from a
    /// backup: all watches end, resource versions go back, and a watch from a later one than there is delivers nothing
    /// until it is reached again.
    pub fn put_back(&self, copy: StoreCopy) {
        self.with(|state| {
            state.store = copy.0;
            state.watches_ended += 1;
        });
    }

    /// Waits until the condition holds; it is tried after each request and each change. It may only read the
    /// server.
    ///
    /// # Panics
    /// After 30 seconds (of Tokio's clock).
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.changes();
        let holds = async {
            while !condition(self) {
                // The sender lives as long as the server.
                let _ = changes.changed().await;
            }
        };
        let held = timeout(PATIENCE, holds).await;
        assert!(held.is_ok(), "the condition did not hold within {PATIENCE:?}");
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    pub(crate) fn watchable(&self) -> watch::Receiver<()> {
        self.0.watchable.subscribe()
    }

    /// Changes the state, and wakes those who wait for changes.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let (result, is_watchable) = {
            let state = &mut *self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            let before = state.watchable();
            let result = work(state);
            if let Some(observer) = &mut state.observer {
                for (resource, before, after) in state.store.changes_after(state.observed) {
                    observer(resource, before, after);
                }
                state.observed = state.store.version();
            }
            (result, state.watchable() != before)
        };
        if is_watchable {
            self.0.watchable.send_replace(());
        }
        self.0.changed.send_replace(());
        result
    }

    /// Reads the state, without waking anybody.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The object that a test names.
fn find(store: &Store, resource: &str, name: &str) -> Option<Key> {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    };
    let mut found = store.iter().map(|(key, _)| key).filter(|key| {
        key.resource == resource
            && key.name == name
            && namespace.is_none_or(|namespace| namespace == key.namespace)
    });
    let key = found.next()?;
    assert!(
        found.next().is_none(),
        "several namespaces have {resource} {name}: say NAMESPACE/NAME"
    );
    Some(key.clone())
}
