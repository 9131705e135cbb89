//! The proxy in front of the fake API server, used by a real client over TLS.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test; clippy knows only the test functions themselves"
)]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, Error,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_fake_api_server::FakeApiServer;
use privatekube_faults::{Fault, FaultProxy, FaultRates};

struct World {
    server: FakeApiServer,
    proxy: FaultProxy,
    through: Api<ConfigMap>,
}

/// A client that uses the proxy as a program with its kubeconfig does.
async fn client(proxy: &FaultProxy) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&proxy.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

async fn world() -> World {
    let server = FakeApiServer::default();
    let proxy = FaultProxy::start(server.client(), 1, None).await.unwrap();
    let client = client(&proxy).await;
    World {
        server,
        proxy,
        through: Api::namespaced(client, "data"),
    }
}

impl World {
    fn always(&self, fault: Fault) {
        let mut rates = FaultRates::none().with(fault, 1000);
        rates.longest_delay = Duration::from_millis(50);
        rates.longest_stall = Duration::from_millis(50);
        self.proxy.set_rates(rates);
    }

    async fn create(&self, name: &str) -> Result<ConfigMap, Error> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        self.through.create(&PostParams::default(), &object).await
    }

    fn stored(&self) -> usize {
        self.server.all("configmaps").len()
    }

    fn count(&self, fault: Fault) -> u64 {
        self.proxy
            .counts()
            .faults
            .get(&fault)
            .copied()
            .unwrap_or_default()
    }
}

#[tokio::test]
async fn without_faults_everything_passes() {
    let world = world().await;
    world.create("one").await.unwrap();
    let listed = world.through.list(&ListParams::default()).await.unwrap();
    assert_eq!((world.stored(), listed.items.len()), (1, 1));
    assert!(world.through.get_opt("two").await.unwrap().is_none());
    let counts = world.proxy.counts();
    assert_eq!(
        (counts.requests, counts.all_faults(), counts.unreachable),
        (3, 0, 0)
    );
}

#[tokio::test]
async fn a_lost_request_is_not_carried_out_and_one_whose_reply_is_lost_is() {
    let world = world().await;
    for (fault, stored) in [(Fault::RequestLost, 0), (Fault::ReplyLost, 1)] {
        world.always(fault);
        let error = world.create("one").await.unwrap_err();
        assert!(!matches!(error, Error::Api(_)), "{error:?}");
        assert_eq!(world.stored(), stored, "{fault}");
        assert!(world.count(fault) >= 1);
    }
}

#[tokio::test]
async fn a_refused_request_is_not_carried_out_and_succeeds_once_it_is_accepted() {
    for fault in [Fault::Throttled, Fault::Unavailable] {
        let world = world().await;
        world.always(fault);
        // The client repeats what is refused for now.
        let accepted = async {
            while world.count(fault) == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.stored(), 0);
            world.proxy.set_rates(FaultRates::none());
        };
        let (created, ()) = tokio::join!(world.create("one"), accepted);
        created.unwrap();
        assert_eq!(world.stored(), 1);
    }
}

#[tokio::test]
async fn a_delay_changes_nothing_and_a_cut_answer_is_an_error() {
    let world = world().await;
    for (fault, name) in [(Fault::Delayed, "one"), (Fault::DelayedReply, "two")] {
        world.always(fault);
        world.create(name).await.unwrap();
        assert_eq!(world.count(fault), 1);
    }
    world.always(Fault::CutAnswer);
    assert!(world.through.list(&ListParams::default()).await.is_err());
    assert!(world.create("three").await.is_err());
    assert_eq!(world.stored(), 3);
}

#[tokio::test]
async fn a_stalled_watch_delivers_everything_and_a_cut_one_ends() {
    // More than the pieces that come before the fault.
    const OBJECTS: usize = 30;
    for fault in [Fault::WatchStalled, Fault::WatchCut] {
        let world = world().await;
        world.always(fault);
        let watch = world.through.watch(&WatchParams::default(), "0").await.unwrap();
        world.proxy.set_rates(FaultRates::none());
        for number in 0..OBJECTS {
            world.create(&format!("object-{number}")).await.unwrap();
        }
        let added = watch
            .take(OBJECTS)
            .try_filter(|event| futures::future::ready(matches!(event, WatchEvent::Added(_))))
            .try_collect::<Vec<_>>();
        let added = added.await;
        assert_eq!(world.count(fault), 1);
        match fault {
            Fault::WatchStalled => assert_eq!(added.unwrap().len(), OBJECTS),
            _ => assert!(added.is_err() || added.is_ok_and(|added| added.len() < OBJECTS)),
        }
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_counted_and_cuts_the_connection() {
    let nobody = Config::new("http://127.0.0.1:1".parse().unwrap());
    let upstream = Client::try_from(nobody).unwrap();
    let proxy = FaultProxy::start(upstream, 1, None).await.unwrap();
    let client = client(&proxy).await;
    let api: Api<ConfigMap> = Api::namespaced(client, "data");
    assert!(api.get("one").await.is_err());
    assert!(proxy.counts().unreachable >= 1);
    assert_eq!(proxy.counts().all_faults(), 0);
}
