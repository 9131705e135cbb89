//! The election, on leases of an in-process API server, by a clock that goes on by itself.

use std::{sync::Arc, time::Duration};

use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, advance, sleep},
};

use super::{
    Election, Label, Leadership, LeaseTimes, NotLeading, OwnPod, Replica, election::LeaseLost,
    lease::TimesError,
};
use crate::metrics::Metrics;

const LEASES: &str = "leases";
const NAME: &str = "system/lease";

/// A candidate that runs in a task of its own.
struct Candidate {
    leadership: Leadership,
    election: Arc<Election>,
    running: JoinHandle<Result<(), LeaseLost>>,
}

fn candidate(server: &FakeApiServer, identity: &str) -> Candidate {
    let leadership = Leadership::candidate();
    let replica = Replica {
        namespace: "system".to_owned(),
        lease: "lease".to_owned(),
        identity: identity.to_owned(),
        times: LeaseTimes::default(),
        pod: None,
        drain: Duration::ZERO,
    };
    let metrics = Metrics::new().unwrap().leadership.clone();
    let election = Arc::new(Election::new(
        server.client(),
        &replica,
        leadership.clone(),
        metrics,
    ));
    let running = tokio::spawn(Arc::clone(&election).run());
    Candidate {
        leadership,
        election,
        running,
    }
}

async fn leader(server: &FakeApiServer, identity: &str) -> Candidate {
    let candidate = candidate(server, identity);
    candidate.leadership.until_leading().await;
    candidate
}

fn spec(server: &FakeApiServer) -> Value {
    server.get(LEASES, NAME).unwrap()["spec"].clone()
}

