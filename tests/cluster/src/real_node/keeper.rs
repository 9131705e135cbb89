//! The keeper of a node (`node keep`), outside of the node's namespaces: starts the node, and removes everything of it when
//! the node ends, when a signal requests it, or when the cluster's owner ends, however that ends.
//!
//! Other parts are tied to the owner, and the kernel kills them with it. The keeper isn't: it notices the owner's end by the
//! end of its standard input, because someone has to remove the cgroups. The node is tied to the keeper.

use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::cgroups::{self, Cgroups};
use super::home::installed;
use super::{Link, NodeSpec, forward};
use crate::extender::shown;
use crate::process::{self, Process};
use crate::supervisor::THIS_PROGRAM;
use crate::tie;

/// The pause between two looks for a file.
const STEP: Duration = Duration::from_millis(20);

/// Keeps the node that the file at `path` describes until it ends or is to end.
pub(crate) async fn keep(path: &Path) -> Result<()> {
    let spec = NodeSpec {
        keeper: std::process::id(),
        ..NodeSpec::read(path)?
    };
    spec.write()?;
    cgroups::sweep();
    let shutdown = shutdown()?;
    remove_files(&spec.files())?;
    fs::create_dir_all(spec.files()).with_context(|| format!("can't make {}", spec.files().display()))?;
    let cgroups = Cgroups::create()?;
    let result = match start(&spec, path, cgroups.directories()) {
        Ok(node) => {
            let result = tokio::select! {
                () = shutdown => Ok(()),
                error = run(&spec, &node) => Err(error),
            };
            // Its death is the death of the node's first process, and that is the death of all processes in there.
            let killed = node.end(Duration::ZERO).await;
            result.and(killed)
        }
        Err(error) => Err(error),
    };
    // Without processes, the namespaces are gone, with the mounts and the link.
    let cleaned = cgroups.remove().and_then(|()| remove_files(&spec.files()));
    result.and(cleaned)
}

/// Completes when a signal or the end of the standard input requests the end.
fn shutdown() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("can't listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen to signals")?;
    let (closed, close) = oneshot::channel();
    thread::spawn(move || {
        let mut ignored = [0; 64];
        // Nothing is ever written.
        while io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
        let _ = closed.send(());
    });
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = close => {}
        }
    })
}

/// Starts the node's first process in namespaces of its own.
fn start(spec: &NodeSpec, path: &Path, cgroups: &[PathBuf]) -> Result<Process> {
    let mut command = tie::tied_in(Path::new(THIS_PROGRAM), Path::new("unshare"), cgroups);
    command
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--net",
            "--ipc",
            "--uts",
            "--cgroup",
            "--kill-child=KILL",
            "--",
        ])
        // This program, even when a newer build has replaced its file.
        .arg(format!("/proc/{}/exe", spec.keeper))
        .args(["node", "first", "--spec"])
        .arg(path)
        .stdin(Stdio::null());
    Process::start(command).context("can't start the node's first process")
}

/// Connects the node, and waits for its end; returns why it ended.
async fn run(spec: &NodeSpec, node: &Process) -> anyhow::Error {
    let connected = async {
        let first = first_process(spec).await?;
        connect(spec.link, &first).await?;
        forward::listen(SocketAddr::from((spec.link.machine, spec.api_server_port))).await
    };
    let listener = tokio::select! {
        status = node.ended() => return anyhow::anyhow!("the node ended ({})", shown(status)),
        listener = connected => match listener {
            Ok(listener) => listener,
            Err(error) => return error,
        },
    };
    let api_server = SocketAddr::from((Ipv4Addr::LOCALHOST, spec.api_server_port));
    tokio::select! {
        status = node.ended() => anyhow::anyhow!("the node ended ({})", shown(status)),
        () = forward::forward(listener, api_server) => anyhow::anyhow!("the way to the API server ended"),
    }
}

/// The process ID of the node's first process, as this process counts.
async fn first_process(spec: &NodeSpec) -> Result<String> {
    let path = spec.first_process();
    loop {
        match fs::read_to_string(&path) {
            Ok(pid) if !pid.is_empty() => return Ok(pid),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("can't read {}", path.display()));
            }
            _ => tokio::time::sleep(STEP).await,
        }
    }
}

/// Makes the link between the machine's network and the one of the process `first`. The kernel removes it with that.
async fn connect(link: Link, first: &str) -> Result<()> {
    let interface = link.interface();
    let address = format!("{}/{}", link.machine, Link::PREFIX);
    // One of an earlier node of this cluster goes a moment after its processes.
    let _ = ip(&["link", "delete", &interface]).await;
    ip(&[
        "link", "add", &interface, "type", "veth", "peer", "name", "eth0", "netns", first,
    ])
    .await?;
    ip(&["address", "add", &address, "dev", &interface]).await?;
    ip(&["link", "set", &interface, "up"]).await
}

/// Runs the program `ip`.
pub(super) async fn ip(arguments: &[&str]) -> Result<()> {
    // The PATH of some users lacks its folder.
    let program = installed("ip").context("the program ip is missing")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = process::output(command).await?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "ip {}: {}: {}",
            arguments.join(" "),
            output.status,
            complaint.trim()
        );
    }
    Ok(())
}

fn remove_files(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
