//! Child processes: started by one thread that lives as long as this process, reaped by a thread of their own.
//!
//! The kernel delivers the signal of a tie (see [`crate::tie`]) when the *thread* that started the child ends. A test's
//! thread or a runtime's worker may end long before the process does, so neither may start a tied child.

use std::io;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

/// How often a thread that must block looks for the end of a process.
const BLOCKING_WAIT_STEP: Duration = Duration::from_millis(2);

/// Starts `command` from the thread that outlives all others.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in orders {
                // An order whose caller no longer listens still has to be carried out no further than this.
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

/// A running child. Dropping it leaves the process alone; its tie ends it with this process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pid: u32,
    child: Arc<Mutex<Child>>,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command`; whoever wants the child's pipes takes them from the returned child first.
    pub(crate) fn start(command: Command) -> io::Result<Self> {
        Ok(Self::adopt(spawn(command)?))
    }

    /// Watches over a child that [`spawn`] started.
    pub(crate) fn adopt(child: Child) -> Self {
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (sender, status) = watch::channel(None);
        let reaped = Arc::clone(&child);
        thread::spawn(move || {
            // Waits without reaping, so that the pid can't be given to another process while `signal` uses it.
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

    /// Waits for the end; `None` when nobody knows the exit status.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut status = self.status.clone();
        let ended = status.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.status.borrow().is_some() || self.status.has_changed().is_err()
    }

    /// Asks the process to end, and insists after `patience`.
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

    /// Blocks until the process has ended or `patience` is over; says whether it has ended.
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
