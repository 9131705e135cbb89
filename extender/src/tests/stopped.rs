//! Datasets whose ledgers can't be read or written: they are stopped, say why, and go on when that is mended; all others
//! go on meanwhile.

use std::time::Duration;

use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    post,
    whole::{phase, server, with_extender},
};
use crate::testing::{
    BLOCKS, CLAIMS, DATASETS, ENTRIES, PANICS, block, claim_object, dataset, epsilon, pod_object,
};

/// A second dataset with a block, in a namespace of its own.
fn with_other_dataset(server: &FakeApiServer) {
    server.put("namespaces", &json!({"metadata": {"name": "other"}}));
    let in_other = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!("other");
        object
    };
    let objects = [
        (
            DATASETS,
            serde_json::to_value(&*dataset("o", 1, &json!({}))).unwrap(),
        ),
        (
            BLOCKS,
            serde_json::to_value(&*block("a", "other-a", Some("10"))).unwrap(),
        ),
    ];
    for (resource, object) in objects {
        server.put(resource, &in_other(&object));
    }
}

pub(super) fn request(server: &FakeApiServer, namespace: &str, name: &str, budget: &str) {
    let mut claim = claim_object(name, &json!({"budget": epsilon(budget)}));
    claim.metadata.namespace = Some(namespace.to_owned());
    server.put(CLAIMS, &claim);
}

/// The reason and message of the condition Ready of data/taxi.
pub(super) fn ready(server: &FakeApiServer) -> (String, String) {
    let dataset = server.get(DATASETS, "data/taxi").unwrap();
    let text = |field: &str| {
        let text = dataset["status"]["conditions"][0][field].as_str();
        text.unwrap_or_default().to_owned()
    };
    (text("reason"), text("message"))
}

pub(super) async fn until_granted(server: &FakeApiServer, claim: &str) {
    server
        .until(|server| phase(server, claim) == json!("Granted"))
        .await;
}

pub(super) async fn until_stopped(server: &FakeApiServer, words: &str) {
    server
        .until(|server| {
            let (reason, message) = ready(server);
            reason == "Stopped" && message.contains(words)
        })
        .await;
}

fn entry_writes(namespace: &str) -> RequestFilter {
    let path = format!("/apis/privatekube.dev/v1alpha1/namespaces/{namespace}/");
    RequestFilter::writes().resource(ENTRIES).path_prefix(&path)
}

