//! Reads and writes of objects.

use k8s_openapi::api::core::v1::{Binding, ConfigMap, Namespace, Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::Status,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use privatekube_api::PrivateDataBlock;
use privatekube_fake_api_server::{FakeApiServer, RequestFilter};
use serde_json::{Value, json};

use crate::{config_map, config_maps, create, from, pod, pods, refusal};

fn block(name: &str, dataset: &str) -> PrivateDataBlock {
    from(json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataBlock",
        "metadata": {"namespace": "data", "name": name},
        "spec": {"dataset": dataset},
    }))
}

async fn patch_pod(server: &FakeApiServer, name: &str, patch: Value) -> Result<Pod, kube::Error> {
    let api = pods(server);
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

async fn names(api: &Api<ConfigMap>, params: ListParams) -> Vec<String> {
    let list = api.list(&params).await.unwrap();
    list.into_iter()
        .filter_map(|object| object.metadata.name)
        .collect()
}

#[tokio::test]
async fn a_created_object_has_what_the_server_sets() {
    let server = FakeApiServer::default();
    let created = create(&server, "a", "x").await;
    let metadata = &created.metadata;
    assert!(metadata.uid.is_some() && metadata.creation_timestamp.is_some());
    assert_eq!(metadata.generation, Some(1));
    assert_eq!(metadata.resource_version.as_deref(), Some("1"));
    assert_eq!(config_maps(&server).get("a").await.unwrap(), created);
}

#[tokio::test]
async fn an_object_is_created_once() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    let again = config_maps(&server)
        .create(&PostParams::default(), &config_map("a", "y"))
        .await;
    assert_eq!(refusal(again), (409, "AlreadyExists".into()));
    assert_eq!(server.all("configmaps").len(), 1);
}

#[tokio::test]
async fn objects_put_by_the_test_are_served() {
    let server = FakeApiServer::default();
    let mut put = block("a", "taxi");
    put.metadata.uid = Some("u1".into());
    server.put("privatedatablocks", &put);
    let api: Api<PrivateDataBlock> = Api::namespaced(server.client(), "data");
    assert_eq!(api.get("a").await.unwrap().metadata.uid.as_deref(), Some("u1"));
    server.delete("privatedatablocks", "a");
    assert!(api.get_opt("a").await.unwrap().is_none());
    assert_eq!(refusal(api.get("a").await), (404, "NotFound".into()));
}

#[tokio::test]
async fn lists_are_narrowed_by_namespace_labels_and_fields() {
    let server = FakeApiServer::default();
    for (name, kind) in [("a", "x"), ("b", "x"), ("c", "y")] {
        create(&server, name, kind).await;
    }
    let mut elsewhere = config_map("d", "x");
    elsewhere.metadata.namespace = Some("other".into());
    server.put("configmaps", &elsewhere);
    let api = config_maps(&server);
    let labels = ListParams::default().labels("kind=x");
    assert_eq!(names(&api, labels.clone()).await, ["a", "b"]);
    assert_eq!(names(&Api::all(server.client()), labels).await, ["a", "b", "d"]);
    let fields = ListParams::default().fields("metadata.name=c");
    assert_eq!(names(&api, fields).await, ["c"]);

    server.put("privatedatablocks", &block("1", "taxi"));
    server.put("privatedatablocks", &block("2", "bus"));
    let blocks: Api<PrivateDataBlock> = Api::all(server.client());
    let taxi = ListParams::default().fields("spec.dataset=taxi");
    assert_eq!(blocks.list(&taxi).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let server = FakeApiServer::default();
    for name in ["a", "b", "c", "d", "e"] {
        create(&server, name, "x").await;
    }
    let api: Api<ConfigMap> = Api::all(server.client());
    let mut params = ListParams::default().limit(2);
    let mut pages = Vec::new();
    loop {
        let page = api.list_metadata(&params).await.unwrap();
        pages.push(page.items.len());
        match page.metadata.continue_ {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    server.expire_watches();
    assert_eq!(refusal(api.list(&params).await), (410, "Expired".into()));
}

#[tokio::test]
async fn metadata_comes_without_the_rest() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    let api = config_maps(&server);
    let metadata = api.get_metadata("a").await.unwrap().metadata;
    assert_eq!(metadata.labels.unwrap()["kind"], "x");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"kind": "y"}}}));
    let patched = api
        .patch_metadata("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.metadata.labels.unwrap()["kind"], "y");
    let list = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
}

