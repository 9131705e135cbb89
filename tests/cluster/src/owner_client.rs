//! [`OwnerClient`]: sends requests to the process that owns a cluster, see [`crate::protocol`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::mpsc;

use crate::description::Description;
use crate::logs;
use crate::protocol::{Message, Request};

/// The caller's end of the connection to a cluster's owner. One request at a time.
#[derive(Debug)]
pub(crate) struct OwnerClient {
    /// The owner's standard input. The owner ends when this is closed.
    requests: Mutex<Option<ChildStdin>>,
    messages: tokio::sync::Mutex<mpsc::UnboundedReceiver<Message>>,
    owners_log: PathBuf,
}

impl OwnerClient {
    pub(crate) fn begin(requests: Option<ChildStdin>, output: ChildStdout, owners_log: PathBuf) -> Self {
        let (send, messages) = mpsc::unbounded_channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                let message = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Message::Failed(format!("the owner sent {line:?}: {error}")));
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        Self {
            requests: Mutex::new(requests),
            messages: tokio::sync::Mutex::new(messages),
            owners_log,
        }
    }

    /// Waits until the cluster is ready.
    pub(crate) async fn until_ready(&self) -> Result<Description> {
        match self.messages.lock().await.recv().await {
            Some(Message::Ready(description)) => Ok(*description),
            Some(Message::Failed(reason)) => Err(anyhow!(reason).context("the cluster did not start")),
            Some(other) => bail!("the cluster's owner sent {other:?} before it was ready"),
            None => bail!(self.silence()),
        }
    }

    /// Sends a request, and waits until it is done.
    pub(crate) async fn request(self: &Arc<Self>, request: Request) -> Result<()> {
        // In a task of its own: if the caller stops waiting, the next request must not receive this one's
        // answer.
        let this = Arc::clone(self);
        let answer = tokio::spawn(async move { this.exchange(&request).await });
        answer
            .await
            .context("the answer of the cluster's owner was not awaited")?
    }

    async fn exchange(&self, request: &Request) -> Result<()> {
        let mut messages = self.messages.lock().await;
        let sent = self.send(&(serde_json::to_string(request)? + "\n"));
        match messages.recv().await {
            Some(Message::Done) => Ok(()),
            Some(Message::Refused(reason)) => Err(anyhow!(reason)),
            Some(Message::Failed(reason)) => Err(anyhow!(reason).context("the cluster has ended")),
            Some(other) => bail!("the cluster's owner sent {other:?}"),
            None => {
                sent.context("the cluster has ended")?;
                bail!(self.silence())
            }
        }
    }

    fn send(&self, line: &str) -> std::io::Result<()> {
        match self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(requests) => requests.write_all(line.as_bytes()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn silence(&self) -> String {
        format!(
            "the cluster's owner ended; its log ends with:\n{}",
            logs::tail(&self.owners_log)
        )
    }

    /// Closes the connection, so that the owner ends.
    pub(crate) fn end(&self) {
        drop(
            self.requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
