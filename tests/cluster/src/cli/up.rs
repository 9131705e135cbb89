//! `up`: starts a cluster that outlives this command.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{ClusterArguments, cluster_dir};
use crate::description::Description;
use crate::layout::Layout;
use crate::process;
use crate::protocol::Message;

/// The pause between two reads of the owner's log.
const FOLLOW_STEP: Duration = Duration::from_millis(50);
/// The time for a cluster that another `up` is starting to become ready.
const OTHER_TIMEOUT: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
pub(super) struct Up {
    /// The cluster's directory [default: .local/cluster of the workspace]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write another copy of the administrator's kubeconfig
    #[arg(long)]
    kubeconfig_out: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl Up {
    pub(super) fn execute(self) -> Result<()> {
        let layout = Layout::create(&cluster_dir(self.dir.clone())?)?;
        let lock = layout.try_take()?;
        let Some(lock) = lock else {
            let description = wait_for_other(&layout)?;
            if let Some(copy) = &self.kubeconfig_out {
                std::fs::copy(&description.kubeconfig, copy)
                    .with_context(|| format!("can't write {}", copy.display()))?;
            }
            println!("The cluster in {} is up already.", layout.dir().display());
            explain(&description);
            return Ok(());
        };
        drop(lock);
        let description = self.start(&layout)?;
        println!("The cluster is up after {:.1} s.", description.seconds_to_ready);
        explain(&description);
        Ok(())
    }

    fn start(self, layout: &Layout) -> Result<Description> {
        let config = self.cluster.config()?;
        let log_path = layout.serve_log();
        let log = Layout::open_log(&log_path)?;
        let mut command =
            Command::new(std::env::current_exe().context("this program's own path is unknown")?);
        command
            .arg("serve")
            .arg("--detached")
            .arg("--dir")
            .arg(layout.dir());
        if let Some(copy) = &self.kubeconfig_out {
            command.arg("--kubeconfig-out").arg(std::path::absolute(copy)?);
        }
        command.args(config.arguments());
        let follower = Follower::start(&log_path)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = process::spawn(command).context("can't start the cluster's owner")?;
        // Closed when this command ends, however it ends. If the cluster isn't ready by then, its owner ends
        // too.
        let _alive = child.stdin.take();
        let output = child.stdout.take().context("the cluster's owner has no output")?;
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .context("can't read from the cluster's owner")?;
        follower.stop();
        match serde_json::from_str(&line) {
            Ok(Message::Ready(description)) => Ok(*description),
            // The follower has shown the reason.
            _ => bail!(
                "the cluster did not start; its owner's log is {}",
                log_path.display()
            ),
        }
    }
}

/// Waits until a cluster that another process owns is ready, and returns its description.
fn wait_for_other(layout: &Layout) -> Result<Description> {
    let deadline = Instant::now() + OTHER_TIMEOUT;
    while !layout.description().exists() {
        if Instant::now() > deadline || layout.try_take()?.is_some() {
            bail!(
                "another command failed to start the cluster in {}",
                layout.dir().display()
            );
        }
        thread::sleep(FOLLOW_STEP);
    }
    Description::read(&layout.description())
}

fn explain(description: &Description) {
    println!("  API server   {}", description.api_server);
    println!("  nodes        {}", description.nodes.len());
    println!("  status page  {} (with an extender)", description.status_page());
    println!("  metrics      {} (with an extender)", description.metrics());
    println!("  logs         {}", description.dir.display());
    println!(
        "Use it:\n  export KUBECONFIG={}",
        description.kubeconfig.display()
    );
    println!("  {} get nodes", description.bin_dir.join("kubectl").display());
    println!(
        "End it:\n  privatekube-cluster down --dir {}",
        description.dir.display()
    );
}

/// Prints what is appended to a log, until it is stopped.
struct Follower {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Follower {
    fn start(path: &std::path::Path) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
        file.seek(SeekFrom::End(0))
            .with_context(|| format!("can't read {}", path.display()))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            loop {
                let last = until.load(Ordering::SeqCst);
                let mut new = Vec::new();
                // What can't be printed is still in the log.
                if file.read_to_end(&mut new).is_ok() {
                    let _ = io::stderr().write_all(&new);
                }
                if last {
                    return;
                }
                thread::sleep(FOLLOW_STEP);
            }
        });
        Ok(Self { is_over, thread })
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        // If the thread panicked, it has printed that.
        let _ = self.thread.join();
    }
}
