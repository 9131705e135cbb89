//! Makes a container image, as an archive in the layout of OCI, from directories: no container engine takes part.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image is, besides its layers.
#[derive(Debug, Clone, Default)]
pub(crate) struct ImageOptions {
    /// The name with a tag other than `latest`, such as `example.dev/trainer:1`.
    pub(crate) name: String,
    /// The program and the first arguments of a container whose pod names no command.
    pub(crate) entrypoint: Vec<String>,
    /// Variables as `NAME=VALUE`, besides `PATH`.
    pub(crate) environment: Vec<String>,
}

/// Checks the name of an image: it must have a registry and a tag, or the kubelet looks for another image.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let problem = match name.rsplit_once(':') {
        Some((_, "latest")) => "with the tag `latest`, the kubelet looks for a newer one in a registry",
        Some((path, tag)) if !tag.is_empty() && !tag.contains('/') => match path.split_once('/') {
            Some((registry, rest)) if registry.contains('.') && !rest.is_empty() => return Ok(()),
            _ => "it has no registry in front, such as `example.dev/`",
        },
        _ => "it has no tag",
    };
    bail!("an image can't be named `{name}`: {problem}. A name is, for example, `example.dev/trainer:1`")
}

/// Writes the files below `root` into a layer, with the same bytes whenever the files are the same.
pub(crate) fn make_layer(root: &Path, layer: &Path) -> Result<()> {
    tar(
        layer,
        [
            "--sort=name".as_ref(),
            "--mtime=@0".as_ref(),
            "--owner=0".as_ref(),
            "--group=0".as_ref(),
            "--numeric-owner".as_ref(),
            "-C".as_ref(),
            root.as_os_str(),
            ".".as_ref(),
        ],
    )
}

/// Makes an image of layers, the lowest first, and writes its archive to `archive`.
pub(crate) fn make(options: &ImageOptions, layers: &[PathBuf], archive: &Path) -> Result<()> {
    check_name(&options.name)?;
    let work = archive.with_extension("partial");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("can't remove {}", work.display()))?;
    }
    let blobs = work.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("can't make {}", blobs.display()))?;
    let result = write_layout(options, layers, &work, &blobs)
        .and_then(|()| tar(archive, ["-C".as_ref(), work.as_os_str(), ".".as_ref()]));
    let removed = fs::remove_dir_all(&work).with_context(|| format!("can't remove {}", work.display()));
    result.and(removed)
}

fn write_layout(options: &ImageOptions, layers: &[PathBuf], work: &Path, blobs: &Path) -> Result<()> {
    let descriptors = layers
        .iter()
        .map(|layer| put_file(blobs, layer))
        .collect::<Result<Vec<_>>>()?;
    let digests: Vec<&Value> = descriptors
        .iter()
        .map(|descriptor| &descriptor["digest"])
        .collect();
    let environment: Vec<&str> = [PATH]
        .into_iter()
        .chain(options.environment.iter().map(String::as_str))
        .collect();
    let mut config = json!({"Env": environment});
    if !options.entrypoint.is_empty() {
        config["Entrypoint"] = json!(options.entrypoint);
    }
    let platform = json!({"architecture": architecture(), "os": "linux"});
    let config = put(
        blobs,
        CONFIG,
        &json!({
            "architecture": platform["architecture"],
            "os": platform["os"],
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": digests},
        }),
    )?;
    let mut manifest = put(
        blobs,
        MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors,
        }),
    )?;
    let tag = options.name.rsplit_once(':').map(|(_, tag)| tag);
    manifest["annotations"] =
        json!({"io.containerd.image.name": options.name, "org.opencontainers.image.ref.name": tag});
    manifest["platform"] = platform;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    write(&work.join("index.json"), &index)?;
    write(&work.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}))
}

/// The architecture of this machine, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, value.to_string()).with_context(|| format!("can't write {}", path.display()))
}

/// Adds JSON to the blobs, and returns its descriptor.
fn put(blobs: &Path, media_type: &str, value: &Value) -> Result<Value> {
    let text = value.to_string();
    let digest = hex(&Sha256::digest(text.as_bytes()))?;
    write(&blobs.join(&digest), value)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": text.len()}))
}

/// Adds a layer to the blobs, and returns its descriptor.
fn put_file(blobs: &Path, layer: &Path) -> Result<Value> {
    let digest = digest_of(layer)?;
    let blob = blobs.join(&digest);
    if !blob.exists() && fs::hard_link(layer, &blob).is_err() {
        fs::copy(layer, &blob).with_context(|| format!("can't copy {}", layer.display()))?;
    }
    let size = layer
        .metadata()
        .with_context(|| format!("can't read {}", layer.display()))?
        .len();
    Ok(json!({"mediaType": LAYER, "digest": format!("sha256:{digest}"), "size": size}))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(super) fn digest_of(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut digest))
        .with_context(|| format!("can't read {}", path.display()))?;
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> Result<String> {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Writes an archive with the program tar, at once or not at all.
fn tar<'a>(archive: &Path, arguments: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let partial = archive.with_extension("tar.partial");
    let status = Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&partial)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .context("can't run `tar`")?;
    if !status.success() {
        bail!("tar could not write {} ({status})", archive.display());
    }
    fs::rename(&partial, archive).with_context(|| format!("can't write {}", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kubelet_would_take_for_other_images_are_refused() {
        check_name("example.dev/trainer:1").unwrap();
        check_name("example.dev/team/trainer:2026-11-30").unwrap();
        for (name, reason) in [
            ("trainer:1", "no registry"),
            ("team/trainer:1", "no registry"),
            ("example.dev/trainer", "no tag"),
            ("example.dev:5000/trainer", "no tag"),
            ("example.dev/trainer:latest", "newer one"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn the_same_files_make_the_same_image_with_a_digest_for_each_blob() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/program"), "content").unwrap();
        let options = ImageOptions {
            name: "example.dev/one:1".to_owned(),
            entrypoint: vec!["/bin/program".to_owned()],
            environment: vec!["A=b".to_owned()],
        };
        let mut manifests = Vec::new();
        for number in 0..2 {
            let layer = dir.path().join(format!("layer-{number}.tar"));
            make_layer(&root, &layer).unwrap();
            let archive = dir.path().join(format!("image-{number}.tar"));
            make(&options, &[layer], &archive).unwrap();
            let out = dir.path().join(format!("out-{number}"));
            fs::create_dir(&out).unwrap();
            let unpacked = Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&out)
                .status();
            assert!(unpacked.unwrap().success());
            let blobs: Vec<PathBuf> = fs::read_dir(out.join("blobs/sha256"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert_eq!(blobs.len(), 3);
            for blob in blobs {
                assert_eq!(
                    blob.file_name().unwrap().to_str().unwrap(),
                    digest_of(&blob).unwrap()
                );
            }
            manifests.push(fs::read_to_string(out.join("index.json")).unwrap());
        }
        assert_eq!(manifests[0], manifests[1]);
        assert!(manifests[0].contains("\"io.containerd.image.name\":\"example.dev/one:1\""));
    }
}
