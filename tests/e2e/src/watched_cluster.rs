//! [`WatchedCluster`]: the objects of a cluster, followed by watches, and waiting for conditions on all of
//! them. For tests with many pods, where reading them again and again would take too long.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::{PrivacyBudgetClaim, PrivacyLedgerEntry, PrivateDataBlock};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{TestEnvironment, polling::Observed};

/// The longest time without any change while something is waited for.
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest wait for something, however much changes meanwhile.
const TIMEOUT: Duration = Duration::from_secs(300);

type Objects<K> = Arc<Mutex<BTreeMap<(String, String), Arc<K>>>>;

/// The objects of a kind in all namespaces, kept up to date by a watch until this is dropped.
#[derive(Debug)]
pub struct WatchedObjects<K> {
    objects: Objects<K>,
    task: JoinHandle<()>,
}

/// When a pod was first seen with a node.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// The pod's resource version, which is etcd's revision: an object with a smaller one was written before.
    pub revision: u64,
    /// The time at which the watch showed it.
    pub at: Instant,
}

/// All objects of a cluster that tests with many pods need.
#[derive(Debug)]
pub struct WatchedCluster {
    /// All pods.
    pub pods: WatchedObjects<Pod>,
    /// All claim objects.
    pub claims: WatchedObjects<PrivacyBudgetClaim>,
    /// All blocks.
    pub blocks: WatchedObjects<PrivateDataBlock>,
    /// All entries of all ledgers.
    pub entries: WatchedObjects<PrivacyLedgerEntry>,
    placed: Arc<Mutex<HashMap<String, Placement>>>,
    changes: watch::Sender<u64>,
}

/// The resource version of an object as a number. Those of all objects are in the order in which they were
/// written, since they are etcd's revisions.
pub fn revision<K: Resource>(object: &K) -> Result<u64> {
    let text = object
        .meta()
        .resource_version
        .as_deref()
        .context("an object without resourceVersion")?;
    text.parse().with_context(|| format!("resourceVersion {text}"))
}

impl<K> WatchedObjects<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn start(
        api: Api<K>,
        changes: watch::Sender<u64>,
        mut on_change: impl FnMut(&K) + Send + 'static,
    ) -> Self {
        let objects: Objects<K> = Arc::default();
        let task = tokio::spawn({
            let objects = Arc::clone(&objects);
            async move {
                let stream = watcher(api, watcher::Config::default()).default_backoff();
                pin_mut!(stream);
                let mut listed = BTreeMap::new();
                while let Some(event) = stream.next().await {
                    // The watcher resumes after an error.
                    let Ok(event) = event else { continue };
                    match event {
                        watcher::Event::Init => listed.clear(),
                        watcher::Event::InitApply(object) => {
                            on_change(&object);
                            listed.insert(key(&object), Arc::new(object));
                        }
                        watcher::Event::InitDone => *lock(&objects) = std::mem::take(&mut listed),
                        watcher::Event::Apply(object) => {
                            on_change(&object);
                            lock(&objects).insert(key(&object), Arc::new(object));
                        }
                        watcher::Event::Delete(object) => _ = lock(&objects).remove(&key(&object)),
                    }
                    changes.send_modify(|changes| *changes += 1);
                }
            }
        });
        Self { objects, task }
    }

    /// All objects, in the order of namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        lock(&self.objects).values().cloned().collect()
    }

    /// One object; None if it doesn't exist.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        lock(&self.objects)
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// The number of objects for which `is` is true.
    #[must_use]
    pub fn count(&self, is: impl Fn(&K) -> bool) -> usize {
        lock(&self.objects).values().filter(|object| is(object)).count()
    }
}

impl<K> Drop for WatchedObjects<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WatchedCluster {
    /// Starts the watches.
    #[must_use]
    pub fn of(env: &TestEnvironment) -> Self {
        let (changes, _) = watch::channel(0);
        let placed: Arc<Mutex<HashMap<String, Placement>>> = Arc::default();
        let note = {
            let placed = Arc::clone(&placed);
            move |pod: &Pod| {
                let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                if let (true, Some(uid), Ok(revision)) = (has_node, pod.uid(), revision(pod)) {
                    lock(&placed).entry(uid).or_insert(Placement {
                        revision,
                        at: Instant::now(),
                    });
                }
            }
        };
        let client = || env.client.clone();
        Self {
            pods: WatchedObjects::start(Api::all(client()), changes.clone(), note),
            claims: WatchedObjects::start(Api::all(client()), changes.clone(), |_| {}),
            blocks: WatchedObjects::start(Api::all(client()), changes.clone(), |_| {}),
            entries: WatchedObjects::start(Api::all(client()), changes.clone(), |_| {}),
            placed,
            changes,
        }
    }

    /// When a pod was first seen with a node.
    #[must_use]
    pub fn placement(&self, pod: &Pod) -> Option<Placement> {
        lock(&self.placed).get(&pod.uid()?).copied()
    }

    /// Calls `check` after every change until it observes what is waited for. Returns an error when nothing
    /// changed for a minute, or after five minutes.
    pub async fn until<T>(
        &self,
        what: &str,
        mut check: impl AsyncFnMut() -> Result<Observed<T>>,
    ) -> Result<T> {
        let mut changes = self.changes.subscribe();
        let begun = Instant::now();
        loop {
            changes.borrow_and_update();
            let missing = match check().await? {
                Ok(seen) => return Ok(seen),
                Err(missing) => missing,
            };
            if timeout(QUIET_TIMEOUT, changes.changed()).await.is_err() {
                bail!("{what}: nothing changed for {QUIET_TIMEOUT:?}, and {missing}");
            }
            if begun.elapsed() > TIMEOUT {
                bail!("{what}: not within {TIMEOUT:?}, and {missing}");
            }
        }
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
