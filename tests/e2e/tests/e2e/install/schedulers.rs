//! The schedulers' configurations.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use privatekube_cluster::{Part, User};
use privatekube_e2e::{TestEnvironment, create_as, eventually, pod};
use serde_json::{Value, json};

use super::folder;

/// The extender's part of a scheduler's configuration, without what differs between machines.
fn comparable_parts(config: &Value) -> Result<Value> {
    let Some([extender]) = config["extenders"].as_array().map(Vec::as_slice) else {
        bail!("not one extender: {config}")
    };
    let mut extender = extender.clone();
    let path = extender["urlPrefix"]
        .as_str()
        .and_then(|url| url.splitn(4, '/').nth(3))
        .map(str::to_owned);
    let scheme = extender["urlPrefix"]
        .as_str()
        .and_then(|url| url.split(':').next())
        .map(str::to_owned);
    extender["urlPrefix"] = json!([scheme, path]);
    for file in ["caFile", "certFile", "keyFile"] {
        let name = extender["tlsConfig"][file]
            .as_str()
            .and_then(|path| path.rsplit('/').next())
            .map(str::to_owned);
        extender["tlsConfig"][file] = json!(name);
    }
    Ok(extender)
}

#[tokio::test]
async fn the_documented_scheduler_configurations_match_the_tested_one() -> Result<()> {
    let env = TestEnvironment::start().await?;
    let tested = env
        .cluster
        .description()
        .dir
        .join(format!("{}-config.json", Part::KubeScheduler));
    let tested: Value = serde_json::from_slice(&fs::read(tested)?)?;
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(folder(
        "manifests/scheduler/kube-scheduler-config.yaml",
    ))?)?;
    let example = folder("examples/second-scheduler");
    let example = env
        .cluster
        .kubectl(["kustomize", example.to_str().context("a path")?])
        .await?;
    let mut second = None;
    for document in serde_saphyr::from_multiple::<Value>(&example)? {
        if let Some(text) = document["data"]["scheduler.yaml"].as_str() {
            second = Some(serde_saphyr::from_str::<Value>(text)?);
        }
    }
    let expected = comparable_parts(&tested)?;
    for (what, config) in [
        ("manifests", manifest),
        ("examples", second.context("no configuration")?),
    ] {
        ensure!(
            config["apiVersion"] == tested["apiVersion"] && config["kind"] == tested["kind"],
            "{what}"
        );
        let found = comparable_parts(&config)?;
        ensure!(found == expected, "{what}: {found}\ntested: {expected}");
    }
    ensure!(expected["ignorable"] == json!(false) && expected["tlsConfig"]["caFile"] == json!("ca.crt"));
    Ok(())
}

/// README and install.md say so: the Binding of any pod by a scheduler that isn't exempted by name needs the extender.
#[tokio::test]
async fn while_the_extender_is_down_only_exempted_schedulers_bind() -> Result<()> {
    let mut env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    env.create(
        pod("other")
            .with("schedulerName", json!("another"))
            .within("team"),
    )
    .await?;
    env.stop_extender().await?;
    let client = env.client_as(User::SecondScheduler).await?;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "other", "namespace": "team"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": env.cluster.description().nodes[0]},
    });
    let bind = async || create_as(&client, binding.clone()).await;
    let answer = bind().await;
    let Err(kube::Error::Api(status)) = answer else {
        bail!("the Binding was not refused: {answer:?}")
    };
    let what = "failed calling webhook \"bindings.privatekube.dev\"";
    ensure!(status.code == 500 && status.message.contains(what), "{status:?}");

    // The default scheduler binds all the time.
    env.create(pod("plain").within("team")).await?;
    env.wait_for_pod_phase("team", "plain", "Running").await?;

    let example = fs::read_to_string(folder("examples/second-scheduler/kustomization.yaml"))?;
    let example: Value = serde_saphyr::from_str(&example)?;
    let patches = example["patches"].as_array().context("no patches")?;
    let exemption = patches
        .iter()
        .find(|patch| patch["target"]["kind"] == "ValidatingWebhookConfiguration");
    let exemption = exemption.and_then(|patch| patch["patch"].as_str());
    let exemption = exemption.context("no exemption")?.replace(
        "system:serviceaccount:privatekube-system:privatekube-scheduler",
        User::SecondScheduler.name(),
    );
    let exemption: json_patch::Patch = serde_json::from_value(serde_saphyr::from_str(&exemption)?)?;
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(env.client.clone());
    let patch = Patch::<Value>::Json(exemption);
    webhooks
        .patch("privatekube-extender", &PatchParams::default(), &patch)
        .await?;
    eventually("the second scheduler binds", async || {
        Ok(bind().await.map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    env.wait_for_pod_phase("team", "other", "Running").await?;
    Ok(())
}
