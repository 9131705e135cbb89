//! [`NodeSpec`]: what the processes of a node are told, as a file of the cluster's directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::home::{BUSYBOX_IMAGE, PAUSE_IMAGE};
use super::{Home, Link, machine, namespaces};
use crate::certificates::Certificates;
use crate::config::RealNode;
use crate::layout::Layout;
use crate::ports::Ports;

/// The file system type of overlayfs, on which no other overlayfs can have its upper directory.
const OVERLAYFS: u64 = 0x794c_7630;

/// What the keeper, the first process and the services of a node are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// The cluster's directory.
    pub(crate) dir: PathBuf,
    /// The directory of the node's programs and images.
    pub(crate) home: PathBuf,
    pub(crate) link: Link,
    /// The API server's port of 127.0.0.1, outside of the node.
    pub(crate) api_server_port: u16,
    /// The archives of the images that the node has from its beginning.
    pub(crate) images: Vec<PathBuf>,
    /// containerd's snapshotter.
    pub(crate) snapshotter: String,
    /// The process ID of the keeper, whose program the first process executes.
    pub(crate) keeper: u32,
}

impl NodeSpec {
    /// What the real node of a cluster is told; an error if this machine lacks something.
    pub(crate) fn of(options: &RealNode, layout: &Layout, ports: &Ports) -> Result<Self> {
        machine::check()?;
        let home = Home::find()?;
        home.check()?;
        for dir in [layout.dir(), home.dir()] {
            if namespaces::hides(dir) {
                bail!(
                    "a real node has folders of its own in the place of {}",
                    dir.display()
                );
            }
        }
        let always = [PAUSE_IMAGE, BUSYBOX_IMAGE].into_iter();
        let images = always.chain(options.images.iter().map(String::as_str));
        Ok(Self {
            dir: layout.dir().to_owned(),
            home: home.dir().to_owned(),
            link: Link::numbered(ports.number),
            api_server_port: ports.api_server,
            images: images.map(|name| home.made_image(name)).collect::<Result<_>>()?,
            snapshotter: snapshotter_of(layout.dir())?.to_owned(),
            keeper: 0,
        })
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} describes no node", path.display()))
    }

    pub(crate) fn write(&self) -> Result<PathBuf> {
        let path = self.dir.join("node.json");
        crate::users::write_private(&path, &serde_json::to_string_pretty(self)?)?;
        Ok(path)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::at(&self.dir)
    }

    pub(crate) fn home(&self) -> Home {
        Home::at(&self.home)
    }

    pub(crate) fn certificates(&self) -> Certificates {
        Certificates::at(&self.layout().certificates())
    }

    /// The directory of the node's own files, removed at its end.
    pub(crate) fn files(&self) -> PathBuf {
        self.layout().node_files()
    }

    /// The file in which the node's first process writes its process ID, as the machine counts.
    pub(crate) fn first_process(&self) -> PathBuf {
        self.files().join("first.pid")
    }
}

/// containerd's snapshotter for a directory: overlayfs, or copies where that can't work.
fn snapshotter_of(dir: &Path) -> Result<&'static str> {
    let file_system = rustix::fs::statfs(dir).with_context(|| format!("can't examine {}", dir.display()))?;
    let is_overlay = u64::try_from(file_system.f_type).is_ok_and(|kind| kind == OVERLAYFS);
    Ok(if is_overlay { "native" } else { "overlayfs" })
}
