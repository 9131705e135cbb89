//! The schedulers' configurations.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use privatekube_cluster::Part;
use privatekube_e2e::TestEnvironment;
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
