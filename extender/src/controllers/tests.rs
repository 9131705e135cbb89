//! What the controllers make of what happens to objects.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use privatekube_api::{BudgetSource, ClaimPhase, ManagedPod, PrivacyBudgetClaim};
use privatekube_fake_api_server::{FakeApiServer, Fault, LoggedRequest, RequestFilter};
use privatekube_policy::ClaimId;
use privatekube_view::Verdict;
use serde_json::json;
use tokio::sync::{oneshot, watch};

use super::{
    claims::Claims,
    follow::{self, Follower, WhenListed},
    known_objects,
    pods::ManagedPods,
    store_revision::StoreRevision,
};
use crate::{
    bookkeeper::Message,
    metrics::Metrics,
    registry::Registry,
    testing::{
        BLOCKS, CLAIMS, NAMESPACE, block, claim_object, epsilon, handles, key, managed_pod, pod_object,
    },
};

/// What waits for claim objects that were listed.
fn claims_listed() -> WhenListed {
    let (listed, when_listed) = follow::listed();
    listed.notify(0);
    when_listed
}

/// Runs `what` with bookkeepers that work.
async fn with_bookkeepers(registry: &Registry, what: impl Future<Output = ()>) {
    tokio::select! {
        ended = registry.run() => panic!("a bookkeeper ended: {ended:?}"),
        () = what => {}
    }
}

