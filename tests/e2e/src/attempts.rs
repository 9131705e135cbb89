//! Attempts that must fail, whoever makes them, and what tells that one has failed for good.

use std::{fmt::Debug, net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use privatekube_cluster::User;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use crate::{Seen, World};

/// How long [`eventually`] asks again.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it asks.
const POLL: Duration = Duration::from_millis(50);

/// What the API server said when it refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// Its words.
    pub message: String,
}

impl Refusal {
    /// The refusal in an answer; an error if there is none.
    pub fn of<T: Debug>(answer: Result<T, kube::Error>) -> Result<Self> {
        match answer {
            Ok(taken) => bail!("this was not refused: {taken:?}"),
            Err(kube::Error::Api(status)) => Ok(Self {
                code: status.code,
                message: status.message,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// An error if one of these is not in its words.
    pub fn says(&self, parts: &[&str]) -> Result<()> {
        match parts.iter().find(|part| !self.message.contains(**part)) {
            Some(part) => bail!(
                "{part:?} is not in what was said: {}: {}",
                self.code,
                self.message
            ),
            None => Ok(()),
        }
    }
}

/// That an attempt was refused in these words.
pub fn refused<T: Debug>(answer: Result<T, kube::Error>, parts: &[&str]) -> Result<Refusal> {
    let refusal = Refusal::of(answer)?;
    ensure!(
        (400..500).contains(&refusal.code),
        "that is no refusal: {refusal:?}"
    );
    refusal.says(parts)?;
    Ok(refusal)
}

/// Asks again until the answer is there. For what can't be watched.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Seen<T>>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let missing = match timeout_at(end, ask()).await {
            Ok(answer) => match answer? {
                Ok(answer) => return Ok(answer),
                Err(missing) => missing,
            },
            Err(_) => "the last attempt had no answer".to_owned(),
        };
        ensure!(Instant::now() < end, "{what}: not within {PATIENCE:?}: {missing}");
        sleep(POLL).await;
    }
}

impl World {
    /// A client of someone.
    pub async fn client_as(&self, user: User) -> Result<Client> {
        self.cluster.client_as(user).await
    }

    /// Waits until the scheduler has looked at a pod and says in these words that it fits nowhere.
    pub async fn unschedulable(&self, namespace: &str, name: &str, words: &str) -> Result<Pod> {
        let said = |pod: &Pod| {
            let conditions = pod.status.as_ref()?.conditions.as_ref()?;
            let scheduled = conditions
                .iter()
                .find(|condition| condition.type_ == "PodScheduled")?;
            let fits_nowhere =
                scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
            Some(fits_nowhere && scheduled.message.as_ref()?.contains(words))
        };
        let what = format!("unschedulable, saying {words:?}");
        let pod = self
            .wait(namespace, name, &what, |pod: Option<&Pod>| {
                pod.and_then(said) == Some(true)
            })
            .await?;
        pod.context("no pod")
    }

    /// GET of the extender's plain port: the status and the text.
    pub async fn health(&self, path: &str) -> Result<(u16, String)> {
        let port = self.cluster.description().extender_ports.health;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, text) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
        let code = head
            .split_whitespace()
            .nth(1)
            .context("the answer has no status")?
            .parse()?;
        Ok((code, text.to_owned()))
    }

    /// One of the extender's counters, its series written with labels as the extender writes it; 0 if there is none.
    pub async fn extender_count(&self, series: &str) -> Result<u64> {
        let (code, text) = self.health("/metrics").await?;
        ensure!(code == 200, "/metrics: {code}");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?.unwrap_or_default())
    }
}
