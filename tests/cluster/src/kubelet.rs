//! The fake kubelet: pods bound to the fake nodes run at once, end as their annotations say, and are removed
//! when they are deleted.
//!
//! No container runs. One watch of all pods drives everything; a pod's delayed end is a timer. A pod that asks for it by
//! an annotation has its program run as a process of this machine ([`program`]), and ends as that ends. Containers have
//! logs ([`server`]): what the program wrote, or what becomes of the pod ([`plan`]).

mod output;
mod plan;
mod program;
mod server;

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

pub use plan::{AFTER_ANNOTATION, OUTCOME_ANNOTATION, RUN_ANNOTATION};
pub use program::ROOT_VARIABLE;
pub(crate) use server::KubeletServer;

use output::Outputs;
use plan::Plan;
use server::Answers;

/// The most requests at the same time.
const CONCURRENCY: usize = 32;
/// The pause after a failure of the watch. Short, because tests stop API servers and wait for what follows.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// The most retries after a conflict. A request for a pod that was created again under its name conflicts for
/// ever.
const CONFLICTS: usize = 5;

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

/// What the kubelet of a cluster is told.
pub(crate) struct KubeletOptions {
    pub(crate) nodes: BTreeSet<String>,
    /// Where programs have their files.
    pub(crate) folder: PathBuf,
    /// How long after its start a pod succeeds that says nothing else; `None`: it runs until it is deleted.
    pub(crate) pods_end_after: Option<SignedDuration>,
}

/// Plays the kubelet of all nodes; never returns.
pub(crate) async fn run(client: Client, options: KubeletOptions, server: KubeletServer) {
    let outputs = Outputs::default();
    let answers = Answers {
        client: client.clone(),
        outputs: outputs.clone(),
        end_after: options.pods_end_after,
    };
    tokio::join!(server.serve(answers), follow(client, options, outputs));
}

async fn follow(client: Client, options: KubeletOptions, outputs: Outputs) {
    let mut kubelet = Kubelet {
        pods: Pods::new(client.clone(), options.folder, outputs),
        nodes: options.nodes,
        end_after: options.pods_end_after,
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
    end_after: Option<SignedDuration>,
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
                self.pods.outputs.retain(|uid| listed.contains(uid));
            }
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => {
                if let Some(uid) = pod.uid() {
                    self.tasks.remove(&uid);
                    self.pods.outputs.forget(&uid);
                }
            }
        }
    }

    fn apply(&mut self, pod: Pod) {
        let (Some(uid), Some(plan)) = (pod.uid(), plan::plan(&pod, &self.nodes, self.end_after)) else {
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
    outputs: Outputs,
}

impl Pods {
    fn new(client: Client, folder: PathBuf, outputs: Outputs) -> Self {
        Self {
            client,
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            addresses: Arc::new(AtomicU32::new(1)),
            folder: Arc::new(folder),
            outputs,
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
        let (outcome, message) = match plan {
            Plan::Run | Plan::Delete => return,
            Plan::RunThen(outcome, after) => {
                let rest = after - Timestamp::now().duration_since(start);
                tokio::time::sleep(rest.try_into().unwrap_or_default()).await;
                (outcome, None)
            }
            Plan::Execute => {
                let output = self.outputs.begin(&pod.uid().unwrap_or_default());
                let ended = program::run(pod, &self.folder, &output).await;
                let outcome = if ended.succeeded {
                    Outcome::Succeed
                } else {
                    Outcome::Fail
                };
                (outcome, Some(ended.message))
            }
        };
        let status = pod_status::ended(pod, start, outcome, message.as_deref());
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
