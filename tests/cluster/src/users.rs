//! [`User`]: the users of a cluster, with their names, tokens and kubeconfigs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;

use crate::layout::Layout;
use crate::real_node::SERVICE_ADDRESS;

/// A user that the API server authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum User {
    /// May do everything.
    Admin,
    /// The default scheduler, with the rights that Kubernetes gives it.
    Scheduler,
    /// The controller manager.
    ControllerManager,
    /// The extender's service account, with the rights that PrivateKube's manifests give it and no others.
    Extender,
    /// A person who uses the cluster, with the ClusterRole `edit` in all namespaces.
    Tenant,
    /// Another scheduler, with the same rights as the default one.
    SecondScheduler,
    /// The kubelet of the real node, if the cluster has one.
    Node,
}

impl User {
    /// All users.
    pub const ALL: [Self; 7] = [
        Self::Admin,
        Self::Scheduler,
        Self::ControllerManager,
        Self::Extender,
        Self::Tenant,
        Self::SecondScheduler,
        Self::Node,
    ];

    /// The user's name in the API server.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Scheduler => "system:kube-scheduler",
            Self::ControllerManager => "system:kube-controller-manager",
            Self::Extender => "system:serviceaccount:privatekube-system:privatekube-extender",
            Self::Tenant => "tenant",
            Self::SecondScheduler => "second-scheduler",
            Self::Node => "system:node:real-node",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            // All controllers share these credentials, so they need the rights of each of them.
            Self::Admin | Self::ControllerManager => "system:masters",
            Self::Extender => "system:serviceaccounts,system:serviceaccounts:privatekube-system",
            Self::Node => "system:nodes",
            Self::Scheduler | Self::Tenant | Self::SecondScheduler => "",
        }
    }

    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Scheduler => "scheduler",
            Self::ControllerManager => "controller-manager",
            Self::Extender => "extender",
            Self::Tenant => "tenant",
            Self::SecondScheduler => "second-scheduler",
            Self::Node => "node",
        }
    }
}

/// Creates a token for every user, and writes the API server's list of tokens and every user's kubeconfig.
pub(crate) fn write_credentials(layout: &Layout, api_server: &str, ca: &str) -> Result<()> {
    let mut tokens = String::new();
    for user in User::ALL {
        let token = new_token()?;
        let (name, groups) = (user.name(), user.groups());
        // Inside of a node, the API server has another address.
        let server = match user {
            User::Node => format!("https://{SERVICE_ADDRESS}:443"),
            _ => api_server.to_owned(),
        };
        writeln!(tokens, "{token},{name},{},\"{groups}\"", user.file_name())?;
        write_private(&layout.kubeconfig(user), &kubeconfig(&server, ca, name, &token)?)?;
    }
    write_private(&layout.tokens(), &tokens)
}

fn kubeconfig(api_server: &str, ca: &str, user: &str, token: &str) -> Result<String> {
    let ca = serde_json::to_string(&ByteString(ca.as_bytes().to_vec()))?;
    Ok(format!(
        r#"apiVersion: v1
kind: Config
current-context: privatekube
clusters:
- name: privatekube
  cluster:
    server: {api_server}
    certificate-authority-data: {ca}
users:
- name: "{user}"
  user:
    token: {token}
contexts:
- name: privatekube
  context:
    cluster: privatekube
    user: "{user}"
"#
    ))
}

/// A token of 128 random bits.
fn new_token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("no random numbers")?;
    let mut token = String::new();
    for byte in bytes {
        write!(token, "{byte:02x}")?;
    }
    Ok(token)
}

/// Writes a file that only this process' user can read.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
    }
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("can't write {}", path.display()))
}
