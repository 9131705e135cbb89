//! Runs a pod's program as a process of this machine, with the environment and the downward API files that the pod's spec
//! and metadata give its first container. There is no container: the folder that stands for its file system is in the
//! variable [`ROOT_VARIABLE`].

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume};
use kube::ResourceExt as _;

use crate::{process, supervisor::THIS_PROGRAM, tie};

/// The environment variable of the folder in which a program finds its volumes: a file that a container has as `/a/b` is
/// `$FAKE_KUBELET_ROOT/a/b`.
pub const ROOT_VARIABLE: &str = "FAKE_KUBELET_ROOT";

/// The most bytes of a program's output that are reported, as with a kubelet.
const MOST_OUTPUT: usize = 4096;

/// What a program wrote at last, and whether it ended well.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) succeeded: bool,
    pub(super) output: String,
}

/// Runs the program of a pod's first container to its end, in a folder below `pods` that is removed afterwards.
pub(super) async fn run(pod: &Pod, pods: &Path) -> Ended {
    let root = pods.join(pod.uid().unwrap_or_default());
    let ended = try_run(pod, &root).await;
    // An error means that it doesn't exist.
    let _ = fs::remove_dir_all(&root);
    ended.unwrap_or_else(|error| Ended {
        succeeded: false,
        output: format!("{error:#}"),
    })
}

async fn try_run(pod: &Pod, root: &Path) -> Result<Ended> {
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
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = process::output(command).await?;
    let text = [output.stdout, output.stderr].concat();
    let tail = text
        .get(text.len().saturating_sub(MOST_OUTPUT)..)
        .unwrap_or_default();
    Ok(Ended {
        succeeded: output.status.success(),
        output: String::from_utf8_lossy(tail).into_owned(),
    })
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
