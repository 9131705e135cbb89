//! Pods on the fake nodes, scheduled by the real scheduler.

mod common;

use std::time::Instant;

use common::{DEADLINE, create, phase, pod, until, until_phase};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions::is_deleted};
use privatekube_cluster::{AFTER_ANNOTATION, Cluster, Config, OUTCOME_ANNOTATION, RUN_ANNOTATION};
use serde_json::json;

#[tokio::test]
async fn two_clusters_run_side_by_side_and_their_pods_end_as_annotated() {
    let (one, two) = tokio::try_join!(
        Cluster::start(Config::default()),
        Cluster::start(Config {
            nodes: 1,
            ..Config::default()
        })
    )
    .unwrap();
    assert_ne!(one.description().api_server, two.description().api_server);
    for (cluster, nodes) in [(&one, 3), (&two, 1)] {
        let client = cluster.client().await.unwrap();
        let listed = Api::<Node>::all(client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        assert_eq!(listed.items.len(), nodes);
        create(&client, &pod("runs", None)).await;
        create(&client, &pod("succeeds", Some("succeed"))).await;
        create(&client, &pod("fails", Some("fail"))).await;
        let running = until_phase(&client, "runs", "Running").await;
        let ready = running.status.unwrap().conditions.unwrap();
        for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
            assert!(
                ready
                    .iter()
                    .any(|condition| condition.type_ == kind && condition.status == "True"),
                "{kind}"
            );
        }
        for (name, ended, code) in [("succeeds", "Succeeded", 0), ("fails", "Failed", 1)] {
            let status = until_phase(&client, name, ended).await.status.unwrap();
            let state = status.container_statuses.unwrap().remove(0).state.unwrap();
            assert_eq!(state.terminated.unwrap().exit_code, code);
        }
    }
    let dirs = [&one, &two].map(|cluster| cluster.description().dir.clone());
    drop((one, two));
    for dir in dirs {
        assert_eq!(common::processes_naming(dir.to_str().unwrap()), []);
        assert!(!dir.exists(), "{} is still there", dir.display());
    }
}

#[tokio::test]
async fn a_deleted_pod_is_removed_and_a_new_pod_of_the_same_name_runs() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let first = create(&client, &pod("again", None)).await.metadata.uid.unwrap();
    until_phase(&client, "again", "Running").await;
    pods.delete("again", &DeleteParams::default()).await.unwrap();
    let gone = await_condition(pods.clone(), "again", is_deleted(&first));
    tokio::time::timeout(DEADLINE, gone)
        .await
        .expect("the pod never went")
        .unwrap();
    let second = create(&client, &pod("again", None)).await.metadata.uid.unwrap();
    let running = until_phase(&client, "again", "Running").await;
    assert_eq!(running.metadata.uid, Some(second));
}

#[tokio::test]
async fn a_pods_end_can_be_delayed_or_annotated_later_and_a_pod_that_always_restarts_never_ends() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");

    let mut delayed = pod("delayed", Some("succeed"));
    delayed
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(AFTER_ANNOTATION.to_owned(), "2s".to_owned());
    create(&client, &delayed).await;
    let mut always = pod("always", Some("succeed"));
    always.spec.as_mut().unwrap().restart_policy = Some("Always".to_owned());
    create(&client, &always).await;
    create(&client, &pod("told-later", None)).await;

    until_phase(&client, "told-later", "Running").await;
    let annotation = json!({"metadata": {"annotations": {OUTCOME_ANNOTATION: "fail"}}});
    pods.patch("told-later", &PatchParams::default(), &Patch::Merge(&annotation))
        .await
        .unwrap();
    until_phase(&client, "told-later", "Failed").await;

    let status = until_phase(&client, "delayed", "Succeeded").await.status.unwrap();
    let terminated = status
        .container_statuses
        .unwrap()
        .remove(0)
        .state
        .unwrap()
        .terminated
        .unwrap();
    let lived = terminated
        .finished_at
        .unwrap()
        .0
        .duration_since(terminated.started_at.unwrap().0);
    assert!(lived.as_secs() >= 1, "the pod lived {lived:#}");
    // By now it has run longer than the others did.
    assert_eq!(phase(&pods.get("always").await.unwrap()), "Running");
}