#[tokio::test(start_paused = true)]
async fn a_quota_on_entries_stops_its_dataset_and_no_other() {
    let server = server();
    with_other_dataset(&server);
    with_extender(&server, async |_| {
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
        server.inject(&entry_writes("data"), 1000, Fault::Refuse(403));
        request(&server, "data", "refused", "1");
        until_stopped(&server, "quota").await;
        request(&server, "other", "beside", "1");
        until_granted(&server, "other/beside").await;
        request(&server, "data", "late", "1");
        server
            .until(|server| {
                let claim = server.get(CLAIMS, "data/late").unwrap();
                claim["status"]["reason"] == json!("DatasetStopped")
            })
            .await;
        assert_eq!(phase(&server, "data/before"), json!("Granted"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_its_dataset_for_a_while_and_no_other() {
    let server = server();
    with_other_dataset(&server);
    with_extender(&server, async |_| {
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
        request(&server, "data", PANICS, "1");
        until_stopped(&server, "a fault of PrivateKube").await;
        request(&server, "other", "beside", "1");
        until_granted(&server, "other/beside").await;
        // It is tried again, and panics again, until the claim is deleted.
        let reads = || server.count(&RequestFilter::any().method("GET").resource(ENTRIES));
        let before = reads();
        server.until(|_| reads() > before + 3).await;
        server.delete(CLAIMS, &format!("data/{PANICS}"));
        request(&server, "data", "after", "1");
        until_granted(&server, "data/after").await;
        assert_eq!(phase(&server, "data/before"), json!("Granted"));
        server.until(|server| ready(server).0 == "InLedger").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_dataset_goes_on_when_its_entries_are_accepted_again() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
        server.inject(&entry_writes("data"), 1, Fault::Refuse(403));
        request(&server, "data", "refused", "1");
        until_granted(&server, "data/refused").await;
        server.until(|server| ready(server).0 == "InLedger").await;
        // It was told by Events.
        let reasons: Vec<Value> = server
            .all("events")
            .iter()
            .map(|event| event["reason"].clone())
            .collect();
        assert!(reasons.contains(&json!("DatasetStopped")) && reasons.contains(&json!("DatasetResumed")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_entry_stops_the_dataset_until_it_is_put_back() {
    let server = server();
    with_extender(&server, async |scheduler| {
        request(&server, "data", "before", "4");
        until_granted(&server, "data/before").await;
        let last = server.all(ENTRIES).pop().unwrap();
        let name = last["metadata"]["name"].as_str().unwrap().to_owned();
        server.delete(ENTRIES, &name);
        until_stopped(&server, "was deleted").await;
        // No pod runs on it, and the scheduler hears why.
        let args = json!({"Pod": pod_object("train"), "NodeNames": ["n1"]});
        let (_, answer) = post(&scheduler, "/scheduler/filter", args.to_string()).await;
        let error = answer["Error"].as_str().unwrap();
        assert!(error.contains("data/taxi is stopped"), "{error}");
        server.put(ENTRIES, &last);
        request(&server, "data", "after", "4");
        until_granted(&server, "data/after").await;
        assert_eq!(
            server.get(BLOCKS, "a").unwrap()["status"]["allocated"]["epsilon"],
            json!("8")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_ledger_ends_before_what_statuses_name_stops_the_dataset() {
    let server = server();
    with_other_dataset(&server);
    with_extender(&server, async |_| {
        request(&server, "data", "before", "9");
        until_granted(&server, "data/before").await;
        server
            .until(|server| {
                let block = server.get(BLOCKS, "data/a").unwrap();
                block["status"]["allocated"]["epsilon"] == json!("9")
            })
            .await;
    })
    .await;
    let last = server
        .all(ENTRIES)
        .into_iter()
        .rfind(|entry| entry["metadata"]["namespace"] == json!("data"))
        .unwrap();
    server.delete(
        ENTRIES,
        &format!("data/{}", last["metadata"]["name"].as_str().unwrap()),
    );
    with_extender(&server, async |_| {
        until_stopped(&server, "its end was deleted").await;
        request(&server, "other", "beside", "1");
        until_granted(&server, "other/beside").await;
        // What was allocated is not granted to anybody else.
        request(&server, "data", "after", "9");
        server
            .until(|server| {
                let claim = server.get(CLAIMS, "data/after").unwrap();
                claim["status"]["reason"] == json!("DatasetStopped")
            })
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_ledger_ends_before_what_a_claim_names_stops_the_dataset() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "before", "9");
        until_granted(&server, "data/before").await;
    })
    .await;
    let last = server.all(ENTRIES).pop().unwrap();
    server.delete(ENTRIES, last["metadata"]["name"].as_str().unwrap());
    // The statuses of the dataset and the block were not written any more.
    server.put(DATASETS, &*dataset("d", 1, &json!({})));
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    with_extender(&server, async |_| {
        until_stopped(&server, "its end was deleted").await;
        assert_eq!(phase(&server, "data/before"), json!("Granted"));
        // It stays stopped when it is tried again.
        let reads = || server.count(&RequestFilter::any().method("GET").resource(ENTRIES));
        let before = reads();
        server.until(|_| reads() > before + 3).await;
        assert_eq!(ready(&server).0, "Stopped");
        assert_eq!(phase(&server, "data/before"), json!("Granted"));
    })
    .await;
}

/// A claim in another namespace outlives the ledger, and names entries that the ledger of the new namespace hasn't.
#[tokio::test(start_paused = true)]
async fn a_claim_of_a_ledger_that_went_with_its_namespace_does_not_stop_the_new_one() {
    let server = server();
    server.put("namespaces", &json!({"metadata": {"name": "other"}}));
    let open = json!({"claimants": {"from": "All"}});
    server.put(DATASETS, &*dataset("d", 1, &open));
    with_extender(&server, async |_| {
        let mut outliving = claim_object(
            "outlives",
            &json!({"dataset": "data/taxi", "budget": epsilon("9")}),
        );
        outliving.metadata.namespace = Some("other".to_owned());
        server.put(CLAIMS, &outliving);
        until_granted(&server, "other/outlives").await;
    })
    .await;
    // While no extender runs, the namespace is deleted, and created again an hour later.
    for entry in server.all(ENTRIES) {
        server.delete(ENTRIES, entry["metadata"]["name"].as_str().unwrap());
    }
    let created = "2126-01-01T00:00:00Z";
    let again = json!({"metadata": {"name": "data", "uid": "two", "creationTimestamp": created}});
    server.delete("namespaces", "data");
    server.put("namespaces", &again);
    server.put(DATASETS, &*dataset("d2", 1, &open));
    server.put(BLOCKS, &*block("a", "a2", Some("10")));
    with_extender(&server, async |_| {
        request(&server, "data", "new", "1");
        until_granted(&server, "data/new").await;
        assert_ne!(ready(&server).0, "Stopped");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_changed_entry_stops_its_dataset_and_no_other() {
    let server = server();
    with_other_dataset(&server);
    with_extender(&server, async |_| {
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
    })
    .await;
    let mut first = server.all(ENTRIES).remove(0);
    first["spec"]["writer"] = json!("forger");
    server.put(ENTRIES, &first);
    with_extender(&server, async |_| {
        until_stopped(&server, "it was changed").await;
        request(&server, "other", "beside", "1");
        until_granted(&server, "other/beside").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_deleted_while_its_dataset_is_stopped_is_withdrawn_afterwards() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "first", "9");
        until_granted(&server, "data/first").await;
        let last = server.all(ENTRIES).pop().unwrap();
        let name = last["metadata"]["name"].as_str().unwrap().to_owned();
        server.delete(ENTRIES, &name);
        until_stopped(&server, "was deleted").await;
        server.delete(CLAIMS, "first");
        request(&server, "data", "second", "9");
        server.put(ENTRIES, &last);
        until_granted(&server, "data/second").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_created_again_begins_a_new_ledger() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "first", "9");
        until_granted(&server, "data/first").await;
        // Everything is deleted with the namespace, and both are created again before the extender looks.
        server.delete("namespaces", "data");
        server.put("namespaces", &json!({"metadata": {"name": "data", "uid": "two"}}));
        server.put(DATASETS, &*dataset("d2", 1, &json!({})));
        server.put(BLOCKS, &*block("a", "a2", Some("10")));
        request(&server, "data", "second", "9");
        until_granted(&server, "data/second").await;
        let entries = server.all(ENTRIES);
        assert_eq!(entries[0]["spec"]["sequence"], json!(1));
    })
    .await;
}

/// A status that named an entry of the ledger before would stop the new one.
#[tokio::test(start_paused = true)]
async fn statuses_that_arrive_late_are_not_those_of_objects_that_were_created_again() {
    let server = server();
    let late = Duration::from_secs(60);
    let statuses = |resource| RequestFilter::writes().resource(resource).subresource("status");
    for resource in [BLOCKS, DATASETS] {
        server.inject(&statuses(resource), 1000, Fault::ServeLate(late));
    }
    with_extender(&server, async |_| {
        request(&server, "data", "first", "9");
        until_granted(&server, "data/first").await;
        server
            .until(|server| server.count(&statuses(BLOCKS)) > 0 && server.count(&statuses(DATASETS)) > 0)
            .await;
    })
    .await;
    server.clear_faults();
    server.delete("namespaces", "data");
    server.put("namespaces", &json!({"metadata": {"name": "data", "uid": "two"}}));
    server.put(DATASETS, &*dataset("d2", 1, &json!({})));
    server.put(BLOCKS, &*block("a", "a2", Some("10")));
    tokio::time::sleep(late * 2).await;
    with_extender(&server, async |_| {
        request(&server, "data", "second", "9");
        until_granted(&server, "data/second").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_created_again_while_its_dataset_is_stopped_begins_a_new_ledger() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "first", "9");
        until_granted(&server, "data/first").await;
        server.inject(&entry_writes("data"), 1_000_000, Fault::Refuse(403));
        request(&server, "data", "refused", "1");
        until_stopped(&server, "quota").await;
        server.pause_watches();
        server.delete("namespaces", "data");
        server.put("namespaces", &json!({"metadata": {"name": "data", "uid": "two"}}));
        server.put(DATASETS, &*dataset("d2", 1, &json!({})));
        server.put(BLOCKS, &*block("a", "a2", Some("10")));
        // The ledger is tried again before the watches tell of any of this.
        sleep(Duration::from_secs(300)).await;
        server.clear_faults();
        server.resume_watches();
        request(&server, "data", "second", "9");
        // The new ledger may have been refused, too, and is tried again within two minutes.
        sleep(Duration::from_secs(150)).await;
        until_granted(&server, "data/second").await;
        let entries = server.all(ENTRIES);
        assert_eq!(entries[0]["spec"]["sequence"], json!(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_ran_for_is_never_released_even_if_its_entry_was_lost() {
    let server = server();
    let mut pod = pod_object("train");
    server.put("pods", &pod);
    with_extender(&server, async |_| {
        until_granted(&server, "train-train").await;
        // The pod got its node by a bind of which the ledger knows nothing.
        pod["spec"]["nodeName"] = json!("n1");
        pod["metadata"]["annotations"]["privatekube.dev/grant"] = json!("{}");
        server.put("pods", &pod);
        server.delete("pods", "train");
        server
            .until(|server| server.get(BLOCKS, "a").unwrap()["status"]["consumed"]["epsilon"] == json!("1"))
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_far_ahead_of_the_api_servers_unlocks_nothing_and_stops_the_dataset() {
    let server = server();
    let lifetime = json!({"unlocking": {"lifetime": "10000d", "tick": "1d"}});
    server.put(DATASETS, &*dataset("d", 1, &lifetime));
    let (handles, _) = crate::testing::handles(&server);
    let server_clock = std::sync::Arc::clone(&handles.server_clock);
    // As if this machine's clock were years ahead.
    server_clock.set(privatekube_policy::Time::from_micros(1_500_000_000_000_000));
    let mut bookkeeper = crate::bookkeeper::Bookkeeper::new(handles, crate::testing::key());
    assert!(bookkeeper.open_unless_deleted().await.unwrap());
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let applied = dataset("d", 2, &lifetime);
    sender
        .send(crate::bookkeeper::Message::DatasetApplied(applied))
        .unwrap();
    let run = bookkeeper.run(&mut receiver);
    tokio::select! {
        ended = run => panic!("the bookkeeper ended: {ended:?}"),
        () = server.until(|server| server.count(&RequestFilter::any().resource(BLOCKS)) > 3) => {}
    }
    assert_eq!(server.all(ENTRIES), Vec::<Value>::new());
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn a_dataset_that_cannot_be_written_is_tried_less_and_less_often() {
    let server = server();
    with_extender(&server, async |_| {
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
        server.inject(&entry_writes("data"), 1000, Fault::Refuse(403));
        request(&server, "data", "refused", "1");
        until_stopped(&server, "quota").await;
        server.clear_log();
        // An hour with a pause of two minutes, and a few shorter ones at its beginning.
        sleep(Duration::from_secs(3600)).await;
        let tried = server.count(&entry_writes("data"));
        assert!((10..60).contains(&tried), "{tried}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_created_after_the_store_went_back_is_seen() {
    let server = server();
    with_other_dataset(&server);
    with_extender(&server, async |_| {
        request(&server, "other", "before", "1");
        until_granted(&server, "other/before").await;
        // Whatever was written for that.
        sleep(Duration::from_secs(5)).await;
        let copy = server.copy();
        // The store is not that far again while this test runs.
        for number in 0..1000 {
            let other = json!({"metadata": {"namespace": "data", "name": format!("other-{number}")}});
            server.put("configmaps", &other);
        }
        request(&server, "data", "lost", "2");
        until_granted(&server, "data/lost").await;
        server.put_back(copy);
        // Its ledger had gone on.
        until_stopped(&server, "entries of namespace data").await;
        // The other one's had not.
        request(&server, "other", "after", "3");
        until_granted(&server, "other/after").await;
        request(&server, "data", "waits", "9");
        server
            .until(|server| {
                let status = &server.get(CLAIMS, "data/waits").unwrap()["status"];
                status["reason"] == json!("DatasetStopped")
            })
            .await;
    })
    .await;
}

/// No ledger knows of claims that their dataset isn't open to, so a start reads from their statuses that they were denied.
#[tokio::test(start_paused = true)]
async fn what_was_denied_outside_the_ledger_stays_denied_after_a_start() {
    let server = server();
    server.put("namespaces", &json!({"metadata": {"name": "other"}}));
    let mut foreign = serde_json::to_value(claim_object(
        "foreign",
        &json!({"dataset": "data/taxi", "budget": epsilon("1")}),
    ))
    .unwrap();
    foreign["metadata"]["namespace"] = json!("other");
    server.put(CLAIMS, &foreign);
    let mut pod = pod_object("train");
    pod["metadata"]["annotations"]["privatekube.dev/priority"] = json!("7");
    server.put("pods", &pod);
    let denied = |server: &FakeApiServer| {
        ["other/foreign", "data/train-train"].map(|claim| {
            let claim = server.get(CLAIMS, claim);
            claim.map(|claim| claim["status"]["reason"].clone())
        })
    };
    let expected = [Some(json!("NotAllowed")), Some(json!("PriorityTooHigh"))];
    with_extender(&server, async |_| {
        server.until(|server| denied(server) == expected).await;
    })
    .await;
    // The dataset is opened while no extender runs, and one of the claims states what is to be consumed.
    let open = json!({"claimants": {"from": "All", "maxPriority": 9}});
    server.put(DATASETS, &*dataset("d", 2, &open));
    let mut foreign = server.get(CLAIMS, "other/foreign").unwrap();
    foreign["spec"]["consume"] = json!({"all": true});
    foreign["metadata"]["generation"] = json!(2);
    server.put(CLAIMS, &foreign);
    with_extender(&server, async |_| {
        request(&server, "data", "later", "10");
        until_granted(&server, "data/later").await;
        assert_eq!(denied(&server), expected);
    })
    .await;
}

/// A restore writes the only entry of a ledger before the objects.
#[tokio::test(start_paused = true)]
async fn a_block_that_the_ledger_knows_gets_a_status_when_its_object_is_made_again() {
    let server = server();
    with_extender(&server, async |_| {
        server.until(|server| server.all(ENTRIES).len() == 1).await;
    })
    .await;
    let entry = server.all(ENTRIES).remove(0);
    server.delete(ENTRIES, entry["metadata"]["name"].as_str().unwrap());
    server.delete(DATASETS, "taxi");
    server.delete(BLOCKS, "a");
    with_extender(&server, async |_| {
        server.put(ENTRIES, &entry);
        server.put(BLOCKS, &*block("a", "a2", Some("10")));
        server.put(DATASETS, &*dataset("d2", 1, &json!({})));
        server
            .until(|server| server.get(BLOCKS, "a").unwrap()["status"].is_object())
            .await;
        assert_eq!(server.all(ENTRIES).len(), 1);
    })
    .await;
}
