//! [`Description`]: a running cluster's addresses, files and nodes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::part::Part;
use crate::ports::ExtenderPorts;
use crate::users::User;

/// A cluster's addresses, files and nodes. `serve` prints it when the cluster is ready, and keeps it in
/// `cluster.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The cluster's directory.
    pub dir: PathBuf,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The API server's URL.
    pub api_server: String,
    /// The port where the default scheduler serves health and metrics over HTTPS.
    pub scheduler_port: u16,
    /// The same of the second scheduler, if it is started.
    pub second_scheduler_port: u16,
    /// The ports at which the extender listens if it runs.
    pub extender_ports: ExtenderPorts,
    /// The directory of the extender's certificates.
    pub tls_dir: PathBuf,
    /// The directory of the control plane's programs.
    pub bin_dir: PathBuf,
    /// The names of the nodes.
    pub nodes: Vec<String>,
    /// The process ID of the cluster's owner.
    pub pid: u32,
    /// The seconds from the cluster's start until it was ready.
    pub seconds_to_ready: f64,
}

impl Description {
    /// The path of a user's kubeconfig.
    #[must_use]
    pub fn kubeconfig_of(&self, user: User) -> PathBuf {
        Layout::at(&self.dir).kubeconfig(user)
    }

    /// The address of the extender's status page, if the extender runs.
    #[must_use]
    pub fn status_page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.extender_ports.status)
    }

    /// The address of the extender's metrics, if the extender runs.
    #[must_use]
    pub fn metrics(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.extender_ports.health)
    }

    /// The path of a part's log.
    #[must_use]
    pub fn log(&self, part: Part) -> PathBuf {
        Layout::at(&self.dir).log(part)
    }

    /// Reads a description from a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is no description of a cluster", path.display()))
    }
}
