//! What the controllers of kube-controller-manager do, as in any cluster.

mod common;

use common::until;
use privatekube_cluster::{Cluster, Config};

const WORKLOADS: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: main, image: none}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  ttlSecondsAfterFinished: 0
  template:
    metadata: {annotations: {fake-kubelet.privatekube.dev/outcome: succeed}}
    spec: {restartPolicy: Never, containers: [{name: main, image: none}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: db}
spec: {minAvailable: 2, selector: {matchLabels: {app: db}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {count/secrets: "0", requests.privatekube.dev/privacy-budget: "1"}}
"#;

/// Waits until kubectl prints this.
async fn prints(cluster: &Cluster, arguments: &[&str], expected: &str) {
    until(&format!("{arguments:?} prints {expected:?}"), async || {
        cluster
            .kubectl(arguments)
            .await
            .is_ok_and(|text| text.trim() == expected)
    })
    .await;
}

#[tokio::test]
async fn workloads_quotas_garbage_and_nodes_are_taken_care_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("workloads.yaml");
    std::fs::write(&file, WORKLOADS).unwrap();
    let cluster = Cluster::start(Config::default()).await.unwrap();
    cluster
        .kubectl(["apply", "-f", file.to_str().unwrap()])
        .await
        .unwrap();
    let ready = "jsonpath={.status.readyReplicas}";
    prints(&cluster, &["get", "statefulset", "db", "-o", ready], "2").await;
    let ready = "jsonpath={.status.numberReady}";
    prints(&cluster, &["get", "daemonset", "agent", "-o", ready], "3").await;
    let slices = [
        "get",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=db",
        "-o",
        "jsonpath={.items[*].endpoints[*].targetRef.name}",
    ];
    until("the Service has both endpoints", async || {
        let names = cluster.kubectl(slices).await.unwrap_or_default();
        names.contains("db-0") && names.contains("db-1")
    })
    .await;
    prints(&cluster, &["get", "job", "once", "--ignore-not-found"], "").await;
    let healthy = "jsonpath={.status.currentHealthy}";
    prints(&cluster, &["get", "pdb", "db", "-o", healthy], "2").await;

    let used = "jsonpath={.status.used.count/secrets}";
    prints(&cluster, &["get", "quota", "quota", "-o", used], "0").await;
    let refused = cluster
        .kubectl(["create", "secret", "generic", "one", "--from-literal=a=b"])
        .await;
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("exceeded quota: quota"), "{refused}");

    // The token of a service account, with the authority that every namespace has.
    let token = cluster.kubectl(["create", "token", "default"]).await.unwrap();
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let authority = "jsonpath={.data.ca\\.crt}";
    until("the namespace has the authority", async || {
        cluster
            .kubectl(["get", "configmap", "kube-root-ca.crt", "-o", authority])
            .await
            .is_ok_and(|text| text.contains("BEGIN CERTIFICATE"))
    })
    .await;

    // A taint drives the pods away that don't tolerate it.
    cluster
        .kubectl(["taint", "node", "node-2", "is=broken:NoExecute"])
        .await
        .unwrap();
    let scheduled = "jsonpath={.status.desiredNumberScheduled}";
    prints(&cluster, &["get", "daemonset", "agent", "-o", scheduled], "2").await;
    let on_it = "--field-selector=spec.nodeName=node-2";
    prints(&cluster, &["get", "pods", on_it, "-o", "name"], "").await;
    // What is owned goes with its owner.
    cluster
        .kubectl(["delete", "statefulset,daemonset", "--all"])
        .await
        .unwrap();
    prints(&cluster, &["get", "pods", "-o", "name"], "").await;
}
