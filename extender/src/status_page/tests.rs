//! The pages, from objects in an in-process API server.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use futures::StreamExt;
use privatekube_fake_api_server::{FakeApiServer, RequestFilter};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{FairnessOverTime, layout::ROWS, router};
use crate::{
    clock,
    registry::Registry,
    testing::{BLOCKS, CLAIMS, DATASETS, ENTRIES, block, claim_object, dataset, epsilon},
    tests::whole::{phase, server, with_registry},
};

struct Reader {
    router: Router,
    fairness: Arc<FairnessOverTime>,
}

impl Reader {
    fn new(registry: Arc<Registry>) -> Self {
        let fairness = Arc::new(FairnessOverTime::default());
        Self {
            router: router(registry, Arc::clone(&fairness)),
            fairness,
        }
    }

    async fn answer(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path).header("host", "localhost:8090");
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = to_bytes(answer.into_body(), 4 << 20).await.unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> String {
        let (status, _, text) = self.answer(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }
}

/// A server with a dataset of two arrivals, a block of epsilon 10, a claim that waits and one that is denied.
fn waiting_server() -> FakeApiServer {
    let server = server();
    server.put(
        DATASETS,
        &*dataset("d", 1, &json!({"unlocking": {"arrivals": 4}, "policy": "DPF"})),
    );
    server.put(CLAIMS, &claim_object("patient", &json!({"budget": epsilon("4")})));
    server
}

async fn until_waits(server: &FakeApiServer) {
    server
        .until(|server| phase(server, "patient") == json!("Waiting"))
        .await;
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn pages_show_datasets_blocks_the_queue_and_claims() {
    let server = waiting_server();
    with_registry(&server, async |registry| {
        until_waits(&server).await;
        let page = Reader::new(registry);
        has(
            &page.get("/").await,
            &[
                "data/",
                "taxi",
                "available 25%, locked 75%",
                r#"href="/datasets/data/taxi""#,
            ],
        );
        let waits = "block a has 2.5 of the 4 epsilon asked";
        let dataset = page.get("/datasets/data/taxi").await;
        has(
            &dataset,
            &[
                waits,
                "/datasets/data/taxi/blocks/a",
                "kubectl get pds taxi -n data",
            ],
        );
        let queue = page.get("/datasets/data/taxi/queue").await;
        has(
            &queue,
            &["In the order in which the policy tries them", "patient", waits],
        );
        has(
            &page.get("/datasets/data/taxi/blocks/a").await,
            &["delta", "kubectl get pb a -n data"],
        );
        let claims = page
            .get("/claims?phase=Waiting&dataset=data/taxi&namespace=data")
            .await;
        has(&claims, &["/claims/claim/data/patient/patient", waits]);
        has(&page.get("/claims?phase=Granted").await, &["No such claim"]);
        has(
            &page.get("/claims?phase=Asleep").await,
            &["phase: choose one of the list"],
        );
        let claim = page.get("/claims/claim/data/patient/patient").await;
        has(&claim, &[waits, "ε ", "kubectl get pbc patient -n data"]);
        let history = page.get("/claims/claim/data/patient/patient/history").await;
        has(&history, &["it arrived, with 1 block", "it waits"]);
    })
    .await;
}

#[tokio::test]
async fn what_if_answers_now_later_or_never_and_changes_nothing() {
    let server = waiting_server();
    with_registry(&server, async |registry| {
        until_waits(&server).await;
        let page = Reader::new(registry);
        let before = (server.all(ENTRIES), server.all(BLOCKS), server.all(CLAIMS));
        let writes = server.count(&RequestFilter::writes());
        let ask = "/what-if?dataset=data/taxi&epsilon=";
        // Its arrival unlocks 2.5 more: enough for it alone, since the other claim's dominant share is larger.
        has(
            &page.get(&format!("{ask}2")).await,
            &["granted now", "Left once it is granted"],
        );
        // With 5 unlocked, the claim that waits is granted first.
        let later = page.get(&format!("{ask}6")).await;
        has(
            &later,
            &[
                "may be granted later",
                "enough for 1 waiting claim",
                "epsilon asked",
            ],
        );
        has(
            &page.get(&format!("{ask}11")).await,
            &["never be granted", "is all that is not spent"],
        );
        has(
            &page.get(&format!("{ask}1&min=2")).await,
            &["may be granted later", "1 of the 2 blocks"],
        );
        has(
            &page
                .get(&format!("{ask}1&selector=block.nothing%20%3D%3D%201"))
                .await,
            &["may be granted later"],
        );
        for (asked, problem) in [
            ("dataset=data/taxi&epsilon=x", "epsilon"),
            ("dataset=data/taxi&mechanism=gauss(1)", "mechanism"),
            ("dataset=data/taxi&epsilon=1&selector=)", "selector"),
            ("dataset=data/taxi&epsilon=1&min=-1", "min"),
            ("dataset=data/taxi&epsilon=1&min=two", "no whole number"),
            ("dataset=data/none&epsilon=1", "not in the view"),
            ("dataset=UPPER&epsilon=1", "dataset"),
            ("epsilon=1", "dataset"),
            ("dataset=data/taxi&epsilon=1&namespace=other", "other"),
            ("dataset=data/taxi&epsilon=1&priority=7", "priority"),
        ] {
            let text = page.get(&format!("/what-if?{asked}")).await;
            let notice = text.split_once(r#"role="alert">"#).expect(asked).1;
            let notice = notice.split_once("</p>").unwrap().0;
            assert!(notice.contains(problem), "{asked}: {notice}");
        }
        let long = "x".repeat(2001);
        has(
            &page.get(&format!("{ask}1&selector={long}")).await,
            &["selector has more than 2000 characters"],
        );
        let after = (server.all(ENTRIES), server.all(BLOCKS), server.all(CLAIMS));
        assert_eq!(after, before);
        assert_eq!(server.count(&RequestFilter::writes()), writes);
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_is_escaped_and_protected_and_unknown_names_are_not_found() {
    let server = waiting_server();
    with_registry(&server, async |registry| {
        until_waits(&server).await;
        let page = Reader::new(registry);
        let script = "%3Cscript%3Ealert(1)%3C/script%3E";
        for path in [
            format!("/what-if?dataset={script}&epsilon={script}&selector={script}"),
            format!("/claims?dataset={script}&namespace={script}&phase={script}"),
            format!("/datasets/data/taxi?name={script}&sort={script}&page={script}"),
        ] {
            let (status, headers, text) = page.answer(&path).await;
            assert_eq!(status, StatusCode::OK);
            assert!(!text.contains("<script>"), "{path}: {text}");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
        }
        for path in [
            "/none",
            "/datasets/data/none",
            "/datasets/DATA/taxi",
            "/datasets/data/taxi/blocks/none",
            "/datasets/data/none/queue",
            "/claims/claim/data/none/none",
            "/claims/job/data/patient/patient",
            "/claims/claim/data/none/none/history",
        ] {
            assert_eq!(page.answer(path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let request = Request::get("/")
            .header("host", "evil.example")
            .body(Body::empty())
            .unwrap();
        let answer = page.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let request = Request::post("/what-if")
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        let answer = page.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    })
    .await;
}

#[tokio::test]
async fn decisions_are_listed_and_streamed_and_streams_end_with_the_process() {
    let server = waiting_server();
    with_registry(&server, async |registry| {
        until_waits(&server).await;
        let page = Reader::new(Arc::clone(&registry));
        let request = Request::get("/decisions/stream").header("host", "localhost");
        let answer = page
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut stream = answer.into_body().into_data_stream();
        server.put(CLAIMS, &claim_object("second", &json!({"budget": epsilon("1")})));
        let message = stream.next().await.unwrap().unwrap();
        let message = String::from_utf8(message.to_vec()).unwrap();
        let data = message
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert!(data["count"].as_u64().unwrap() >= 1, "{data}");
        assert_eq!(data["decided"][0]["dataset"], json!("data/taxi"));
        has(
            &page.get("/decisions").await,
            &["second", "Granted", "its budget is allocated on all its blocks"],
        );
        page.fairness.sample(&registry.handles().view, clock::now());
        has(
            &page.get("/datasets/data/taxi/fairness").await,
            &["Jain", "polyline", "data"],
        );
        registry.handles().decisions.end();
        while stream.next().await.is_some() {}
        assert_eq!(
            page.answer("/decisions/stream").await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
    })
    .await;
}

#[tokio::test]
async fn of_10000_blocks_a_page_has_50() {
    let server = server();
    for number in 0..10_000 {
        let name = format!("b{number:05}");
        server.put(BLOCKS, &*block(&name, &name, Some("10")));
    }
    with_registry(&server, async |registry| {
        let page = Reader::new(Arc::clone(&registry));
        let key = crate::testing::key();
        let view = &registry.handles().view;
        server.until(|_| view.blocks_of(&key).len() == 10_001).await;
        let text = page.get("/datasets/data/taxi?page=3").await;
        assert_eq!(text.matches(r#"<tr><th scope="row">"#).count(), ROWS);
        // Block "a" is the first of all.
        has(&text, &["101–150 of 10001 blocks", ">b00099<", "page=201"]);
        assert!(text.len() < 100_000, "{}", text.len());
        has(&page.get("/datasets/data/taxi?name=b00999").await, &[">b00999<"]);
        let answer = page.get("/what-if?dataset=data/taxi&epsilon=1").await;
        has(
            &answer,
            &[
                "granted now",
                "10001 blocks match",
                "The 50 blocks with the least left",
            ],
        );
        assert!(answer.len() < 100_000, "{}", answer.len());
    })
    .await;
}
