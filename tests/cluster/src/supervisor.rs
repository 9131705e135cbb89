//! The [`Supervisor`] starts and ends the processes of a test cluster (etcd, API server, scheduler and so on, each a
//! [`Part`]), and reports each that ends unexpectedly.
//!
//! [`ControlPlane`](crate::control_plane) decides which parts to start, with which arguments and in which order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc;

use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::part::Part;
use crate::process::{self, Process};
use crate::{extender, tie};

/// The path of this process's own program. It stays valid when a newer build replaces the file.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";
/// The time after which a part that isn't ready has failed: long enough for a machine that is busy with builds.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// The time from SIGTERM to SIGKILL. It is short because an API server with open watches ends slowly, and etcd loses
/// nothing by SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The time for the node's keeper to remove everything. It kills the node at once, however it is told to end.
const NODE_TIMEOUT: Duration = Duration::from_secs(15);

fn timeout_of(part: Part, timeout: Duration) -> Duration {
    if part == Part::Node { NODE_TIMEOUT } else { timeout }
}

/// The running parts of one cluster.
pub(crate) struct Supervisor {
    layout: Layout,
    parts: Mutex<BTreeMap<Part, Running>>,
    failures: mpsc::UnboundedSender<(Part, PartFailure)>,
}

/// A part's process.
struct Running {
    process: Process,
    /// Set before the supervisor ends the process, so that the end isn't reported as a failure.
    may_end: Arc<AtomicBool>,
    /// Closed with this process, however it ends.
    _input: Option<ChildStdin>,
}

impl Supervisor {
    /// A supervisor without processes. `failures` receives each part that ends unexpectedly.
    pub(crate) fn new(layout: &Layout, failures: mpsc::UnboundedSender<(Part, PartFailure)>) -> Self {
        Self {
            layout: layout.clone(),
            parts: Mutex::default(),
            failures,
        }
    }

    /// Starts a part's program, with its output written to the part's log. Returns an error if the part is running.
    pub(crate) fn start(&self, part: Part, program: &Path, arguments: Vec<OsString>) -> Result<()> {
        let mut parts = self.parts();
        if parts
            .get(&part)
            .is_some_and(|running| !running.process.has_ended())
        {
            bail!("{part} is running already");
        }
        let log = self.layout.log(part);
        let out = Layout::open_log(&log)?;
        let (mut command, input) = if part == Part::Node {
            // It ends by itself when its standard input does, since it has to clean up when this process is killed.
            (Command::new(program), Stdio::piped())
        } else {
            (tie::tied(Path::new(THIS_PROGRAM), program), Stdio::null())
        };
        command
            .args(arguments)
            .stdin(input)
            .stderr(out.try_clone().context("can't share a log")?)
            .stdout(out)
            // With a process group of its own, a part doesn't get the terminal's Ctrl-C. Only this process does, and
            // ends the parts in order.
            .process_group(0);
        let mut child = process::spawn(command).with_context(|| format!("can't start {part}"))?;
        let input = child.stdin.take();
        let process = Process::adopt(child);
        let may_end = Arc::new(AtomicBool::new(false));
        tokio::spawn({
            let (process, may_end, failures) = (process.clone(), Arc::clone(&may_end), self.failures.clone());
            async move {
                let status = extender::shown(process.ended().await);
                if !may_end.load(Ordering::SeqCst) {
                    let failure = PartFailure::new(format!("{part} ended unexpectedly ({status})"), &log);
                    let _ = failures.send((part, failure));
                }
            }
        });
        parts.insert(
            part,
            Running {
                process,
                may_end,
                _input: input,
            },
        );
        Ok(())
    }

    /// Waits for `ready`. Returns an error after [`READY_TIMEOUT`].
    pub(crate) async fn within_ready_timeout<T>(
        &self,
        part: Part,
        ready: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::time::timeout(READY_TIMEOUT, ready).await.map_err(|_| {
            PartFailure::new(
                format!("{part} is not ready after {READY_TIMEOUT:?}"),
                &self.layout.log(part),
            )
            .into()
        })
    }

    /// Ends a part by SIGTERM, and by SIGKILL after [`END_TIMEOUT`].
    pub(crate) async fn stop(&self, part: Part) -> Result<()> {
        self.end(part, END_TIMEOUT).await
    }

    /// Ends a part by SIGKILL.
    pub(crate) async fn kill(&self, part: Part) -> Result<()> {
        self.end(part, Duration::ZERO).await
    }

    /// Ends a part by SIGTERM, and by SIGKILL after `timeout`; at once if that is zero.
    async fn end(&self, part: Part, timeout: Duration) -> Result<()> {
        let timeout = timeout_of(part, timeout);
        let Some(running) = self.parts().remove(&part) else {
            bail!("{part} is not running")
        };
        running.may_end.store(true, Ordering::SeqCst);
        running
            .process
            .end(timeout)
            .await
            .with_context(|| format!("can't end {part}"))
    }

    /// Ends all parts: one after the other in the opposite order of their start, or, with `by_force`, all at once by
    /// SIGKILL.
    pub(crate) async fn end_all(&self, by_force: bool) {
        let parts = std::mem::take(&mut *self.parts());
        for running in parts.values() {
            running.may_end.store(true, Ordering::SeqCst);
        }
        if by_force {
            for (_, running) in parts.iter().filter(|(part, _)| **part != Part::Node) {
                // An error means that the process has ended already.
                let _ = running.process.signal(rustix::process::Signal::KILL);
            }
        }
        for (part, running) in parts.iter().rev() {
            let timeout = if by_force { Duration::ZERO } else { END_TIMEOUT };
            let timeout = timeout_of(*part, timeout);
            if let Err(error) = running.process.end(timeout).await {
                tracing::warn!("{part}: {error:#}");
            }
        }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<Part, Running>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
