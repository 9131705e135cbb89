//! The fake API server as `kube` sees it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test; clippy knows only the test functions themselves"
)]

mod faults;
mod objects;
mod watches;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::PostParams};
use privatekube_fake_api_server::FakeApiServer;
use serde_json::{Value, json};

fn config_maps(server: &FakeApiServer) -> Api<ConfigMap> {
    Api::namespaced(server.client(), "data")
}

/// A ConfigMap in namespace `data` with the label `kind`.
fn config_map(name: &str, kind: &str) -> ConfigMap {
    from(json!({"metadata": {"name": name, "namespace": "data", "labels": {"kind": kind}}}))
}

async fn create(server: &FakeApiServer, name: &str, kind: &str) -> ConfigMap {
    let api = config_maps(server);
    api.create(&PostParams::default(), &config_map(name, kind))
        .await
        .unwrap()
}

fn pods(server: &FakeApiServer) -> Api<Pod> {
    Api::namespaced(server.client(), "data")
}

fn pod(name: &str, spec: &Value) -> Pod {
    from(json!({"metadata": {"name": name, "namespace": "data"}, "spec": spec}))
}

fn from<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

/// The HTTP status and the reason of a refusal.
fn refusal<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> (u16, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("not refused: {other:?}"),
    }
}
