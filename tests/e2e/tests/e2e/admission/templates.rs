//! Requests in the pod templates of workloads: what is wrong is refused where it is applied, and on the pods.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    batch::v1::Job,
    core::v1::Pod,
};
use kube::{ResourceExt, api::ListParams};
use privatekube_api::PrivateDataset;
use privatekube_cluster::User;
use privatekube_e2e::{TestEnvironment, create_as, pod, refused};
use serde_json::{Value, json};

use super::{DELTA, prepare};

/// A workload in namespace `team` with this spec.
fn workload(api: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "team"}, "spec": spec})
}

/// A Deployment, a StatefulSet, a DaemonSet and a ReplicaSet of pods that are restarted, a Job and a CronJob, each with the
/// path of its template. `annotations` are those of the template.
fn workloads(annotations: &[(&str, &str)]) -> Vec<(&'static str, Value)> {
    let labels = json!({"app": "served"});
    let annotated = annotations
        .iter()
        .fold(pod("t"), |pod, (name, value)| pod.annotation(name, value));
    let once = annotated.clone().template();
    let mut served = annotated.with("restartPolicy", json!("Always")).template();
    served["metadata"]["labels"] = labels.clone();
    let mut all: Vec<(&str, Value)> = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]
        .into_iter()
        .map(|kind| {
            let spec =
                json!({"selector": {"matchLabels": labels}, "serviceName": "served", "template": served});
            let mut object = workload("apps/v1", kind, "w", &spec);
            if kind != "StatefulSet" {
                object["spec"]
                    .as_object_mut()
                    .map(|spec| spec.remove("serviceName"));
            }
            ("spec.template", object)
        })
        .collect();
    all.push((
        "spec.template",
        workload("batch/v1", "Job", "w", &json!({"template": once})),
    ));
    let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": once}}});
    all.push((
        "spec.jobTemplate.spec.template",
        workload("batch/v1", "CronJob", "w", &spec),
    ));
    all
}

#[tokio::test]
async fn a_workload_whose_pods_would_be_refused_or_run_uncharged_is_refused() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let tenant = env.client_as(User::Tenant).await?;
    let free = ("restarts", "free");
    for (path, object) in workloads(&[("dataset", "basic"), ("epsilon", "much"), ("delta", DELTA), free]) {
        let words = [
            path,
            "privatekube.dev/epsilon: \"much\" is not a number",
            "like 0.5",
        ];
        refused(create_as(&tenant, object.clone()).await, &words).with_context(|| object.to_string())?;
    }
    for (path, object) in workloads(&[("PrivateKube.dev/dataset", "basic")]) {
        let words = [path, "did you mean privatekube.dev/dataset?"];
        refused(create_as(&tenant, object.clone()).await, &words).with_context(|| object.to_string())?;
    }
    for (_, object) in workloads(&[]) {
        for (list, key) in [
            ("annotations", "privatekube.dev/dataset"),
            ("annotations", "PrivateKube.dev/dataset"),
            ("labels", "privatekube.dev/dataset"),
        ] {
            let mut object = object.clone();
            object["metadata"][list][key] = json!("basic");
            let words = [key, "nothing is requested here"];
            refused(create_as(&tenant, object.clone()).await, &words).with_context(|| object.to_string())?;
        }
        create_as(&tenant, object).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_pods_only_later_is_reported_on_the_controller_object() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    let asking = pod("t").requests("basic", "0.25", DELTA);
    let job = |name: &str, suspend: bool| {
        let spec = json!({"template": asking.template(), "suspend": suspend});
        workload("batch/v1", "Job", name, &spec)
    };
    let labels = json!({"app": "served"});
    // The pods of a Deployment can't have another policy.
    let served = asking.clone().annotation("restarts", "free");
    let mut template = served.with("restartPolicy", json!("Always")).template();
    template["metadata"]["labels"] = labels.clone();
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    let deployment = workload("apps/v1", "Deployment", "served", &spec);
    env.create_all([deployment, job("wrong", true), job("right", false)])
        .await?;
    // The pod of the valid Job has a generated name, and its budget is consumed all the same.
    env.wait_for_block_budget("team", "basic-day", ("9.75", "0", "0.25"))
        .await?;

    let closed = json!({"spec": {"claimants": {"from": "Selected", "namespaces": ["other"]}}});
    env.change::<PrivateDataset>("team", "basic", closed).await?;
    env.change::<Job>("team", "wrong", json!({"spec": {"suspend": false}}))
        .await?;
    env.change::<Deployment>("team", "served", json!({"spec": {"replicas": 1}}))
        .await?;
    let words = ["annotation privatekube.dev/dataset: dataset team/basic isn't open"];
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
    let pods = env.api::<Pod>("team").list(&ListParams::default()).await?;
    ensure!(
        pods.items.len() == 1 && pods.items[0].name_any().starts_with("right-"),
        "{pods:?}"
    );
    Ok(())
}
