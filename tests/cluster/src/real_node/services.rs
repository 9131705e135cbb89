//! The services of a node (`node serve`), inside of its namespaces: its network, containerd, the images, the kubelet, and the
//! way to the API server.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::keeper::ip;
use super::{Home, Link, NODE_NAME, NodeSpec, SERVICE_ADDRESS, forward, settings};
use crate::extender::shown;
use crate::layout::Layout;
use crate::logs::PartFailure;
use crate::process::{self, Process};
use crate::users::User;

/// The time for the keeper to make the link, and for containerd to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(50);
/// The port of the Service `kubernetes`.
const SERVICE_PORT: u16 = 443;

/// Runs the services until one of them ends; always returns an error, which says which one.
pub(crate) async fn serve(path: &Path) -> Result<std::convert::Infallible> {
    let spec = NodeSpec::read(path)?;
    let home = spec.home();
    write_settings(&spec, &home)?;
    let service = SocketAddr::from((SERVICE_ADDRESS, SERVICE_PORT));
    prepare_network(spec.link).await?;
    let listener = forward::listen(service).await?;
    let api_server = SocketAddr::from((spec.link.machine, spec.api_server_port));
    let services = async {
        let containerd = Service::start(
            &spec,
            "containerd",
            &[config_flag(&spec.files().join("containerd.toml"))],
        )?;
        let prepared = async {
            until_containerd_answers(&home).await?;
            for image in &spec.images {
                import(&home, image).await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            failure = containerd.ended() => return Err(failure.into()),
            prepared = prepared => prepared?,
        }
        let kubelet = Service::start(&spec, "kubelet", &kubelet_flags(&spec))?;
        tokio::select! {
            failure = containerd.ended() => Err(failure.into()),
            failure = kubelet.ended() => Err(failure.into()),
        }
    };
    tokio::select! {
        result = services => result,
        () = forward::forward(listener, api_server) => bail!("the way to the API server ended"),
    }
}

fn write_settings(spec: &NodeSpec, home: &Home) -> Result<()> {
    let files = spec.files();
    let runc = home.runc().context("runc is missing")?;
    let plugins = home.plugins().context("the CNI plugins are missing")?;
    let write = |name: &str, text: String| {
        let path = files.join(name);
        crate::users::write_private(&path, &text)
    };
    write("containerd.toml", settings::containerd(spec, &runc, &plugins))?;
    write("cni/10-privatekube.conflist", settings::network().to_string())?;
    write("kubelet.json", settings::kubelet(spec).to_string())?;
    write("resolv.conf", String::new())
}

/// Gives the node its addresses, once the keeper has made the link.
async fn prepare_network(link: Link) -> Result<()> {
    ip(&["link", "set", "lo", "up"]).await?;
    ip(&["address", "add", &format!("{SERVICE_ADDRESS}/32"), "dev", "lo"]).await?;
    within("the node's link to the machine", async || {
        Path::new("/sys/class/net/eth0").exists()
    })
    .await?;
    ip(&[
        "address",
        "add",
        &format!("{}/{}", link.node, Link::PREFIX),
        "dev",
        "eth0",
    ])
    .await?;
    ip(&["link", "set", "eth0", "up"]).await?;
    ip(&["route", "add", "default", "via", &link.machine.to_string()]).await?;
    // Of the node's network alone. The pods' packets to the API server go through the node.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("can't let the node forward packets")
}

/// Waits for a condition, at most for [`READY_TIMEOUT`].
async fn within(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Result<()> {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(STEP).await;
        }
    };
    let waited = tokio::time::timeout(READY_TIMEOUT, waiting).await;
    waited.with_context(|| format!("{what} is not there after {READY_TIMEOUT:?}"))
}

async fn until_containerd_answers(home: &Home) -> Result<()> {
    within("containerd's answer", async || {
        let mut command = ctr(home);
        command.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        process::output(command)
            .await
            .is_ok_and(|output| output.status.success())
    })
    .await
}

/// The arguments of the program ctr for the images and containers of Kubernetes.
pub(super) fn ctr_arguments() -> [&'static str; 4] {
    ["--address", settings::CONTAINERD_SOCKET, "--namespace", "k8s.io"]
}

fn ctr(home: &Home) -> Command {
    let mut command = Command::new(home.program("ctr"));
    command.args(ctr_arguments()).stdin(Stdio::null());
    command
}

/// Imports an image's archive into containerd.
async fn import(home: &Home, archive: &Path) -> Result<()> {
    let mut command = ctr(home);
    command
        .args(["images", "import", "--local", "--no-unpack=false"])
        .arg(archive)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = process::output(command).await?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "can't import the image {}: {}",
            archive.display(),
            complaint.trim()
        );
    }
    Ok(())
}

fn config_flag(path: &Path) -> String {
    format!("--config={}", path.display())
}

fn kubelet_flags(spec: &NodeSpec) -> Vec<String> {
    let files = spec.files();
    vec![
        config_flag(&files.join("kubelet.json")),
        format!("--kubeconfig={}", spec.layout().kubeconfig(User::Node).display()),
        format!("--root-dir={}", files.join("kubelet").display()),
        format!("--cert-dir={}", files.join("kubelet/certificates").display()),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={}", spec.link.node),
    ]
}

/// A program that must not end before the node does.
struct Service {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Service {
    fn start(spec: &NodeSpec, name: &'static str, flags: &[String]) -> Result<Self> {
        let home = spec.home();
        let log = spec.layout().service_log(name);
        let out: File = Layout::open_log(&log)?;
        let mut command = Command::new(home.program(name));
        command
            .args(flags)
            // containerd finds its shims there.
            .env("PATH", with_path(home.programs()))
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("can't share a log")?)
            .stdout(out);
        let libraries = home.libraries();
        if !libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
        }
        let process = Process::start(command).with_context(|| format!("can't start {name}"))?;
        Ok(Self { name, process, log })
    }

    /// Waits for its end, and returns the failure that this is.
    async fn ended(&self) -> PartFailure {
        let status = shown(self.process.ended().await);
        PartFailure::new(format!("{} ended ({status})", self.name), &self.log)
    }
}

/// The search path with `first` in front.
fn with_path(first: PathBuf) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = [first].into_iter().chain(std::env::split_paths(&path));
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    // A folder with a colon in its name can't be on the path.
    std::env::join_paths(dirs.chain(system)).unwrap_or(path)
}
