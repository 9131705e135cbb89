//! The fake kubelet: pods bound to the fake nodes run at once, end as their annotations say, and are removed
//! when they are deleted.
//!
//! No container runs. One watch of all pods drives everything; a pod's delayed end is a timer. A pod that asks for it by an
//! annotation has its program run as a process of this machine ([`program`]), and ends as that ends.

mod program;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::pod_status::{self, Outcome};

/// The pod annotation that says how the pod ends: `succeed` or `fail`. Without it, the pod runs until it is
/// deleted.
pub const OUTCOME_ANNOTATION: &str = "fake-kubelet.privatekube.dev/outcome";
/// The pod annotation that says after which time the pod ends, such as `2s` or `300ms`; without it, at once.
pub const AFTER_ANNOTATION: &str = "fake-kubelet.privatekube.dev/after";

/// The pod annotation that lets the command of the pod's first container run, if it is `true`: with the pod's real
/// environment and downward API files, and without a container. The pod ends as the program ends; what the program wrote is
/// the message of its termination. Not with the restart policy `Always`.
pub const RUN_ANNOTATION: &str = "fake-kubelet.privatekube.dev/run";
pub use program::ROOT_VARIABLE;

/// The most requests at the same time.
const CONCURRENCY: usize = 32;
/// The pause after a failure of the watch. Short, because tests stop API servers and wait for what follows.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// The most retries after a conflict. A request for a pod that was created again under its name conflicts for
/// ever.
const CONFLICTS: usize = 5;

/// What the kubelet does about a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Run,
    RunThen(Outcome, SignedDuration),
    /// Run the pod's program.
    Execute,
    Delete,
}

struct Task {
    plan: Plan,
    handle: JoinHandle<()>,
}

/// Ends a pod's task with the kubelet.
impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Plays the kubelet of all `nodes`; never returns. Programs have their files below `folder`.
pub(crate) async fn run(client: Client, nodes: BTreeSet<String>, folder: PathBuf) {
    let mut kubelet = Kubelet {
        pods: Pods::new(client.clone(), folder),
        nodes,
        tasks: HashMap::new(),
        listed: HashSet::new(),
    };
    let mut events = pin!(watcher(Api::<Pod>::all(client), watcher::Config::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => kubelet.handle(event),
            Err(error) => {
                tracing::debug!("the fake kubelet's watch failed and is resumed: {error}");
                tokio::time::sleep(WATCH_PAUSE).await;
            }
        }
    }
}

struct Kubelet {
    pods: Pods,
    nodes: BTreeSet<String>,
    /// By UID.
    tasks: HashMap<String, Task>,
    /// The UIDs of a list that has begun and not ended.
    listed: HashSet<String>,
}

impl Kubelet {
    fn handle(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.extend(pod.uid());
                self.apply(pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.tasks.retain(|uid, _| listed.contains(uid));
            }
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => {
                pod.uid().and_then(|uid| self.tasks.remove(&uid));
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let (Some(uid), Some(plan)) = (pod.uid(), plan(&pod, &self.nodes)) else {
            return;
        };
        if self.tasks.get(&uid).is_some_and(|task| task.plan == plan) {
            return;
        }
        let pods = self.pods.clone();
        let handle = tokio::spawn(async move { pods.carry_out(&pod, plan).await });
        self.tasks.insert(uid, Task { plan, handle });
    }
}

/// What to do about a pod; `None`: nothing for now.
fn plan(pod: &Pod, nodes: &BTreeSet<String>) -> Option<Plan> {
    let spec = pod.spec.as_ref()?;
    if !nodes.contains(spec.node_name.as_ref()?) {
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Plan::Delete);
    }
    match phase(pod) {
        "Succeeded" | "Failed" => return None,
        _ => {}
    }
    if spec.restart_policy.as_deref().unwrap_or("Always") == "Always" {
        return Some(Plan::Run);
    }
    if pod.annotations().get(RUN_ANNOTATION).map(String::as_str) == Some("true") {
        return Some(Plan::Execute);
    }
    let outcome = match pod.annotations().get(OUTCOME_ANNOTATION).map(String::as_str) {
        Some("succeed") => Outcome::Succeed,
        Some("fail") => Outcome::Fail,
        Some(other) => {
            tracing::warn!(
                "pod {}: {OUTCOME_ANNOTATION} is {other:?}, not succeed or fail",
                pod.name_any()
            );
            return Some(Plan::Run);
        }
        None => return Some(Plan::Run),
    };
    let after = match pod.annotations().get(AFTER_ANNOTATION).map(|text| text.parse()) {
        None => SignedDuration::ZERO,
        Some(Ok(after)) => after,
        Some(Err(error)) => {
            tracing::warn!(
                "pod {}: {AFTER_ANNOTATION} is no duration: {error}",
                pod.name_any()
            );
            return Some(Plan::Run);
        }
    };
    Some(Plan::RunThen(outcome, after))
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Sends requests about pods, a limited number at a time, and repeats those that fail.
#[derive(Clone)]
struct Pods {
    client: Client,
    permits: Arc<Semaphore>,
    addresses: Arc<AtomicU32>,
    /// Where programs have their files.
    folder: Arc<PathBuf>,
}

impl Pods {
    fn new(client: Client, folder: PathBuf) -> Self {
        Self {
            client,
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            addresses: Arc::new(AtomicU32::new(1)),
            folder: Arc::new(folder),
        }
    }

