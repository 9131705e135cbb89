//! A client of the API server whose requests all end. The client library sets no time limit of its own: on a connection
//! whose other end vanished without closing it, a request would wait for ever.

use std::{path::Path, time::Duration};

use http::{Request, Uri};
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use thiserror::Error;
use tower::{timeout::TimeoutLayer, util::MapRequestLayer};

use crate::RequestObserver;

/// How long an answer may take to begin; that of a watch begins at once. The API server itself gives up after 60 s, and
/// the webhooks' and scheduler's callers long before.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long an answer may pause. A watch may be silent until it ends, which is after 290 s.
const PAUSE_LIMIT: Duration = Duration::from_secs(300);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig file can't be used.
    #[error("kubeconfig {path}: {error}")]
    Kubeconfig {
        /// Its path.
        path: String,
        /// What is wrong.
        error: Box<KubeconfigError>,
    },
    /// No kubeconfig was given, and none was found.
    #[error("found neither a kubeconfig nor a cluster that this runs in: {0}")]
    Infer(#[from] Box<InferConfigError>),
    /// The configuration makes no client.
    #[error("can't make a client of the API server: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// A client of the API server that `kubeconfig` names; without one, of `$KUBECONFIG`, `~/.kube/config` or the cluster that
/// this process runs in.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    connect_observed(kubeconfig, RequestObserver::new(|_| {})).await
}

/// As [`connect`], in a context of the kubeconfig other than its current one, if `context` names one.
pub async fn connect_in(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client, ConnectError> {
    let Some(context) = context else {
        return connect(kubeconfig).await;
    };
    let unusable = |error| ConnectError::Kubeconfig {
        path: kubeconfig.map_or_else(|| "of the user".to_owned(), |path| path.display().to_string()),
        error: Box::new(error),
    };
    let file = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(file.map_err(unusable)?, &options).await;
    Ok(with_time_limits(config.map_err(unusable)?).map_err(Box::new)?)
}

/// As [`connect`], with a client whose requests `observer` is told of.
pub async fn connect_observed(
    kubeconfig: Option<&Path>,
    observer: RequestObserver,
) -> Result<Client, ConnectError> {
    let config = configuration(kubeconfig).await?;
    Ok(client(config, &observer).map_err(Box::new)?)
}

/// As [`connect`], but every request is made in the name of another user, with that user's rights. The API server lets those
/// do that who may `impersonate` the user, as administrators may.
pub async fn connect_as(kubeconfig: Option<&Path>, user: &str) -> Result<Client, ConnectError> {
    let mut config = configuration(kubeconfig).await?;
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = None;
    Ok(with_time_limits(config).map_err(Box::new)?)
}

async fn configuration(kubeconfig: Option<&Path>) -> Result<Config, ConnectError> {
    let Some(path) = kubeconfig else {
        return Ok(Config::infer().await.map_err(Box::new)?);
    };
    let unusable = |error| ConnectError::Kubeconfig {
        path: path.display().to_string(),
        error: Box::new(error),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(unusable)
}

/// A client that gives up a request whose answer doesn't begin within 30 s or pauses for more than 300 s.
pub fn with_time_limits(config: Config) -> Result<Client, kube::Error> {
    client(config, &RequestObserver::new(|_| {}))
}

fn client(mut config: Config, observer: &RequestObserver) -> Result<Client, kube::Error> {
    config.read_timeout = Some(PAUSE_LIMIT);
    // The time that a connection was idle between two requests doesn't count.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&MapRequestLayer::new(most_recent))
        .with_layer(&TimeoutLayer::new(ANSWER_LIMIT))
        .with_layer(observer)
        .build())
}

/// Lets a watch that begins with the objects that exist begin with the most recent ones. The client library asks for those of
/// any time (`resourceVersion=0`), which an API server that is behind answers with less than was seen before.
fn most_recent<B>(mut request: Request<B>) -> Request<B> {
    const ANY: &str = "resourceVersion=0";
    let query = request.uri().query().unwrap_or_default();
    let parameters: Vec<&str> = query.split('&').collect();
    if !(parameters.contains(&"sendInitialEvents=true") && parameters.contains(&ANY)) {
        return request;
    }
    let others: Vec<&str> = parameters
        .into_iter()
        .filter(|parameter| *parameter != ANY)
        .collect();
    let target = format!("{}?{}", request.uri().path(), others.join("&"));
    let mut parts = request.uri().clone().into_parts();
    // What was a target before is one without a parameter of it.
    if let Ok(target) = target.parse() {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    /// Tokio's paused clock jumps ahead whenever all tasks wait, so that this takes no time.
    #[tokio::test(start_paused = true)]
    async fn a_request_to_a_silent_server_ends() -> anyhow::Result<()> {
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", silent.local_addr()?).parse()?);
        let client = with_time_limits(config)?;
        let answer = timeout(2 * ANSWER_LIMIT, client.apiserver_version()).await;
        let error = answer?.err();
        assert!(
            matches!(&error, Some(kube::Error::Service(why)) if why.is::<tower::timeout::error::Elapsed>()),
            "{error:?}"
        );
        Ok(())
    }

    #[test]
    fn a_streamed_list_is_the_most_recent() {
        let changed = |uri: &str| {
            let request = Request::get(uri).body(()).unwrap();
            most_recent(request).uri().to_string()
        };
        let of_kube = kube::core::Request::new("/apis/example.com/v1/things")
            .watch(&kube::api::WatchParams::streaming_lists().labels("a=b"), "0")
            .unwrap();
        let others = "&watch=true&timeoutSeconds=290&labelSelector=a%3Db&allowWatchBookmarks=true&sendInitialEvents=true\
            &resourceVersionMatch=NotOlderThan";
        assert_eq!(
            changed(&of_kube.uri().to_string()),
            format!("/apis/example.com/v1/things?{others}")
        );
        for same in [
            "/apis/example.com/v1/things",
            "/apis/example.com/v1/things?watch=true&resourceVersion=0",
            "/apis/example.com/v1/things?sendInitialEvents=true&resourceVersion=01",
            "https://server:6443/apis/example.com/v1/things?sendInitialEvents=true&resourceVersion=5",
        ] {
            assert_eq!(changed(same), same);
        }
        assert_eq!(
            changed("https://server:6443/things?resourceVersion=0&sendInitialEvents=true"),
            "https://server:6443/things?sendInitialEvents=true"
        );
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_missing_is_named() {
        let error = connect(Some(Path::new("no/such/file"))).await.err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("kubeconfig no/such/file: "), "{error}");
    }
}
