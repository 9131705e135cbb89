//! A cluster with PrivateKube in it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind, NamespaceResourceScope, ObjectMeta, TypeMeta},
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::{ClaimPhase, DatasetKey, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_cluster::{Cluster, Config, Extender, Part};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Replay, Store};
use privatekube_policy::{BlockState, ClaimId, Phase};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::{attempts::eventually, limit::Limit};

/// The longest wait for any condition. A condition that holds is seen at once; this only ends a hopeless wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster with PrivateKube in it, ended when it is dropped.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// The extender, while it runs.
    pub extender: Option<Extender>,
    /// The administrator's client.
    pub client: Client,
    _limit: Limit,
}

/// A dataset's books, read from its ledger and verified as an auditor would.
pub struct Books {
    /// Every entry.
    pub entries: Vec<Entry>,
    /// All of them replayed and checked.
    pub replay: Replay,
}

/// The manifests that a user applies, all but the extender's Deployment.
#[must_use]
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/base")
}

impl World {
    /// A new cluster with PrivateKube, ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(Config::default()).await
    }

    /// A new cluster with PrivateKube, ready, and otherwise as `config` says.
    pub async fn start_with(config: Config) -> Result<Self> {
        let cluster = Cluster::start(Config {
            extender: true,
            ..config
        })
        .await?;
        cluster.install(&manifests()).await?;
        let extender = Some(cluster.start_extender().await?);
        let client = cluster.client().await?;
        Ok(Self {
            cluster,
            extender,
            client,
            _limit: Limit::start(),
        })
    }

    /// A new namespace.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(())
    }

    /// Makes an object as the administrator.
    pub async fn create(&self, object: Value) -> Result<DynamicObject, kube::Error> {
        create_as(&self.client, object).await
    }

    /// Makes objects, in order. See [`insist`].
    pub async fn create_all(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        for object in objects {
            insist(&self.client, object).await?;
        }
        Ok(())
    }

    /// What the API server says when an object is refused; an error if it is taken.
    pub async fn refusal(&self, object: Value) -> Result<String> {
        match self.create(object.clone()).await {
            Ok(_) => bail!("this was not refused: {object}"),
            Err(kube::Error::Api(status)) => Ok(status.message),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes an object by a merge patch, as the administrator.
    pub async fn change<K>(&self, namespace: &str, name: &str, patch: Value) -> Result<K, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.api::<K>(namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// Asks for an object's deletion, as the administrator.
    pub async fn delete<K>(&self, namespace: &str, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.api::<K>(namespace)
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// The objects of a kind in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits until an object is as it should be, and returns it. `what` says what is waited for.
    pub async fn wait<K>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&K>) -> bool + Send,
    ) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let mut last: Option<K> = None;
        let seen = async {
            let stream = watcher::watch_object(self.api::<K>(namespace), name).default_backoff();
            pin_mut!(stream);
            while let Some(object) = stream.try_next().await? {
                last = object;
                if holds(last.as_ref()) {
                    return Ok::<bool, watcher::Error>(true);
                }
            }
            Ok(false)
        };
        match timeout(PATIENCE, seen).await {
            Ok(Ok(true)) => Ok(last),
            Ok(Ok(false)) => bail!("the watch on {namespace}/{name} ended"),
            Ok(Err(error)) => Err(error).with_context(|| format!("watch {namespace}/{name}")),
            Err(_) => bail!(
                "{} {namespace}/{name} never was {what}; last seen: {last:#?}\nextender:\n{}",
                K::kind(&()),
                self.cluster.tail(Part::Extender)
            ),
        }
    }

    /// Waits until a pod is in a phase.
    pub async fn pod_phase(&self, namespace: &str, name: &str, phase: &str) -> Result<Pod> {
        let pod = self
            .wait(namespace, name, phase, |pod: Option<&Pod>| {
                pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(phase)
            })
            .await?;
        pod.context("no pod")
    }

    /// Waits until a claim object is in a phase.
    pub async fn claim_phase(
        &self,
        namespace: &str,
        name: &str,
        phase: ClaimPhase,
    ) -> Result<PrivacyBudgetClaim> {
        let claim = self
            .wait(
                namespace,
                name,
                &phase.to_string(),
                |claim: Option<&PrivacyBudgetClaim>| {
                    claim.and_then(|claim| claim.status.as_ref()?.phase) == Some(phase)
                },
            )
            .await?;
        claim.context("no claim")
    }

    /// Waits until the claim object made for a pod is in a phase.
    pub async fn pod_claim_phase(
        &self,
        namespace: &str,
        pod: &str,
        phase: ClaimPhase,
    ) -> Result<PrivacyBudgetClaim> {
        let pod: Pod = self.api(namespace).get(pod).await?;
        self.claim_phase(namespace, &inline_claim(&pod), phase).await
    }

    /// Waits until a block's status shows these epsilons as (available, allocated, consumed).
    pub async fn block_shows(&self, namespace: &str, name: &str, expected: (&str, &str, &str)) -> Result<()> {
        self.wait(
            namespace,
            name,
            &format!("{expected:?}"),
            |block: Option<&PrivateDataBlock>| {
                let Some(status) = block.and_then(|block| block.status.as_ref()) else {
                    return false;
                };
                let of = |amounts: &Option<privatekube_api::Amounts>| {
                    amounts
                        .as_ref()
                        .map(|amounts| amounts.epsilon.clone())
                        .unwrap_or_default()
                };
                let seen = (of(&status.available), of(&status.allocated), of(&status.consumed));
                (seen.0.as_str(), seen.1.as_str(), seen.2.as_str()) == expected
            },
        )
        .await?;
        Ok(())
    }

    /// Waits until somebody told an object's Event with this reason, and returns its text.
    pub async fn event(&self, namespace: &str, object: &str, reason: &str) -> Result<String> {
        let params =
            watcher::Config::default().fields(&format!("involvedObject.name={object},reason={reason}"));
        let found = async {
            let stream = watcher(self.api::<Event>(namespace), params)
                .default_backoff()
                .applied_objects();
            pin_mut!(stream);
            stream.try_next().await
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => Ok(found?.and_then(|event| event.message).unwrap_or_default()),
            Err(_) => bail!(
                "no Event {reason} on {namespace}/{object}\n{}",
                self.cluster.tail(Part::Extender)
            ),
        }
    }

    /// Waits until an object of this kind has an Event whose text contains `text`, and returns the Event's reason.
    pub async fn told(&self, namespace: &str, kind: &str, name: &str, text: &str) -> Result<String> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let params = watcher::Config::default().fields(&fields);
        let mut told = Vec::new();
        let found = async {
            let stream = watcher(self.api::<Event>(namespace), params)
                .default_backoff()
                .applied_objects();
            pin_mut!(stream);
            while let Some(event) = stream.try_next().await? {
                let message = event.message.unwrap_or_default();
                if message.contains(text) {
                    return Ok::<_, watcher::Error>(event.reason.unwrap_or_default());
                }
                told.push(message);
            }
            Ok(String::new())
        };
        match timeout(PATIENCE, found).await {
            Ok(reason) => Ok(reason?),
            Err(_) => bail!("{kind} {namespace}/{name} was never told {text:?}, but {told:#?}"),
        }
    }

    /// A dataset's ledger, read and verified.
    pub async fn books(&self, namespace: &str, dataset: &str) -> Result<Books> {
        let key = DatasetKey {
            namespace: namespace.to_owned(),
            name: dataset.to_owned(),
        };
        let entries = KubernetesStore::new(self.client.clone(), key)
            .read_after(0)
            .await?;
        let mut replay = Replay::new();
        for entry in &entries {
            replay
                .push(entry)
                .with_context(|| format!("verify entry {}", entry.sequence))?;
        }
        replay.check().context("check the books")?;
        Ok(Books { entries, replay })
    }

    /// Every pod of a namespace by name.
    pub async fn pods(&self, namespace: &str) -> Result<BTreeMap<String, Pod>> {
        let list = self.api::<Pod>(namespace).list(&ListParams::default()).await?;
        Ok(list
            .into_iter()
            .map(|pod| (pod.metadata.name.clone().unwrap_or_default(), pod))
            .collect())
    }

    /// Ends the extender by SIGKILL.
    pub async fn kill_extender(&mut self) -> Result<()> {
        match self.extender.take() {
            Some(extender) => extender.kill().await,
            None => bail!("the extender does not run"),
        }
    }

    /// Ends the extender as Kubernetes would.
    pub async fn stop_extender(&mut self) -> Result<()> {
        match self.extender.take() {
            Some(extender) => {
                let status = extender.stop().await?;
                anyhow::ensure!(
                    status.is_some_and(|status| status.success()),
                    "the extender ended with {status:?}"
                );
                Ok(())
            }
            None => bail!("the extender does not run"),
        }
    }

    /// Starts the extender again and waits until it is ready.
    pub async fn start_extender(&mut self) -> Result<()> {
        self.extender = Some(self.cluster.start_extender().await?);
        Ok(())
    }

    /// The guard of the wake-up: pods that the scheduler only tried again because they had waited too long.
    pub async fn scheduled_after_flush(&self) -> Result<f64> {
        self.cluster
            .scheduler_metric("scheduler_pod_scheduled_after_flush_total")
            .await
    }
}

