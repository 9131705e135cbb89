//! What `kubectl logs` shows of pods on the fake nodes.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::time::Duration;

use common::{create, processes_naming, until, until_phase};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use privatekube_cluster::{AFTER_ANNOTATION, Cluster, Config, OUTCOME_ANNOTATION, RUN_ANNOTATION};
use serde_json::json;

/// A pod whose program is `script`.
fn program(name: &str, script: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": name, "annotations": {RUN_ANNOTATION: "true"}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "main", "image": "none", "command": ["sh", "-c", script]},
                {"name": "other", "image": "none"},
            ],
        },
    });
    serde_json::from_value(pod).unwrap()
}

#[tokio::test]
async fn the_log_of_a_program_is_what_it_writes_while_it_runs_and_afterwards() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script = format!(
        "echo one; echo two >&2; while [ ! -e {} ]; do sleep 0.05; done; printf three",
        go.display()
    );
    create(&client, &program("writes", &script)).await;
    until_phase(&client, "writes", "Running").await;
    // Without --follow, the log is what there is at the moment.
    until("the first two lines are in the log", async || {
        let log = cluster.kubectl(["logs", "writes", "-c", "main"]).await.unwrap();
        log.lines().count() == 2
    })
    .await;
    let follow = cluster.kubectl(["logs", "writes", "-c", "main", "--follow"]);
    let end = async {
        until("kubectl follows the log", async || {
            !processes_naming("logs writes -c main --follow").is_empty()
        })
        .await;
        std::fs::write(&go, "").unwrap();
    };
    let (followed, ()) = tokio::join!(follow, end);
    let mut lines: Vec<String> = followed.unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("three"));
    // They come by two pipes, in either order.
    lines.sort();
    assert_eq!(lines, ["one", "two"]);

    until_phase(&client, "writes", "Succeeded").await;
    let logs = async |options: &[&str]| {
        let arguments = ["logs", "writes", "-c", "main"].iter().chain(options);
        cluster.kubectl(arguments).await
    };
    assert_eq!(logs(&["--tail=1"]).await.unwrap(), "three");
    assert_eq!(logs(&["--tail=1", "--limit-bytes=2"]).await.unwrap(), "th");
    let dated = logs(&["--tail=1", "--timestamps"]).await.unwrap();
    let (at, line) = dated.split_once(' ').unwrap();
    assert!(
        at.parse::<jiff::Timestamp>().is_ok() && line == "three",
        "{dated}"
    );
    let future = logs(&["--since-time=2999-01-01T00:00:00Z"]).await.unwrap();
    assert_eq!(future, "");
    let previous = format!("{:#}", logs(&["--previous"]).await.unwrap_err());
    assert!(previous.contains("previous terminated container"), "{previous}");
    let other = cluster.kubectl(["logs", "writes", "-c", "other"]).await.unwrap();
    assert!(other.contains("container other only seems to run"), "{other}");
}

#[tokio::test]
async fn the_log_of_a_pod_without_program_says_what_becomes_of_it_and_ends_with_the_pod() {
    let cluster = Cluster::start(Config {
        pods_end_after: Some(Duration::from_secs(1)),
        ..Config::default()
    })
    .await
    .unwrap();
    let client = cluster.client().await.unwrap();
    create(&client, &common::pod("ends", None)).await;
    create(&client, &common::pod("runs", Some("run"))).await;
    until_phase(&client, "runs", "Running").await;
    let log = cluster
        .kubectl(["logs", "ends", "--follow", "--pod-running-timeout=60s"])
        .await;
    let log = log.unwrap_or_default();
    until_phase(&client, "ends", "Succeeded").await;
    let afterwards = cluster.kubectl(["logs", "ends"]).await.unwrap();
    assert!(log.is_empty() || log == afterwards, "{log}");
    assert!(
        afterwards.contains("The pod succeeds 1s after its start."),
        "{afterwards}"
    );
    for name in [RUN_ANNOTATION, OUTCOME_ANNOTATION, AFTER_ANNOTATION] {
        assert!(afterwards.contains(name), "{afterwards}");
    }
    let runs = cluster.kubectl(["logs", "runs"]).await.unwrap();
    assert!(runs.contains("The pod runs until it is deleted."), "{runs}");
    // There is no container for these, and they say so.
    let inside = format!(
        "{:#}",
        cluster.kubectl(["exec", "runs", "--", "ls"]).await.unwrap_err()
    );
    assert!(inside.contains("the nodes of this cluster are fake"), "{inside}");
}

#[tokio::test]
async fn the_program_of_a_deleted_pod_is_killed_with_all_that_it_started() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark").display().to_string();
    let script = format!("tail -f /dev/null {mark} & touch {mark}; wait");
    create(&client, &program("stays", &script)).await;
    until("the program runs", async || processes_naming(&mark).len() >= 2).await;
    cluster
        .kubectl(["delete", "pod", "stays", "--wait=false"])
        .await
        .unwrap();
    until("the program is gone", async || processes_naming(&mark).is_empty()).await;
}

#[tokio::test]
async fn nobody_but_the_api_server_is_answered_by_the_kubelet() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let port = cluster
        .kubectl([
            "get",
            "node",
            "node-0",
            "-o",
            "jsonpath={.status.daemonEndpoints.kubeletEndpoint.Port}",
        ])
        .await
        .unwrap();
    // With the cluster's authority and the administrator's token, and without a certificate.
    let read = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(read, &options)
        .await
        .unwrap();
    config.cluster_url = format!("https://127.0.0.1:{port}").parse().unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::get("/containerLogs/default/p/c")
        .body(Vec::new())
        .unwrap();
    let answer = client.request_text(request).await;
    let error = format!("{:?}", answer.unwrap_err());
    assert!(error.contains("CertificateRequired"), "{error}");
}
