//! [`TestEnvironment`]: a cluster with PrivateKube installed and an extender running, and objects made in it.
//!
//! What is waited for there is in `conditions.rs`, the extender's process in `extender.rs`.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind, NamespaceResourceScope, ObjectMeta, TypeMeta},
};
use privatekube_cluster::{Cluster, Config, Extender, User};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{polling::eventually, watchdog::Watchdog};

/// A cluster with PrivateKube installed. Dropping it ends all of its processes.
pub struct TestEnvironment {
    /// The cluster.
    pub cluster: Cluster,
    /// The extender, while it runs.
    pub extender: Option<Extender>,
    /// The administrator's client.
    pub client: Client,
    watchdog: Watchdog,
}

/// The manifests that a user applies, all but the extender's Deployment.
#[must_use]
pub fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/base")
}

impl TestEnvironment {
    /// Starts a cluster, installs PrivateKube, and waits until its extender is ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(Config::default()).await
    }

    /// Starts a cluster without PrivateKube, whose scheduler would call an extender.
    pub async fn start_bare() -> Result<Self> {
        let cluster = Cluster::start(Config {
            extender: true,
            ..Config::default()
        })
        .await?;
        let client = cluster.client().await?;
        Ok(Self {
            cluster,
            extender: None,
            client,
            watchdog: Watchdog::start(),
        })
    }

    /// As [`Self::start`], with a cluster as `config` describes it.
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
            watchdog: Watchdog::start(),
        })
    }

    /// Lets the test take longer than any other may.
    pub fn may_take(&mut self, longest: Duration) {
        drop(std::mem::replace(&mut self.watchdog, Watchdog::after(longest)));
    }

    /// Creates a namespace.
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

    /// Creates an object as the administrator.
    pub async fn create(&self, object: Value) -> Result<DynamicObject, kube::Error> {
        create_as(&self.client, object).await
    }

    /// Creates objects one after the other, as the administrator. See [`create_with_retries`].
    pub async fn create_all(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        for object in objects {
            create_with_retries(&self.client, object).await?;
        }
        Ok(())
    }

    /// Returns the API server's message when it refuses an object; an error if it accepts it.
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

    /// Deletes an object as the administrator. Doesn't wait until it is removed.
    pub async fn delete<K>(&self, namespace: &str, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.api::<K>(namespace)
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// A client with the credentials of `user`.
    pub async fn client_as(&self, user: User) -> Result<Client> {
        self.cluster.client_as(user).await
    }

    /// The objects of a kind in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Lists the pods of a namespace, by name.
    pub async fn pods(&self, namespace: &str) -> Result<BTreeMap<String, Pod>> {
        let list = self.api::<Pod>(namespace).list(&ListParams::default()).await?;
        Ok(list
            .into_iter()
            .map(|pod| (pod.metadata.name.clone().unwrap_or_default(), pod))
            .collect())
    }

    /// The scheduler's count of pods that it scheduled only because it tries pods again that waited for too
    /// long. The extender must wake the scheduler, so tests expect 0.
    pub async fn scheduled_after_flush(&self) -> Result<f64> {
        self.cluster
            .scheduler_metric("scheduler_pod_scheduled_after_flush_total")
            .await
    }
}

/// Creates an object with `client`.
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

/// Creates an object, and tries again while the cluster can't accept it, as a controller would. A webhook may
/// not be reachable for a moment after its extender became ready, or may answer too late.
pub async fn create_with_retries(client: &Client, object: Value) -> Result<()> {
    let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let attempt = || {
        let (client, object) = (client.clone(), object.clone());
        async move {
            match create_as(&client, object).await {
                Ok(_) => Ok(Ok(())),
                // Created by an attempt whose answer was lost.
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
pub fn pod_claim_name(pod: &Pod) -> String {
    let uid: String = pod
        .metadata
        .uid
        .iter()
        .flat_map(|uid| uid.chars())
        .take(8)
        .collect();
    format!("{}-{uid}", pod.metadata.name.as_deref().unwrap_or_default())
}
