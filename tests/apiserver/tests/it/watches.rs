//! Watches.

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
    runtime::watcher::{self, Event, watcher},
};
use privatekube_fake_api_server::{FakeApiServer, RequestFilter};

use crate::{config_map, config_maps, create};

/// A watcher's events as text: `init`, `+NAME` of a list, `done`, `NAME`, `-NAME`, `error`.
fn watched(
    server: &FakeApiServer,
    config: watcher::Config,
) -> std::pin::Pin<Box<impl Stream<Item = String> + use<>>> {
    let name = |object: ConfigMap| object.metadata.name.unwrap_or_default();
    let api: Api<ConfigMap> = Api::all(server.client());
    Box::pin(watcher(api, config).map(move |event| match event {
        Ok(Event::Init) => "init".into(),
        Ok(Event::InitApply(object)) => format!("+{}", name(object)),
        Ok(Event::InitDone) => "done".into(),
        Ok(Event::Apply(object)) => name(object),
        Ok(Event::Delete(object)) => format!("-{}", name(object)),
        Err(_) => "error".into(),
    }))
}

async fn next<const N: usize>(stream: &mut (impl Stream<Item = String> + Unpin)) -> Vec<String> {
    stream.take(N).collect().await
}

#[tokio::test]
async fn a_watcher_lists_and_then_follows_changes() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let server = FakeApiServer::default();
        create(&server, "a", "x").await;
        let mut watched = watched(&server, config);
        assert_eq!(next::<3>(&mut watched).await, ["init", "+a", "done"]);
        create(&server, "b", "x").await;
        server.put("configmaps", &config_map("a", "y"));
        server.delete("configmaps", "a");
        assert_eq!(next::<3>(&mut watched).await, ["b", "a", "-a"]);
    }
}

#[tokio::test]
async fn an_object_that_no_longer_matches_is_deleted_for_the_watcher() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    create(&server, "b", "y").await;
    let mut watched = watched(&server, watcher::Config::default().labels("kind=x"));
    assert_eq!(next::<3>(&mut watched).await, ["init", "+a", "done"]);
    server.put("configmaps", &config_map("a", "y"));
    server.put("configmaps", &config_map("b", "x"));
    assert_eq!(next::<2>(&mut watched).await, ["-a", "b"]);
}

#[tokio::test]
async fn an_object_put_with_another_uid_replaces_the_one_before() {
    let server = FakeApiServer::default();
    let with_uid = |uid: &str| {
        let mut object = config_map("a", "x");
        object.metadata.uid = Some(uid.into());
        object
    };
    server.put("configmaps", &with_uid("1"));
    let mut watched = watched(&server, watcher::Config::default());
    assert_eq!(next::<3>(&mut watched).await, ["init", "+a", "done"]);
    server.put("configmaps", &with_uid("2"));
    assert_eq!(next::<2>(&mut watched).await, ["-a", "a"]);
}

#[tokio::test]
async fn a_paused_watch_delivers_later_what_it_missed() {
    let server = FakeApiServer::default();
    let mut watched = watched(&server, watcher::Config::default());
    assert_eq!(next::<2>(&mut watched).await, ["init", "done"]);
    server.pause_watches();
    create(&server, "a", "x").await;
    let pending = futures::poll!(watched.next());
    assert!(pending.is_pending());
    server.resume_watches();
    assert_eq!(next::<1>(&mut watched).await, ["a"]);
}

#[tokio::test]
async fn a_watch_that_ended_goes_on_where_it_was() {
    let server = FakeApiServer::default();
    let mut watched = watched(&server, watcher::Config::default());
    assert_eq!(next::<2>(&mut watched).await, ["init", "done"]);
    server.pause_watches();
    create(&server, "a", "x").await;
    server.end_watches();
    server.resume_watches();
    assert_eq!(next::<1>(&mut watched).await, ["a"]);
    let lists = RequestFilter::any().method("GET").resource("configmaps");
    let lists = server.requests(&lists);
    assert_eq!(
        lists
            .iter()
            .filter(|list| !list.query.contains("watch=true"))
            .count(),
        1
    );
}

#[tokio::test]
async fn an_expired_watch_must_list_anew() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    let mut watched = watched(&server, watcher::Config::default());
    assert_eq!(next::<3>(&mut watched).await, ["init", "+a", "done"]);
    server.expire_watches();
    assert_eq!(next::<4>(&mut watched).await, ["error", "init", "+a", "done"]);
    create(&server, "b", "x").await;
    assert_eq!(next::<1>(&mut watched).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_after_its_time_with_a_bookmark() {
    let server = FakeApiServer::default();
    create(&server, "a", "x").await;
    let api = config_maps(&server);
    let params = WatchParams::default().timeout(10);
    let mut events = Box::pin(api.watch(&params, "0").await.unwrap());
    let first = events.try_next().await.unwrap().unwrap();
    assert!(matches!(first, WatchEvent::Added(_)));
    let Some(WatchEvent::Bookmark(bookmark)) = events.try_next().await.unwrap() else {
        panic!("no bookmark");
    };
    assert_eq!(bookmark.metadata.resource_version, "1");
    assert!(events.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn metadata_is_watched_without_the_rest() {
    let server = FakeApiServer::default();
    let api = config_maps(&server);
    let mut events = Box::pin(api.watch_metadata(&WatchParams::default(), "0").await.unwrap());
    create(&server, "a", "x").await;
    let Some(WatchEvent::Added(object)) = events.try_next().await.unwrap() else {
        panic!("not added");
    };
    assert_eq!(object.metadata.name.as_deref(), Some("a"));
}
