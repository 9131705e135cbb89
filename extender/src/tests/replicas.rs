//! Several extenders on one API server: one leads, the others follow what it writes and take over.

use std::{sync::Arc, time::Duration};

use privatekube_api::{BudgetSource, ClaimPhase};
use privatekube_fake_api_server::{FakeApiServer, LoggedRequest, RequestFilter};
use privatekube_ledger::ENTRY_VERSION;
use privatekube_policy::ClaimId;
use privatekube_view::Verdict;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    post,
    stopped::{request, until_granted},
    whole::{phase, server, with_replica, with_version},
};
use crate::{
    leadership::Leadership,
    registry::Registry,
    scheduler,
    testing::{
        BLOCKS, CLAIMS, DATASETS, ENTRIES, NAMESPACE, block, claim_object, dataset, epsilon, key, pod_object,
    },
};

/// Makes a process the leader, for longer than any test takes.
fn elect(leadership: &Leadership) {
    leadership.lead_until(Instant::now() + Duration::from_secs(1_000_000));
}

#[track_caller]
fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let ends = Instant::now() + Duration::from_secs(600);
        while !condition() {
            assert!(
                Instant::now() < ends,
                "what is waited for at {caller} doesn't come"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn claim_id(name: &str) -> ClaimId {
    ClaimId::from(format!("claim/{NAMESPACE}/{name}/{name}"))
}

/// The claim of a pod with a demand of its own.
fn pod_claim(name: &str) -> ClaimId {
    ClaimId::from(format!("pod/{NAMESPACE}/{name}/{name}"))
}

/// The phase of a claim in the view of a process.
fn seen(registry: &Registry, name: &str) -> Option<ClaimPhase> {
    let claim = registry.handles().view.claim(&claim_id(name));
    claim.map(|claim| claim.phase)
}

/// The verdict of a process on a pod that names a claim object.
fn verdict(registry: &Registry, claim: &str) -> String {
    let mut pod = pod_object("user");
    pod["metadata"]["annotations"] = json!({"privatekube.dev/claim": claim});
    let source = BudgetSource::of(&serde_json::from_value(pod).unwrap());
    let verdict = Verdict::of(&source, NAMESPACE, &registry.handles().view);
    verdict.label().to_owned()
}

/// Who wrote the entries, in order.
fn writers(server: &FakeApiServer) -> Vec<String> {
    let entries = server.all(ENTRIES);
    let writer = |entry: &Value| entry["spec"]["writer"].as_str().unwrap().to_owned();
    entries.iter().map(writer).collect()
}

/// What asks the API server for entries: lists, without those of single names; and reads of single names.
fn reads(server: &FakeApiServer) -> (usize, usize) {
    let of_entries = RequestFilter::any().method("GET").resource(ENTRIES);
    let all = server.requests(&of_entries);
    let read = all.iter().filter(|request| !request.query.contains("watch=true"));
    let (lists, single): (Vec<_>, Vec<_>) = read.partition(|read| read.path.ends_with(ENTRIES));
    (lists.len(), single.len())
}

/// Runs a leader and a follower while `test` runs, which gets the bookkeepers of both and the follower's leadership.
async fn with_two<F: Future<Output = ()>>(
    server: &FakeApiServer,
    test: impl FnOnce(Arc<Registry>, Arc<Registry>, Leadership) -> F,
) {
    let candidate = Leadership::candidate();
    with_replica(server, Leadership::alone(), "first", async |first| {
        with_replica(server, candidate.clone(), "second", async |second| {
            candidate.until_caught_up().await;
            test(first, second, candidate.clone()).await;
        })
        .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_sees_what_the_leader_decides_and_writes_nothing() {
    let server = server();
    request(&server, "data", "before", "1");
    with_replica(&server, Leadership::alone(), "first", async |_| {
        until_granted(&server, "data/before").await;
        // Its statuses are written a moment later.
        sleep(Duration::from_secs(5)).await;
    })
    .await;
    let candidate = Leadership::candidate();
    let writes = server.count(&RequestFilter::writes());
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        assert_eq!(seen(&second, "before"), Some(ClaimPhase::Granted));
        // Nobody leads, and whatever happens is left undone.
        request(&server, "data", "later", "1");
        server.put(BLOCKS, &*block("late", "late", Some("10")));
        server.put("pods", &pod_object("train"));
        let mut bypassed = pod_object("bypassed");
        bypassed["spec"]["nodeName"] = json!("n1");
        server.put("pods", &bypassed);
        server.delete(CLAIMS, "data/before");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(server.count(&RequestFilter::writes()), writes);
        let late = second.handles().view.block(&(key(), "late".to_owned()));
        assert!(
            late.is_none(),
            "it is in no entry: {:?}",
            late.map(|late| late.status())
        );
        let metrics = second.handles().metrics.text().unwrap();
        assert!(!metrics.contains("dataset=\"taxi\""), "{metrics}");
    })
    .await;
    assert_eq!(
        writers(&server)
            .iter()
            .filter(|writer| *writer == "second")
            .count(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn claims_are_listed_once_after_a_process_leads_and_soon_if_it_follows() {
    let server = server();
    let lists = || {
        let of_claims = server.requests(&RequestFilter::any().method("GET").resource(CLAIMS));
        let is_list = |request: &&LoggedRequest| request.query.contains("sendInitialEvents=true");
        of_claims.iter().filter(is_list).count()
    };
    for leads in [true, false] {
        server.clear_log();
        let candidate = Leadership::candidate();
        with_replica(&server, candidate.clone(), "replica", async |replica| {
            candidate.until_caught_up().await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(lists(), 0);
            if leads {
                elect(&candidate);
            }
            until(|| replica.handles().view.is_complete()).await;
            assert_eq!(lists(), 1, "leads: {leads}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_of_each_entry_by_the_watch_and_reads_it_once() {
    let server = server();
    with_two(&server, async |_, second, _| {
        request(&server, "data", "first", "1");
        until(|| seen(&second, "first") == Some(ClaimPhase::Granted)).await;
        // By its name it is found once its object was listed.
        until(|| verdict(&second, "first") == "granted").await;
        // The first entry had to be read by a list, since there was no ledger.
        let (lists, _) = reads(&server);
        for number in 0..20 {
            let name = format!("c{number}");
            request(&server, "data", &name, "9.5");
            until(|| seen(&second, &name) == Some(ClaimPhase::Waiting)).await;
        }
        server.put(BLOCKS, &*block("late", "late", Some("10")));
        let block = (key(), "late".to_owned());
        until(|| {
            second
                .handles()
                .view
                .block(&block)
                .is_some_and(|block| block.parts().is_some())
        })
        .await;
        assert_eq!(reads(&server).0, lists, "nothing is listed again");
        let own = second.handles().view.claim_count(&key(), NAMESPACE);
        assert_eq!(own.waiting, 20);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_catches_up_after_its_watch_was_interrupted() {
    let server = server();
    with_two(&server, async |_, second, _| {
        request(&server, "data", "first", "1");
        until(|| seen(&second, "first") == Some(ClaimPhase::Granted)).await;
        server.pause_watches();
        server.end_watches();
        sleep(Duration::from_secs(2)).await;
        server.resume_watches();
        request(&server, "data", "second", "1");
        until(|| seen(&second, "second") == Some(ClaimPhase::Granted)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_becomes_the_leader_and_goes_on_where_the_last_one_ended() {
    let server = server();
    let candidate = Leadership::candidate();
    request(&server, "data", "kept", "1");
    request(&server, "data", "deleted", "2");
    request(&server, "data", "waits", "7.5");
    let take_over = async |second: Arc<Registry>| {
        let scheduler = scheduler::router(Arc::clone(&second));
        let mut pod = pod_object("user");
        pod["metadata"]["annotations"] = json!({"privatekube.dev/claim": "kept"});
        let args = json!({"Pod": pod, "NodeNames": ["n1"]}).to_string();
        let (_, answer) = post(&scheduler, "/scheduler/filter", args.clone()).await;
        assert!(
            answer["Error"].as_str().unwrap().contains("doesn't lead"),
            "{answer}"
        );
        let bind = json!({"PodName": "user", "PodNamespace": "data", "PodUID": "user", "Node": "n1"});
        let (_, refused) = post(&scheduler, "/scheduler/bind", bind.to_string()).await;
        assert!(
            refused["Error"].as_str().unwrap().contains("doesn't lead"),
            "{refused}"
        );
        // Nobody leads for a while.
        request(&server, "data", "later", "0.5");
        server.put("pods", &pod_object("train"));
        server.delete(CLAIMS, "data/deleted");
        let mut stale = server.get(CLAIMS, "data/kept").unwrap();
        stale["status"]["phase"] = json!("Waiting");
        server.put(CLAIMS, &stale);
        sleep(Duration::from_secs(5)).await;
        let before = reads(&server);
        elect(&candidate);
        candidate.until_took_over().await;
        let (_, answer) = post(&scheduler, "/scheduler/filter", args).await;
        assert_eq!(answer["NodeNames"], json!(["n1"]));
        let after = reads(&server);
        assert_eq!(after.0, before.0, "the ledger isn't read again");
        assert!(after.1 - before.1 <= 3, "{before:?} {after:?}");
        for claim in ["data/later", "train-train", "data/kept", "data/waits"] {
            until_granted(&server, claim).await;
        }
        assert_eq!(seen(&second, "deleted"), None, "it was withdrawn");
        let gates = |server: &FakeApiServer| {
            let pod = server.get("pods", "train").unwrap();
            pod["spec"]["schedulingGates"].as_array().map_or(0, Vec::len)
        };
        server.until(|server| gates(server) == 0).await;
        let metrics = second.handles().metrics.text().unwrap();
        assert!(metrics.contains("dataset=\"taxi\""), "{metrics}");
    };
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        with_replica(&server, Leadership::alone(), "first", async |_| {
            until_granted(&server, "data/deleted").await;
            until(|| seen(&second, "waits") == Some(ClaimPhase::Waiting)).await;
            server
                .until(|server| phase(server, "data/waits") == json!("Waiting"))
                .await;
            server.put(BLOCKS, &*block("late", "late", Some("10")));
        })
        .await;
        take_over(second).await;
    })
    .await;
    let writers = writers(&server);
    let first = writers.iter().take_while(|writer| *writer == "first").count();
    assert!(first > 0 && writers[first..].iter().all(|writer| writer == "second"));
    assert!(writers.len() > first);
}

/// The leader died between two writes: it had created the claim object of a pod, and not written its status yet.
#[tokio::test(start_paused = true)]
async fn the_status_that_the_last_leader_did_not_write_any_more_is_written() {
    let server = server();
    let candidate = Leadership::candidate();
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        with_replica(&server, Leadership::alone(), "first", async |_| {
            server.put("pods", &pod_object("train"));
            until_granted(&server, "train-train").await;
            until(|| second.handles().view.claim(&pod_claim("train")).is_some()).await;
        })
        .await;
        let mut object = server.get(CLAIMS, "train-train").unwrap();
        server.delete(CLAIMS, "train-train");
        object["status"] = Value::Null;
        server.put(CLAIMS, &object);
        sleep(Duration::from_secs(5)).await;
        elect(&candidate);
        until_granted(&server, "train-train").await;
    })
    .await;
}

/// A watch may be behind: it doesn't know an object yet that the ledger knows.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_object_the_followers_watch_has_not_delivered_is_not_withdrawn() {
    let server = server();
    let candidate = Leadership::candidate();
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        server.pause_watches();
        with_replica(&server, Leadership::alone(), "first", async |_| {
            request(&server, "data", "new", "1");
            until_granted(&server, "data/new").await;
        })
        .await;
        assert_eq!(seen(&second, "new"), None);
        elect(&candidate);
        candidate.until_took_over().await;
        assert_eq!(seen(&second, "new"), Some(ClaimPhase::Granted));
        request(&server, "data", "after", "1");
        sleep(Duration::from_secs(30)).await;
        server.resume_watches();
        until_granted(&server, "data/after").await;
        assert_eq!(seen(&second, "new"), Some(ClaimPhase::Granted));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_valid_lease_begins_no_entry() {
    let server = server();
    let candidate = Leadership::candidate();
    with_replica(&server, candidate.clone(), "first", async |first| {
        elect(&candidate);
        request(&server, "data", "before", "1");
        until_granted(&server, "data/before").await;
        candidate.lead_until(Instant::now());
        let entries = server.all(ENTRIES).len();
        request(&server, "data", "meanwhile", "1");
        server.put(BLOCKS, &*block("late", "late", Some("10")));
        sleep(Duration::from_secs(600)).await;
        assert_eq!(server.all(ENTRIES).len(), entries);
        assert_eq!(seen(&first, "meanwhile"), None);
        // It is renewed, since nobody else has led.
        elect(&candidate);
        until_granted(&server, "data/meanwhile").await;
        assert!(candidate.end(Duration::from_secs(5)).await);
        let entries = server.all(ENTRIES).len();
        request(&server, "data", "after", "1");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(server.all(ENTRIES).len(), entries);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn datasets_that_are_new_are_followed_and_go_on_under_another_leader() {
    let server = FakeApiServer::default();
    server.put("namespaces", &json!({"metadata": {"name": NAMESPACE}}));
    let candidate = Leadership::candidate();
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        with_replica(&server, Leadership::alone(), "first", async |_| {
            server.put(DATASETS, &*dataset("d", 1, &json!({})));
            server.put(BLOCKS, &*block("a", "a", Some("10")));
            server.put(CLAIMS, &claim_object("first", &json!({"budget": epsilon("1")})));
            until(|| seen(&second, "first") == Some(ClaimPhase::Granted)).await;
        })
        .await;
        elect(&candidate);
        server.put(CLAIMS, &claim_object("second", &json!({"budget": epsilon("1")})));
        until(|| seen(&second, "second") == Some(ClaimPhase::Granted)).await;
    })
    .await;
}

/// Entries that were lost while a process followed: it must not go on from what it has read of them.
#[tokio::test(start_paused = true)]
async fn entries_that_are_lost_when_a_follower_takes_over_stop_the_dataset() {
    let server = server();
    let candidate = Leadership::candidate();
    with_replica(&server, candidate.clone(), "second", async |second| {
        candidate.until_caught_up().await;
        with_replica(&server, Leadership::alone(), "first", async |_| {
            request(&server, "data", "lost", "9");
            until(|| seen(&second, "lost") == Some(ClaimPhase::Granted)).await;
        })
        .await;
        let last = server.all(ENTRIES).pop().unwrap();
        server.pause_watches();
        server.delete(ENTRIES, last["metadata"]["name"].as_str().unwrap());
        let entries = server.all(ENTRIES).len();
        elect(&candidate);
        candidate.until_took_over().await;
        server.resume_watches();
        server
            .until(|server| super::stopped::ready(server).0 == "Stopped")
            .await;
        request(&server, "data", "after", "9");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(server.all(ENTRIES).len(), entries);
    })
    .await;
}

/// Two processes that both take themselves for the leader: one of them is wrong, and no object is written as fast as they can.
#[tokio::test(start_paused = true)]
async fn a_status_that_is_always_written_over_is_seldom_written_again() {
    let server = server();
    request(&server, "data", "c", "1");
    let statuses = RequestFilter::any().method("PATCH").resource(CLAIMS);
    with_replica(&server, Leadership::alone(), "first", async |_| {
        until_granted(&server, "data/c").await;
        sleep(Duration::from_secs(5)).await;
        let before = server.count(&statuses);
        for _ in 0..100 {
            let mut claim = server.get(CLAIMS, "data/c").unwrap();
            claim["status"]["phase"] = json!("Waiting");
            server.put(CLAIMS, &claim);
            server.until(|server| server.count(&statuses) > before).await;
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(phase(&server, "data/c"), json!("Granted"));
        let written = server.count(&statuses) - before;
        assert!(written <= 10, "written {written} times in 10 s");
    })
    .await;
}

/// A rolling update from this version to a later one, which writes entries in a version 2 of their format, and the way back.
#[tokio::test(start_paused = true)]
async fn an_earlier_version_follows_no_entry_of_a_later_one_and_the_later_one_reads_all() {
    const LATER: u32 = ENTRY_VERSION + 1;
    let server = server();
    let (old, new) = (Leadership::candidate(), Leadership::candidate());
    request(&server, "data", "first", "1");
    with_replica(&server, Leadership::alone(), "old", async |_| {
        until_granted(&server, "data/first").await;
    })
    .await;
    with_replica(&server, old.clone(), "old follower", async |follower| {
        until(|| seen(&follower, "first") == Some(ClaimPhase::Granted)).await;
        with_version(&server, new.clone(), "new", LATER, async |leader| {
            until(|| seen(&leader, "first") == Some(ClaimPhase::Granted)).await;
            elect(&new);
            request(&server, "data", "second", "1");
            until_granted(&server, "data/second").await;
        })
        .await;
        let entries = server.all(ENTRIES);
        let versions: Vec<&Value> = entries.iter().map(|entry| &entry["spec"]["version"]).collect();
        assert_eq!(*versions.first().unwrap(), &Value::Null);
        assert_eq!(*versions.last().unwrap(), &json!(LATER));
        // The follower says why it grants nothing, and neither does it once it leads.
        until(|| verdict(&follower, "first") == "stopped").await;
        elect(&old);
        server
            .until(|server| {
                let (reason, message) = super::stopped::ready(server);
                reason == "Stopped"
                    && message
                        .contains("has version 2 of its format, which a later version of PrivateKube wrote")
                    && message.contains("run the later version again")
            })
            .await;
        request(&server, "data", "third", "1");
        sleep(Duration::from_secs(600)).await;
        assert_eq!(server.all(ENTRIES).len(), entries.len(), "nothing is written");
        assert_eq!(phase(&server, "data/third"), json!("Waiting"));
        assert_eq!(
            phase(&server, "data/second"),
            json!("Granted"),
            "what is granted stays"
        );
    })
    .await;
    with_version(&server, Leadership::alone(), "new", LATER, async |_| {
        until_granted(&server, "data/third").await;
    })
    .await;
}

/// An entry whose parts this version can't even parse.
#[tokio::test(start_paused = true)]
async fn an_entry_of_another_shape_is_of_a_later_version_if_it_says_so() {
    let server = server();
    request(&server, "data", "first", "1");
    with_replica(&server, Leadership::alone(), "first", async |_| {
        until_granted(&server, "data/first").await;
    })
    .await;
    let last = server.all(ENTRIES).pop().unwrap();
    let sequence = last["spec"]["sequence"].as_u64().unwrap() + 1;
    let name = privatekube_api::entry_name("taxi", sequence);
    let later = |version: u32| {
        let mut later = last.clone();
        later["metadata"]["name"] = json!(name);
        later["metadata"]["uid"] = json!("later");
        later["spec"] = json!({"dataset": "taxi", "sequence": sequence, "version": version, "decisions": {"of": "a kind"}});
        later
    };
    for (version, says) in [(2, "has version 2 of its format"), (1, "missing field")] {
        server.put(ENTRIES, &later(version));
        with_replica(&server, Leadership::alone(), "second", async |_| {
            super::stopped::until_stopped(&server, says).await;
        })
        .await;
    }
}