/// Makes an object as somebody.
pub async fn create_as(client: &Client, object: Value) -> Result<DynamicObject, kube::Error> {
    let object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let types: TypeMeta = object.types.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .rsplit_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource)
        .create(&PostParams::default(), &object)
        .await
}

/// Makes an object as a controller would: what the cluster can't take now is tried again until it does. An extender that
/// is ready may still be out of an API server's reach for a moment, or too slow for it.
pub async fn insist(client: &Client, object: Value) -> Result<()> {
    let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let attempt = || {
        let (client, object) = (client.clone(), object.clone());
        async move {
            match create_as(&client, object).await {
                Ok(_) => Ok(Ok(())),
                // An attempt whose answer was lost has made it.
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(Ok(())),
                Err(kube::Error::Api(status)) if status.code < 500 => bail!("{status:?}"),
                Err(error) => Ok(Err(error.to_string())),
            }
        }
    };
    eventually("it is taken", attempt)
        .await
        .with_context(|| format!("make {name}"))
}

/// The name of the claim object made for a pod: its name and the first eight characters of its UID.
#[must_use]
pub fn inline_claim(pod: &Pod) -> String {
    let uid: String = pod
        .metadata
        .uid
        .iter()
        .flat_map(|uid| uid.chars())
        .take(8)
        .collect();
    format!("{}-{uid}", pod.metadata.name.as_deref().unwrap_or_default())
}

