//! The environment's extender: its process, and what it serves over plain HTTP.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::TestEnvironment;

/// Sends GET to a plain HTTP port of 127.0.0.1, and returns the status code and the body.
pub(crate) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
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

impl TestEnvironment {
    /// Ends the extender by SIGKILL.
    pub async fn kill_extender(&mut self) -> Result<()> {
        match self.extender.take() {
            Some(extender) => extender.kill().await,
            None => bail!("the extender does not run"),
        }
    }

    /// Stops the extender by SIGTERM, as Kubernetes would, and checks that it exits with success.
    pub async fn stop_extender(&mut self) -> Result<()> {
        match self.extender.take() {
            Some(extender) => {
                let status = extender.stop().await?;
                ensure!(
                    status.is_some_and(|status| status.success()),
                    "the extender ended with {status:?}"
                );
                Ok(())
            }
            None => bail!("the extender does not run"),
        }
    }

    /// Starts the extender again and waits until it is ready.
    pub async fn start_extender(&mut self) -> Result<()> {
        self.extender = Some(self.cluster.start_extender().await?);
        Ok(())
    }

    /// Sends GET to the extender's plain HTTP port, and returns the status code and the body.
    pub async fn health(&self, path: &str) -> Result<(u16, String)> {
        get(self.cluster.description().extender_ports.health, path).await
    }

    /// Returns the value of one of the extender's counters, 0 if it has no such series. `series` is its name
    /// with labels, as the extender prints it.
    pub async fn extender_count(&self, series: &str) -> Result<u64> {
        let (code, text) = self.health("/metrics").await?;
        ensure!(code == 200, "/metrics: {code}");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?.unwrap_or_default())
    }
}
