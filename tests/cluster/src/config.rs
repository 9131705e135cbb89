//! What a cluster is asked to be.

use std::ffi::OsString;
use std::path::PathBuf;

/// A cluster to start. `Config::default()` is a temporary cluster of three nodes that knows nothing of PrivateKube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many fake nodes: `node-0`, `node-1`, ...
    pub nodes: usize,
    /// The scheduler is configured to call PrivateKube's extender, for which certificates are made. Nothing is
    /// installed and no extender is started.
    pub extender: bool,
    /// All of PrivateKube: as `extender`, and the manifests are applied and the cluster owns a running extender.
    pub with_privatekube: bool,
    /// etcd waits for the disk on each write, as it does in a real cluster.
    pub durable: bool,
    /// The control plane's programs; `None`: from the environment, else `.local/bin` of the workspace.
    pub bin_dir: Option<PathBuf>,
    /// The cluster's directory, removed at its end; `None`: a temporary one.
    pub dir: Option<PathBuf>,
    /// The extender; `None`: from the environment, else beside this program.
    pub extender_bin: Option<PathBuf>,
    /// The kustomization that `with_privatekube` applies; `None`: `manifests/base` of the workspace.
    pub manifests: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nodes: 3,
            extender: false,
            with_privatekube: false,
            durable: false,
            bin_dir: None,
            dir: None,
            extender_bin: None,
            manifests: None,
        }
    }
}

impl Config {
    /// The options of `serve` and `up` that ask for this cluster, all but the directory.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![OsString::from("--nodes"), self.nodes.to_string().into()];
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
