//! The first process of a node (`node first`), with process ID 1 in there: makes the node's mounts, starts the services,
//! and reaps every process that loses its parent. When it ends, the kernel kills all processes of the node.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{WaitOptions, wait};
use rustix::system::sethostname;

use super::{NODE_NAME, NodeSpec, cgroups};
use crate::supervisor::THIS_PROGRAM;

/// Settings of the machine's kernel that the kubelet wants, and would write for the whole machine. It finds them set.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
/// Folders that are the node's own, because the paths of files in them are fixed in kubelet and containerd.
const OWN_FOLDERS: [&str; 2] = ["/var/log", "/var/lib"];

/// Whether a directory can't be seen inside of a node.
pub(crate) fn hides(directory: &Path) -> bool {
    let hidden = OWN_FOLDERS.into_iter().chain(["/run", "/proc", "/sys"]);
    hidden.into_iter().any(|folder| directory.starts_with(folder))
}

/// Runs the node until one of its services ends. Must have process ID 1.
pub(crate) fn run_first(path: &Path) -> Result<()> {
    if std::process::id() != 1 {
        bail!("only `node keep` starts the first process of a node");
    }
    let spec = NodeSpec::read(path)?;
    // The machine's /proc is still in its place, and knows this process by the machine's count.
    let outside = fs::read_link("/proc/self").context("can't read /proc/self")?;
    sethostname(NODE_NAME.as_bytes()).context("can't set the node's name")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("can't make the mounts private")?;
    let hierarchies = cgroups::names()?;
    mount_system()?;
    mount_cgroups(hierarchies)?;
    mount_folders(&spec.files())?;
    // The kubelet hands mounts on to containers.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("can't share the mounts")?;
    crate::users::write_private(&spec.first_process(), &outside.display().to_string())?;
    let services = Command::new(THIS_PROGRAM)
        .args(["node", "serve", "--spec"])
        .arg(path)
        .stdin(Stdio::null())
        .spawn()
        .context("can't start the node's services")?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) if u32::try_from(pid.as_raw_pid()).is_ok_and(|pid| pid == services.id()) => {
                bail!("the node's services ended");
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("can't wait for the node's processes"),
        }
    }
}

fn mount_new(kind: &str, target: &Path, options: Option<&CStr>) -> Result<()> {
    mount(kind, target, kind, MountFlags::empty(), options)
        .with_context(|| format!("can't mount {kind} at {}", target.display()))
}

/// Mounts what belongs to the node's namespaces.
fn mount_system() -> Result<()> {
    mount_new("proc", Path::new("/proc"), None)?;
    unmount("/sys", UnmountFlags::DETACH).context("can't unmount /sys")?;
    mount_new("sysfs", Path::new("/sys"), None)?;
    mount_new("tmpfs", Path::new("/run"), Some(c"mode=755"))
}

/// Mounts every hierarchy of cgroups, which shows the node's own as the root.
fn mount_cgroups(hierarchies: Vec<String>) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    mount_new("tmpfs", root, Some(c"mode=755"))?;
    for controllers in hierarchies {
        let (folder, options) = match controllers.strip_prefix("name=") {
            Some(name) => (root.join(name), format!("none,{controllers}")),
            None => (root.join(&controllers), controllers.clone()),
        };
        fs::create_dir(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        mount_new("cgroup", &folder, Some(&CString::new(options)?))?;
        for controller in controllers
            .split(',')
            .filter(|controller| *controller != controllers)
        {
            symlink(&controllers, root.join(controller))
                .with_context(|| format!("can't link {controllers} as {controller}"))?;
        }
    }
    Ok(())
}

/// Lays the node's own folders and settings over the machine's.
fn mount_folders(files: &Path) -> Result<()> {
    let bind = |source: PathBuf, target: &Path| {
        mount_bind(&source, target)
            .with_context(|| format!("can't lay {} over {}", source.display(), target.display()))
    };
    for folder in OWN_FOLDERS {
        let source = files.join(folder.trim_start_matches('/'));
        fs::create_dir_all(&source).with_context(|| format!("can't make {}", source.display()))?;
        bind(source, Path::new(folder))?;
    }
    let settings = files.join("sysctl");
    fs::create_dir_all(&settings).with_context(|| format!("can't make {}", settings.display()))?;
    for (name, value) in SYSCTLS {
        let target = Path::new("/proc/sys").join(name);
        if !target.exists() {
            continue;
        }
        let source = settings.join(name.replace('/', "."));
        fs::write(&source, format!("{value}\n"))
            .with_context(|| format!("can't write {}", source.display()))?;
        bind(source, &target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_a_node_has_of_its_own_hide_those_of_the_machine() {
        assert!(hides(Path::new("/var/lib/jenkins/cluster")));
        assert!(hides(Path::new("/run/user/0")));
        assert!(!hides(Path::new("/var/library")));
        assert!(!hides(Path::new("/tmp/cluster")));
    }
}
