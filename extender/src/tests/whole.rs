//! Controllers, bookkeepers and writers together, on objects in an in-process API server.

use std::sync::Arc;

use axum::Router;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use privatekube_api::PrivacyBudgetClaim;
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_ledger::ENTRY_VERSION;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::post;
use crate::{
    handles::Handles,
    leadership::Leadership,
    registry::Registry,
    scheduler, service,
    testing::{
        BLOCKS, CLAIMS, DATASET, DATASETS, ENTRIES, NAMESPACE, block, claim_object, dataset, epsilon,
        handles, pod_object,
    },
    writers::{Events, Gates, Statuses},
};

/// Runs an extender on a server while `test` runs, which gets the scheduler's router.
pub(super) async fn with_extender<F: Future<Output = ()>>(
    server: &FakeApiServer,
    test: impl FnOnce(Router) -> F,
) {
    with_registry(server, |registry| test(scheduler::router(registry))).await;
}

/// Runs an extender on a server while `test` runs, which gets the bookkeepers.
pub(crate) async fn with_registry<F: Future<Output = ()>>(
    server: &FakeApiServer,
    test: impl FnOnce(Arc<Registry>) -> F,
) {
    with_replica(server, Leadership::alone(), "test", test).await;
}

/// Runs an extender of this name on a server while `test` runs, which gets the bookkeepers.
pub(super) async fn with_replica<F: Future<Output = ()>>(
    server: &FakeApiServer,
    leadership: Leadership,
    writer: &str,
    test: impl FnOnce(Arc<Registry>) -> F,
) {
    with_version(server, leadership, writer, ENTRY_VERSION, test).await;
}

/// As [`with_replica`], with an extender that writes and reads entries up to a version of their format.
pub(super) async fn with_version<F: Future<Output = ()>>(
    server: &FakeApiServer,
    leadership: Leadership,
    writer: &str,
    entry_version: u32,
    test: impl FnOnce(Arc<Registry>) -> F,
) {
    let (mut handles, _) = handles(server);
    (handles.leadership, handles.writer) = (leadership, writer.to_owned());
    handles.entry_version = entry_version;
    let (statuses, status_queue) = Statuses::new();
    let (gates, gate_queue) = Gates::new();
    let (events, event_queue) = Events::new(handles.metrics.clone());
    (handles.statuses, handles.gates, handles.events) = (statuses, gates, events);
    let (requeue, to_requeue) = mpsc::unbounded_channel();
    handles.requeue = requeue;
    let registry = Arc::new(Registry::new(handles.clone()));
    let Handles {
        client,
        view,
        pods,
        events,
        metrics,
        leadership,
        ..
    } = handles;
    tokio::select! {
        ended = Box::pin(service::keep_books(&registry, to_requeue)) => panic!("the books ended: {ended:?}"),
        () = Statuses::run(
            client.clone(),
            Arc::clone(&pods),
            Arc::clone(&view),
            metrics.clone(),
            events.clone(),
            leadership.clone(),
            status_queue,
        ) => panic!("statuses ended"),
        () = Gates::run(client.clone(), pods, view, metrics.clone(), events, leadership.clone(), gate_queue) => panic!("gates ended"),
        () = Events::run(client, event_queue, leadership, metrics) => panic!("Events ended"),
        () = test(Arc::clone(&registry)) => {}
    }
}

/// A server with a dataset and a block of epsilon 10.
pub(crate) fn server() -> FakeApiServer {
    let server = FakeApiServer::default();
    server.put("namespaces", &json!({"metadata": {"name": NAMESPACE}}));
    server.put(DATASETS, &*dataset("d", 1, &json!({})));
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    server
}

pub(crate) fn phase(server: &FakeApiServer, claim: &str) -> Value {
    let claim = server.get(CLAIMS, claim);
    claim.map_or(Value::Null, |claim| claim["status"]["phase"].clone())
}

