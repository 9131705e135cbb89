//! The manifests can be applied again.

use std::fs;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use privatekube_cluster::ExtenderOptions;
use privatekube_e2e::{TestEnvironment, eventually, manifests};
use serde_json::{Value, json};

use super::folder;

/// The client configurations of all webhooks: how the API server reaches them.
async fn webhooks(client: &Client) -> Result<Vec<WebhookClientConfig>> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone())
        .get("privatekube-extender")
        .await?;
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone())
        .get("privatekube-extender")
        .await?;
    let mutating = mutating
        .webhooks
        .into_iter()
        .flatten()
        .map(|webhook| webhook.client_config);
    Ok(mutating
        .chain(
            validating
                .webhooks
                .into_iter()
                .flatten()
                .map(|webhook| webhook.client_config),
        )
        .collect())
}

/// Lists the installed objects with their resource versions.
async fn versions(env: &TestEnvironment) -> Result<String> {
    let kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount,namespace,\
        validatingadmissionpolicy,validatingadmissionpolicybinding,\
        mutatingwebhookconfiguration,validatingwebhookconfiguration";
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion";
    let label = "--selector=app.kubernetes.io/part-of=privatekube";
    env.cluster
        .kubectl(["get", kinds, "--all-namespaces", label, "-o", columns])
        .await
}

#[tokio::test]
async fn applying_the_manifests_again_changes_nothing_and_keeps_the_webhooks() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    let base = manifests();
    let base = base.to_str().context("a path")?;
    // As where the extender runs inside the cluster: the webhooks are reached by their Service.
    env.stop_extender().await?;
    env.cluster.install(&manifests()).await?;
    let options = ExtenderOptions {
        by_service: true,
        ..ExtenderOptions::default()
    };
    env.extender = Some(env.cluster.start_extender_with(&options).await?);
    let authority = fs::read(env.cluster.description().tls_dir.join("ca.crt"))?;
    let right = |config: &WebhookClientConfig| {
        config.service.is_some()
            && config
                .ca_bundle
                .as_ref()
                .is_some_and(|bundle| bundle.0 == authority)
    };
    let configs = webhooks(&env.client).await?;
    ensure!(configs.len() == 7 && configs.iter().all(right), "{configs:?}");

    let before = versions(&env).await?;
    ensure!(before.lines().count() > 20, "{before}");
    env.cluster
        .kubectl(["apply", "--server-side", "-k", base])
        .await?;
    let after = versions(&env).await?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    // The same holds for client-side apply.
    for _ in 0..2 {
        env.cluster.kubectl(["apply", "-k", base]).await?;
        ensure!(webhooks(&env.client).await?.iter().all(right));
    }
    // The API server accepts all manifests, also the Deployment.
    let all = folder("manifests");
    let all = all.to_str().context("a path")?;
    let message = env.cluster.kubectl([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-k",
        all,
    ]);
    let message = message.await?;
    for part in [
        "deployment.apps/privatekube-extender",
        "service/privatekube-extender",
    ] {
        ensure!(message.contains(part), "{message}");
    }
    let example = folder("examples/second-scheduler");
    let example = example.to_str().context("a path")?;
    env.cluster
        .kubectl([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-k",
            example,
        ])
        .await?;

    // If a user removes the certificate authority, the extender writes it again.
    let empty = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
    let patch: json_patch::Patch = serde_json::from_value(empty)?;
    let api: Api<ValidatingWebhookConfiguration> = Api::all(env.client.clone());
    let params = PatchParams::default();
    let patched = api
        .patch("privatekube-extender", &params, &Patch::<Value>::Json(patch))
        .await?;
    let first = patched
        .webhooks
        .into_iter()
        .flatten()
        .next()
        .context("no webhook")?;
    ensure!(!right(&first.client_config));
    eventually("the extender writes its authority again", async || {
        let webhooks = webhooks(&env.client).await?;
        Ok(match webhooks.iter().find(|config| !right(config)) {
            Some(wrong) => Err(format!("{wrong:?}")),
            None => Ok(()),
        })
    })
    .await
}
