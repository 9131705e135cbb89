//! Everything of a cluster that tests of many pods look at, as watches show it, and waiting for what it comes to.

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

use crate::World;

/// The longest time without any change while something is waited for.
const QUIET: Duration = Duration::from_secs(60);
/// The longest wait for something, however much changes meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is waited for; or, as long as it isn't so, what is missing.
pub type Seen<T> = Result<T, String>;

type Objects<K> = Arc<Mutex<BTreeMap<(String, String), Arc<K>>>>;

/// All objects of a kind.
#[derive(Debug)]
pub struct Followed<K> {
    objects: Objects<K>,
    task: JoinHandle<()>,
}

/// When a pod was first seen with a node.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The cluster's revision, which all objects share: what has a smaller one was written before.
    pub revision: u64,
    /// By our clock.
    pub at: Instant,
}

/// A cluster as watches show it.
#[derive(Debug)]
pub struct Scene {
    /// All pods.
    pub pods: Followed<Pod>,
    /// All claim objects.
    pub claims: Followed<PrivacyBudgetClaim>,
    /// All blocks.
    pub blocks: Followed<PrivateDataBlock>,
    /// All entries of all ledgers.
    pub entries: Followed<PrivacyLedgerEntry>,
    placed: Arc<Mutex<HashMap<String, Placed>>>,
    changes: watch::Sender<u64>,
}

/// When an object was written last, in an order that all objects share.
pub fn revision<K: Resource>(object: &K) -> Result<u64> {
    let text = object
        .meta()
        .resource_version
        .as_deref()
        .context("an object without resourceVersion")?;
    text.parse().with_context(|| format!("resourceVersion {text}"))
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn start(api: Api<K>, changes: watch::Sender<u64>, mut look: impl FnMut(&K) + Send + 'static) -> Self {
        let objects: Objects<K> = Arc::default();
        let task = tokio::spawn({
            let objects = Arc::clone(&objects);
            async move {
                let stream = watcher(api, watcher::Config::default()).default_backoff();
                pin_mut!(stream);
                let mut listed = BTreeMap::new();
                while let Some(event) = stream.next().await {
                    // An interrupted watch is taken up again.
                    let Ok(event) = event else { continue };
                    match event {
                        watcher::Event::Init => listed.clear(),
                        watcher::Event::InitApply(object) => {
                            look(&object);
                            listed.insert(key(&object), Arc::new(object));
                        }
                        watcher::Event::InitDone => *lock(&objects) = std::mem::take(&mut listed),
                        watcher::Event::Apply(object) => {
                            look(&object);
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

    /// All of them, by namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        lock(&self.objects).values().cloned().collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        lock(&self.objects)
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// How many are so.
    #[must_use]
    pub fn count(&self, is: impl Fn(&K) -> bool) -> usize {
        lock(&self.objects).values().filter(|object| is(object)).count()
    }
}

impl<K> Drop for Followed<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scene {
    /// Begins to watch.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let (changes, _) = watch::channel(0);
        let placed: Arc<Mutex<HashMap<String, Placed>>> = Arc::default();
        let note = {
            let placed = Arc::clone(&placed);
            move |pod: &Pod| {
                let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                if let (true, Some(uid), Ok(revision)) = (has_node, pod.uid(), revision(pod)) {
                    lock(&placed).entry(uid).or_insert(Placed {
                        revision,
                        at: Instant::now(),
                    });
                }
            }
        };
        let client = || world.client.clone();
        Self {
            pods: Followed::start(Api::all(client()), changes.clone(), note),
            claims: Followed::start(Api::all(client()), changes.clone(), |_| {}),
            blocks: Followed::start(Api::all(client()), changes.clone(), |_| {}),
            entries: Followed::start(Api::all(client()), changes.clone(), |_| {}),
            placed,
            changes,
        }
    }

    /// When a pod was first seen with a node.
    #[must_use]
    pub fn placed(&self, pod: &Pod) -> Option<Placed> {
        lock(&self.placed).get(&pod.uid()?).copied()
    }

    /// Looks after every change until `look` sees what is waited for. Gives up when nothing changes any more, or the
    /// changes never end.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
        let mut changes = self.changes.subscribe();
        let begun = Instant::now();
        loop {
            changes.borrow_and_update();
            let missing = match look().await? {
                Ok(seen) => return Ok(seen),
                Err(missing) => missing,
            };
            if timeout(QUIET, changes.changed()).await.is_err() {
                bail!("{what}: nothing changed for {QUIET:?}, and {missing}");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what}: not within {PATIENCE:?}, and {missing}");
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
