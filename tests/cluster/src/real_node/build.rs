//! Gets everything that a real node needs: kubelet and containerd from Go modules, runc and CNI plugins from Debian's packages
//! unless they are installed, and two small images.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::debian;
use super::home::{BUSYBOX_IMAGE, CONTAINERD_PROGRAMS, Home, KUBELET_PROGRAMS, PAUSE_IMAGE};
use super::image::{self, ImageOptions};
use crate::go::{KUBERNETES, KUBERNETES_VARIABLES, Recipe};

/// containerd's version; the module in `tests/realnode/containerd` requires the same.
pub(crate) const CONTAINERD_VERSION: &str = "v2.3.7";

const KUBELET: Recipe = Recipe {
    title: "The kubelet",
    module: "tests/realnode/kubelet",
    version: KUBERNETES,
    stamp: ".kubelet-built-from",
    tags: "",
    variables: KUBERNETES_VARIABLES,
    own: &[],
};

const CONTAINERD: Recipe = Recipe {
    title: "containerd",
    module: "tests/realnode/containerd",
    version: CONTAINERD_VERSION,
    stamp: ".containerd-built-from",
    // Drivers of storage that a node doesn't use.
    tags: "no_btrfs,no_devmapper,no_zfs",
    variables: &[(
        "github.com/containerd/containerd/v2/version.Version",
        CONTAINERD_VERSION,
    )],
    own: &["pause"],
};

/// Builds and fetches everything, unless it is there already. `workspace` holds the Go modules.
pub(crate) fn build(workspace: &Path, home: &Home, force: bool) -> Result<()> {
    for folder in [home.programs(), home.images()] {
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    for (recipe, programs) in [
        (KUBELET, &KUBELET_PROGRAMS[..]),
        (CONTAINERD, &CONTAINERD_PROGRAMS[..]),
    ] {
        recipe.build(
            workspace,
            &home.programs(),
            force,
            || home.check_programs(programs),
            |_| Ok(()),
        )?;
    }
    let mut packages = Vec::new();
    if home.runc().is_none() {
        packages.extend(["runc", "libseccomp2"]);
    }
    if home.plugins().is_none() {
        packages.push("containernetworking-plugins");
    }
    let lists = home.dir().join("apt");
    if !packages.is_empty() {
        println!("Fetching Debian's packages {}.", packages.join(", "));
        let packages: Vec<String> = packages.into_iter().map(str::to_owned).collect();
        debian::unpack(&packages, &home.debian(), &lists)?;
    }
    make_pause(home)?;
    if force || !home.image(BUSYBOX_IMAGE).is_file() {
        make_busybox(home, &lists)?;
    }
    home.check()
}

/// The image of pods' sandboxes. Made each time: its program may be a new one.
fn make_pause(home: &Home) -> Result<()> {
    make_image(home, PAUSE_IMAGE, &["/pause"], |root| {
        fs::copy(home.program("pause"), root.join("pause"))
            .map(drop)
            .context("can't copy pause")
    })
}

/// A small image with a shell.
fn make_busybox(home: &Home, lists: &Path) -> Result<()> {
    make_image(home, BUSYBOX_IMAGE, &[], |root| {
        debian::unpack(&["busybox-static".to_owned()], root, lists)?;
        remove(&root.join("usr/share"))?;
        add_busybox(root)?;
        fs::create_dir_all(root.join("tmp")).context("can't make tmp of the image")?;
        set_mode(&root.join("tmp"), 0o1777)
    })
}

fn make_image(
    home: &Home,
    name: &str,
    entrypoint: &[&str],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let archive = home.image(name);
    let work = archive.with_extension("work");
    let (root, layer) = (work.join("root"), work.join("layer.tar"));
    clear(&work)?;
    fs::create_dir(&root).with_context(|| format!("can't make {}", root.display()))?;
    fill(&root)?;
    image::make_layer(&root, &layer)?;
    let options = ImageOptions {
        name: name.to_owned(),
        entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
        environment: Vec::new(),
    };
    image::make(&options, &[layer], &archive)?;
    remove(&work)
}

/// Links every command of the busybox below `root` that is no program there yet.
pub(super) fn add_busybox(root: &Path) -> Result<()> {
    let busybox = ["bin/busybox", "usr/bin/busybox"]
        .into_iter()
        .find(|path| root.join(path).is_file());
    let busybox = busybox.context("Debian's packages hold no busybox")?;
    let output = Command::new(root.join(busybox))
        .arg("--list")
        .stdin(Stdio::null())
        .output()
        .context("can't run busybox")?;
    if !output.status.success() {
        bail!("busybox --list ended with {}", output.status);
    }
    let folder = root.join("bin");
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    for command in String::from_utf8_lossy(&output.stdout).lines() {
        let path = folder.join(command);
        let exists = ["bin", "usr/bin", "sbin", "usr/sbin"]
            .into_iter()
            .any(|folder| fs::symlink_metadata(root.join(folder).join(command)).is_ok());
        if !exists {
            std::os::unix::fs::symlink(format!("/{busybox}"), &path)
                .with_context(|| format!("can't make {}", path.display()))?;
        }
    }
    Ok(())
}

/// Makes a folder, or empties it.
pub(super) fn clear(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

/// Removes a folder, unless there is none.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("can't set the mode of {}", path.display()))
}