#[tokio::test]
async fn three_hundred_pods_run_and_are_removed() {
    const COUNT: usize = 300;
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let names: Vec<String> = (0..COUNT).map(|number| format!("pod-{number}")).collect();
    let begun = Instant::now();
    futures::future::join_all(
        names
            .iter()
            .map(|name| async { create(&client, &pod(name, None)).await }),
    )
    .await;
    let created = begun.elapsed();
    let running = ListParams::default().fields("status.phase=Running");
    until("all pods run", async || {
        pods.list_metadata(&running).await.unwrap().items.len() == COUNT
    })
    .await;
    let ran = begun.elapsed();
    pods.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    until("all pods are gone", async || {
        pods.list_metadata(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    })
    .await;
    println!(
        "{COUNT} pods: created after {created:.1?}, running after {ran:.1?}, gone after {:.1?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_failed_job_is_retried_by_the_job_controller() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let jobs: Api<Job> = Api::namespaced(client.clone(), "default");
    let job = json!({
        "metadata": {"name": "train"},
        "spec": {"backoffLimit": 1, "template": {
            "metadata": {"annotations": {OUTCOME_ANNOTATION: "fail"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
        }},
    });
    jobs.create(&PostParams::default(), &serde_json::from_value(job).unwrap())
        .await
        .unwrap();
    let failed = await_condition(jobs, "train", |job: Option<&Job>| {
        let conditions = job
            .and_then(|job| job.status.as_ref())
            .and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter()
                .any(|each| each.type_ == "Failed" && each.status == "True")
        })
    });
    let job = tokio::time::timeout(DEADLINE, failed)
        .await
        .expect("the job never failed")
        .unwrap()
        .unwrap();
    assert_eq!(job.status.unwrap().failed, Some(2));
    let pods: Api<Pod> = Api::namespaced(client, "default");
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn a_pods_program_runs_with_the_environment_and_the_files_that_the_pod_has() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    let program = |name: &str, script: &str, env: &serde_json::Value| -> Pod {
        let field = json!({"fieldPath": "metadata.annotations['example.com/words']"});
        let pod = json!({
            "metadata": {
                "name": name,
                "annotations": {RUN_ANNOTATION: "true", "example.com/words": "some words"},
            },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "main",
                    "image": "none",
                    "command": ["sh", "-c", script],
                    "env": [{"name": "WORDS", "valueFrom": {"fieldRef": field}}, env],
                    "volumeMounts": [{"name": "words", "mountPath": "/var/run/words"}],
                }],
                "volumes": [{
                    "name": "words",
                    "downwardAPI": {"items": [{"path": "file", "fieldRef": field}]},
                }],
            },
        });
        serde_json::from_value(pod).unwrap()
    };
    let script = r#"echo "$WORDS, $OWN"; cat "$FAKE_KUBELET_ROOT/var/run/words/file""#;
    let own = json!({"name": "OWN", "value": "own"});
    create(&client, &program("reads", script, &own)).await;
    create(&client, &program("fails", "echo no >&2; exit 3", &own)).await;
    // Linux starts no program with such a string.
    let long = json!({"name": "LONG", "value": "x".repeat(128 << 10)});
    create(&client, &program("too-long", script, &long)).await;
    for (name, phase, says) in [
        ("reads", "Succeeded", "some words, own\nsome words"),
        ("fails", "Failed", "no\n"),
        ("too-long", "Failed", "Argument list too long"),
    ] {
        let status = until_phase(&client, name, phase).await.status.unwrap();
        let state = status.container_statuses.unwrap().remove(0).state.unwrap();
        let message = state.terminated.unwrap().message.unwrap();
        assert!(message.contains(says), "{name}: {message}");
    }
}
