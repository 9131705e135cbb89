//! Attempts to bypass the budget by changing a pod.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim};
use privatekube_cluster::User;
use privatekube_e2e::{
    PodBuilder, TestEnvironment, block, claim, create_as, dataset, pod, pod_claim_name, refused,
};
use serde_json::{Value, json};

use super::{DELTA, allocate_nine, pods, prepare, remove_gate, users};

#[tokio::test]
async fn a_pod_whose_gate_a_user_removed_waits_and_runs_once_it_is_granted() -> Result<()> {
    let env = TestEnvironment::start().await?;
    let tenant = env.client_as(User::Tenant).await?;
    // Budget becomes available by a release in one namespace, and by unlocking in the other.
    prepare(&env, "released").await?;
    allocate_nine(&env, "released").await?;
    env.namespace("unlocked").await?;
    let (data, portion) = (dataset("taxi").arrivals(2), block("taxi", "b1"));
    env.create_all([data.within("unlocked"), portion.within("unlocked")])
        .await?;
    for namespace in ["released", "unlocked"] {
        create_as(
            &tenant,
            pod("eager").requests("taxi", "6", DELTA).within(namespace),
        )
        .await?;
        env.wait_for_pod_claim_phase(namespace, "eager", ClaimPhase::Waiting)
            .await?;
        remove_gate(&tenant, namespace, "eager").await?;
        let pod: Pod = env.api(namespace).get("eager").await?;
        let expected = format!(
            "privacy budget claim {namespace}/{} waits for privacy budget",
            pod_claim_name(&pod)
        );
        env.wait_until_unschedulable(namespace, "eager", &expected)
            .await?;
    }

    let release = json!({"spec": {"release": {"all": true}}});
    env.change::<PrivacyBudgetClaim>("released", "holder", release)
        .await?;
    env.create(claim("taxi", "second").epsilon("0.5", DELTA).within("unlocked"))
        .await?;
    for namespace in ["released", "unlocked"] {
        env.wait_for_pod_phase(namespace, "eager", "Running").await?;
        env.wait_for_block_budget(
            namespace,
            "b1",
            if namespace == "released" {
                ("4", "0", "6")
            } else {
                ("3.5", "0.5", "6")
            },
        )
        .await?;
    }
    ensure!(
        env.scheduled_after_flush().await? < 1.0,
        "the pods were only found by the scheduler's flush"
    );
    Ok(())
}

/// Merge patches that change a pod's request or grant. Each must be refused.
fn changes_of_metadata() -> Vec<(Value, &'static str)> {
    let annotations = |changed: Value| json!({"metadata": {"annotations": changed}});
    let labels = |changed: Value| json!({"metadata": {"labels": changed}});
    let annotation = "annotations that begin with privatekube.dev/ are what";
    let label = "the label privatekube.dev/managed says that";
    vec![
        (annotations(json!({"privatekube.dev/epsilon": "0.1"})), annotation),
        (annotations(json!({"privatekube.dev/epsilon": "9.0"})), annotation),
        (annotations(json!({"privatekube.dev/delta": null})), annotation),
        (
            annotations(json!({"privatekube.dev/priority": "1000"})),
            annotation,
        ),
        (
            annotations(json!({"privatekube.dev/grant": "{\"claims\":[]}"})),
            annotation,
        ),
        (annotations(Value::Null), annotation),
        (labels(json!({"privatekube.dev/managed": null})), label),
        (labels(json!({"privatekube.dev/managed": "false"})), label),
        (labels(Value::Null), label),
    ]
}

#[tokio::test]
async fn a_pods_request_and_grant_cannot_be_changed() -> Result<()> {
    let env = TestEnvironment::start().await?;
    prepare(&env, "team").await?;
    allocate_nine(&env, "team").await?;
    let asked: PodBuilder = pod("train").requests("taxi", "9", DELTA);
    env.create(asked.within("team")).await?;
    env.create(pod("runs").requests("taxi", "1", DELTA).within("team"))
        .await?;
    env.create(pod("plain").within("team")).await?;
    env.wait_for_pod_phase("team", "runs", "Running").await?;
    env.wait_for_pod_phase("team", "plain", "Running").await?;
    let before = env.pods("team").await?;
    let grant = before["runs"]
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get("privatekube.dev/grant"));
    ensure!(grant.is_some_and(|grant| grant.contains("b1")), "{grant:?}");

    for (user, client) in users(&env).await? {
        let api = pods(&client, "team");
        for (patch, words) in changes_of_metadata() {
            for name in ["train", "runs"] {
                let context = format!("{user:?}: {name}: {patch}");
                let answer = api
                    .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await;
                refused(answer, &[words]).context(context)?;
            }
        }
        // A pod without a claim can't be changed to look like a granted one.
        for patch in [
            json!({"metadata": {"annotations": {"privatekube.dev/grant": "{}"}}}),
            json!({"metadata": {"annotations": {"privatekube.dev/dataset": "taxi"}}}),
            json!({"metadata": {"labels": {"privatekube.dev/managed": "true"}}}),
        ] {
            let answer = api
                .patch("plain", &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            refused(answer, &["privatekube.dev/"]).with_context(|| format!("{user:?}: {patch}"))?;
        }
        // A container that a user can change is another program.
        for name in ["train", "runs"] {
            let patch = json!({"spec": {"containers": [{"name": "main", "image": "other:1"}]}});
            let answer = api
                .patch(name, &PatchParams::default(), &Patch::Strategic(&patch))
                .await;
            refused(answer, &["asked for its images, which never change"])
                .with_context(|| format!("{user:?}: {name}"))?;
        }
        // Annotations of other domains can be changed.
        let patch = json!({"metadata": {"annotations": {"example.org/note": "x"}}});
        api.patch("train", &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        let probe = json!({"spec": {"ephemeralContainers": [{"name": "probe", "image": "probe:1"}]},
            "metadata": {"annotations": {"privatekube.dev/epsilon": "0.1"}}});
        // Users with the right may add a container to a running pod, but the patch changes nothing else.
        let answer = api
            .patch_ephemeral_containers("runs", &PatchParams::default(), &Patch::Strategic(&probe))
            .await;
        if user == User::Tenant {
            refused(answer, &["cannot patch resource"])?;
        } else {
            ensure!(answer?.metadata.annotations == before["runs"].metadata.annotations);
        }
    }
    // A write of the pod's status, as by kubelets, can't change them either.
    for (patch, words) in changes_of_metadata() {
        let answer = pods(&env.client, "team")
            .patch_status("train", &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        refused(answer, &[words]).with_context(|| format!("status: {patch}"))?;
    }
    let after = env.pods("team").await?;
    for (name, pod) in before {
        let ours = |pod: &Pod| {
            let all = pod.metadata.annotations.clone().unwrap_or_default();
            let ours = all
                .into_iter()
                .filter(|(key, _)| key.starts_with("privatekube.dev/"));
            (ours.collect::<Vec<_>>(), pod.metadata.labels.clone())
        };
        ensure!(
            ours(&pod) == ours(&after[&name]),
            "{name} was {pod:?}, is {:?}",
            after[&name]
        );
    }
    // Kubernetes itself doesn't let a gate be added to a running pod.
    let gates = json!({"spec": {"schedulingGates": [{"name": "privatekube.dev/budget"}]}});
    let answer = pods(&env.client, "team")
        .patch("runs", &PatchParams::default(), &Patch::Merge(&gates))
        .await;
    refused(answer, &["schedulingGates"])?;
    Ok(())
}
