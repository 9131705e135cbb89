//! Keeps the cluster's webhook configurations current: writes into them where the API server reaches the webhooks and which
//! certificate authority it has to trust, so that the manifests need neither.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{Stream, StreamExt, stream::select};
use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
};
use kube::{
    Api, Client, Resource,
    api::Patch,
    runtime::{WatchStreamExt, watcher::watch_object},
};
use privatekube_kubernetes::patch_params;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

/// The name of both webhook configurations.
const CONFIGURATION: &str = "privatekube-extender";
/// The wait after a write, and after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps the configurations current for ever; sets `right` when they are for the first time.
pub async fn keep(client: Client, authority: String, url: Option<String>, right: watch::Sender<bool>) {
    // Applying the manifests again, or replacing the objects, takes effect at once.
    let mut changes = select(
        changes::<MutatingWebhookConfiguration>(&client),
        changes::<ValidatingWebhookConfiguration>(&client),
    );
    loop {
        let written = async {
            write::<MutatingWebhookConfiguration>(&client, &authority, url.as_deref()).await?;
            write::<ValidatingWebhookConfiguration>(&client, &authority, url.as_deref()).await
        };
        match written.await {
            Ok(()) => {
                right.send_replace(true);
                // Two writers that disagree must not become a tight loop.
                sleep(PAUSE).await;
                changes.next().await;
            }
            Err(error) => {
                warn!(error = %format!("{error:#}"), "the webhook configurations are not right yet");
                sleep(PAUSE).await;
            }
        }
    }
}

/// An item whenever the configuration of a kind may have changed.
fn changes<K>(client: &Client) -> impl Stream<Item = ()> + Unpin + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    watch_object(api, CONFIGURATION)
        .default_backoff()
        .map(|_| ())
        .boxed()
}

async fn write<K>(client: &Client, authority: &str, url: Option<&str>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let kind = K::kind(&());
    let object = api
        .get(CONFIGURATION)
        .await
        .with_context(|| format!("read {kind} {CONFIGURATION}"))?;
    let object = serde_json::to_value(&object)?;
    let webhooks = object["webhooks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut patch = Vec::new();
    for (at, webhook) in webhooks.iter().enumerate() {
        let config = &webhook["clientConfig"];
        let wanted = serde_json::to_value(wanted(config, authority, url)?)?;
        if *config != wanted {
            patch.push(
                json!({"op": "test", "path": format!("/webhooks/{at}/name"), "value": webhook["name"]}),
            );
            patch.push(
                json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig"), "value": wanted}),
            );
        }
    }
    if patch.is_empty() {
        return Ok(());
    }
    let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch))?;
    api.patch(CONFIGURATION, &patch_params(), &Patch::Json::<K>(patch))
        .await
        .with_context(|| format!("write {kind} {CONFIGURATION}"))?;
    info!(%kind, name = CONFIGURATION, "the API server knows where the webhooks are");
    Ok(())
}

/// A webhook's client configuration with our authority, and with our address in place of the Service's if one is
/// given.
fn wanted(config: &Value, authority: &str, url: Option<&str>) -> Result<WebhookClientConfig> {
    let mut config: WebhookClientConfig = serde_json::from_value(config.clone())?;
    config.ca_bundle = Some(ByteString(authority.as_bytes().to_vec()));
    if let Some(url) = url {
        let path = match (&config.service, &config.url) {
            (Some(service), _) => service.path.clone().unwrap_or_default(),
            (None, Some(before)) => before
                .splitn(4, '/')
                .nth(3)
                .map(|path| format!("/{path}"))
                .unwrap_or_default(),
            (None, None) => String::new(),
        };
        config.url = Some(format!("{}{path}", url.trim_end_matches('/')));
        config.service = None;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_path_when_an_address_takes_its_place() {
        let service = json!({"service": {"name": "s", "namespace": "n", "path": "/webhook/pods"}});
        let kept = wanted(&service, "CA", None).unwrap();
        assert!(kept.service.is_some() && kept.url.is_none() && kept.ca_bundle.is_some());
        let moved = wanted(&service, "CA", Some("https://127.0.0.1:9/")).unwrap();
        assert_eq!(moved.url.as_deref(), Some("https://127.0.0.1:9/webhook/pods"));
        let again = serde_json::to_value(&moved).unwrap();
        assert_eq!(
            wanted(&again, "CA", Some("https://127.0.0.1:8"))
                .unwrap()
                .url
                .as_deref(),
            Some("https://127.0.0.1:8/webhook/pods")
        );
    }
}
