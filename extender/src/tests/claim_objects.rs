//! Claim objects say what the ledger does, also after a restart: those of pods that could not be created before it, and those
//! that said that their dataset is stopped.

use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use serde_json::json;

use super::{
    post,
    stopped::{ready, until_stopped},
    whole::{phase, server, with_extender},
};
use crate::testing::{CLAIMS, ENTRIES, claim_object, epsilon, pod_object};

const OBJECT: &str = "train-train";
/// So many refusals last for longer than any test.
const FOR_EVER: usize = 1_000_000;

fn creations() -> RequestFilter {
    RequestFilter::writes().resource(CLAIMS).method("POST")
}

/// A server with a pod that was granted budget, and bound if that `binds`, while a quota refused its claim object; the quota is
/// gone since, and no extender runs.
async fn after_a_restart(binds: bool) -> FakeApiServer {
    let server = server();
    server.put("pods", &pod_object("train"));
    server.inject(&creations(), FOR_EVER, Fault::Refuse(403));
    with_extender(&server, async |scheduler| {
        server
            .until(|server| {
                let pod = server.get("pods", "train").unwrap();
                let gates = pod["spec"]["schedulingGates"].as_array();
                gates.is_none_or(Vec::is_empty)
            })
            .await;
        if binds {
            let args = json!({"PodName": "train", "PodNamespace": "data", "PodUID": "train", "Node": "n1"});
            let (_, answer) = post(&scheduler, "/scheduler/bind", args.to_string()).await;
            assert_eq!(answer["Error"], json!(""));
        }
        server.until(|server| server.count(&creations()) > 0).await;
    })
    .await;
    assert_eq!(server.get(CLAIMS, OBJECT), None);
    server.clear_faults();
    server
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_refused_its_claim_object_before_a_restart_gets_it_after() {
    for (binds, expected) in [(false, "Granted"), (true, "Consumed")] {
        let server = after_a_restart(binds).await;
        with_extender(&server, async |_| {
            server
                .until(|server| phase(server, OBJECT) == json!(expected))
                .await;
        })
        .await;
    }
}

/// The claims of a ledger are known once it is open.
#[tokio::test(start_paused = true)]
async fn a_pod_of_a_dataset_that_was_stopped_at_the_start_gets_its_claim_object_when_it_goes_on() {
    for (binds, expected) in [(false, "Granted"), (true, "Consumed")] {
        let server = after_a_restart(binds).await;
        let last = server.all(ENTRIES).pop().unwrap();
        let mut changed = last.clone();
        changed["spec"]["writer"] = json!("somebody else");
        server.put(ENTRIES, &changed);
        with_extender(&server, async |_| {
            until_stopped(&server, "").await;
            server.put(ENTRIES, &last);
            server.until(|server| ready(server).0 == "InLedger").await;
            server
                .until(|server| phase(server, OBJECT) == json!(expected))
                .await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_waited_for_its_dataset_before_a_restart_does_not_say_so_after() {
    let server = server();
    let reason = |server: &FakeApiServer| server.get(CLAIMS, "c").unwrap()["status"]["reason"].clone();
    server.put(CLAIMS, &claim_object("other", &json!({"budget": epsilon("4")})));
    with_extender(&server, async |_| {
        server
            .until(|server| phase(server, "other") == json!("Granted"))
            .await;
        server.put(CLAIMS, &claim_object("c", &json!({"budget": epsilon("8")})));
        server
            .until(|server| phase(server, "c") == json!("Waiting"))
            .await;
    })
    .await;
    let mut claim = server.get(CLAIMS, "c").unwrap();
    let said = reason(&server);
    claim["status"]["reason"] = json!("DatasetStopped");
    server.put(CLAIMS, &claim);
    with_extender(&server, async |_| {
        server.until(|server| reason(server) == said).await;
    })
    .await;
}
