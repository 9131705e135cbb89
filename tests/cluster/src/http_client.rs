//! Waits until a part answers: with a Kubernetes client over TLS, or by plain HTTP written by hand.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The pause between two requests to a part that isn't ready.
const POLL: Duration = Duration::from_millis(30);
/// A part may accept a connection and never answer; then the request is sent again after this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with the credentials of a kubeconfig, for `url` if given, else for the kubeconfig's API server.
pub(crate) async fn client(kubeconfig: &Path, url: Option<&str>) -> Result<kube::Client> {
    let read = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("can't read the kubeconfig {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    if let Some(url) = url {
        config.cluster_url = url.parse().with_context(|| format!("{url} is no URL"))?;
    }
    kube::Client::try_from(config).context("can't make a client")
}

/// Sends GET `path`, and returns the body of the answer.
pub(crate) async fn get_text(client: &kube::Client, path: &str) -> Result<String> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .with_context(|| format!("{path} is no path"))?;
    Ok(client.request_text(request).await?)
}

/// Waits until GET `path` is answered with success.
pub(crate) async fn until_ready(client: &kube::Client, path: &str) {
    loop {
        if let Ok(Ok(_)) = tokio::time::timeout(ANSWER_TIMEOUT, get_text(client, path)).await {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until GET `path` at a port of 127.0.0.1 is answered with 200, without TLS.
pub(crate) async fn until_plain_ready(port: u16, path: &str) {
    loop {
        if let Ok(Ok(200)) = tokio::time::timeout(ANSWER_TIMEOUT, plain_status(port, path)).await {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends GET `path` to a port of 127.0.0.1 without TLS, and returns the status code.
async fn plain_status(port: u16, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let mut words = answer.split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => Ok(status.parse()?),
        _ => bail!("the answer is not HTTP"),
    }
}