fn renewals() -> RequestFilter {
    RequestFilter::writes().resource(LEASES).method("PUT")
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_holds_is_taken_at_once_and_renewed() {
    let server = FakeApiServer::default();
    let began = Instant::now();
    let first = leader(&server, "first").await;
    assert!(began.elapsed() < Duration::from_millis(100));
    assert_eq!(spec(&server)["holderIdentity"], json!("first"));
    assert_eq!(spec(&server)["leaseDurationSeconds"], json!(5));
    sleep(Duration::from_secs(60)).await;
    assert!(first.leadership.may_act());
    let renewals = server.count(&renewals());
    assert!((50..70).contains(&renewals), "{renewals}");
    assert_eq!(spec(&server)["leaseTransitions"], json!(0));
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_leads_and_the_other_one_after_it_died() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    let second = candidate(&server, "second");
    sleep(Duration::from_secs(30)).await;
    assert!(first.leadership.may_act() && !second.leadership.leads());
    first.running.abort();
    let died = Instant::now();
    second.leadership.until_leading().await;
    // The first one is paused, and has not been told that it was replaced.
    assert!(!first.leadership.may_act(), "both may act");
    let took = died.elapsed();
    assert!(
        took <= LeaseTimes::default().duration + Duration::from_millis(100),
        "{took:?}"
    );
    assert_eq!(spec(&server)["holderIdentity"], json!("second"));
    assert_eq!(spec(&server)["leaseTransitions"], json!(1));
}

/// It is judged by when the lease was seen to change: what its holder's clock says is worth nothing.
#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_is_wrong_keeps_its_lease() {
    let server = FakeApiServer::default();
    let _first = leader(&server, "first").await;
    let second = candidate(&server, "second");
    for minute in 0..60 {
        let mut lease = server.get(LEASES, NAME).unwrap();
        lease["spec"]["renewTime"] = json!(format!("1999-01-01T00:{minute:02}:00.000000Z"));
        server.put(LEASES, &lease);
        sleep(Duration::from_secs(1)).await;
        assert!(!second.leadership.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_released_is_taken_at_once() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    let second = candidate(&server, "second");
    sleep(Duration::from_secs(10)).await;
    let released = Instant::now();
    assert!(first.leadership.end(Duration::from_secs(1)).await);
    assert!(first.election.release().await);
    second.leadership.until_leading().await;
    assert!(
        released.elapsed() < Duration::from_millis(100),
        "{:?}",
        released.elapsed()
    );
    assert!(!first.leadership.leads());
    assert_eq!(first.leadership.check(), Err(NotLeading::Follows));
    // It doesn't come back.
    sleep(Duration::from_secs(30)).await;
    assert!(!first.leadership.leads() && second.leadership.may_act());
    assert!(!first.election.release().await, "it has no lease any more");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_released_although_a_renewal_was_on_its_way() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    first.running.abort();
    let mut lease = server.get(LEASES, NAME).unwrap();
    lease["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
    server.put(LEASES, &lease);
    assert!(first.election.release().await);
    assert_eq!(spec(&server)["holderIdentity"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_started_again_takes_its_own_lease_at_once() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    first.running.abort();
    let began = Instant::now();
    let again = leader(&server, "first").await;
    assert!(began.elapsed() < Duration::from_millis(100));
    // The process before it, should it still exist, finds another term.
    assert_eq!(spec(&server)["leaseTransitions"], json!(1));
    assert!(again.leadership.may_act());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_reach_the_server_stops_in_time_and_goes_on_if_nobody_led_meanwhile() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    first.leadership.took_over();
    sleep(Duration::from_millis(5_500)).await;
    assert_eq!(first.leadership.check(), Ok(()));
    server.inject(&RequestFilter::any(), usize::MAX, Fault::LoseRequest);
    // The last renewal was sent at most renew_every ago.
    sleep(LeaseTimes::default().renew_deadline).await;
    assert_eq!(first.leadership.check(), Err(NotLeading::Expired));
    assert!(first.leadership.leads(), "nobody else does");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(first.leadership.check(), Err(NotLeading::Expired));
    server.clear_faults();
    until(|| first.leadership.check().is_ok()).await;
    assert_eq!(spec(&server)["leaseTransitions"], json!(0));
}

/// An error is answered at once, so that trying again at once would be a tight loop.
#[tokio::test(start_paused = true)]
async fn a_candidate_asks_a_server_that_refuses_it_once_a_second() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    let second = candidate(&server, "second");
    sleep(Duration::from_secs(5)).await;
    first.running.abort();
    let of_leases = RequestFilter::any().resource(LEASES);
    for fault in [Fault::LoseRequest, Fault::Refuse(403)] {
        server.inject(&of_leases, usize::MAX, fault);
        sleep(Duration::from_secs(10)).await;
        let before = server.count(&of_leases);
        sleep(Duration::from_secs(60)).await;
        let asked = server.count(&of_leases) - before;
        assert!((30..150).contains(&asked), "{asked}");
        assert!(!second.leadership.leads());
        server.clear_faults();
    }
    second.leadership.until_leading().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_asks_a_server_whose_store_is_full_a_few_times_a_second() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    server.inject(&renewals(), 1000, Fault::Refuse(500));
    server.clear_log();
    sleep(Duration::from_secs(10)).await;
    assert!(first.leadership.leads() && !first.leadership.may_act());
    let tried = server.count(&renewals());
    assert!((5..60).contains(&tried), "{tried}");
    server.clear_faults();
    until(|| first.leadership.may_act()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_one_that_is_not_reached() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    let hold = server.hold(&RequestFilter::any());
    sleep(LeaseTimes::default().renew_deadline).await;
    assert!(!first.leadership.may_act());
    drop(hold);
    until(|| first.leadership.may_act()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_or_a_foreign_change_does_not_end_a_leader() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    server.inject(&renewals(), 1, Fault::LoseReply);
    let mut lease = server.get(LEASES, NAME).unwrap();
    lease["metadata"]["annotations"] = json!({"seen": "by an administrator"});
    server.put(LEASES, &lease);
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        assert!(first.leadership.may_act());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_one_took_is_lost() {
    for other in ["other", "first"] {
        let server = FakeApiServer::default();
        let first = leader(&server, "first").await;
        let mut lease = server.get(LEASES, NAME).unwrap();
        lease["spec"]["holderIdentity"] = json!(other);
        lease["spec"]["leaseTransitions"] = json!(7);
        server.put(LEASES, &lease);
        let lost = first.running.await.unwrap().unwrap_err();
        assert!(lost.to_string().contains(other), "{lost}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_is_made_again_by_its_leader() {
    let server = FakeApiServer::default();
    let first = leader(&server, "first").await;
    server.delete(LEASES, NAME);
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        assert!(first.leadership.may_act());
    }
    assert_eq!(
        server.get(LEASES, NAME).unwrap()["spec"]["holderIdentity"],
        "first"
    );
}

#[tokio::test(start_paused = true)]
async fn candidates_that_race_for_a_lease_never_lead_together() {
    let server = FakeApiServer::default();
    server.inject(&RequestFilter::writes().resource(LEASES), 3, Fault::LoseReply);
    let all: Vec<_> = ["a", "b", "c"].map(|name| candidate(&server, name)).into();
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
        let leaders = all.iter().filter(|one| one.leadership.may_act()).count();
        assert!(leaders <= 1, "{leaders}");
    }
    assert_eq!(all.iter().filter(|one| one.leadership.may_act()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_what_has_begun_and_nothing_begins_after_it() {
    let leadership = Leadership::alone();
    let acting = leadership.act().await;
    assert!(
        !leadership.end(Duration::from_secs(1)).await,
        "an entry is being written"
    );
    assert!(leadership.has_ended());
    drop(acting);
    assert!(leadership.end(Duration::from_secs(1)).await);
    let begins = tokio::time::timeout(Duration::from_secs(3600), leadership.act()).await;
    assert!(begins.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_begins_without_a_valid_lease_waits_for_it() {
    let leadership = Leadership::candidate();
    let waits = tokio::spawn({
        let leadership = leadership.clone();
        async move { leadership.act().await }
    });
    leadership.lead_until(Instant::now());
    sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    assert_eq!(leadership.check(), Err(NotLeading::Expired));
    leadership.lead_until(Instant::now() + Duration::from_secs(3));
    waits.await.unwrap();
    assert_eq!(leadership.check(), Err(NotLeading::TakesOver));
    leadership.took_over();
    assert_eq!(leadership.check(), Ok(()));
    advance(Duration::from_secs(3)).await;
    assert_eq!(leadership.check(), Err(NotLeading::Expired));
}

#[test]
fn times_that_make_no_sense_are_refused_with_what_is_accepted() {
    let times = |duration, renew_deadline, renew_every| {
        LeaseTimes {
            duration: Duration::from_millis(duration),
            renew_deadline: Duration::from_millis(renew_deadline),
            renew_every: Duration::from_millis(renew_every),
        }
        .check()
    };
    let usual = LeaseTimes::default();
    assert_eq!(usual.check(), Ok(usual));
    assert!(times(2_000, 1_500, 500).is_ok());
    for duration in [0, 1_000, 2_500, 61_000] {
        assert!(matches!(times(duration, 500, 100), Err(TimesError::Duration(_))));
    }
    for deadline in [4_501, 5_000, 10_000] {
        assert!(matches!(
            times(5_000, deadline, 100),
            Err(TimesError::Deadline { .. })
        ));
    }
    for every in [0, 99, 1_501] {
        let refused = times(5_000, 3_000, every).unwrap_err();
        assert!(refused.to_string().contains("at most half"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_leaders_pod_has_the_label() {
    let server = FakeApiServer::default();
    for (pod, labels) in [
        ("own", json!({"app": "it"})),
        ("dead", json!({"app": "it", "privatekube.dev/leader": "true"})),
        ("other", json!({})),
    ] {
        let metadata = json!({"namespace": "system", "name": pod, "labels": labels});
        server.put(
            "pods",
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata}),
        );
    }
    let label = |server: &FakeApiServer, pod: &str| {
        let pod = server.get("pods", &format!("system/{pod}")).unwrap();
        pod["metadata"]["labels"]["privatekube.dev/leader"].clone()
    };
    let labels = Label::new(
        server.client(),
        OwnPod {
            namespace: "system".to_owned(),
            name: "own".to_owned(),
        },
    );
    server.inject(&RequestFilter::writes(), 1, Fault::Refuse(500));
    let kept = tokio::spawn({
        let labels = labels.clone();
        async move { labels.keep().await }
    });
    until(|| label(&server, "own") == json!("true") && label(&server, "dead") == Value::Null).await;
    // Somebody takes it away.
    let mut pod = server.get("pods", "system/own").unwrap();
    pod["metadata"]["labels"] = json!({"app": "it"});
    server.put("pods", &pod);
    until(|| label(&server, "own") == json!("true")).await;
    kept.abort();
    labels.remove().await;
    assert_eq!(label(&server, "own"), Value::Null);
    assert_eq!(
        server.get("pods", "system/own").unwrap()["metadata"]["labels"]["app"],
        json!("it")
    );
}
