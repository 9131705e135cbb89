//! [`Home`]: the directory of a real node's programs and images, and which runc and CNI plugins it uses.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::binaries;

/// The environment variable that names the directory of a real node's programs and images.
pub(crate) const HOME_VARIABLE: &str = "PRIVATEKUBE_NODE_DIR";
/// The programs that are built from Go modules.
pub(super) const KUBELET_PROGRAMS: [&str; 1] = ["kubelet"];
pub(super) const CONTAINERD_PROGRAMS: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "pause"];
/// The CNI plugins that a node's network takes.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];
/// Where distributions install CNI plugins.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// The images that every node has: the one of pods' sandboxes, and a small one with a shell.
pub(crate) const PAUSE_IMAGE: &str = "privatekube.dev/pause:1";
pub(crate) const BUSYBOX_IMAGE: &str = "privatekube.dev/busybox:1";

/// The directory of a real node's programs and images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The directory that the environment names, else `.local/realnode` of the workspace.
    pub(crate) fn find() -> Result<Self> {
        let dir = match env::var_os(HOME_VARIABLE) {
            Some(dir) => PathBuf::from(dir),
            None => binaries::workspace_root()
                .with_context(|| format!("name the directory of the node's programs in {HOME_VARIABLE}"))?
                .join(".local/realnode"),
        };
        let dir = std::path::absolute(&dir).with_context(|| format!("{} is no path", dir.display()))?;
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.dir.join("bin")
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// The folder of files of Debian packages that aren't installed.
    pub(crate) fn debian(&self) -> PathBuf {
        self.dir.join("debian")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    /// The archive of an image.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.images()
            .join(format!("{}.tar", name.replace(['/', ':'], "_")))
    }

    /// The archive of an image that was made; the error says how to make it.
    pub(crate) fn made_image(&self, name: &str) -> Result<PathBuf> {
        let path = self.image(name);
        if !path.is_file() {
            bail!(
                "there is no image {name} ({} is missing): make it with `privatekube-cluster image` or \
                 `privatekube-cluster python-image`",
                path.display()
            );
        }
        Ok(path)
    }

    /// runc: the installed one, or else the one of an unpacked package.
    pub(crate) fn runc(&self) -> Option<PathBuf> {
        installed("runc").or_else(|| Some(self.debian().join("usr/sbin/runc")).filter(|path| path.is_file()))
    }

    /// The directory of the CNI plugins: as with runc.
    pub(crate) fn plugins(&self) -> Option<PathBuf> {
        let unpacked = self.debian().join("usr/lib/cni");
        PLUGIN_DIRS
            .into_iter()
            .map(PathBuf::from)
            .chain([unpacked])
            .find(|dir| PLUGINS.iter().all(|plugin| dir.join(plugin).is_file()))
    }

    /// The directories of libraries of unpacked packages.
    pub(crate) fn libraries(&self) -> Vec<PathBuf> {
        let architecture = format!("{}-linux-gnu", env::consts::ARCH);
        ["usr/lib", "lib"]
            .into_iter()
            .map(|folder| self.debian().join(folder).join(&architecture))
            .filter(|folder| folder.is_dir())
            .collect()
    }

    /// Checks that programs are there. The error names one that is missing.
    pub(super) fn check_programs(&self, programs: &[&str]) -> Result<()> {
        programs
            .iter()
            .try_for_each(|name| check_file(&self.program(name)))
    }

    /// Checks that everything is there. The error names what is missing.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_programs(&KUBELET_PROGRAMS)?;
        self.check_programs(&CONTAINERD_PROGRAMS)?;
        for image in [PAUSE_IMAGE, BUSYBOX_IMAGE] {
            check_file(&self.image(image))?;
        }
        if self.runc().is_none() || self.plugins().is_none() {
            bail!("runc or the CNI plugins are missing: get them with `make realnode`");
        }
        Ok(())
    }
}

fn check_file(path: &Path) -> Result<()> {
    if !path.is_file() {
        bail!(
            "{} is missing: build the real node with `make realnode`",
            path.display()
        );
    }
    Ok(())
}

/// The path of an installed program.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