impl Books {
    /// A block's budget.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<BlockState> {
        self.replay.engine()?.block(&name.into())
    }

    /// A block's epsilons as (available, allocated, consumed), in the words of [`World::block_shows`]; with Renyi
    /// composition at the lowest order.
    #[must_use]
    pub fn shows(&self, block: &str) -> Option<(String, String, String)> {
        let composition = &self.replay.engine()?.rules().composition;
        let books = self.block(block)?;
        let shown = |units: &[i128]| composition.display_units(0, units.first().copied().unwrap_or_default());
        Some((
            shown(&books.available),
            shown(&books.allocated),
            shown(&books.consumed),
        ))
    }

    /// Every claim's phase, in the order of arrival.
    #[must_use]
    pub fn phases(&self) -> Vec<(ClaimId, Phase)> {
        let Some(engine) = self.replay.engine() else {
            return Vec::new();
        };
        engine
            .claims()
            .filter_map(|id| Some((id.clone(), engine.claim(id)?.phase)))
            .collect()
    }

    /// The phase of the claim of a pod or claim object with this name.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<Phase> {
        let named = |id: &ClaimId| id.as_str().split('/').nth(2) == Some(name);
        self.phases()
            .into_iter()
            .find(|(id, _)| named(id))
            .map(|(_, phase)| phase)
    }
}
