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
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use crate::leadership::Leadership;

/// The name of both webhook configurations.
const CONFIGURATION: &str = "privatekube-extender";
/// How long a bundle of authorities may be to which another one is added.
const MOST_BUNDLE_BYTES: usize = 16 << 10;
/// The wait after a write, and after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the leader leaves the authorities of others in the configurations. While replicas are replaced by ones with certificates
/// of another authority, the API server has to trust both; a replica whose authority is missing adds it at once.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Keeps the configurations current for ever; sets `right` when they are for the first time. Each replica adds its authority, so
/// that all of them can serve the webhooks.
pub async fn keep(
    client: Client,
    authority: String,
    url: Option<String>,
    leadership: Leadership,
    right: watch::Sender<bool>,
) {
    let mut prune_at = if leadership.is_elected() {
        Instant::now() + PRUNE_EVERY
    } else {
        Instant::now()
    };
    // Applying the manifests again, or replacing the objects, takes effect at once.
    let mut changes = select(
        changes::<MutatingWebhookConfiguration>(&client),
        changes::<ValidatingWebhookConfiguration>(&client),
    );
    loop {
        let alone = prune_at <= Instant::now() && leadership.may_act();
        let wanted = Wanted {
            authority: &authority,
            alone,
            url: url.as_deref(),
        };
        let written = async {
            write::<MutatingWebhookConfiguration>(&client, wanted).await?;
            write::<ValidatingWebhookConfiguration>(&client, wanted).await
        };
        match written.await {
            Ok(()) => {
                right.send_replace(true);
                if leadership.is_elected() && prune_at <= Instant::now() {
                    prune_at = Instant::now() + PRUNE_EVERY;
                }
                // Two writers that disagree must not become a tight loop.
                sleep(PAUSE).await;
                tokio::select! {
                    _ = changes.next() => {}
                    () = sleep_until(prune_at), if leadership.is_elected() => {}
                }
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

/// What the configurations are to say.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    authority: &'a str,
    /// Whether no other authority is to be there.
    alone: bool,
    url: Option<&'a str>,
}

async fn write<K>(client: &Client, wanted: Wanted<'_>) -> Result<()>
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
        let wanted = serde_json::to_value(wanted.of(config)?)?;
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

impl Wanted<'_> {
    /// A webhook's client configuration with our authority, and with our address in place of the Service's if one is
    /// given.
    fn of(self, config: &Value) -> Result<WebhookClientConfig> {
        let mut config: WebhookClientConfig = serde_json::from_value(config.clone())?;
        let before = config.ca_bundle.take().filter(|_| !self.alone);
        config.ca_bundle = Some(self.bundle(before));
        if let Some(url) = self.url {
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

    /// Our authority beside those of `before`.
    fn bundle(self, before: Option<ByteString>) -> ByteString {
        let own = self.authority.trim();
        let before = before.and_then(|before| String::from_utf8(before.0).ok());
        let bundle = match before.filter(|before| !before.trim().is_empty()) {
            Some(before) if before.contains(own) => before,
            // Others have written so much that it can't be the authorities of replicas.
            Some(before) if before.len() > MOST_BUNDLE_BYTES => self.authority.to_owned(),
            Some(before) => format!("{}\n{own}\n", before.trim_end()),
            None => self.authority.to_owned(),
        };
        ByteString(bundle.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_path_when_an_address_takes_its_place() {
        let service = json!({"service": {"name": "s", "namespace": "n", "path": "/webhook/pods"}});
        let wanted = |config: &Value, authority, url| {
            Wanted {
                authority,
                alone: true,
                url,
            }
            .of(config)
        };
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

    #[test]
    fn a_replica_adds_its_authority_and_the_leader_removes_others_later() {
        let bundle = |authority, alone, before: Option<&str>| {
            let wanted = Wanted {
                authority,
                alone,
                url: None,
            };
            let config = WebhookClientConfig {
                ca_bundle: before.map(|before| ByteString(before.as_bytes().to_vec())),
                ..WebhookClientConfig::default()
            };
            let config = wanted.of(&serde_json::to_value(config).unwrap()).unwrap();
            String::from_utf8(config.ca_bundle.unwrap().0).unwrap()
        };
        assert_eq!(bundle("NEW\n", false, None), "NEW\n");
        let both = bundle("NEW\n", false, Some("OLD\n"));
        assert_eq!(both, "OLD\nNEW\n");
        // Each finds its own, so that nothing is written again.
        assert_eq!(bundle("OLD\n", false, Some(&both)), both);
        assert_eq!(bundle("NEW\n", true, Some(&both)), "NEW\n");
        assert_eq!(bundle("NEW\n", false, Some(&"x".repeat(20_000))), "NEW\n");
    }
}
