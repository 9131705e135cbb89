//! Injected faults, held requests and the log.

use std::time::Duration;

use kube::{Error, api::PostParams};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{config_map, config_maps, create, refusal};

fn creations() -> RequestFilter {
    RequestFilter::any().method("POST").resource("configmaps")
}

#[tokio::test]
async fn the_next_requests_that_match_are_refused() {
    let server = FakeApiServer::default();
    let prefix = RequestFilter::writes().path_prefix("/api/v1/namespaces/data/");
    server.inject(&prefix, 2, Fault::Refuse(503));
    let api = config_maps(&server);
    assert!(api.get_opt("a").await.unwrap().is_none());
    for _ in 0..2 {
        let answer = api.create(&PostParams::default(), &config_map("a", "x")).await;
        assert_eq!(refusal(answer), (503, "ServiceUnavailable".into()));
    }
    create(&server, "a", "x").await;
    let codes = server
        .requests(&creations())
        .into_iter()
        .map(|request| request.code);
    assert_eq!(codes.collect::<Vec<_>>(), [Some(503), Some(503), Some(201)]);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_write_done_and_a_lost_request_does_not() {
    let server = FakeApiServer::default();
    server.inject(&creations(), 1, Fault::LoseRequest);
    server.inject(&creations(), 1, Fault::LoseReply);
    let api = config_maps(&server);
    for done in [0, 1] {
        let answer = api.create(&PostParams::default(), &config_map("a", "x")).await;
        assert!(matches!(answer, Err(Error::Service(_))), "{answer:?}");
        assert_eq!(server.all("configmaps").len(), done);
    }
    assert_eq!(server.requests(&creations())[1].code, None);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_is_done_also_for_a_client_that_gave_up() {
    let server = FakeApiServer::default();
    server.inject(&creations(), 1, Fault::Delay(Duration::from_secs(5)));
    let given_up = timeout(Duration::from_secs(1), create(&server, "a", "x")).await;
    assert!(given_up.is_err());
    assert_eq!(server.all("configmaps").len(), 0);
    server.until(|server| server.all("configmaps").len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_reply_comes_after_the_write() {
    let server = FakeApiServer::default();
    let begin = Instant::now();
    server.inject(&creations(), 1, Fault::DelayReply(Duration::from_secs(5)));
    let creation = tokio::spawn({
        let server = server.clone();
        async move { create(&server, "a", "x").await }
    });
    server.until(|server| server.all("configmaps").len() == 1).await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    creation.await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn held_requests_are_served_after_the_hold() {
    let server = FakeApiServer::default();
    let hold = server.hold(&creations());
    let creation = tokio::spawn({
        let server = server.clone();
        async move { create(&server, "a", "x").await }
    });
    server.until(|server| server.count(&creations()) == 1).await;
    assert_eq!(server.all("configmaps").len(), 0);
    drop(hold);
    creation.await.unwrap();
    assert_eq!(server.all("configmaps").len(), 1);
    create(&server, "b", "x").await;
}

#[tokio::test]
async fn requests_are_logged_with_their_bodies() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    config_maps(&server).get("a").await.unwrap();
    let requests = server.requests(&RequestFilter::any());
    let seen = requests
        .iter()
        .map(|request| (request.method.as_str(), request.path.as_str()));
    let path = "/api/v1/namespaces/data/configmaps";
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [("POST", path), ("GET", &format!("{path}/a"))]
    );
    assert_eq!(requests[0].body["metadata"]["name"], "a");
    assert_eq!(requests[1].body, Value::Null);
    server.clear_log();
    assert_eq!(server.count(&RequestFilter::any()), 0);
}
