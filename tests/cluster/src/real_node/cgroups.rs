//! [`Cgroups`]: a node's own cgroup in every hierarchy, below the one of this process, so that limits of this process
//! hold for the node, and no two kubelets take each other's pods for orphans.
//!
//! Only cgroup v1 (also beside v2, "hybrid") is supported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What the names of all nodes' cgroups begin with, before their keepers' process IDs.
const PREFIX: &str = "privatekube-node-";
/// Controllers that the kubelet needs.
const NEEDED: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "devices"];
/// The time for processes to leave a cgroup after they were killed.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// One hierarchy of cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Its controllers, such as `cpu,cpuacct`, or `name=systemd`.
    controllers: String,
    /// The directory of this process's cgroup.
    directory: PathBuf,
}

/// The cgroups of one node.
#[derive(Debug)]
pub(super) struct Cgroups(Vec<PathBuf>);

/// The hierarchies of cgroup v1 that have a mount, with this process's cgroup in each.
fn hierarchies() -> Result<Vec<Hierarchy>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("can't read /proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("can't read /proc/self/mountinfo")?;
    Ok(parse(&own, &mounts))
}

/// The names of the hierarchies of cgroup v1.
pub(super) fn names() -> Result<Vec<String>> {
    Ok(hierarchies()?
        .into_iter()
        .map(|hierarchy| hierarchy.controllers)
        .collect())
}

fn parse(own: &str, mounts: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
    own.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            // The line of cgroup v2 names none.
            let first = controllers.split(',').next().filter(|name| !name.is_empty())?;
            let mount = mounts
                .iter()
                .find(|mount| mount.options.split(',').any(|option| option == first))?;
            // A container sees its own cgroup as the root of the mount.
            let below = Path::new(path)
                .strip_prefix(mount.root)
                .or_else(|_| Path::new(path).strip_prefix("/"))
                .ok()?;
            Some(Hierarchy {
                controllers: controllers.to_owned(),
                directory: Path::new(mount.point).join(below),
            })
        })
        .collect()
}

/// A mount of a hierarchy of cgroup v1.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        if after.next()? != "cgroup" {
            return None;
        }
        let mut before = before.split(' ').skip(3);
        Some(Self {
            root: before.next()?,
            point: before.next()?,
            options: after.nth(1)?,
        })
    }
}

/// Whether a node can have cgroups here; the error is what is missing.
pub(super) fn usable() -> Result<(), String> {
    let found = hierarchies().map_err(|error| format!("{error:#}"))?;
    let has = |name: &&str| {
        !found
            .iter()
            .any(|one| one.controllers.split(',').any(|one| one == *name))
    };
    let missing: Vec<&str> = NEEDED.into_iter().filter(has).collect();
    if !missing.is_empty() {
        return Err(format!(
            "cgroup v1 with the controllers {} (cgroup v2 alone isn't supported yet)",
            missing.join(", ")
        ));
    }
    for hierarchy in found {
        let probe = hierarchy
            .directory
            .join(format!("{PREFIX}probe-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .map_err(|error| format!("to write {} ({error})", hierarchy.directory.display()))?;
    }
    Ok(())
}

impl Cgroups {
    /// Creates a cgroup in each hierarchy, named after this process.
    pub(super) fn create() -> Result<Self> {
        let mut created = Self(Vec::new());
        for hierarchy in hierarchies()? {
            let directory = hierarchy
                .directory
                .join(format!("{PREFIX}{}", std::process::id()));
            // Of an earlier process with this ID, whose end nobody has cleaned up after.
            remove_tree(&directory)
                .and_then(|()| fs::create_dir(&directory))
                .with_context(|| format!("can't make {}", directory.display()))?;
            created.0.push(directory.clone());
            if hierarchy
                .controllers
                .split(',')
                .any(|controller| controller == "cpuset")
            {
                // A new cgroup has no processors, and so can have no processes.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::read(hierarchy.directory.join(file))
                        .and_then(|value| fs::write(directory.join(file), value))
                        .with_context(|| format!("can't set {file} of {}", directory.display()))?;
                }
            }
        }
        Ok(created)
    }

    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.0
    }

    /// Removes the cgroups, with those below. Waits until their processes, which were killed, are gone.
    pub(super) fn remove(self) -> Result<()> {
        let deadline = Instant::now() + EMPTY_TIMEOUT;
        for directory in &self.0 {
            while let Err(error) = remove_tree(directory) {
                if Instant::now() >= deadline {
                    bail!("can't remove the cgroup {}: {error}", directory.display());
                }
                thread::sleep(STEP);
            }
        }
        Ok(())
    }
}

/// Moves this process into cgroups.
pub(crate) fn enter(directories: &[PathBuf]) -> Result<()> {
    for directory in directories {
        // 0 means the process that writes.
        fs::write(directory.join("cgroup.procs"), "0")
            .with_context(|| format!("can't enter the cgroup {}", directory.display()))?;
    }
    Ok(())
}

/// Removes cgroups of nodes whose keepers are gone, which were killed before they could do so.
pub(crate) fn sweep() {
    for hierarchy in hierarchies().unwrap_or_default() {
        let entries = fs::read_dir(&hierarchy.directory).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let keeper = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            let is_gone = keeper.is_some_and(|keeper| !Path::new(&format!("/proc/{keeper}")).exists());
            // One that still has processes can't be removed, and stays.
            if is_gone && let Err(error) = remove_tree(&entry.path()) {
                tracing::debug!("can't remove the cgroup {}: {error}", entry.path().display());
            }
        }
    }
}

/// Removes a cgroup and all below it. Its files are the kernel's, and go with it.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_of_a_machine_and_of_a_container() {
        let own = "9:name=systemd:/\n4:memory:/process/7\n2:cpu,cpuacct:/docker/f00\n1:rdma:/\n0::/\n";
        let mounts = "\
            30 29 0:25 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            34 29 0:29 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n\
            35 29 0:30 /docker/f00 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
            36 29 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found: Vec<(String, PathBuf)> = parse(own, mounts)
            .into_iter()
            .map(|one| (one.controllers, one.directory))
            .collect();
        let wanted = [
            ("name=systemd", "/sys/fs/cgroup/systemd"),
            ("memory", "/sys/fs/cgroup/memory/process/7"),
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"),
        ];
        assert_eq!(
            found,
            wanted.map(|(controllers, path)| (controllers.to_owned(), PathBuf::from(path)))
        );
    }

    #[test]
    fn a_tree_of_directories_is_removed_and_one_that_is_gone_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("a");
        fs::create_dir_all(tree.join("b/c")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }
}
