//! The cluster that a command asks, as kubectl's own options name it, and what may be read there.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::NamespaceResourceScope,
};
use privatekube_api::{DatasetKey, GROUP};
use privatekube_kubernetes::{ServerClock, connect_in};
use privatekube_policy::Time;
use serde::de::DeserializeOwned;

use crate::state::now;

/// How many objects are read in one request.
pub(crate) const PAGE: u32 = 500;

/// Which cluster, and which namespace of it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClusterOptions {
    /// The namespace. Default: that of the context.
    #[arg(
        short,
        long,
        value_name = "NAMESPACE",
        global = true,
        help_heading = "Cluster"
    )]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig. Default: its current one.
    #[arg(long, value_name = "CONTEXT", global = true, help_heading = "Cluster")]
    context: Option<String>,
    /// The kubeconfig. Default: $KUBECONFIG, ~/.kube/config, or the cluster in which this program runs.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    clock: Arc<ServerClock>,
}

impl ClusterOptions {
    /// Makes a client. Sends nothing yet.
    pub(crate) async fn connect(&self) -> Result<Cluster> {
        let client = connect_in(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Cluster::new(client, namespace))
    }
}

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingRight {
    verb: &'static str,
    resource: &'static str,
    /// None means all.
    namespace: Option<String>,
}

impl MissingRight {
    /// What is missing, and how it is given.
    pub(crate) fn message(&self) -> String {
        let Self {
            verb,
            resource,
            namespace,
        } = self;
        match namespace {
            Some(namespace) => format!(
                "you may not {verb} {resource}.{GROUP} in namespace {namespace}: the cluster's role view gives that right \
                 (kubectl create rolebinding NAME --clusterrole=view --user=YOU -n {namespace})"
            ),
            None => format!(
                "you may not {verb} {resource}.{GROUP} in all namespaces: the cluster's role view gives that right (kubectl \
                 create clusterrolebinding NAME --clusterrole=view --user=YOU); -n names one namespace"
            ),
        }
    }
}

impl Cluster {
    pub(crate) fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            clock: Arc::default(),
        }
    }

    /// The time by the API server's clock, by which claims expire and budget unlocks in the cluster, whatever this machine's
    /// clock shows. It is read once. By this machine's clock if it can't be read.
    pub(crate) async fn now(&self) -> Time {
        if self.clock.now().is_none() {
            // Whoever may not ask gets the other clock.
            let _ = self.clock.read(&self.client).await;
        }
        self.clock.now().unwrap_or_else(now)
    }

    /// The right to read a dataset's ledger, if it is missing.
    pub(crate) async fn missing_for_ledger(&self, dataset: &DatasetKey) -> Result<Option<MissingRight>> {
        self.missing_in(Some(&dataset.namespace)).await
    }

    /// The right to read the ledgers of a namespace, or of all, if it is missing.
    pub(crate) async fn missing_in(&self, namespace: Option<&str>) -> Result<Option<MissingRight>> {
        for (verb, resource) in [
            ("list", "privacyledgerentries"),
            ("get", "privacyledgercheckpoints"),
            ("get", "privacyledgercheckpointpieces"),
        ] {
            if !self.may(verb, resource, namespace.unwrap_or_default()).await? {
                return Ok(Some(MissingRight {
                    verb,
                    resource,
                    namespace: namespace.map(str::to_owned),
                }));
            }
        }
        Ok(None)
    }

    /// Whether something may be done with a resource of ours in a namespace; in all if it is empty.
    pub(crate) async fn may(&self, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some(resource.to_owned()),
                    verb: Some(verb.to_owned()),
                    namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.context("ask the API server what you may read")?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// An object; `None` if there is none.
    pub(crate) async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let kind = K::kind(&());
        api.get_opt(name)
            .await
            .map_err(said)
            .with_context(|| format!("read {kind} {namespace}/{name}"))
    }

    /// All objects of a kind in a namespace, or in all if it is `None`.
    pub(crate) async fn list<K>(&self, namespace: Option<&str>, params: &ListParams) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut params = params.clone().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = api.list(&params).await.map_err(said);
            let page = page.with_context(|| format!("list {}", K::plural(&())))?;
            all.extend(page.items);
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }
}

/// The API server's own words.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{}", status.message),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};

    use super::*;

    fn reviews() -> RequestFilter {
        RequestFilter::any().resource("selfsubjectreviews")
    }

    #[tokio::test]
    async fn the_time_is_the_api_server_s_once_it_was_read() {
        let server = FakeApiServer::default();
        let cluster = Cluster::new(server.client(), "data".to_owned());
        // In the year 2100, whatever this machine says.
        let then = Time::from_micros(4_102_444_800_000_000);
        cluster.clock.set(then);
        assert!(cluster.clone().now().await >= then);
        assert_eq!(server.count(&reviews()), 0);
    }

    #[tokio::test]
    async fn without_an_answer_it_is_this_machine_s() {
        let server = FakeApiServer::default();
        server.inject(&reviews(), 1, Fault::Refuse(403));
        let cluster = Cluster::new(server.client(), "data".to_owned());
        let before = now();
        assert!(cluster.now().await >= before);
        assert_eq!(server.count(&reviews()), 1);
        assert_eq!(cluster.clock.now(), None);
    }
}
