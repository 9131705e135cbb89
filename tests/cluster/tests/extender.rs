//! The extender in a cluster. A stand-in plays it, which only creates certificates and reports that it is
//! ready.

mod common;

use std::fs;
use std::time::Duration;

use common::{create, fake_extender, pod, processes_naming, until, until_phase};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use privatekube_cluster::{Cluster, Config, ExtenderOptions, Part};

#[tokio::test]
async fn the_scheduler_calls_the_extender_for_pods_of_its_resource_only() {
    let config = Config {
        extender: true,
        extender_bin: Some(fake_extender()),
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let client = cluster.client().await.unwrap();
    let mut private = pod("private", None);
    let container = &mut private.spec.as_mut().unwrap().containers[0];
    let resource = (
        "privatekube.dev/privacy-budget".to_owned(),
        Quantity("1".to_owned()),
    );
    let resources = container.resources.get_or_insert_default();
    resources.requests = Some([resource.clone()].into());
    resources.limits = Some([resource].into());
    create(&client, &private).await;
    create(&client, &pod("plain", None)).await;
    until_phase(&client, "plain", "Running").await;
    // Nothing listens at the extender's address, and the scheduler must not place the pod without it.
    let port = cluster.description().extender_ports.scheduler;
    until("the scheduler says why the pod waits", async || {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let pod = pods.get("private").await.unwrap();
        assert_eq!(pod.spec.unwrap().node_name, None);
        let conditions = pod
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        conditions
            .iter()
            .filter_map(|each| each.message.as_ref())
            .any(|text| text.contains(&format!(":{port}/")))
    })
    .await;
}

#[tokio::test]
async fn an_extender_of_a_test_can_be_killed_and_started_again() {
    let cluster = Cluster::start(Config {
        extender_bin: Some(fake_extender()),
        nodes: 1,
        ..Config::default()
    })
    .await
    .unwrap();
    let extender = cluster.start_extender().await.unwrap();
    let first = extender.pid();
    extender.kill().await.unwrap();
    let options = ExtenderOptions {
        arguments: vec!["--more".into()],
        environment: vec![("FAKE_EXTENDER_SAYS".into(), "hello from the environment".into())],
        ..ExtenderOptions::default()
    };
    let extender = cluster.start_extender_without_waiting(&options).await.unwrap();
    extender.wait_ready().await.unwrap();
    assert_ne!(extender.pid(), first);
    let log = fs::read_to_string(extender.log()).unwrap();
    assert_eq!(log.matches("fake extender started").count(), 2, "{log}");
    assert!(
        log.contains("--more") && log.contains("hello from the environment"),
        "{log}"
    );
    assert!(extender.stop().await.unwrap().is_some());

    let options = ExtenderOptions {
        arguments: vec!["--fail".into()],
        ..ExtenderOptions::default()
    };
    let error = cluster
        .start_extender_with(&options)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the extender ended (exit status: 4)") && error.contains("told to fail"),
        "{error}"
    );

    let extender = cluster.start_extender().await.unwrap();
    let dir = cluster.description().tls_dir.clone();
    assert!(!processes_naming(dir.to_str().unwrap()).is_empty());
    drop(extender);
    assert_eq!(processes_naming(dir.to_str().unwrap()), []);
}

#[test]
fn an_extender_outlives_the_thread_that_started_it() {
    // The kernel ties a process to a thread, not to a process: see `process`.
    let (cluster, extender) = std::thread::spawn(|| {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let config = Config {
                extender_bin: Some(fake_extender()),
                nodes: 1,
                ..Config::default()
            };
            let cluster = Cluster::start(config).await.unwrap();
            let extender = cluster.start_extender().await.unwrap();
            (cluster, extender)
        })
    })
    .join()
    .unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let ended = tokio::time::timeout(Duration::from_millis(500), extender.ended()).await;
        assert!(ended.is_err(), "the extender ended with its thread: {ended:?}");
        extender.wait_ready().await.unwrap();
        assert_eq!(cluster.kubectl(["get", "--raw", "/readyz"]).await.unwrap(), "ok");
    });
}

#[tokio::test]
async fn with_privatekube_the_manifests_are_applied_and_the_extender_runs() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = dir.path().join("base");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("kustomization.yaml"), "resources: [all.yaml]\n").unwrap();
    // A custom resource and its definition, which must be established before the resource can be applied.
    let all = r"
apiVersion: v1
kind: Namespace
metadata: {name: privatekube-system}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: one, namespace: default}
";
    fs::write(manifests.join("all.yaml"), all).unwrap();
    let config = Config {
        with_privatekube: true,
        extender_bin: Some(fake_extender()),
        manifests: Some(manifests),
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    assert_eq!(
        cluster.kubectl(["get", "things", "-o", "name"]).await.unwrap(),
        "thing.example.com/one\n"
    );
    assert!(cluster.tail(Part::Extender).contains("fake extender started"));
    cluster.kill_part(Part::Extender).await.unwrap();
    cluster.start_part(Part::Extender).await.unwrap();
}
