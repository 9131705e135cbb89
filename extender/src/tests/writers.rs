//! What is written to the cluster behind the ledger, and what happens if a write fails.

use std::sync::Arc;

use privatekube_api::{ClaimPhase, ClaimReason, PrivacyBudgetClaimStatus, Subject};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_policy::{Arrival, BlockId, ClaimId, Composition, Demand, Engine, Event, Time, Weight};
use privatekube_view::{CommittedState, DatasetObjects, PhaseReason, Publisher};
use serde_json::json;

use crate::{
    handles::Handles,
    leadership::Leadership,
    testing::{CLAIMS, claim_object, epsilon, handles, key, managed_pod, pod_object},
    writers::{ClaimObject, Events, Gates, StatusKey, Statuses},
};

/// Puts a claim into the view that waits because its dataset is unknown, or is granted.
fn publish(handles: &Handles, subject: Subject, phase: ClaimPhase) -> ClaimId {
    let id = subject.id();
    let mut publisher = Publisher::new(key(), Arc::clone(&handles.view));
    let now = Time::from_micros(1_000_000);
    if phase == ClaimPhase::Waiting {
        let why = PhaseReason {
            reason: ClaimReason::DatasetUnknown,
            message: "because".to_owned(),
        };
        let _ = publisher.publish_outside_ledger(subject, why, now);
        return id;
    }
    let mut engine = Engine::new(handles.defaults.clone().unwrap()).unwrap();
    let budget = Composition::Basic.capacity("1".parse().unwrap(), "0".parse().unwrap());
    let (block, budget) = (BlockId::from("a"), budget.unwrap());
    let add = Event::AddBlock {
        block: block.clone(),
        capacity: budget.clone(),
    };
    let demands = vec![Demand {
        blocks: vec![block],
        budget,
    }];
    let arrive = Event::Arrive(Arrival {
        claim: id.clone(),
        demands,
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    });
    for event in [add, arrive] {
        engine.apply(&event).unwrap();
    }
    let state = CommittedState {
        engine: &engine,
        sequence: 1,
    };
    let _ = publisher.publish_all(state, &DatasetObjects::default(), now, |_| true);
    assert_eq!(handles.view.claim(&id).unwrap().phase, phase);
    id
}

/// Writes the statuses of `keys` while `until` is waited for.
async fn write(handles: &Handles, keys: Vec<StatusKey>, until: impl Future<Output = ()>) {
    let (statuses, queue) = Statuses::new();
    for key in keys {
        statuses.write(key);
    }
    let run = Statuses::run(
        handles.client.clone(),
        Arc::clone(&handles.pods),
        Arc::clone(&handles.view),
        handles.metrics.clone(),
        handles.events.clone(),
        handles.leadership.clone(),
        queue,
    );
    tokio::select! {
        () = run => panic!("the writer ended"),
        () = until => {}
    }
}

