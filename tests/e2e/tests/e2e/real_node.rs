//! Pods that PrivateKube binds run as containers of a real kubelet, with their grant; pods that wait don't.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Pod, ServiceAccount},
};
use kube::{ResourceExt, api::ListParams};
use privatekube_api::{ANNOTATION_GRANT, ClaimPhase, Grant};
use privatekube_cluster::{Config, RealNode, tests_run_real_nodes};
use privatekube_e2e::{PodBuilder, TestEnvironment, block, claim, dataset, pod};
use serde_json::{Value, json};

const NAMESPACE: &str = "real";
const DELTA: &str = "1e-9";

/// Prints the grant of the file, then the one of the variable, and nothing else.
const PROGRAM: &str = r#"cat /var/run/privatekube/grant.json && echo && echo "$PRIVATEKUBE_GRANT""#;

/// A pod that prints its grant.
fn reader(name: &str, epsilon: &str) -> PodBuilder {
    let container = json!({
        "name": "main", "image": "privatekube.dev/busybox:1", "command": ["sh", "-c", PROGRAM],
    });
    pod(name)
        .requests("taxi", epsilon, DELTA)
        .with("containers", json!([container]))
}

fn started(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let mut states = statuses
        .into_iter()
        .flatten()
        .filter_map(|status| status.state.as_ref());
    states.any(|state| state.running.is_some() || state.terminated.is_some())
}

/// Checks that the program of a pod that has ended found its grant, as the pod has it, in the file and the variable.
async fn check_log(env: &TestEnvironment, name: &str, epsilon: &str) -> Result<()> {
    let ended: Pod = env.api(NAMESPACE).get(name).await?;
    let node = ended.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(node == Some("real-node"), "{name} is on {node:?}");
    let log = env.cluster.kubectl(["logs", name, "-n", NAMESPACE]).await?;
    let lines: Vec<&str> = log.lines().collect();
    let [file, variable] = lines[..] else {
        anyhow::bail!("{name} printed {log:?}");
    };
    ensure!(file == variable, "{name}: file {file}, variable {variable}");
    let annotation = ended.annotations().get(ANNOTATION_GRANT).context("no grant")?;
    ensure!(file == annotation, "{name}: file {file}, annotation {annotation}");
    let grant: Grant = serde_json::from_str(file)?;
    let [granted] = grant.claims.as_slice() else {
        anyhow::bail!("{grant:?}");
    };
    ensure!(granted.block_count == 1, "{granted:?}");
    let requested = serde_json::to_value(&granted.requested)?;
    ensure!(
        requested == json!({"epsilon": epsilon, "delta": DELTA}),
        "{requested}"
    );
    Ok(())
}

fn job(template: &Value) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "nightly", "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": template},
    })
}

#[tokio::test]
async fn containers_have_their_grant_and_waiting_pods_have_no_containers() -> Result<()> {
    if !tests_run_real_nodes()? {
        return Ok(());
    }
    let env = TestEnvironment::start_with(Config {
        real_node: Some(RealNode::default()),
        ..Config::default()
    })
    .await?;
    env.namespace(NAMESPACE).await?;
    // Without it the API server takes no pods.
    env.wait(
        NAMESPACE,
        "default",
        "there",
        |account: Option<&ServiceAccount>| account.is_some(),
    )
    .await?;
    // Each of 10 arrivals unlocks epsilon 1.
    env.create(dataset("taxi").arrivals(10).within(NAMESPACE)).await?;
    env.create(block("taxi", "day").within(NAMESPACE)).await?;

    env.create(reader("reads", "0.5").within(NAMESPACE)).await?;
    env.wait_for_pod_phase(NAMESPACE, "reads", "Succeeded").await?;
    check_log(&env, "reads", "0.5").await?;

    env.create(reader("waits", "5").within(NAMESPACE)).await?;
    env.wait_for_pod_claim_phase(NAMESPACE, "waits", ClaimPhase::Waiting)
        .await?;

    env.create(job(&reader("nightly", "0.25").template())).await?;
    let complete = |job: Option<&Job>| {
        let conditions = job.and_then(|job| job.status.as_ref()?.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|one| one.type_ == "Complete" && one.status == "True")
    };
    env.wait(NAMESPACE, "nightly", "complete", complete).await?;
    let of_job = ListParams::default().labels("batch.kubernetes.io/job-name=nightly");
    let pods = env.api::<Pod>(NAMESPACE).list(&of_job).await?;
    ensure!(pods.items.len() == 1, "{} pods", pods.items.len());
    for pod in &pods {
        check_log(&env, &pod.name_any(), "0.25").await?;
    }

    // The kubelet has run a pod since, and this one has nothing of it.
    let waits: Pod = env.api(NAMESPACE).get("waits").await?;
    let node = waits.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(node.is_none() && !started(&waits), "{:?}", waits.status);
    let refused = env.cluster.kubectl(["logs", "waits", "-n", NAMESPACE]).await;
    ensure!(refused.is_ok_and(|log| log.is_empty()), "it has a log");

    // More arrivals unlock what it waits for.
    for number in 0..4 {
        let arrival = claim("taxi", &format!("arrival-{number}")).epsilon("0.01", DELTA);
        env.create(arrival.within(NAMESPACE)).await?;
    }
    env.wait_for_pod_phase(NAMESPACE, "waits", "Succeeded").await?;
    check_log(&env, "waits", "5").await
}
