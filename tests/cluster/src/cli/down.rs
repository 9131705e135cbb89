//! `down`: ends a cluster that `up` started.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::cluster_dir;
use crate::layout::Layout;
use crate::real_node;

/// Longer than the owner waits for all of its parts together.
const TIMEOUT: Duration = Duration::from_secs(25);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct Down {
    /// The cluster's directory [default: .local/cluster of the workspace]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Remove the directory, with all that the cluster stored
    #[arg(long)]
    remove: bool,
}

impl Down {
    pub(super) fn execute(self) -> Result<()> {
        let dir = cluster_dir(self.dir)?;
        if !dir.exists() {
            println!("There is no cluster in {}.", dir.display());
            return Ok(());
        }
        let layout = Layout::open(&dir)?;
        if !layout.is_a_clusters()? {
            bail!("{} is no cluster's directory", dir.display());
        }
        if is_over(&layout)? {
            // What a real node leaves behind whose keeper was killed.
            real_node::sweep_cgroups();
            println!("No cluster is up in {}.", dir.display());
        } else {
            end(&layout)?;
            println!("The cluster in {} is down.", dir.display());
        }
        if self.remove {
            layout.remove()?;
        }
        Ok(())
    }
}

/// Whether no process owns the directory.
fn is_over(layout: &Layout) -> Result<bool> {
    Ok(layout.try_take()?.is_some())
}

fn end(layout: &Layout) -> Result<()> {
    let owner = owner(layout)?;
    for (signal, timeout) in [(Signal::TERM, TIMEOUT), (Signal::KILL, KILL_TIMEOUT)] {
        match kill_process(owner, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("can't signal the cluster's owner"),
        }
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if is_over(layout)? {
                return Ok(());
            }
            thread::sleep(STEP);
        }
    }
    bail!(
        "process {}, which owns the cluster, does not end",
        owner.as_raw_nonzero()
    )
}

/// The process that the pid file names; an error if it isn't the owner of this directory.
fn owner(layout: &Layout) -> Result<Pid> {
    let path = layout.pid();
    let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} holds no process id", path.display()))?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = command_line.split(|byte| *byte == 0);
    let dir = layout.dir().as_os_str().as_bytes();
    let serves = words.clone().any(|word| word == b"serve");
    // `serve` accepts a relative path, though `up` never passes one.
    if !serves
        || !words.any(|word| {
            word == dir
                || std::path::Path::new(std::ffi::OsStr::from_bytes(word))
                    .canonicalize()
                    .is_ok_and(|path| path == layout.dir())
        })
    {
        bail!(
            "process {pid} is not the owner of {}; remove {} if it is stale",
            layout.dir().display(),
            path.display()
        );
    }
    Ok(pid)
}