#[tokio::test]
async fn a_pod_goes_from_its_gate_to_its_node_with_the_grant() {
    let server = server();
    server.put("pods", &pod_object("train"));
    with_extender(&server, async |scheduler| {
        server
            .until(|server| {
                phase(server, "train-train") == json!("Granted")
                    && server.get("pods", "train").unwrap()["spec"]["schedulingGates"]
                        .as_array()
                        .is_none_or(Vec::is_empty)
            })
            .await;
        let pod = server.get("pods", "train").unwrap();
        let args = json!({"Pod": pod, "NodeNames": ["n1"]});
        let (_, answer) = post(&scheduler, "/scheduler/filter", args.to_string()).await;
        assert_eq!(answer["NodeNames"], json!(["n1"]));
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));
        let pod = server.get("pods", "train").unwrap();
        assert_eq!(pod["spec"]["nodeName"], json!("n1"));
        for annotation in ["privatekube.dev/grant", "privatekube.dev/grant-variable"] {
            let grant = pod["metadata"]["annotations"][annotation].as_str().unwrap();
            let grant: Value = serde_json::from_str(grant).unwrap();
            let claim = &grant["claims"][0];
            assert_eq!(claim["requested"], epsilon("1"));
            assert_eq!((&claim["blockCount"], &grant["version"]), (&json!(1), &json!(1)));
            assert_eq!(
                claim["budgets"],
                json!([{"epsilon": "1", "delta": "0", "blocks": [{"name": "a"}]}])
            );
        }
        server
            .until(|server| phase(server, "train-train") == json!("Consumed"))
            .await;
        // The API server keeps whose each field is.
        let writes = server.requests(&RequestFilter::writes());
        assert!(writes.len() > 5);
        for write in writes {
            let said = format!(
                "{} {} {:?}?{}",
                write.method, write.resource, write.subresource, write.query
            );
            assert!(said.contains("fieldManager=privatekube-extender"), "{said}");
        }
        server
            .until(|server| server.get(BLOCKS, "a").unwrap()["status"]["consumed"]["epsilon"] == json!("1"))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_grant_has_no_room_is_neither_bound_nor_charged() {
    let server = server();
    let mut pod = pod_object("train");
    // It may have been annotated after its admission.
    pod["metadata"]["annotations"]["example.com/log"] = json!("x".repeat(262_000));
    server.put("pods", &pod);
    with_extender(&server, async |scheduler| {
        server
            .until(|server| {
                phase(server, "train-train") == json!("Granted")
                    && server.get("pods", "train").unwrap()["spec"]["schedulingGates"] == json!([])
            })
            .await;
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        let error = answer["Error"].as_str().unwrap();
        assert!(error.contains("take annotations of its own out"), "{error}");
        assert!(server.get("pods", "train").unwrap()["spec"]["nodeName"].is_null());
        assert_eq!(phase(&server, "train-train"), json!("Granted"));
        pod = server.get("pods", "train").unwrap();
        pod["metadata"]["annotations"]["example.com/log"] = json!("x");
        server.put("pods", &pod);
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));
        server
            .until(|server| phase(server, "train-train") == json!("Consumed"))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_refers_to_a_list_is_told_once_the_list_is_there() {
    let server = server();
    for number in 0..300 {
        let mut block = block(&format!("b{number}"), "b", Some("10"));
        Arc::make_mut(&mut block).spec.data_source = Some("s".repeat(1000));
        server.put(BLOCKS, &*block);
    }
    server.put("pods", &pod_object("train"));
    with_extender(&server, async |scheduler| {
        server
            .until(|server| {
                phase(server, "train-train") == json!("Granted")
                    && server.get("pods", "train").unwrap()["spec"]["schedulingGates"] == json!([])
            })
            .await;
        let written = server.get(CLAIMS, "train-train").unwrap();
        assert_eq!(written["status"]["blocks"].as_array().unwrap().len(), 301);
        let mut unwritten = written.clone();
        unwritten["status"]["blocks"] = json!([]);
        server.put(CLAIMS, &unwritten);
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        let error = answer["Error"].as_str().unwrap();
        assert!(error.contains("doesn't list its 301 blocks yet"), "{error}");
        assert_eq!(phase(&server, "train-train"), json!("Granted"));
        server.put(CLAIMS, &written);
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));
        let pod = server.get("pods", "train").unwrap();
        let grant = pod["metadata"]["annotations"]["privatekube.dev/grant"]
            .as_str()
            .unwrap();
        let grant: Value = serde_json::from_str(grant).unwrap();
        assert_eq!(grant["claims"][0]["blocksFrom"]["name"], json!("train-train"));
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_is_consumed_by_hand_needs_no_second_word() {
    let server = server();
    let spec = json!({"budget": epsilon("1"), "consume": {"all": true}});
    server.put(CLAIMS, &claim_object("c", &spec));
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "c") == json!("Consumed"))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_waits_for_its_dataset_and_says_so() {
    let server = FakeApiServer::default();
    server.put(CLAIMS, &claim_object("c", &json!({"budget": epsilon("1")})));
    with_extender(&server, async |_| {
        server
            .until(|server| {
                let claim = server.get(CLAIMS, "c").unwrap();
                claim["status"]["reason"] == json!("DatasetUnknown")
            })
            .await;
        server.put(DATASETS, &*dataset("d", 1, &json!({})));
        server.put(BLOCKS, &*block("a", "a", Some("10")));
        server
            .until(|server| phase(server, "c") == json!("Granted"))
            .await;
    })
    .await;
}

/// How many writes of each kind the extender made, as resource (and subresource) with the count.
fn writes(server: &FakeApiServer) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for request in server.requests(&RequestFilter::writes()) {
        let what = format!("{} {}", request.resource, request.subresource.unwrap_or_default());
        *counts.entry(what.trim_end().to_owned()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// The counts stand in docs/benchmarks.md.
#[tokio::test(start_paused = true)]
async fn a_private_pod_and_a_claim_take_as_many_writes_as_documented() {
    let server = server();
    with_extender(&server, async |scheduler| {
        server.put(CLAIMS, &claim_object("first", &json!({"budget": epsilon("1")})));
        server
            .until(|server| phase(server, "first") == json!("Granted"))
            .await;
        server.until(|server| server.all("events").len() == 1).await;
        // What belongs to the dataset and the block has been written by then.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        server.clear_log();

        server.put(CLAIMS, &claim_object("second", &json!({"budget": epsilon("1")})));
        server
            .until(|server| phase(server, "second") == json!("Granted"))
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let claim = [
            ("events", 1),
            ("privacybudgetclaims status", 1),
            ("privacyledgerentries", 1),
            ("privatedatablocks status", 1),
            ("privatedatasets status", 1),
        ];
        assert_eq!(
            writes(&server),
            claim.map(|(what, count)| (what.to_owned(), count))
        );
        server.clear_log();

        server.put("pods", &pod_object("train"));
        server
            .until(|server| {
                let pod = server.get("pods", "train").unwrap();
                pod["spec"]["schedulingGates"]
                    .as_array()
                    .is_none_or(Vec::is_empty)
            })
            .await;
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(phase(&server, "train-train"), json!("Consumed"));
        let pod = [
            ("events", 1),
            ("pods", 1),
            ("pods binding", 1),
            ("privacybudgetclaims", 1),
            ("privacybudgetclaims status", 1),
            ("privacyledgerentries", 2),
            ("privatedatablocks status", 2),
            ("privatedatasets status", 2),
        ];
        assert_eq!(writes(&server), pod.map(|(what, count)| (what.to_owned(), count)));
        server.clear_log();

        // A pod that no node has room for keeps its grant, and says so.
        server.put("pods", &pod_object("large"));
        server
            .until(|server| {
                let events = server.all("events");
                let about = |event: &Value| event["regarding"]["name"] == json!("large");
                let grants = events
                    .iter()
                    .filter(|event| event["reason"] == json!("BudgetGranted"));
                grants.filter(|event| about(event)).count() == 1
            })
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        server.clear_log();

        // An idle hour reads the last entry back, and writes nothing.
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        assert_eq!(writes(&server), []);
        let reads = server.count(&RequestFilter::any().method("GET").resource(ENTRIES));
        assert_eq!(reads, 240);
    })
    .await;
}

/// A claim of another namespace than the dataset's.
fn foreign_claim(name: &str, spec: &Value) -> Value {
    let mut claim = serde_json::to_value(claim_object(name, spec)).unwrap();
    claim["metadata"]["namespace"] = json!("other");
    claim["spec"]["dataset"] = json!(format!("{NAMESPACE}/{DATASET}"));
    claim
}

fn reason(server: &FakeApiServer, claim: &str) -> Value {
    let claim = server.get(CLAIMS, claim);
    claim.map_or(Value::Null, |claim| claim["status"]["reason"].clone())
}

/// Claims and pods that came around admission are denied by the bookkeeper, and leave no trace in the ledger.
#[tokio::test]
async fn a_namespace_that_a_dataset_is_not_open_to_gets_nothing_and_learns_nothing() {
    let server = server();
    let all = json!({"budget": epsilon("9.9"), "consume": {"all": true}, "priority": 1000});
    server.put(CLAIMS, &foreign_claim("all", &all));
    let mut nowhere = foreign_claim("nowhere", &json!({"budget": epsilon("1")}));
    nowhere["spec"]["dataset"] = json!(format!("{NAMESPACE}/nowhere"));
    server.put(CLAIMS, &nowhere);
    let invalid = json!({"composition": "Renyi", "orders": [1]});
    let mut broken = serde_json::to_value(&*dataset("broken", 1, &invalid)).unwrap();
    broken["metadata"]["name"] = json!("broken");
    server.put(DATASETS, &broken);
    let mut on_broken = foreign_claim("on-broken", &json!({"budget": epsilon("1")}));
    on_broken["spec"]["dataset"] = json!(format!("{NAMESPACE}/broken"));
    server.put(CLAIMS, &on_broken);
    let mut pod = pod_object("train");
    pod["metadata"]["namespace"] = json!("other");
    pod["metadata"]["annotations"]["privatekube.dev/dataset"] = json!(format!("{NAMESPACE}/{DATASET}"));
    server.put("pods", &pod);
    with_extender(&server, async |_| {
        server
            .until(|server| {
                ["all", "nowhere", "on-broken", "train-train"]
                    .into_iter()
                    .all(|claim| phase(server, claim) == json!("Denied"))
            })
            .await;
        for (claim, dataset) in [
            ("all", DATASET),
            ("nowhere", "nowhere"),
            ("on-broken", "broken"),
            ("train-train", DATASET),
        ] {
            let mut status = server.get(CLAIMS, claim).unwrap()["status"].clone();
            let message = status["message"].as_str().unwrap().to_owned();
            assert!(
                message.starts_with(&format!(
                    "dataset {NAMESPACE}/{dataset} isn't open to namespace other, or doesn't exist"
                )),
                "{message}"
            );
            let fields = status.as_object_mut().unwrap();
            fields.remove("conditions").unwrap();
            assert_eq!(
                status,
                json!({"phase": "Denied", "reason": "NotAllowed", "message": message, "summary": message})
            );
        }
        // The dataset's own claims get the whole block.
        server.put(CLAIMS, &claim_object("own", &json!({"budget": epsilon("10")})));
        server
            .until(|server| phase(server, "own") == json!("Granted"))
            .await;
        let gates = server.get("pods", "train").unwrap()["spec"]["schedulingGates"].clone();
        assert_eq!(gates.as_array().unwrap().len(), 1);
    })
    .await;
    let entries = server.all(ENTRIES);
    assert!(!json!(entries).to_string().contains("other"), "{entries:?}");
}

#[tokio::test]
async fn claimants_hold_for_claims_that_arrive_later() {
    let server = server();
    let open = |generation, claimants: &Value| {
        let spec = json!({"claimants": claimants});
        server.put(DATASETS, &*dataset("d", generation, &spec));
    };
    let label = |privacy: &str| {
        let labels = json!({"privacy": privacy});
        server.put(
            "namespaces",
            &json!({"metadata": {"name": "other", "labels": labels}}),
        );
    };
    let decided = async |name: &str, spec: &Value, expected: &str| {
        server.put(CLAIMS, &foreign_claim(name, spec));
        server
            .until(|server| reason(server, name) == json!(expected))
            .await;
    };
    let one = json!({"budget": epsilon("1")});
    let urgent = json!({"budget": epsilon("1"), "priority": 3});
    let selector = json!({"matchLabels": {"privacy": "approved"}});
    with_extender(&server, async |_| {
        decided("closed", &one, "NotAllowed").await;
        label("pending");
        open(
            2,
            &json!({"from": "Selected", "namespaceSelector": selector, "maxPriority": 2}),
        );
        decided("pending", &one, "NotAllowed").await;
        label("approved");
        decided("approved", &one, "Granted").await;
        decided("urgent", &urgent, "PriorityTooHigh").await;
        open(3, &json!({"from": "All", "maxPriority": 3}));
        let claims: Api<PrivacyBudgetClaim> = Api::namespaced(server.client(), "other");
        let release = Patch::Merge(json!({"spec": {"release": {"all": true}}}));
        claims
            .patch("closed", &PatchParams::default(), &release)
            .await
            .unwrap();
        decided("urgent-again", &urgent, "Granted").await;
        // What was denied stays denied, and what was granted stays granted.
        open(4, &json!({}));
        decided("closed-again", &one, "NotAllowed").await;
        for (name, expected) in [
            ("closed", "NotAllowed"),
            ("pending", "NotAllowed"),
            ("urgent", "PriorityTooHigh"),
            ("approved", "Granted"),
            ("urgent-again", "Granted"),
        ] {
            assert_eq!(reason(&server, name), json!(expected), "{name}");
        }
        server
            .until(|server| server.get(BLOCKS, "a").unwrap()["status"]["allocated"]["epsilon"] == json!("2"))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_is_read_again_and_not_let_in() {
    let server = server();
    let claimants =
        json!({"from": "Selected", "namespaceSelector": {"matchLabels": {"privacy": "approved"}}});
    server.put(DATASETS, &*dataset("d", 2, &json!({"claimants": claimants})));
    let approved = json!({"metadata": {"name": "other", "labels": {"privacy": "approved"}}});
    server.put("namespaces", &approved);
    let reads = RequestFilter::any().method("GET").resource("namespaces");
    server.inject(&reads, 2, Fault::Refuse(503));
    server.put(CLAIMS, &foreign_claim("c", &json!({"budget": epsilon("1")})));
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "c") == json!("Granted"))
            .await;
    })
    .await;
    assert!(server.count(&reads) >= 3);
}

#[tokio::test]
async fn the_status_of_a_block_says_what_its_dataset_lacks() {
    let server = FakeApiServer::default();
    let unusable = json!({"composition": "Renyi", "policy": "RoundRobin"});
    server.put(DATASETS, &*dataset("d", 1, &unusable));
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    let is_ready = |server: &FakeApiServer, status: &str, reason: &str| {
        let block = server.get(BLOCKS, "a").unwrap();
        let ready = &block["status"]["conditions"][0];
        ready["status"] == json!(status) && ready["reason"] == json!(reason)
    };
    with_extender(&server, async |_| {
        server
            .until(|server| is_ready(server, "False", "DatasetInvalid"))
            .await;
        server.put(DATASETS, &*dataset("d", 2, &json!({})));
        server.until(|server| is_ready(server, "True", "InLedger")).await;
    })
    .await;
}

/// A claim that waits for its dataset to exist is checked once it does.
#[tokio::test]
async fn a_dataset_without_an_object_is_open_to_its_own_namespace_and_one_created_later_may_not_be() {
    let server = FakeApiServer::default();
    server.put(CLAIMS, &claim_object("early", &json!({"budget": epsilon("1")})));
    with_extender(&server, async |_| {
        server
            .until(|server| reason(server, "early") == json!("DatasetUnknown"))
            .await;
        let claimants = json!({"from": "Selected", "namespaces": ["research"]});
        server.put(DATASETS, &*dataset("d", 1, &json!({"claimants": claimants})));
        server
            .until(|server| reason(server, "early") == json!("NotAllowed"))
            .await;
    })
    .await;

    let server = FakeApiServer::default();
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    with_extender(&server, async |_| {
        server.put(CLAIMS, &claim_object("own", &json!({"budget": epsilon("1")})));
        server.put(
            CLAIMS,
            &foreign_claim("foreign", &json!({"budget": epsilon("1")})),
        );
        server
            .until(|server| reason(server, "own") == json!("Granted"))
            .await;
        server
            .until(|server| reason(server, "foreign") == json!("NotAllowed"))
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_stays_or_is_deleted_as_its_dataset_says() {
    let server = server();
    with_extender(&server, async |_| {
        // The second pod asks for more than is left.
        let mut large = pod_object("large");
        large["metadata"]["annotations"]["privatekube.dev/epsilon"] = json!("20");
        large["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "batch/v1", "kind": "Job", "name": "training", "uid": "job", "controller": true},
        ]);
        server.put("pods", &large);
        server
            .until(|server| phase(server, "large-large") == json!("Denied"))
            .await;
        let decided = |server: &FakeApiServer, claim: &str| {
            let conditions = server.get(CLAIMS, claim).unwrap()["status"]["conditions"].clone();
            let conditions = conditions.as_array().unwrap().clone();
            let decided = conditions
                .into_iter()
                .find(|condition| condition["type"] == json!("Decided"));
            decided.unwrap()["status"].clone()
        };
        assert_eq!(decided(&server, "large-large"), json!("True"));
        assert!(server.get("pods", "large").is_some());
        // The dataset is changed, and another pod is made as a controller would.
        server.put(DATASETS, &*dataset("d", 2, &json!({"refusedPods": "Delete"})));
        server.put(BLOCKS, &*block("b", "b", Some("10")));
        server
            .until(|server| server.get(BLOCKS, "b").unwrap()["status"]["total"]["epsilon"] == json!("10"))
            .await;
        large["metadata"]["name"] = json!("larger");
        large["metadata"]["uid"] = json!("larger");
        server.put("pods", &large);
        server
            .until(|server| server.get("pods", "larger").is_none())
            .await;
        let told = |server: &FakeApiServer| {
            let events = server.all("events");
            let told = events
                .iter()
                .filter(|event| event["reason"] == json!("BudgetDenied"));
            let kinds: Vec<&Value> = told.map(|event| &event["regarding"]["kind"]).collect();
            kinds.contains(&&json!("Job")) && kinds.contains(&&json!("Pod"))
        };
        server.until(told).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waits_for_hours_is_announced_again() {
    let server = server();
    with_extender(&server, async |_| {
        server.put(CLAIMS, &claim_object("all", &json!({"budget": epsilon("10")})));
        server
            .until(|server| phase(server, "all") == json!("Granted"))
            .await;
        server.put(CLAIMS, &claim_object("waits", &json!({"budget": epsilon("1")})));
        server
            .until(|server| phase(server, "waits") == json!("Waiting"))
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(4 * 3600)).await;
        let events = server.all("events");
        let again = events
            .iter()
            .filter(|event| event["reason"] == json!("BudgetWaiting"));
        // At first, and every 45 minutes.
        assert_eq!(again.count(), 1 + 5);
    })
    .await;
}
