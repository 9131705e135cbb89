//! The Service by which the API server finds the webhooks of an extender that runs as a process beside it, so that the
//! manifests are true here, too, and can be applied again.

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher::watch_object};
use kube::{Api, Client};
use serde_json::json;

use crate::ports::ExtenderPorts;

/// The names in PrivateKube's manifests.
const NAME: &str = "privatekube-webhooks";
const NAMESPACE: &str = "privatekube-system";

/// Creates the Service again whenever its namespace was created: whoever deletes PrivateKube's manifests deletes it with the
/// namespace, and may apply them again.
pub(crate) async fn keep(client: Client, ports: ExtenderPorts) {
    let namespaces = Api::<Namespace>::all(client.clone());
    let mut seen = watch_object(namespaces, NAMESPACE).default_backoff().boxed();
    while let Some(seen) = seen.next().await {
        let exists = matches!(seen, Ok(Some(namespace)) if namespace.metadata.deletion_timestamp.is_none());
        if exists && let Err(error) = create(&client, ports).await {
            tracing::warn!("{error:#}");
        }
    }
}

/// Creates the Service, whose endpoint is the extender's port of 127.0.0.1.
pub(crate) async fn create(client: &Client, ports: ExtenderPorts) -> Result<()> {
    let manager = PatchParams::apply("privatekube-cluster").force();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"ports": [{"name": "webhook", "port": 443, "protocol": "TCP"}]},
    });
    Api::<Service>::namespaced(client.clone(), NAMESPACE)
        .patch(NAME, &manager, &Patch::Apply(&service))
        .await
        .context("can't create the extender's Service")?;
    // As an IP address, no endpoint may be in the loopback range; as a name it may.
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "FQDN",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "webhook", "port": ports.webhook, "protocol": "TCP"}],
    });
    Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE)
        .patch(NAME, &manager, &Patch::Apply(&slice))
        .await
        .context("can't create the endpoint of the extender's Service")?;
    Ok(())
}
