//! Who asked for budget: what the webhooks write of it, and what the ledger keeps.

use privatekube_fake_api_server::FakeApiServer;
use serde_json::{Value, json};

use super::whole::{phase, server, with_extender};
use crate::{
    testing::{CLAIMS, ENTRIES, claim_object, epsilon, pod_object},
    tests::admission::{create, patched, review_by, update, webhooks},
};

const BY: &str = "privatekube.dev/requested-by";

fn by(object: &Value) -> &Value {
    &object["metadata"]["annotations"][BY]
}

/// An object as it is after a webhook has reviewed its creation by a user.
async fn created_by(user: &str, webhook: &str, object: &Value) -> Value {
    let (_server, router) = webhooks();
    let patch = review_by(&router, webhook, user, object).await.unwrap();
    patched(object, &patch)
}

#[tokio::test]
async fn a_pod_and_a_claim_get_the_user_who_makes_them_whatever_they_say() {
    let spec = json!({"budget": epsilon("1"), "blocks": {"which": "all"}});
    let claim = serde_json::to_value(claim_object("weekly", &spec)).unwrap();
    for (webhook, plain) in [("pods", pod_object("train")), ("requesters", claim)] {
        let made = created_by("alice@example.com", webhook, &plain).await;
        assert_eq!(by(&made), "alice@example.com", "{webhook}");
        // A forger, or whoever copies an object of somebody else.
        let mut forged = plain.clone();
        forged["metadata"]["annotations"][BY] = json!("alice@example.com");
        assert_eq!(by(&created_by("mallory", webhook, &forged).await), "mallory");
        // Nothing is changed twice.
        assert_eq!(created_by("alice@example.com", webhook, &made).await, made);
        // The API server always tells of a user. If it doesn't, nobody's word is taken.
        assert_eq!(by(&created_by("", webhook, &forged).await), &Value::Null);
        let long = created_by(&"x".repeat(300), webhook, &plain).await;
        assert_eq!(by(&long), &json!(format!("{}...", "x".repeat(253))));
        // Other annotations stay.
        forged["metadata"]["annotations"]["team"] = json!("blue");
        let made = created_by("mallory", webhook, &forged).await;
        assert_eq!(made["metadata"]["annotations"]["team"], "blue");
    }
}

#[tokio::test]
async fn an_update_of_a_claim_keeps_who_made_it() {
    let (_server, router) = webhooks();
    let spec = json!({"budget": epsilon("1"), "blocks": {"which": "all"}});
    let plain = serde_json::to_value(claim_object("weekly", &spec)).unwrap();
    let mut made = plain.clone();
    made["metadata"]["annotations"] = json!({BY: "alice"});
    let mut other = plain.clone();
    other["metadata"]["annotations"] = json!({BY: "mallory", "team": "blue"});
    for (before, after) in [(&made, &plain), (&made, &other), (&plain, &other), (&made, &made)] {
        let patch = update(&router, "requesters", before, after).await.unwrap();
        assert_eq!(by(&patched(after, &patch)), by(before), "{after}");
    }
}

#[tokio::test]
async fn the_claim_object_that_the_extender_makes_names_nobody() {
    let (_server, router) = webhooks();
    let mut object = serde_json::to_value(claim_object("train-1", &json!({"budget": epsilon("1")}))).unwrap();
    object["spec"]["pod"] = json!({"name": "train", "uid": "1"});
    let extender = super::admission::EXTENDER;
    let patch = review_by(&router, "requesters", extender, &object).await.unwrap();
    assert_eq!(patch, Value::Null);
}

#[tokio::test]
async fn a_wrong_purpose_is_refused_with_what_is_accepted() {
    let (_server, router) = webhooks();
    let mut pod = pod_object("train");
    pod["metadata"]["annotations"]["privatekube.dev/purpose"] = json!("x".repeat(257));
    let denied = create(&router, "pods", &pod).await.unwrap_err();
    assert!(
        denied.contains("privatekube.dev/purpose: has 257 characters: at most 256"),
        "{denied}"
    );
    let spec = json!({"budget": epsilon("1"), "blocks": {"which": "all"}, "purpose": "a\u{1b}[2J"});
    let claim = serde_json::to_value(claim_object("weekly", &spec)).unwrap();
    let denied = create(&router, "claims", &claim).await.unwrap_err();
    assert!(
        denied.contains("spec.purpose: has a line break or another control character"),
        "{denied}"
    );
}

