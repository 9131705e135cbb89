//! Processor time and memory of processes, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// The process IDs of a cluster's parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) api_server: u32,
    pub(crate) etcd: u32,
    pub(crate) scheduler: u32,
    pub(crate) controller_manager: u32,
}

impl Parts {
    /// Finds the parts among the children of a cluster's owner.
    pub(crate) fn of(owner: u32) -> Result<Self> {
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc").context("can't read /proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end meanwhile.
            if let Ok(stat) = Stat::of(pid)
                && stat.parent == owner
            {
                children.push((pid, stat.name));
            }
        }
        // The kernel keeps 15 bytes of a name.
        let find = |program: &str| {
            let found = children
                .iter()
                .find(|(_, name)| program.starts_with(name.as_str()));
            found
                .map(|(pid, _)| *pid)
                .with_context(|| format!("the cluster's process {owner} has no child {program}"))
        };
        Ok(Self {
            api_server: find("kube-apiserver")?,
            etcd: find("server")?,
            scheduler: find("kube-scheduler")?,
            controller_manager: find("kube-controller-manager")?,
        })
    }
}

/// The kernel's unit of times in `/proc`, USER_HZ: 100 on every architecture that Rust's standard library runs on
/// Linux with, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time in seconds that a process has used in all its threads.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
    Ok(Stat::of(pid)?.ticks as f64 / TICKS_PER_SECOND)
}

/// A process' memory, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: f64,
    /// The most that ever was.
    pub(crate) peak: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        let line = |name: &str| -> Result<f64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes: f64 = value
                .and_then(|value| value.split_whitespace().next())
                .with_context(|| format!("{path} has no {name}"))?
                .parse()?;
            Ok(kilobytes / 1024.0)
        };
        Ok(Self {
            resident: line("VmRSS:")?,
            peak: line("VmHWM:")?,
        })
    }
}

/// The machine's load average of the last minute.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} has an unknown form"))
    }

    /// The fields are in proc_pid_stat(5); the name is in parentheses and may contain some.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name,
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, Stat, cpu_seconds};

    #[test]
    fn the_fields_of_a_process_are_found_behind_its_name() {
        let text = "7 (a (b) c) S 3 7 7 0 -1 4194304 1 2 3 4 150 25 8 9 20 0 1 0 100\n";
        let stat = Stat {
            name: "a (b) c".to_owned(),
            parent: 3,
            ticks: 175,
        };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (a"), None);
    }

    #[test]
    fn this_process_has_memory_and_used_time() {
        let pid = std::process::id();
        let memory = Memory::of(pid).expect("it runs");
        assert!(memory.resident > 0.0 && memory.peak >= memory.resident);
        assert!(cpu_seconds(pid).expect("it runs") >= 0.0);
    }
}
