//! What pods that request nothing notice of the admission policies and webhooks.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use privatekube_cluster::User;
use privatekube_e2e::{PodBuilder, TestEnvironment, create_as, pod, refused};
use serde_json::{Value, json};

use super::{DELTA, prepare};

/// A pod in the namespace `team` with so many annotations that aren't ours that an expression which looks at each of them in
/// an update exceeds what the API server lets an expression cost.
fn with_many_annotations(pod: &PodBuilder) -> Value {
    let mut pod = pod.within("team");
    for number in 0..40_000 {
        pod["metadata"]["annotations"][format!("a{number:x}")] = json!("");
    }
    pod
}

#[tokio::test]
async fn a_pod_with_very_many_annotations_can_be_created_changed_and_run() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let tenant = env.client_as(User::Tenant).await?;
    let plain = with_many_annotations(&pod("plain"));
    let managed = with_many_annotations(&pod("managed").requests("basic", "1", DELTA));
    for (name, pod) in [("plain", plain), ("managed", managed)] {
        create_as(&tenant, pod).await.context(name)?;
        // The scheduler and the kubelet write its status on the way.
        env.wait_for_pod_phase("team", name, "Running").await?;
        let patch = json!({"metadata": {"annotations": {"a0": "changed"}}});
        env.change::<Pod>("team", name, patch).await.context(name)?;
        let patch = json!({"status": {"message": "changed"}});
        env.api::<Pod>("team")
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context(name)?;
        for key in ["privatekube.dev/epsilon", "privatekube.dev/grant"] {
            let patch = json!({"metadata": {"annotations": {key: "0.5"}}});
            refused(
                env.change::<Pod>("team", name, patch).await,
                &["annotations that begin with privatekube.dev/"],
            )?;
        }
    }
    for key in [
        "datasets",
        "PrivateKube.dev/dataset",
        "private\u{212a}ube.dev/dataset",
        "pr\u{130}vatekube.dev/dataset",
    ] {
        let misspelt = with_many_annotations(&pod("misspelt").annotation(key, "basic"));
        refused(
            create_as(&tenant, misspelt).await,
            &["did you mean privatekube.dev/dataset?"],
        )
        .context(key)?;
    }
    Ok(())
}

/// How often the API server has evaluated match conditions of ours, by policy or webhook and operation.
async fn evaluations(env: &TestEnvironment) -> Result<BTreeMap<String, u32>> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = env.client.request_text(request).await?;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("apiserver_admission_match_condition_evaluation_seconds_count{")
        else {
            continue;
        };
        let (labels, count) = rest.rsplit_once("} ").context("a series without a value")?;
        let label = |name: &str| {
            let value = labels.split(&format!("{name}=\"")).nth(1);
            value
                .and_then(|value| value.split('"').next())
                .unwrap_or_default()
        };
        if label("name").contains("privatekube") {
            found.insert(
                format!("{} {}", label("operation"), label("name")),
                count.parse()?,
            );
        }
    }
    Ok(found)
}

/// The kubelet writes a pod's status several times. What the API server evaluates for each write is paid by every pod.
#[tokio::test]
async fn nothing_is_evaluated_when_the_status_of_a_plain_pod_is_written() -> Result<()> {
    let env = TestEnvironment::start().await?;
    env.namespace("team").await?;
    let before = evaluations(&env).await?;
    env.create(pod("plain").within("team")).await?;
    env.wait_for_pod_phase("team", "plain", "Running").await?;
    env.delete::<Pod>("team", "plain").await?;
    env.wait("team", "plain", "gone", |pod: Option<&Pod>| pod.is_none())
        .await?;
    let after = evaluations(&env).await?;
    let pods_only = |(name, count): (&String, &u32)| {
        let more = count - before.get(name).copied().unwrap_or_default();
        (more > 0 && name.contains("pods") || name.contains("bindings")).then_some((name.clone(), more))
    };
    let mut grown: BTreeMap<String, u32> = after.iter().filter_map(pods_only).collect();
    // By the user, and by the kubelet when the containers have ended, perhaps more than once.
    ensure!(grown.remove("DELETE privatekube-other-pods").is_some());
    let once = [
        "CREATE bindings.privatekube.dev",
        "CREATE pods.privatekube.dev",
        "CREATE privatekube-bindings",
        "CREATE privatekube-pods",
    ];
    let expected: BTreeMap<String, u32> = once.map(|name| (name.to_owned(), 1)).into();
    ensure!(grown == expected, "{grown:?}");
    Ok(())
}
