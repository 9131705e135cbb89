//! Templates of pods.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{ResourceExt, api::ListParams};
use privatekube_e2e::{World, pod};
use serde_json::{Value, json};

use super::{DELTA, prepared};

#[tokio::test]
async fn a_template_with_a_wrong_annotation_says_so_on_what_makes_the_pods() -> Result<()> {
    let world = World::start().await?;
    prepared(&world, "team").await?;
    let wrong = pod("t").asks("basic", "much", DELTA);
    let right = pod("t").asks("basic", "0.25", DELTA);
    let job = |name: &str, template: Value| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "team"},
            "spec": {"template": template},
        })
    };
    let labels = json!({"app": "served"});
    let mut template = wrong.with("restartPolicy", json!("Always")).template();
    template["metadata"]["labels"] = labels.clone();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served", "namespace": "team"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    let wrong = pod("t").asks("basic", "much", DELTA);
    world
        .create_all([
            deployment,
            job("wrong", wrong.template()),
            job("right", right.template()),
        ])
        .await?;
    let words = ["privatekube.dev/epsilon: \"much\" is not a number", "like 0.5"];
    let told = world.event("team", "wrong", "FailedCreate").await?;
    ensure!(words.iter().all(|part| told.contains(part)), "{told}");
    world
        .wait(
            "team",
            "served",
            "failing to make its pods",
            |deployment: Option<&Deployment>| {
                let conditions =
                    deployment.and_then(|deployment| deployment.status.as_ref()?.conditions.as_ref());
                conditions.into_iter().flatten().any(|condition| {
                    condition.type_ == "ReplicaFailure"
                        && condition
                            .message
                            .as_ref()
                            .is_some_and(|told| told.contains(words[0]))
                })
            },
        )
        .await?;
    let sets = world
        .api::<ReplicaSet>("team")
        .list(&ListParams::default())
        .await?;
    let set = sets.items.first().context("no ReplicaSet")?.name_any();
    let told = world.event("team", &set, "FailedCreate").await?;
    ensure!(words.iter().all(|part| told.contains(part)), "{told}");
    // The right one's pod has a name that nobody wrote, and its budget is accounted for all the same.
    world
        .block_shows("team", "basic-day", ("9.75", "0", "0.25"))
        .await?;
    let pods = world.api::<Pod>("team").list(&ListParams::default()).await?;
    ensure!(
        pods.items.len() == 1 && pods.items[0].name_any().starts_with("right-"),
        "{pods:?}"
    );
    Ok(())
}
