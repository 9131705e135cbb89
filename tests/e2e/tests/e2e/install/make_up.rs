//! The cluster of `make up` behaves like a cluster that has PrivateKube: its manifests can be applied again, and what
//! Kubernetes' controllers make of annotated templates gets budget, runs, ends, and has logs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use privatekube_cluster::{Cluster, Config, Part};
use privatekube_e2e::{block, create_as, create_with_retries, dataset, eventually, manifests};
use serde_json::{Value, json};

/// Waits until kubectl prints this.
async fn prints(cluster: &Cluster, arguments: &[&str], expected: &str) -> Result<()> {
    eventually("kubectl prints this", async || {
        let printed = cluster.kubectl(arguments).await;
        Ok(match printed {
            Ok(text) if text.trim() == expected => Ok(()),
            other => Err(format!("{arguments:?}: {other:?}")),
        })
    })
    .await
}

async fn start() -> Result<(Cluster, Client)> {
    let cluster = Cluster::start(Config {
        with_privatekube: true,
        manifests: Some(manifests()),
        pods_end_after: Some(Duration::from_secs(1)),
        ..Config::default()
    })
    .await?;
    let client = cluster.client().await?;
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    for object in [
        dataset("taxi").within("data"),
        block("taxi", "day").within("data"),
    ] {
        create_with_retries(&client, object).await?;
    }
    Ok((cluster, client))
}

/// The metadata and spec of a pod that requests budget and prints its grant.
fn template(epsilon: &str, restarts: bool) -> Value {
    let mut annotations = json!({
        "privatekube.dev/dataset": "taxi",
        "privatekube.dev/epsilon": epsilon,
        "privatekube.dev/delta": "0",
        "privatekube.dev/blocks": "all",
    });
    let container = json!({
        "name": "main", "image": "none",
        "command": ["sh", "-c", "cat \"$FAKE_KUBELET_ROOT/var/run/privatekube/grant.json\""],
    });
    if restarts {
        annotations["privatekube.dev/restarts"] = "free".into();
    } else {
        annotations["fake-kubelet.privatekube.dev/run"] = "true".into();
    }
    json!({
        "metadata": {"annotations": annotations, "labels": {"app": "it"}},
        "spec": {"restartPolicy": if restarts { "Always" } else { "Never" }, "containers": [container]},
    })
}

#[tokio::test]
async fn the_manifests_are_applied_again_and_the_webhooks_stay_reachable() -> Result<()> {
    let (cluster, client) = start().await?;
    let base = manifests();
    let base = base.to_str().context("a path")?;
    let authority = fs::read(cluster.description().tls_dir.join("ca.crt"))?;
    let service_side = ["apply", "--server-side", "-k", base];
    let client_side = ["apply", "-k", base];
    for arguments in [&service_side[..], &service_side, &client_side, &client_side] {
        cluster.kubectl(arguments).await?;
        let webhooks = Api::<ValidatingWebhookConfiguration>::all(client.clone())
            .get("privatekube-extender")
            .await?
            .webhooks
            .unwrap_or_default();
        for webhook in &webhooks {
            let config = &webhook.client_config;
            ensure!(config.service.is_some() && config.url.is_none(), "{config:?}");
            ensure!(
                config
                    .ca_bundle
                    .as_ref()
                    .is_some_and(|bundle| bundle.0 == authority),
                "{arguments:?}: {config:?}"
            );
        }
        ensure!(webhooks.len() == 5, "{}", webhooks.len());
    }
    // The webhook answers: nobody else would refuse this.
    let wrong = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "wrong", "namespace": "data", "annotations": {"privatekube.dev/epsilno": "1"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
    });
    let refused = create_as(&client, wrong.clone()).await;
    let message = format!("{:?}", refused.err().context("the pod was not refused")?);
    ensure!(message.contains("privatekube.dev/epsilon"), "{message}");

    // Removed and applied again, PrivateKube is in another namespace of the same name, where the webhooks are found as before.
    cluster.kubectl(["delete", "-k", base]).await?;
    cluster.kubectl(service_side).await?;
    let mut wrong = wrong;
    wrong["metadata"]["name"] = Value::Null;
    wrong["metadata"]["generateName"] = "wrong-".into();
    eventually("the webhook answers again", async || {
        let refused = create_as(&client, wrong.clone()).await;
        let message = format!("{refused:?}");
        Ok(if message.contains("privatekube.dev/epsilon") {
            Ok(())
        } else {
            Err(message)
        })
    })
    .await?;

    // An extender that was stopped takes up its work.
    cluster.stop_part(Part::Extender).await?;
    cluster.start_part(Part::Extender).await?;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "count", "namespace": "data"},
        "spec": {"template": template("1", false)},
    });
    create_with_retries(&client, job).await?;
    let ended = "jsonpath={.status.succeeded}";
    prints(&cluster, &["get", "job", "count", "-n", "data", "-o", ended], "1").await?;
    let log = cluster.kubectl(["logs", "job/count", "-n", "data"]).await?;
    let grant: Value = serde_json::from_str(&log).with_context(|| format!("no grant: {log}"))?;
    ensure!(
        grant["claims"][0]["budgets"][0]["blocks"][0]["name"] == "day",
        "{grant}"
    );
    Ok(())
}

/// docs/annotations.md and docs/budgets.md say so.
#[tokio::test]
async fn controllers_and_quotas_know_budget() -> Result<()> {
    let (cluster, client) = start().await?;
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "server", "namespace": "data"},
        "spec": {
            "replicas": 2, "serviceName": "server",
            "selector": {"matchLabels": {"app": "it"}}, "template": template("1", true),
        },
    });
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "budget", "namespace": "data"},
        "spec": {"hard": {
            "requests.privatekube.dev/privacy-budget": "2",
            "count/privacybudgetclaims.privatekube.dev": "2",
        }},
    });
    create_as(&client, quota).await?;
    let used = "jsonpath={.status.hard.requests\\.privatekube\\.dev/privacy-budget}";
    prints(
        &cluster,
        &["get", "quota", "budget", "-n", "data", "-o", used],
        "2",
    )
    .await?;
    create_with_retries(&client, set).await?;
    let ready = "jsonpath={.status.readyReplicas}";
    prints(
        &cluster,
        &["get", "sts", "server", "-n", "data", "-o", ready],
        "2",
    )
    .await?;
    let used = "jsonpath={.status.used.requests\\.privatekube\\.dev/privacy-budget}";
    prints(
        &cluster,
        &["get", "quota", "budget", "-n", "data", "-o", used],
        "2",
    )
    .await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "third", "namespace": "data"},
        "spec": template("1", false)["spec"],
    });
    let mut third = pod.clone();
    third["metadata"]["annotations"] = template("1", false)["metadata"]["annotations"].clone();
    let refused = create_as(&client, third).await;
    let message = format!("{:?}", refused.err().context("the pod was not refused")?);
    ensure!(message.contains("exceeded quota: budget"), "{message}");
    // Pods that request no budget don't count.
    create_as(&client, pod).await?;
    Ok(())
}