fn status_writes() -> RequestFilter {
    RequestFilter::writes().resource(CLAIMS).subresource("status")
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_written_is_written_later() {
    let server = FakeApiServer::default();
    let object = claim_object("c", &json!({"budget": epsilon("1")}));
    server.put(CLAIMS, &object);
    let handles = handles(&server).0;
    let id = publish(
        &handles,
        Subject::of_object(&object).unwrap(),
        ClaimPhase::Waiting,
    );
    server.inject(&status_writes(), 2, Fault::Refuse(503));
    let written =
        server.until(|server| server.get(CLAIMS, "c").unwrap()["status"]["message"] == json!("because"));
    write(&handles, vec![StatusKey::Claim(id)], written).await;
    assert_eq!(server.count(&status_writes()), 3);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_claim_is_not_written_to_another_object_of_its_name() {
    let server = FakeApiServer::default();
    let mut object = claim_object("c", &json!({"budget": epsilon("1")}));
    let handles = handles(&server).0;
    let id = publish(
        &handles,
        Subject::of_object(&object).unwrap(),
        ClaimPhase::Waiting,
    );
    object.metadata.uid = Some("another".to_owned());
    server.put(CLAIMS, &object);
    let tried = server.until(|server| {
        let tried = server.requests(&status_writes());
        tried.iter().any(|request| request.code.is_some())
    });
    write(&handles, vec![StatusKey::Claim(id)], tried).await;
    assert!(server.get(CLAIMS, "c").unwrap()["status"].is_null());
    assert_eq!(server.count(&status_writes()), 1);
}

/// A dataset's namespace may be made again, whose ledger has fewer entries: a status that still named an entry of the ledger
/// before would stop the dataset.
#[tokio::test(start_paused = true)]
async fn a_status_loses_the_fields_that_the_claim_has_no_more() {
    let server = FakeApiServer::default();
    let handles = handles(&server).0;
    let mut object = claim_object("c", &json!({"budget": epsilon("1")}));
    object.status = Some(PrivacyBudgetClaimStatus {
        sequence: Some(6),
        block_count: Some(1),
        dominant_share: Some("0.1".to_owned()),
        ..PrivacyBudgetClaimStatus::default()
    });
    server.put(CLAIMS, &object);
    let id = publish(
        &handles,
        Subject::of_object(&object).unwrap(),
        ClaimPhase::Waiting,
    );
    let written = server.until(|server| {
        let object = server.get(CLAIMS, "c");
        object.is_some_and(|object| object["status"]["message"] == json!("because"))
    });
    write(&handles, vec![StatusKey::Claim(id)], written).await;
    let status = server.get(CLAIMS, "c").unwrap()["status"].clone();
    for field in ["sequence", "blockCount", "dominantShare"] {
        assert_eq!(status.get(field), None, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_claim_object_of_a_pod_is_created_once_and_owned_by_the_pod() {
    let server = FakeApiServer::default();
    let handles = handles(&server).0;
    handles
        .pods
        .apply(&serde_json::from_value(pod_object("train")).unwrap());
    let pod = managed_pod("train");
    let id = publish(&handles, pod.own().unwrap().0.clone(), ClaimPhase::Waiting);
    let written = server.until(|server| {
        let object = server.get(CLAIMS, "train-train");
        object.is_some_and(|object| object["status"]["message"] == json!("because"))
    });
    write(&handles, vec![StatusKey::Claim(id.clone())], written).await;
    let object = server.get(CLAIMS, "train-train").unwrap();
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], json!("train"));
    assert_eq!(object["spec"]["pod"], json!({"name": "train", "uid": "train"}));
    assert_eq!(object["spec"]["budget"]["epsilon"], json!("1"));
    assert_eq!(handles.events.claim_object(&id), Some(ClaimObject::Exists));
    assert_eq!(
        server.count(&RequestFilter::writes().resource(CLAIMS).method("POST")),
        1
    );
}

/// As with a quota on claim objects.
#[tokio::test(start_paused = true)]
async fn a_pod_whose_claim_object_is_refused_has_one_event_that_says_so() {
    let server = FakeApiServer::default();
    let (handles, queue) = handles(&server);
    handles
        .pods
        .apply(&serde_json::from_value(pod_object("train")).unwrap());
    let pod = managed_pod("train");
    let id = publish(&handles, pod.own().unwrap().0.clone(), ClaimPhase::Waiting);
    let creations = RequestFilter::writes().resource(CLAIMS).method("POST");
    server.inject(&creations, 3, Fault::Refuse(403));
    let refused = server.until(|server| server.count(&creations) == 2);
    write(&handles, vec![StatusKey::Claim(id.clone())], refused).await;
    assert_eq!(handles.events.refused_claim_objects(), 1);
    let written = server.until(|server| {
        let object = server.get(CLAIMS, "train-train");
        object.is_some_and(|object| object["status"]["message"] == json!("because"))
    });
    write(&handles, vec![StatusKey::Claim(id.clone())], written).await;
    assert_eq!(server.count(&creations), 4);
    assert_eq!(handles.events.claim_object(&id), Some(ClaimObject::Exists));
    assert_eq!(handles.events.refused_claim_objects(), 0);
    let run = Events::run(
        server.client(),
        queue,
        handles.leadership.clone(),
        handles.metrics.clone(),
    );
    tokio::select! {
        () = run => panic!("the writer ended"),
        () = server.until(|server| !server.all("events").is_empty()) => {}
    }
    let events = server.all("events");
    let [event] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event["regarding"]["name"], json!("train"));
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("train-train") && note.contains("quota"), "{note}");
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_pods_claim_is_not_written_to_a_users_object_of_its_name() {
    let server = FakeApiServer::default();
    let handles = handles(&server).0;
    handles
        .pods
        .apply(&serde_json::from_value(pod_object("train")).unwrap());
    let id = publish(
        &handles,
        managed_pod("train").own().unwrap().0.clone(),
        ClaimPhase::Granted,
    );
    let users = claim_object("train-train", &json!({"budget": epsilon("1")}));
    server.put(CLAIMS, &users);
    let read = RequestFilter::any().method("GET").resource(CLAIMS);
    let looked = server.until(|server| server.requests(&read).iter().any(|read| read.code.is_some()));
    write(&handles, vec![StatusKey::Claim(id)], looked).await;
    assert_eq!(server.count(&status_writes()), 0);
}

#[tokio::test(start_paused = true)]
async fn the_gate_of_a_granted_pod_is_removed_and_that_of_a_waiting_one_is_not() {
    let server = FakeApiServer::default();
    let handles = handles(&server).0;
    handles.view.set_complete();
    let (gates, queue) = Gates::new();
    for (name, phase) in [("granted", ClaimPhase::Granted), ("waiting", ClaimPhase::Waiting)] {
        server.put("pods", &pod_object(name));
        let (pod, _) = handles
            .pods
            .apply(&serde_json::from_value(pod_object(name)).unwrap());
        publish(&handles, pod.own().unwrap().0.clone(), phase);
        gates.check(pod.key.clone());
    }
    let run = Gates::run(
        handles.client.clone(),
        Arc::clone(&handles.pods),
        Arc::clone(&handles.view),
        handles.metrics.clone(),
        handles.events.clone(),
        handles.leadership.clone(),
        queue,
    );
    let gates_of = |server: &FakeApiServer, pod: &str| {
        let pod = server.get("pods", pod).unwrap();
        pod["spec"]["schedulingGates"].as_array().map_or(0, Vec::len)
    };
    tokio::select! {
        () = run => panic!("the writer ended"),
        () = server.until(|server| gates_of(server, "granted") == 0) => {}
    }
    assert_eq!(gates_of(&server, "waiting"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_written_about_the_claim_and_its_pod() {
    let server = FakeApiServer::default();
    let metrics = crate::metrics::Metrics::new().unwrap();
    let (events, queue) = Events::new(metrics.clone());
    let object = claim_object("c", &json!({"budget": epsilon("1")}));
    let subject = Subject::of_object(&object).unwrap();
    events.about_claim(&subject, "BudgetWaiting", false, "it waits");
    events.about_pod(&managed_pod("train"), "BudgetDenied", true, "it can't be");
    let run = Events::run(server.client(), queue, Leadership::alone(), metrics.clone());
    tokio::select! {
        () = run => panic!("the writer ended"),
        () = server.until(|server| server.all("events").len() == 2) => {}
    }
    let all = server.all("events");
    let about = |kind: &str| {
        all.iter()
            .find(|event| event["regarding"]["kind"] == json!(kind))
            .unwrap_or_else(|| panic!("{all:?}"))
    };
    let claim = about("PrivacyBudgetClaim");
    assert_eq!(
        (&claim["reason"], &claim["type"]),
        (&json!("BudgetWaiting"), &json!("Normal"))
    );
    assert_eq!(claim["note"], json!("it waits"));
    let pod = about("Pod");
    assert_eq!(
        (&pod["reason"], &pod["type"]),
        (&json!("BudgetDenied"), &json!("Warning"))
    );
    assert_eq!(metrics.writers.queue("events").get(), 0);
}
