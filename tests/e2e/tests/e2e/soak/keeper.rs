//! Keeps an extender running: starts it again when it is killed, and when it ends by itself.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, Result};
use privatekube_cluster::{Extender, ExtenderOptions};
use privatekube_e2e::TestEnvironment;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

/// How long an extender that ended by itself is not started again, as a Deployment would wait.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks for kills.
pub(super) struct Keeper(mpsc::Sender<oneshot::Sender<()>>);

/// How often the extender was started, and why.
#[derive(Debug, Default)]
pub(super) struct Kept {
    killed: usize,
    ended: usize,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the extender was killed {} times, and ended by itself {} times",
            self.killed, self.ended
        )
    }
}

impl Keeper {
    pub(super) const fn new(requests: mpsc::Sender<oneshot::Sender<()>>) -> Self {
        Self(requests)
    }

    /// Kills the extender by SIGKILL, and returns once the next one is started.
    pub(super) async fn kill(&self) -> Result<()> {
        let (done, started) = oneshot::channel();
        self.0.send(done).await.context("nobody keeps the extender")?;
        started.await.context("nobody keeps the extender")
    }
}

/// Keeps an extender running until nobody can ask for a kill any more.
pub(super) async fn keep_extender(
    env: &TestEnvironment,
    kubeconfig: &Path,
    mut requests: mpsc::Receiver<oneshot::Sender<()>>,
) -> Result<Kept> {
    let options = ExtenderOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..ExtenderOptions::default()
    };
    let start = || env.cluster.start_extender_without_waiting(&options);
    let mut kept = Kept::default();
    let mut extender: Extender = start().await?;
    loop {
        let request = tokio::select! {
            _ = extender.ended() => {
                kept.ended += 1;
                sleep(PAUSE).await;
                extender = start().await?;
                continue;
            }
            request = requests.recv() => request,
        };
        let Some(done) = request else {
            return Ok(kept);
        };
        kept.killed += 1;
        extender.kill().await?;
        extender = start().await?;
        // Whoever asked may be gone.
        let _ = done.send(());
    }
}
