//! Ties a process to its parent: the kernel kills it as soon as the parent ends, however it ends
//! (`PR_SET_PDEATHSIG`).
//!
//! Code can't run between fork and exec without `unsafe`. So a part is started as `privatekube-cluster tie --
//! PART`, which ties itself to its parent and then executes the part: the kernel keeps the tie across exec.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::real_node;

/// The command that starts `program` tied to this process. `tool` is the program `privatekube-cluster`.
///
/// The tie is to the *thread* that starts the command: start it with [`crate::process::spawn`], never
/// directly.
pub(crate) fn tied(tool: &Path, program: &Path) -> Command {
    tied_in(tool, program, &[])
}

/// As [`tied`], for a program that begins inside of the given cgroups.
pub(crate) fn tied_in(tool: &Path, program: &Path, cgroups: &[PathBuf]) -> Command {
    let mut command = Command::new(tool);
    command
        .arg("tie")
        .arg("--parent")
        .arg(std::process::id().to_string());
    for cgroup in cgroups {
        command.arg("--cgroup").arg(cgroup);
    }
    command.arg("--").arg(program);
    command
}

/// Ties this process to its parent, enters the cgroups and becomes `command`. Returns only when that is impossible.
pub(crate) fn become_tied(
    parent: i32,
    cgroups: &[PathBuf],
    command: &[OsString],
) -> Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("can't tie this process to its parent")?;
    // If the parent ended before the line above, no signal is sent.
    let actual = getppid().map(rustix::process::Pid::as_raw_pid);
    if actual != Some(parent) {
        bail!("the parent process {parent} is gone");
    }
    real_node::enter_cgroups(cgroups)?;
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command was given")
    };
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("can't execute {}", Path::new(program).display()))
}
