//! Whether this machine can run a real node, and what it lacks.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::cgroups;
use super::home::{Home, installed};

/// The environment variable whose value says why tests of a real node are left out.
const LEFT_OUT_VARIABLE: &str = "PRIVATEKUBE_NO_REAL_NODE";
/// Capabilities that a node needs, with their bits in `/proc/self/status`.
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_MKNOD", 27)];
/// Programs that a node needs beside its own, with the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
];

/// What this machine lacks to run a real node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotRunNodes(Vec<String>);

impl CannotRunNodes {
    /// What is missing, each in a few words.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for CannotRunNodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "this machine can't run a real node, which needs {}. Without `--node real`, the nodes are fake. Whatever \
             takes `--kubeconfig` also works with a cluster that you have",
            self.0.join("; ")
        )
    }
}

impl std::error::Error for CannotRunNodes {}

/// Whether this machine can run a real node; the error lists everything that it lacks. What `make realnode` builds
/// isn't looked at.
pub fn check() -> Result<(), CannotRunNodes> {
    let mut missing = Vec::new();
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        missing.push("a processor of the architecture x86_64 or aarch64".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("to be root: containers, mounts and cgroups are its own".to_owned());
    }
    let effective = effective_capabilities();
    let lacking = CAPABILITIES.iter().filter(|(_, bit)| effective >> bit & 1 == 0);
    missing.extend(lacking.map(|(name, _)| format!("the capability {name}")));
    let lacking = PROGRAMS
        .iter()
        .filter(|(program, _)| installed(program).is_none());
    missing.extend(
        lacking.map(|(program, package)| format!("the program {program} (Debian's package {package})")),
    );
    let can_fetch = installed("apt-get").is_some() && installed("dpkg").is_some();
    let home = Home::find().ok();
    let has = |found: &dyn Fn(&Home) -> bool| home.as_ref().is_some_and(found);
    if !can_fetch && !has(&|home| home.runc().is_some()) {
        missing.push("the program runc (Debian's package runc), or apt-get to fetch it".to_owned());
    }
    if !can_fetch && !has(&|home| home.plugins().is_some()) {
        missing.push(
            "CNI plugins (Debian's package containernetworking-plugins), or apt-get to fetch them".to_owned(),
        );
    }
    if let Err(reason) = cgroups::usable() {
        missing.push(reason);
    }
    // Only when nothing else is missing is its error worth reading.
    if missing.is_empty()
        && let Err(reason) = try_namespaces()
    {
        missing.push(reason);
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CannotRunNodes(missing))
    }
}

/// Whether tests of a real node run here. Where they don't, says so on standard error.
///
/// They run where the machine can, unless [`LEFT_OUT_VARIABLE`] says why not. Without that, a machine of continuous
/// integration (`CI=true`) that can't is an error: nobody would notice that they never run.
pub fn tests_run_real_nodes() -> Result<bool> {
    let reason = std::env::var(LEFT_OUT_VARIABLE).unwrap_or_default();
    let checked = check();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let why = match checked {
        _ if !reason.is_empty() => format!("{LEFT_OUT_VARIABLE} says: {reason}"),
        Ok(()) => return Ok(true),
        Err(error) if is_ci => {
            let remedy =
                format!("in CI, tests of a real node are left out only if {LEFT_OUT_VARIABLE} says why");
            return Err(anyhow::Error::new(error).context(remedy));
        }
        Err(error) => error.to_string(),
    };
    // Not `eprintln!`: the test harness captures that.
    let _ = writeln!(io::stderr(), "\nNO REAL NODE, its tests are left out: {why}");
    Ok(false)
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or_default()
}

/// Makes the namespaces of a node, and a mount in them, as a container's restrictions may forbid.
fn try_namespaces() -> Result<(), String> {
    let output = Command::new("unshare")
        .args([
            "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup",
        ])
        .args(["mount", "-t", "proc", "proc", "/proc"])
        .stdin(Stdio::null())
        .output();
    let complaint = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!("namespaces of its own and mounts in them ({complaint})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_lists_everything_and_names_a_way_out() {
        let text = CannotRunNodes(vec!["one".to_owned(), "two".to_owned()]).to_string();
        assert!(text.contains("needs one; two."), "{text}");
        assert!(text.contains("--kubeconfig"), "{text}");
    }
}
