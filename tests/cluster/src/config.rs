//! [`Config`]: the options of a cluster.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The options of a cluster. `Config::default()` is a temporary cluster of three nodes without PrivateKube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The number of fake nodes: `node-0`, `node-1`, ...
    pub nodes: usize,
    /// Has one real node instead, `real-node`, where pods run as containers. Not every machine can: see
    /// [`check_machine`](crate::check_machine).
    pub real_node: Option<RealNode>,
    /// Configures the scheduler to call PrivateKube's extender, and creates the extender's certificates.
    /// Installs nothing and starts no extender.
    pub extender: bool,
    /// As `extender`, and also applies PrivateKube's manifests and runs an extender as a part of the cluster.
    pub with_privatekube: bool,
    /// How long after its start a pod succeeds whose restart policy and annotations say nothing else; `None`: it runs
    /// until it is deleted.
    pub pods_end_after: Option<Duration>,
    /// Lets etcd wait for the disk on each write, as it does in a real cluster.
    pub durable: bool,
    /// The directory of the control plane's programs; `None`: from the environment, else `.local/bin` of the
    /// workspace.
    pub bin_dir: Option<PathBuf>,
    /// The cluster's directory, removed at its end; `None`: a temporary one.
    pub dir: Option<PathBuf>,
    /// The extender's program; `None`: from the environment, else beside this program.
    pub extender_bin: Option<PathBuf>,
    /// The kustomization that `with_privatekube` applies; `None`: `manifests/base` of the workspace.
    pub manifests: Option<PathBuf>,
}

/// The options of a real node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RealNode {
    /// The names of the images that the node has from its beginning, besides `privatekube.dev/busybox:1`.
    pub images: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: 3,
            real_node: None,
            extender: false,
            with_privatekube: false,
            pods_end_after: None,
            durable: false,
            bin_dir: None,
            dir: None,
            extender_bin: None,
            manifests: None,
        }
    }
}

impl Config {
    /// The command-line options of `serve` and `up` for this cluster, without the directory.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = match &self.real_node {
            Some(_) => vec!["--node".into(), "real".into()],
            None => vec!["--nodes".into(), self.nodes.to_string().into()],
        };
        for image in self.real_node.iter().flat_map(|node| &node.images) {
            arguments.extend(["--image".into(), image.into()]);
        }
        let switches = [
            ("--extender", self.extender),
            ("--with-privatekube", self.with_privatekube),
            ("--durable", self.durable),
        ];
        arguments.extend(
            switches
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(name, _)| name.into()),
        );
        if let Some(after) = self.pods_end_after {
            arguments.extend(["--pods-end-after".into(), format!("{after:?}").into()]);
        }
        let paths = [
            ("--bin-dir", &self.bin_dir),
            ("--extender-bin", &self.extender_bin),
            ("--manifests", &self.manifests),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                arguments.extend([name.into(), path.into()]);
            }
        }
        arguments
    }

    /// Whether the scheduler calls the extender.
    pub(crate) fn calls_extender(&self) -> bool {
        self.extender || self.with_privatekube
    }
}
