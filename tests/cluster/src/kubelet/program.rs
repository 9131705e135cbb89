//! Runs a pod's program as a process of this machine, with the environment and the downward API files that the pod's spec
//! and metadata give its first container. There is no container: the folder that stands for its file system is in the
//! variable [`ROOT_VARIABLE`].

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume};
use kube::ResourceExt as _;
use rustix::process::{Pid, Signal, kill_process_group};

use super::output::Output;
use crate::process::{self, Process};
use crate::supervisor::THIS_PROGRAM;
use crate::tie;

/// The environment variable of the folder in which a program finds its volumes: a file that a container has as `/a/b` is
/// `$FAKE_KUBELET_ROOT/a/b`.
pub const ROOT_VARIABLE: &str = "FAKE_KUBELET_ROOT";

/// The most bytes of a program's output in the message of its termination, as with a kubelet.
const MOST_MESSAGE: usize = 4096;
/// The time for what a program wrote to arrive after its end. A process that it left behind may keep its pipes open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// What a program wrote at last, and whether it ended well.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) succeeded: bool,
    pub(super) message: String,
}

/// Runs the program of a pod's first container to its end, in a folder below `pods` that is removed afterwards. What it
/// writes goes into `output`. When this is dropped before, the program is killed.
pub(super) async fn run(pod: &Pod, pods: &Path, output: &Arc<Output>) -> Ended {
    let root = pods.join(pod.uid().unwrap_or_default());
    let ended = try_run(pod, &root, output).await;
    // An error means that it doesn't exist.
    let _ = fs::remove_dir_all(&root);
    let ended = ended.unwrap_or_else(|error| {
        output.read(format!("{error:#}\n").as_bytes());
        false
    });
    output.complete();
    Ended {
        succeeded: ended,
        message: String::from_utf8_lossy(&output.tail(MOST_MESSAGE)).into_owned(),
    }
}

/// A program and all that it started, which are killed when this is dropped.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            // An error means that nothing of it is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Returns whether the program succeeded.
async fn try_run(pod: &Pod, root: &Path, output: &Arc<Output>) -> Result<bool> {
    let spec = pod.spec.as_ref().context("the pod has no spec")?;
    let container = spec.containers.first().context("the pod has no container")?;
    fs::create_dir_all(root).with_context(|| format!("can't create {}", root.display()))?;
    let root = &root.canonicalize()?;
    write_volumes(pod, container, spec.volumes.as_deref().unwrap_or_default(), root)?;
    let words: Vec<&String> = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten())
        .collect();
    let (program, arguments) = words.split_first().context("the container has no command")?;
    let mut command = tie::tied(Path::new(THIS_PROGRAM), Path::new(program));
    command.args(arguments).current_dir(root).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for variable in container.env.iter().flatten() {
        command.env(&variable.name, value(pod, variable)?);
    }
    command.env(ROOT_VARIABLE, root);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = process::spawn(command)?;
    let group = Group(child.id());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let process = Process::adopt(child);
    let readers = [out.map(Pipe::Out), err.map(Pipe::Err)].into_iter().flatten();
    let readers = readers.map(|pipe| {
        let output = Arc::clone(output);
        tokio::task::spawn_blocking(move || match pipe {
            Pipe::Out(pipe) => output.read(pipe),
            Pipe::Err(pipe) => output.read(pipe),
        })
    });
    let written = futures::future::join_all(readers.collect::<Vec<_>>());
    let status = process.ended().await;
    // What the program left behind ends with it, as in a container.
    drop(group);
    // Without an answer in time, the output ends here.
    let _ = tokio::time::timeout(LAST_OUTPUT, written).await;
    Ok(status.is_some_and(|status| status.success()))
}

enum Pipe {
    Out(ChildStdout),
    Err(ChildStderr),
}

fn value(pod: &Pod, variable: &EnvVar) -> Result<String> {
    let Some(source) = &variable.value_from else {
        return Ok(variable.value.clone().unwrap_or_default());
    };
    let field = source
        .field_ref
        .as_ref()
        .with_context(|| format!("variable {} comes from no field", variable.name))?;
    field_of(pod, &field.field_path)
}

/// A field of the pod, as the downward API gives it: empty if the pod lacks the annotation.
fn field_of(pod: &Pod, path: &str) -> Result<String> {
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        _ => {
            if let Some(key) = key("metadata.annotations['") {
                pod.annotations().get(key).cloned().unwrap_or_default()
            } else if let Some(key) = key("metadata.labels['") {
                pod.labels().get(key).cloned().unwrap_or_default()
            } else {
                bail!("the fake kubelet doesn't know the field {path}")
            }
        }
    })
}

/// Writes the downward API volumes that the container mounts. Others aren't there.
fn write_volumes(pod: &Pod, container: &Container, volumes: &[Volume], root: &Path) -> Result<()> {
    for mount in container.volume_mounts.iter().flatten() {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let Some(source) = volume.and_then(|volume| volume.downward_api.as_ref()) else {
            continue;
        };
        let folder = below(root, &mount.mount_path)?;
        for item in source.items.iter().flatten() {
            let field = item
                .field_ref
                .as_ref()
                .context("an item of a volume has no field")?;
            let path = below(&folder, &item.path)?;
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("can't create {}", parent.display()))?;
            }
            fs::write(&path, field_of(pod, &field.field_path)?)
                .with_context(|| format!("can't write {}", path.display()))?;
        }
    }
    Ok(())
}

/// A path within a container as one below `root`.
fn below(root: &Path, path: &str) -> Result<PathBuf> {
    let mut below = root.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => bail!("{path} leaves its folder"),
        }
    }
    Ok(below)
}