/// The requesters in the ledger's entries, in order.
fn kept(server: &FakeApiServer) -> Vec<Value> {
    let mut entries = server.all(ENTRIES);
    entries.sort_by_key(|entry| entry["spec"]["sequence"].as_u64());
    let requesters = entries
        .iter()
        .filter_map(|entry| entry["spec"]["requesters"].as_array());
    requesters.flatten().cloned().collect()
}

#[tokio::test]
async fn the_ledger_keeps_who_asked_and_which_program_wrote_it() {
    let server = server();
    let mut pod = pod_object("train");
    let annotations = &mut pod["metadata"]["annotations"];
    annotations[BY] = json!("alice");
    annotations["privatekube.dev/purpose"] = json!("a model");
    pod["spec"]["serviceAccountName"] = json!("trainer");
    server.put("pods", &pod);
    // Made by an earlier version, or while the webhook was away.
    server.put("pods", &pod_object("old"));
    let spec = json!({"budget": epsilon("1"), "purpose": "a report"});
    let mut claim = serde_json::to_value(claim_object("weekly", &spec)).unwrap();
    claim["metadata"]["annotations"] = json!({BY: "bob"});
    server.put(CLAIMS, &claim);
    with_extender(&server, async |_| {
        server
            .until(|server| {
                ["train-train", "old-old", "weekly"]
                    .iter()
                    .all(|claim| phase(server, claim) == json!("Granted"))
            })
            .await;
    })
    .await;
    let mut kept = kept(&server);
    kept.sort_by_key(|requester| requester["claim"].as_str().map(str::to_owned));
    let expected = [
        json!({
            "claim": "claim/data/weekly/weekly", "user": "bob",
            "mechanism": "guarantee(epsilon=1,delta=0)", "purpose": "a report",
        }),
        json!({
            "claim": "pod/data/old/old", "images": ["train:1"], "mechanism": "guarantee(epsilon=1,delta=0)",
        }),
        json!({
            "claim": "pod/data/train/train", "user": "alice", "serviceAccount": "trainer", "images": ["train:1"],
            "mechanism": "guarantee(epsilon=1,delta=0)", "purpose": "a model",
        }),
    ];
    assert_eq!(kept, expected);
    for entry in server.all(ENTRIES) {
        assert_eq!(
            entry["spec"]["program"],
            concat!("privatekube ", env!("CARGO_PKG_VERSION"))
        );
    }
    // The claim object of the pod has its purpose.
    assert_eq!(
        server.get(CLAIMS, "train-train").unwrap()["spec"]["purpose"],
        "a model"
    );
}

/// A claim that waits for blocks has arrived, and is requested again from a process that starts: who asked stands in one entry.
#[tokio::test]
async fn who_asked_is_kept_once_also_of_a_claim_that_waits_for_blocks() {
    let server = server();
    let spec = json!({"budget": epsilon("1"), "blocks": {"min": 2, "max": 2}, "purpose": "a report"});
    let mut claim = serde_json::to_value(claim_object("weekly", &spec)).unwrap();
    claim["metadata"]["annotations"] = json!({BY: "bob"});
    server.put(CLAIMS, &claim);
    for _ in 0..2 {
        with_extender(&server, async |_| {
            server
                .until(|server| phase(server, "weekly") == json!("Waiting"))
                .await;
        })
        .await;
    }
    server.put(
        crate::testing::BLOCKS,
        &*crate::testing::block("b", "b", Some("10")),
    );
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "weekly") == json!("Granted"))
            .await;
    })
    .await;
    let kept = kept(&server);
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&kept[0]["user"], &kept[0]["purpose"]),
        (&json!("bob"), &json!("a report"))
    );
}