#[tokio::test]
async fn a_change_of_the_spec_is_a_new_generation() {
    let server = FakeApiServer::default();
    server.put("pods", &pod("a", &json!({"priority": 1, "containers": []})));
    let patched = patch_pod(&server, "a", json!({"metadata": {"labels": {"a": "1"}}})).await;
    assert_eq!(patched.unwrap().metadata.generation, Some(1));
    let patched = patch_pod(&server, "a", json!({"spec": {"priority": 2}}))
        .await
        .unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    assert_eq!(patched.spec.unwrap().priority, Some(2));
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_resource_version() {
    let server = FakeApiServer::default();
    let created = create(&server, "a", "x").await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"kind": "x"}}}));
    let patched = config_maps(&server)
        .patch("a", &PatchParams::default(), &patch)
        .await;
    assert_eq!(patched.unwrap(), created);
}

#[tokio::test]
async fn the_status_is_written_through_its_subresource_only() {
    let server = FakeApiServer::default();
    let api = pods(&server);
    let mut created = pod("a", &json!({"containers": []}));
    created.status = Some(from(json!({"phase": "Running"})));
    let created = api.create(&PostParams::default(), &created).await.unwrap();
    assert_eq!(created.status, None);

    let both = json!({"spec": {"priority": 7}, "status": {"phase": "Running"}});
    let spec = patch_pod(&server, "a", both.clone()).await.unwrap();
    assert_eq!((spec.spec.unwrap().priority, spec.status), (Some(7), None));
    let both = json!({"spec": {"priority": 8}, "status": {"phase": "Running"}});
    let patch = Patch::Merge(both);
    let status = api
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(status.spec.unwrap().priority, Some(7));
    assert_eq!(status.status.unwrap().phase.as_deref(), Some("Running"));
    assert_eq!(status.metadata.generation, Some(2));

    let patch = json!([
        {"op": "test", "path": "/status/phase", "value": "Running"},
        {"op": "replace", "path": "/status/phase", "value": "Failed"},
    ]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
    let params = PatchParams::default();
    let failed = api.patch_status("a", &params, &patch).await.unwrap();
    assert_eq!(failed.status.unwrap().phase.as_deref(), Some("Failed"));
    let again = api.patch_status("a", &params, &patch).await;
    assert_eq!(refusal(again), (422, "Invalid".into()));
}

#[tokio::test]
async fn a_patch_for_another_uid_or_resource_version_conflicts() {
    let server = FakeApiServer::default();
    server.put("pods", &pod("a", &json!({"containers": []})));
    for metadata in [json!({"uid": "other"}), json!({"resourceVersion": "77"})] {
        let patch = json!({"metadata": metadata, "status": {"phase": "Running"}});
        let answer = pods(&server)
            .patch_status("a", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        assert_eq!(refusal(answer), (409, "Conflict".into()));
    }
}

#[tokio::test]
async fn a_replacement_of_an_old_version_conflicts() {
    let server = FakeApiServer::default();
    let api = config_maps(&server);
    let mut old = create(&server, "a", "x").await;
    let labels = |kind: &str| Some([("kind".to_owned(), kind.to_owned())].into());
    let mut new = old.clone();
    new.metadata.labels = labels("y");
    let new = api.replace("a", &PostParams::default(), &new).await.unwrap();
    old.metadata.labels = labels("z");
    let answer = api.replace("a", &PostParams::default(), &old).await;
    assert_eq!(refusal(answer), (409, "Conflict".into()));
    assert_eq!(api.get("a").await.unwrap(), new);
}

#[tokio::test]
async fn a_json_patch_is_applied_if_its_tests_pass() {
    let server = FakeApiServer::default();
    let gates = json!({"containers": [], "schedulingGates": [{"name": "x"}, {"name": "y"}]});
    server.put("pods", &pod("a", &gates));
    let api = pods(&server);
    let remove = |name: &str| {
        let patch = json!([
            {"op": "test", "path": "/spec/schedulingGates/0/name", "value": name},
            {"op": "remove", "path": "/spec/schedulingGates/0"},
        ]);
        Patch::Json::<()>(serde_json::from_value(patch).unwrap())
    };
    let params = PatchParams::default();
    assert_eq!(
        refusal(api.patch("a", &params, &remove("y")).await),
        (422, "Invalid".into())
    );
    let patched = api.patch("a", &params, &remove("x")).await.unwrap();
    assert_eq!(patched.spec.unwrap().scheduling_gates.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deletion_for_another_uid_conflicts() {
    let server = FakeApiServer::default();
    let uid = create(&server, "a", "x").await.metadata.uid;
    let api = config_maps(&server);
    let params = |uid| DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    let answer = api.delete("a", &params(Some("other".into()))).await;
    assert_eq!(refusal(answer), (409, "Conflict".into()));
    assert!(api.delete("a", &params(uid)).await.unwrap().is_right());
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_finalizer_keeps_a_deleted_object_until_it_is_removed() {
    let server = FakeApiServer::default();
    let mut object = config_map("a", "x");
    object.metadata.finalizers = Some(vec!["example.org/f".into()]);
    server.put("configmaps", &object);
    let api = config_maps(&server);
    let marked = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    assert_eq!(server.all("configmaps").len(), 1);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(server.all("configmaps").len(), 0);
}

#[tokio::test]
async fn a_pod_on_a_node_ends_when_its_kubelet_says_so() {
    let server = FakeApiServer::default();
    let api = pods(&server);
    server.put("pods", &pod("waits", &json!({"containers": []})));
    server.put("pods", &pod("runs", &json!({"containers": [], "nodeName": "n"})));
    for name in ["waits", "runs"] {
        let _ = api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    assert!(server.get("pods", "waits").is_none());
    assert_eq!(
        server.get("pods", "runs").unwrap()["metadata"]["deletionGracePeriodSeconds"],
        30
    );
    let _ = api
        .delete("runs", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(server.get("pods", "runs").is_none());
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = FakeApiServer::default();
    server.put("pods", &pod("a", &json!({"containers": []})));
    let uid = server.get("pods", "a").unwrap()["metadata"]["uid"].clone();
    let bind = async |uid: Value, node: &str| -> Result<Status, kube::Error> {
        let binding: Binding = from(json!({
            "metadata": {"name": "a", "namespace": "data", "uid": uid, "annotations": {"grant": "g"}},
            "target": {"kind": "Node", "name": node},
        }));
        let params = PostParams::default();
        pods(&server)
            .create_subresource("binding", "a", &params, &binding)
            .await
    };
    assert_eq!(refusal(bind(json!("other"), "n").await), (409, "Conflict".into()));
    assert!(bind(uid.clone(), "n").await.is_ok());
    assert_eq!(refusal(bind(uid, "m").await), (409, "Conflict".into()));
    let bound = pods(&server).get("a").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n"));
    assert_eq!(bound.metadata.annotations.unwrap()["grant"], "g");
}

#[tokio::test]
async fn removing_a_namespace_removes_what_is_in_it() {
    let server = FakeApiServer::default();
    let mut namespace: Namespace = from(json!({"metadata": {"name": "data"}}));
    server.put("namespaces", &namespace);
    create(&server, "a", "x").await;
    let api: Api<Namespace> = Api::all(server.client());
    assert!(api.get_opt("data").await.unwrap().is_some());

    namespace.metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z")));
    server.put("namespaces", &namespace);
    let create = config_maps(&server)
        .create(&PostParams::default(), &config_map("b", "x"))
        .await;
    assert_eq!(refusal(create), (403, "Forbidden".into()));

    server.delete("namespaces", "data");
    assert!(api.get_opt("data").await.unwrap().is_none());
    assert_eq!(server.all("configmaps").len(), 0);
}

#[tokio::test]
async fn events_are_recorded() {
    let server = FakeApiServer::default();
    let reporter = Reporter {
        controller: "test".into(),
        instance: None,
    };
    let recorder = Recorder::new(server.client(), reporter);
    let event = Event {
        type_: EventType::Normal,
        reason: "Granted".into(),
        note: Some("on 2 blocks".into()),
        action: "Grant".into(),
        secondary: None,
    };
    let about = from(json!({"kind": "Pod", "namespace": "data", "name": "a", "uid": "u"}));
    // The second is counted in the first.
    for _ in 0..2 {
        recorder.publish(&event, &about).await.unwrap();
    }
    let events = server.all("events");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["note"], "on 2 blocks");
    assert_eq!(server.count(&RequestFilter::writes().resource("events")), 2);
}
