//! What a test can do with a cluster: stop and start parts, act as other users, read the scheduler's metrics.

mod common;

use common::{create, pod, until, until_phase};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, PostParams};
use privatekube_cluster::{Cluster, Config, Part, User};

#[tokio::test]
async fn schedulers_can_be_stopped_and_started() {
    let cluster = Cluster::start(Config::default()).await.unwrap();
    let client = cluster.client().await.unwrap();
    create(&client, &pod("before", None)).await;
    until_phase(&client, "before", "Running").await;
    let attempts = cluster
        .scheduler_metric("scheduler_schedule_attempts_total")
        .await
        .unwrap();
    assert!(attempts >= 1.0, "{attempts}");
    assert!(
        cluster
            .scheduler_metric("scheduler_no_such_metric")
            .await
            .is_err()
    );

    cluster.stop_scheduler().await.unwrap();
    assert!(
        cluster
            .stop_scheduler()
            .await
            .unwrap_err()
            .to_string()
            .contains("is not running")
    );
    create(&client, &pod("waits", None)).await;
    let mut other = pod("other", None);
    other.spec.as_mut().unwrap().scheduler_name = Some("mine".to_owned());
    create(&client, &other).await;
    cluster.start_second_scheduler("mine").await.unwrap();
    until_phase(&client, "other", "Running").await;
    let waits = Api::<Pod>::namespaced(client.clone(), "default")
        .get("waits")
        .await
        .unwrap();
    assert_eq!(waits.spec.unwrap().node_name, None);

    cluster.start_scheduler(false).await.unwrap();
    until_phase(&client, "waits", "Running").await;
    cluster.stop_part(Part::SecondScheduler).await.unwrap();
    assert!(
        cluster
            .logs()
            .iter()
            .any(|log| log.ends_with("second-scheduler.log"))
    );
}

#[tokio::test]
async fn killed_parts_restart_at_the_same_ports_with_their_data() {
    let cluster = Cluster::start(Config {
        durable: true,
        ..Config::default()
    })
    .await
    .unwrap();
    let client = cluster.client().await.unwrap();
    create(&client, &pod("before", None)).await;
    until_phase(&client, "before", "Running").await;
    cluster.kill_part(Part::KubeApiserver).await.unwrap();
    cluster.kill_part(Part::Etcd).await.unwrap();
    assert!(client.apiserver_version().await.is_err());
    cluster.start_part(Part::Etcd).await.unwrap();
    cluster.start_part(Part::KubeApiserver).await.unwrap();
    until("the pod is known", async || {
        Api::<Pod>::namespaced(client.clone(), "default")
            .get("before")
            .await
            .is_ok()
    })
    .await;
    create(&client, &pod("after", Some("succeed"))).await;
    until_phase(&client, "after", "Succeeded").await;
}

#[tokio::test]
async fn users_have_the_rights_of_their_roles_and_no_others() {
    let cluster = Cluster::start(Config {
        nodes: 1,
        ..Config::default()
    })
    .await
    .unwrap();
    let tenant = cluster.client_as(User::Tenant).await.unwrap();
    create(&tenant, &pod("mine", None)).await;
    let forbidden = |error: kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(tenant);
    assert!(forbidden(nodes.list(&ListParams::default()).await.unwrap_err()));

    let second: Api<Pod> = Api::default_namespaced(cluster.client_as(User::SecondScheduler).await.unwrap());
    second.list(&ListParams::default()).await.unwrap();
    assert!(forbidden(
        second
            .create(&PostParams::default(), &pod("not-mine", None))
            .await
            .unwrap_err()
    ));

    // Before PrivateKube is installed, its service account has no rights.
    let extender: Api<Pod> = Api::default_namespaced(cluster.client_as(User::Extender).await.unwrap());
    assert!(forbidden(
        extender.list(&ListParams::default()).await.unwrap_err()
    ));

    let error = cluster
        .kubectl(["get", "pod", "nobody"])
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("not found"), "{error}");
}