#[tokio::test]
async fn what_is_being_spent_for_a_pod_that_goes_without_a_node_returns() {
    let server = FakeApiServer::default();
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    let registry = Arc::new(Registry::new(handles(&server).0));
    let phase = |id: &ClaimId| registry.handles().view.claim(id).map(|claim| claim.phase);
    with_bookkeepers(&registry, async {
        let mut pods = ManagedPods::new(Arc::clone(&registry), claims_listed());
        let pod: Pod = serde_json::from_value(pod_object("train")).unwrap();
        let id = managed_pod("train").own().unwrap().0.id();
        pods.applied(pod.clone());
        registry.flush().await;
        assert_eq!(phase(&id), Some(ClaimPhase::Granted));
        // On one thread, nobody works on a message before this task waits.
        let (reply, spent) = oneshot::channel();
        let claims = vec![id.clone()];
        registry.send(&key(), Message::ConsumeAll { claims, reply });
        pods.deleted(pod, true);
        assert_eq!(phase(&id), Some(ClaimPhase::Granted));
        assert_eq!(spent.await.unwrap(), Ok(()));
        // The API server is asked whether the pod is gone; that takes some turns, of which each makes a flush.
        let ledgers = &registry.handles().metrics.ledgers;
        for _ in 0..1000 {
            registry.flush().await;
            if ledgers.claims_in(&key(), ClaimPhase::Released) == 1 {
                // Nothing that has ended is kept for a pod that is gone.
                assert_eq!(phase(&id), None);
                return;
            }
        }
        panic!("it stays spent");
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_runs_and_that_no_ledger_knows_is_announced() {
    let server = FakeApiServer::default();
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    let (handles, mut queue) = handles(&server);
    let registry = Arc::new(Registry::new(handles));
    with_bookkeepers(&registry, async {
        let mut pods = ManagedPods::new(Arc::clone(&registry), claims_listed());
        let pod = |name: &str, bound: bool| -> Pod {
            let mut pod = pod_object(name);
            if bound {
                pod["metadata"]["annotations"]["privatekube.dev/grant"] = json!("{}");
                pod["spec"]["nodeName"] = json!("n1");
            }
            serde_json::from_value(pod).unwrap()
        };
        // The ledger grants one, which is bound then. The other one is from before.
        pods.applied(pod("known", false));
        registry.flush().await;
        for name in ["known", "unknown"] {
            pods.applied(pod(name, true));
        }
        registry.handles().view.set_complete();
        super::check_all_pods(&registry);
        let mut told = Vec::new();
        while let Ok(event) = queue.try_recv() {
            told.push(format!("{event:?}"));
        }
        told.retain(|event| event.contains("BudgetUnknown"));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(
            told[0].contains("\"unknown\"") && told[0].contains("privatekube-extender restore"),
            "{told:#?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_came_during_a_start_is_told_once_how_the_claims_are_that_it_names() {
    let (handles, mut queue) = handles(&FakeApiServer::default());
    let registry = Arc::new(Registry::new(handles));
    let mut pods = ManagedPods::new(Arc::clone(&registry), claims_listed());
    let mut told = || {
        let events = std::iter::from_fn(|| queue.try_recv().ok());
        let events: Vec<String> = events.map(|event| format!("{event:?}")).collect();
        events
            .iter()
            .filter(|event| event.contains("does not exist yet"))
            .count()
    };
    pods.applied(naming_pod());
    super::check_all_pods(&registry);
    assert_eq!(told(), 0);
    registry.handles().view.set_complete();
    super::check_all_pods(&registry);
    assert_eq!(told(), 1);
    super::check_all_pods(&registry);
    assert_eq!(told(), 0);
    // One that is gone by then is not spoken of.
    registry
        .handles()
        .pods
        .add_unannounced(privatekube_api::PodKey::of(&naming_pod()));
    pods.deleted(naming_pod(), true);
    super::check_all_pods(&registry);
    assert_eq!(told(), 0);
}

/// How many messages wait for bookkeepers, none of which runs.
fn queued(registry: &Registry) -> i64 {
    registry.handles().metrics.writers.queue("intake").get()
}

fn with_generation(generation: i64) -> PrivacyBudgetClaim {
    let mut claim = claim_object("c", &json!({"budget": epsilon("1"), "consume": {"all": true}}));
    claim.metadata.generation = Some(generation);
    claim
}

#[tokio::test]
async fn a_status_that_we_wrote_is_no_new_request() {
    let registry = Arc::new(Registry::new(handles(&FakeApiServer::default()).0));
    let mut claims = Claims::new(Arc::clone(&registry));
    claims.applied(with_generation(1));
    // The request, and what is to be consumed.
    assert_eq!(queued(&registry), 2);
    for phase in [ClaimPhase::Waiting, ClaimPhase::Granted] {
        let mut claim = with_generation(1);
        claim.status.get_or_insert_default().phase = Some(phase);
        claims.applied(claim);
    }
    assert_eq!(queued(&registry), 2);
    claims.applied(with_generation(2));
    assert_eq!(queued(&registry), 4);
    claims.request_again(&with_generation(2), Some(&key()));
    assert_eq!(queued(&registry), 6);
    // Created again with the same generation, it is another claim.
    claims.deleted(with_generation(2), true);
    assert_eq!(queued(&registry), 7);
    claims.applied(with_generation(2));
    assert_eq!(queued(&registry), 9);
}

#[tokio::test]
async fn a_pod_requests_budget_once_whatever_its_status_does() {
    let registry = Arc::new(Registry::new(handles(&FakeApiServer::default()).0));
    let mut pods = ManagedPods::new(Arc::clone(&registry), claims_listed());
    let pod: Pod = serde_json::from_value(pod_object("train")).unwrap();
    pods.applied(pod.clone());
    let mut pending = pod.clone();
    pending.status.get_or_insert_default().phase = Some("Pending".to_owned());
    pods.applied(pending);
    assert_eq!(queued(&registry), 1);
    pods.request_again(&pod, Some(&key()));
    assert_eq!(queued(&registry), 2);
    let mut other = pod;
    other.metadata.uid = Some("another".to_owned());
    pods.applied(other);
    assert_eq!(queued(&registry), 3);
}

/// How many bytes of an object are kept.
fn kept<K, F>(mut object: serde_json::Value) -> usize
where
    K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned,
    F: Follower<K>,
{
    let long = "x".repeat(10_000);
    object["metadata"]["managedFields"] = json!([{"manager": long, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
    object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = json!(long);
    let object: K = serde_json::from_value(object).unwrap();
    known_objects::kept::<K, F>(known_objects::trimmed::<K, F>(object)).0
}

#[test]
fn of_an_object_only_what_is_read_is_kept() {
    let mut claim = serde_json::to_value(with_generation(1)).unwrap();
    claim["status"] = json!({"phase": "Waiting", "message": "x".repeat(10_000)});
    let bytes = kept::<PrivacyBudgetClaim, Claims>(claim);
    assert!(bytes < 400, "{bytes}");
    let mut pod = pod_object("train");
    pod["spec"]["containers"][0]["args"] = json!(["x".repeat(10_000)]);
    pod["status"] = json!({"phase": "Pending", "message": "x".repeat(10_000)});
    let bytes = kept::<Pod, ManagedPods>(pod.clone());
    assert!(bytes < 600, "{bytes}");
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let trimmed = known_objects::trimmed::<Pod, ManagedPods>(pod.clone());
    assert_eq!(ManagedPod::read(&trimmed, None), ManagedPod::read(&pod, None));
    let (_, kept) = known_objects::kept::<Pod, ManagedPods>(trimmed);
    // What it runs is kept by its managed pod, as long as it is needed.
    let without = |pod: &Pod| {
        let mut read = ManagedPod::read(pod, None);
        read.runs = None;
        read
    };
    assert_eq!(without(&kept), without(&pod));
    let read = ManagedPod::read(&pod, None);
    assert_eq!(read.runs.unwrap().images, ["train:1"]);
}

/// Counts the objects that it sees.
struct Counter(watch::Sender<u32>);

impl Follower<PrivacyBudgetClaim> for Counter {
    fn trim(_: &mut PrivacyBudgetClaim) {}

    fn slim(_: &PrivacyBudgetClaim) -> Option<PrivacyBudgetClaim> {
        None
    }

    fn applied(&mut self, _: PrivacyBudgetClaim) {
        self.0.send_modify(|count| *count += 1);
    }

    fn deleted(&mut self, _: PrivacyBudgetClaim, _: bool) {}
}

/// Follows claims while `test` runs, which gets the number of objects seen so far, what waits for the list, and what has all listed
/// again.
async fn counted(
    server: &FakeApiServer,
    test: impl AsyncFnOnce(watch::Receiver<u32>, WhenListed, &StoreRevision),
) {
    let (count, seen) = watch::channel(0);
    let (listed, when_listed) = follow::listed();
    let (_requeue, to_request) = tokio::sync::mpsc::unbounded_channel();
    let store = StoreRevision::new();
    let follow = follow::follow(
        (server.client(), Metrics::new().unwrap()),
        "",
        listed,
        to_request,
        &store,
        Counter(count),
    );
    tokio::select! {
        () = follow => panic!("the follower ended"),
        () = test(seen, when_listed, &store) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_keeps_failing_lists_everything_anew() {
    let server = FakeApiServer::default();
    let spec = json!({"budget": epsilon("1")});
    server.put(CLAIMS, &claim_object("first", &spec));
    let reads = RequestFilter::any().method("GET").resource(CLAIMS);
    counted(&server, async |mut seen, _, _| {
        seen.wait_for(|count| *count == 1).await.unwrap();
        // The store went back to a state without what the watch has seen, and refuses to go on from there.
        let before = server.count(&reads);
        server.inject(&reads, 3, Fault::Refuse(504));
        server.end_watches();
        server.until(|server| server.count(&reads) >= before + 4).await;
        server.put(CLAIMS, &claim_object("second", &spec));
        seen.wait_for(|count| *count == 3).await.unwrap();
        let lists = server.requests(&reads);
        let lists = lists
            .iter()
            .filter(|request| request.query.contains("sendInitialEvents=true"));
        // A watch was refused, then two lists.
        assert_eq!(lists.count(), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_streams_no_lists_is_asked_for_pages() {
    let server = FakeApiServer::default();
    let spec = json!({"budget": epsilon("1")});
    for name in ["first", "second"] {
        server.put(CLAIMS, &claim_object(name, &spec));
    }
    server.choose_faults(|request| {
        let is_streamed = request.query.contains("sendInitialEvents=true");
        is_streamed.then_some(Fault::Refuse(422))
    });
    counted(&server, async |mut seen, when_listed, store| {
        when_listed.wait().await;
        assert_eq!(*seen.borrow(), 2);
        server.put(CLAIMS, &claim_object("third", &spec));
        seen.wait_for(|count| *count == 3).await.unwrap();
        // Nor is it asked again after an error.
        server.end_watches();
        store.relist();
        seen.wait_for(|count| *count == 6).await.unwrap();
        let streamed = |request: &&LoggedRequest| request.query.contains("sendInitialEvents=true");
        let requests = server.requests(&RequestFilter::any().method("GET").resource(CLAIMS));
        assert_eq!(requests.iter().filter(streamed).count(), 1);
    })
    .await;
}

/// A pod that names the claim object `c`.
fn naming_pod() -> Pod {
    let mut pod = pod_object("user");
    pod["metadata"]["annotations"] = json!({"privatekube.dev/claim": "c"});
    serde_json::from_value(pod).unwrap()
}

#[tokio::test]
async fn a_claim_that_is_used_by_hand_or_being_deleted_runs_no_new_pod() {
    let server = FakeApiServer::default();
    server.put(BLOCKS, &*block("a", "a", Some("10")));
    let registry = Arc::new(Registry::new(handles(&server).0));
    let view = &registry.handles().view;
    view.set_complete();
    with_bookkeepers(&registry, async {
        let mut pods = ManagedPods::new(Arc::clone(&registry), claims_listed());
        let mut claims = Claims::new(Arc::clone(&registry));
        let source = BudgetSource::of(&naming_pod());
        let verdict = || Verdict::of(&source, NAMESPACE, view);
        let mut object = claim_object("c", &json!({"budget": epsilon("1")}));
        object.metadata.generation = Some(1);
        pods.applied(naming_pod());
        claims.applied(object.clone());
        registry.flush().await;
        assert_eq!(verdict().label(), "granted");
        let mut ending = object.clone();
        let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        ending.metadata.deletion_timestamp = Some(Time(now));
        claims.applied(ending);
        assert!(
            verdict().to_string().contains("is being deleted"),
            "{}",
            verdict()
        );
        claims.deleted(object.clone(), true);
        object.metadata.uid = Some("again".to_owned());
        claims.applied(object.clone());
        registry.flush().await;
        assert_eq!(verdict().label(), "granted");
        object.metadata.generation = Some(2);
        object.spec.consume = serde_json::from_value(json!({"all": true})).unwrap();
        claims.applied(object);
        for _ in 0..2 {
            assert!(verdict().to_string().contains("used by hand"), "{}", verdict());
            registry.flush().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_owner_reference_makes_no_claim_a_pods_and_its_absence_none_a_users() {
    let registry = Arc::new(Registry::new(handles(&FakeApiServer::default()).0));
    let mut claims = Claims::new(Arc::clone(&registry));
    let mut own = claim_object("ghost-aaaaaaaa", &json!({"budget": epsilon("1")}));
    own.metadata.owner_references = serde_json::from_value(
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "ghost", "uid": "aaaaaaaa-1"}]),
    )
    .unwrap();
    claims.applied(own.clone());
    assert_eq!(queued(&registry), 1);
    // It is withdrawn when it is gone, whoever deletes it.
    claims.deleted(own, true);
    assert_eq!(queued(&registry), 2);
    let of_a_pod = json!({"budget": epsilon("1"), "pod": {"name": "train", "uid": "train"}});
    claims.applied(claim_object("train-train", &of_a_pod));
    assert_eq!(queued(&registry), 2);
}