    async fn carry_out(&self, pod: &Pod, plan: Plan) {
        if plan == Plan::Delete {
            self.delete(pod).await;
            return;
        }
        let mut start = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map(|time| time.0);
        if phase(pod) != "Running" {
            let now = Timestamp::now();
            start = Some(now);
            if !self
                .patch_status(pod, &pod_status::running(pod, &self.next_address(), now))
                .await
            {
                return;
            }
        }
        let start = start.unwrap_or_else(Timestamp::now);
        let (outcome, output) = match plan {
            Plan::Run | Plan::Delete => return,
            Plan::RunThen(outcome, after) => {
                let rest = after - Timestamp::now().duration_since(start);
                tokio::time::sleep(rest.try_into().unwrap_or_default()).await;
                (outcome, None)
            }
            Plan::Execute => {
                let ended = program::run(pod, &self.folder).await;
                let outcome = if ended.succeeded {
                    Outcome::Succeed
                } else {
                    Outcome::Fail
                };
                (outcome, Some(ended.output))
            }
        };
        let status = pod_status::ended(pod, start, outcome, output.as_deref());
        self.patch_status(pod, &status).await;
    }

    fn next_address(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::Relaxed);
        let [_, high, middle, low] = number.to_be_bytes();
        format!("10.{}.{middle}.{low}", 128_u8 | high)
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }

    async fn patch_status(&self, pod: &Pod, status: &Value) -> bool {
        let (api, name, patch) = (self.api(pod), pod.name_any(), Patch::Strategic(status));
        let parameters = PatchParams::default();
        self.retry(&name, || async {
            api.patch_status(&name, &parameters, &patch).await.map(drop)
        })
        .await
    }

    async fn delete(&self, pod: &Pod) {
        let (api, name) = (self.api(pod), pod.name_any());
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.retry(&name, || async { api.delete(&name, &parameters).await.map(drop) })
            .await;
    }

    /// Repeats a request until it succeeds or the pod doesn't exist any more. Returns whether it succeeded.
    async fn retry<Send, Answer>(&self, name: &str, send: Send) -> bool
    where
        Send: Fn() -> Answer,
        Answer: Future<Output = kube::Result<()>>,
    {
        let mut pause = FIRST_RETRY;
        let mut conflicts = 0;
        loop {
            let answer = {
                let Ok(_permit) = self.permits.acquire().await else {
                    return false;
                };
                send().await
            };
            match answer {
                Ok(()) => return true,
                Err(kube::Error::Api(status)) if status.code == 404 => return false,
                Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 400..=428) => {
                    tracing::warn!("pod {name}: {}", status.message);
                    return false;
                }
                Err(error) => tracing::debug!("pod {name}: trying again: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }
}
