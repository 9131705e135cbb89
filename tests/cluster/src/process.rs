//! Child processes: one thread that lives as long as this process starts them all, and each has a thread that
//! reaps it.
//!
//! The kernel sends a tied child its signal (see [`crate::tie`]) when the *thread* that started it ends. A
//! test's thread or a runtime's worker may end long before the process does, so neither may start a tied
//! child.

use std::io;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// The pause between two checks of a thread that blocks until a process ends.
const BLOCKING_WAIT_STEP: Duration = Duration::from_millis(2);

/// Starts `command` from the thread that lives as long as this process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                // If the caller no longer waits, the child runs without a handle until its tie ends it.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    spawner
        .send((command, reply))
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))?;
    answer
        .recv()
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))?
}

/// Runs `command` to its end without blocking the runtime, and returns what it wrote to its pipes.
pub(crate) async fn output(command: Command) -> Result<Output> {
    tokio::task::spawn_blocking(move || spawn(command)?.wait_with_output())
        .await
        .context("the thread that waits for a process is gone")?
        .context("can't run a process")
}

/// A running child. Dropping this doesn't end the process; its tie ends it with this process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pid: u32,
    child: Arc<Mutex<Child>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command`. To use the child's pipes, call [`spawn`] and take them before [`Self::adopt`].
    pub(crate) fn start(command: Command) -> io::Result<Self> {
        Ok(Self::adopt(spawn(command)?))
    }

    /// The handle of a child that [`spawn`] started.
    pub(crate) fn adopt(child: Child) -> Self {
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (sender, status) = watch::channel(None);
        let reaped = Arc::clone(&child);
        thread::spawn(move || {
            // Waits without reaping, so that the pid can't be given to another process while `signal` uses
            // it.
            if let Some(pid) = raw_pid(pid) {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
            }
            let status = reaped.lock().unwrap_or_else(PoisonError::into_inner).wait();
            let _ = sender.send(status.ok());
        });
        Self { pid, child, status }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, unless the process has already ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = raw_pid(self.pid).context("a process has no pid")?;
        kill_process(pid, signal).with_context(|| format!("can't signal process {}", self.pid))
    }

    /// Waits for the end, and returns the exit status; `None` if it is unknown.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.borrow().is_some() || self.status.has_changed().is_err()
    }

    /// Ends the process by SIGTERM, and by SIGKILL if it still runs after `timeout`.
    pub(crate) async fn end(&self, timeout: Duration) -> Result<()> {
        if !timeout.is_zero() {
            self.signal(Signal::TERM)?;
            if tokio::time::timeout(timeout, self.ended()).await.is_ok() {
                return Ok(());
            }
        }
        self.signal(Signal::KILL)?;
        self.ended().await;
        Ok(())
    }

    /// Blocks until the process has ended, at most for `timeout`. Returns whether it has ended.
    pub(crate) fn wait_blocking(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(BLOCKING_WAIT_STEP);
        }
        true
    }
}

fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
