//! Starts on ledgers that an earlier process has left.

use privatekube_api::{BudgetSource, PodKey};
use privatekube_fake_api_server::{FakeApiServer, RequestFilter};
use privatekube_view::Verdict;
use serde_json::{Value, json};

use super::{
    post,
    whole::{phase, server, with_extender, with_registry},
};
use crate::{
    registry::Registry,
    scheduler,
    testing::{CLAIMS, ENTRIES, NAMESPACE, claim_object, epsilon, pod_object},
};

/// What the scheduler's filter answers about a pod.
async fn filter(scheduler: &axum::Router, pod: &Value) -> Value {
    let args = json!({"Pod": pod, "NodeNames": ["n1"]});
    post(scheduler, "/scheduler/filter", args.to_string()).await.1
}

fn verdict(registry: &Registry, pod: &Value) -> Verdict {
    let pod = serde_json::from_value(pod.clone()).unwrap();
    Verdict::of(&BudgetSource::of(&pod), NAMESPACE, &registry.handles().view)
}

/// A server with a granted pod `train`, a granted claim `c`, and a pod `refused` that was denied and is in no ledger.
async fn left_by_an_earlier_process() -> FakeApiServer {
    let server = server();
    server.put("pods", &pod_object("train"));
    server.put(CLAIMS, &claim_object("c", &json!({"budget": epsilon("4")})));
    with_extender(&server, async |_| {
        server
            .until(|server| {
                ["train-train", "c"]
                    .iter()
                    .all(|claim| phase(server, claim) == json!("Granted"))
            })
            .await;
    })
    .await;
    server.put("pods", &pod_object("refused"));
    let of_pod = json!({"budget": epsilon("1"), "pod": {"name": "refused", "uid": "refused"}});
    let mut denied = json!(claim_object("refused-refused", &of_pod));
    denied["status"] = json!({"phase": "Denied", "reason": "NotAllowed", "message": "m"});
    server.put(CLAIMS, &denied);
    server
}

#[tokio::test]
async fn what_a_ledger_has_is_answered_while_claim_objects_are_listed_and_nothing_new_is_requested() {
    let server = left_by_an_earlier_process().await;
    let lists = RequestFilter::any()
        .method("GET")
        .path_prefix("/apis/privatekube.dev/v1alpha1/privacybudgetclaims");
    let listing = server.hold(&lists);
    let mut user = pod_object("user");
    user["metadata"]["annotations"] = json!({"privatekube.dev/claim": "c"});
    with_registry(&server, async |registry| {
        let scheduler = scheduler::router(registry.clone());
        let view = &registry.handles().view;
        server.until(|_| view.is_read()).await;

        let train = server.get("pods", "train").unwrap();
        assert_eq!(filter(&scheduler, &train).await["NodeNames"], json!(["n1"]));
        let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
        let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
        assert_eq!(answer["Error"], json!(""));

        // What may be among the objects is neither known nor unknown.
        server.put("pods", &pod_object("new"));
        server.put("pods", &user);
        for name in ["new", "user", "refused"] {
            let key = PodKey {
                namespace: NAMESPACE.to_owned(),
                name: name.to_owned(),
            };
            server
                .until(|_| registry.handles().pods.get(&key).is_some())
                .await;
            registry.flush().await;
            let pod = server.get("pods", name).unwrap();
            assert_eq!(verdict(&registry, &pod), Verdict::Starting, "{name}");
            let answer = filter(&scheduler, &pod).await;
            let error = answer["Error"].as_str().unwrap();
            assert!(error.contains("are being read"), "{error}");
        }
        assert!(!view.is_complete());

        drop(listing);
        server
            .until(|server| phase(server, "new-new") == json!("Granted"))
            .await;
        server.until(|_| view.is_complete()).await;
        assert_eq!(filter(&scheduler, &user).await["NodeNames"], json!(["n1"]));
        registry.flush().await;
        let refused = server.get("pods", "refused").unwrap();
        assert_eq!(verdict(&registry, &refused).label(), "denied");
    })
    .await;
    let entries = serde_json::to_string(&server.all(ENTRIES)).unwrap();
    assert!(
        entries.contains("new-new") || entries.contains("/new/"),
        "{entries}"
    );
    assert!(!entries.contains("refused"), "{entries}");
}

#[tokio::test]
async fn a_start_writes_why_a_claim_waits_if_the_process_before_it_did_not() {
    let server = server();
    for (name, asked) in [("first", "8"), ("second", "5")] {
        server.put(CLAIMS, &claim_object(name, &json!({"budget": epsilon(asked)})));
        with_registry(&server, async |_| {
            server
                .until(|server| {
                    let claim = server.get(CLAIMS, name).unwrap();
                    !claim["status"]["sequence"].is_null()
                })
                .await;
        })
        .await;
    }
    let written = server.get(CLAIMS, "second").unwrap()["status"].clone();
    assert_eq!(written["reason"], json!("TooLittleUnlocked"));
    // What the process before may have written before the claim was in the ledger, and before it had enough blocks.
    for earlier in [
        json!({"phase": "Waiting", "reason": "Undecided", "message": "m"}),
        json!({"phase": "Waiting", "reason": "TooFewBlocks", "message": "m", "sequence": 1}),
    ] {
        let mut object = server.get(CLAIMS, "second").unwrap();
        object["status"] = earlier;
        server.put(CLAIMS, &object);
        with_registry(&server, async |_| {
            server
                .until(|server| {
                    let claim = server.get(CLAIMS, "second").unwrap();
                    claim["status"]["message"] == written["message"]
                })
                .await;
        })
        .await;
        let claim = server.get(CLAIMS, "second").unwrap();
        assert_eq!(claim["status"]["reason"], written["reason"]);
        assert!(!claim["status"]["sequence"].is_null(), "{claim:#}");
    }
}

#[tokio::test]
async fn an_extender_that_starts_again_publishes_the_same_and_writes_no_entry() {
    let server = server();
    server.put(CLAIMS, &claim_object("c", &json!({"budget": epsilon("4")})));
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "c") == json!("Granted"))
            .await;
    })
    .await;
    let entries = server.all(ENTRIES);
    // The status was lost meanwhile.
    let mut claim = server.get(CLAIMS, "c").unwrap();
    claim["status"] = json!({});
    server.put(CLAIMS, &claim);
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "c") == json!("Granted"))
            .await;
    })
    .await;
    assert_eq!(server.all(ENTRIES), entries);
    assert!(server.count(&RequestFilter::writes().resource(ENTRIES)) >= entries.len());
}
