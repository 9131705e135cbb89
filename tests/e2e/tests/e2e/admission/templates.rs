//! Invalid annotations in pod templates.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{ResourceExt, api::ListParams};
use privatekube_e2e::{TestEnvironment, pod};
use serde_json::{Value, json};

use super::{DELTA, prepare};

#[tokio::test]
async fn an_invalid_annotation_in_a_pod_template_is_reported_on_the_controller_object() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let wrong = pod("t").requests("basic", "much", DELTA);
    let right = pod("t").requests("basic", "0.25", DELTA);
    let job = |name: &str, template: Value| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "team"},
            "spec": {"template": template},
        })
    };
    let labels = json!({"app": "served"});
    // The pods of a Deployment can't have another policy.
    let served = wrong.annotation("restarts", "free");
    let mut template = served.with("restartPolicy", json!("Always")).template();
    template["metadata"]["labels"] = labels.clone();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "served", "namespace": "team"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    let wrong = pod("t").requests("basic", "much", DELTA);
    env.create_all([
        deployment,
        job("wrong", wrong.template()),
        job("right", right.template()),
    ])
    .await?;
    let words = ["privatekube.dev/epsilon: \"much\" is not a number", "like 0.5"];
    let message = env.wait_for_event("team", "wrong", "FailedCreate").await?;
    ensure!(words.iter().all(|part| message.contains(part)), "{message}");
    env.wait(
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
                        .is_some_and(|message| message.contains(words[0]))
            })
        },
    )
    .await?;
    let sets = env.api::<ReplicaSet>("team").list(&ListParams::default()).await?;
    let set = sets.items.first().context("no ReplicaSet")?.name_any();
    let message = env.wait_for_event("team", &set, "FailedCreate").await?;
    ensure!(words.iter().all(|part| message.contains(part)), "{message}");
    // The pod of the valid Job has a generated name, and its budget is consumed all the same.
    env.wait_for_block_budget("team", "basic-day", ("9.75", "0", "0.25"))
        .await?;
    let pods = env.api::<Pod>("team").list(&ListParams::default()).await?;
    ensure!(
        pods.items.len() == 1 && pods.items[0].name_any().starts_with("right-"),
        "{pods:?}"
    );
    Ok(())
}
