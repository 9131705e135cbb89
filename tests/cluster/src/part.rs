//! [`Part`]: the processes of a cluster, with their names, programs and command lines.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::certificates::Certificates;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::users::User;

/// A process of a cluster, in the order of their start; they end in the opposite order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// etcd, which stores all objects.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Kubernetes' controllers.
    KubeControllerManager,
    /// The default scheduler.
    KubeScheduler,
    /// A second scheduler with another name, which never calls the extender.
    #[value(skip)]
    SecondScheduler,
    /// PrivateKube's extender, when the cluster owns it and not a test.
    Extender,
    /// The real node, if the cluster has one: kubelet, containerd and all containers.
    Node,
}

/// The programs that a control plane needs.
pub(crate) const PROGRAMS: [&str; 5] = [
    "server",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];

/// Admission plugins that are switched off unless the node is real. Without real kubelets, service account tokens in pods are of no
/// use, and new nodes would wait for a node controller to remove their taint.
const DISABLED_ADMISSION: &str = "ServiceAccount,TaintNodesByCondition";

/// All controllers that work without a cloud's own: kube-controller-manager has no others.
const CONTROLLERS: &str = "*";
/// How long a node may be silent before its pods are evicted. Much longer than usual: a machine that is busy with
/// builds may stop the whole cluster for a while.
const NODE_GRACE: &str = "5m";

impl Part {
    /// All parts.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::SecondScheduler,
        Self::Extender,
        Self::Node,
    ];

    /// The part's name in messages and on the control channel.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::SecondScheduler => "second-scheduler",
            Self::Extender => "extender",
            Self::Node => "node",
        }
    }

    pub(crate) fn log_name(self) -> &'static str {
        self.name()
    }

    /// The file name of the part's program. The extender's and this tool's are not in the control plane's directory.
    pub(crate) fn program(self) -> &'static str {
        match self {
            // The program of the Go module go.etcd.io/etcd/server.
            Self::Etcd => "server",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler | Self::SecondScheduler => "kube-scheduler",
            Self::Extender => "privatekube-extender",
            Self::Node => "privatekube-cluster",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A list of `--name=value` arguments.
#[derive(Debug, Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn set(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        self.0.push(flag);
        self
    }
}

pub(crate) fn etcd(layout: &Layout, ports: &Ports, durable: bool) -> Vec<OsString> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    let flags = Flags::default()
        .set("data-dir", layout.etcd())
        .set("listen-client-urls", &client)
        .set("advertise-client-urls", &client)
        .set("listen-peer-urls", &peer)
        .set("initial-advertise-peer-urls", &peer)
        .set("initial-cluster", format!("default={peer}"))
        .set("log-level", "warn");
    if durable {
        flags.0
    } else {
        flags.set("unsafe-no-fsync", "true").0
    }
}

pub(crate) fn api_server(
    layout: &Layout,
    ports: &Ports,
    certificates: &Certificates,
    has_real_node: bool,
) -> Vec<OsString> {
    let flags = Flags::default();
    let flags = if has_real_node {
        // What a kubelet may do depends on the pods that are bound to its node.
        flags
            .set("authorization-mode", "Node,RBAC")
            .set("enable-admission-plugins", "NodeRestriction")
    } else {
        flags
            .set("authorization-mode", "RBAC")
            .set("disable-admission-plugins", DISABLED_ADMISSION)
    };
    flags
        .set("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd))
        .set("cert-dir", layout.certificates())
        .set("tls-cert-file", certificates.serving_certificate())
        .set("tls-private-key-file", certificates.serving_key())
        .set("secure-port", ports.api_server.to_string())
        .set("bind-address", "127.0.0.1")
        .set("service-cluster-ip-range", "10.0.0.0/24")
        .set("allow-privileged", "true")
        .set(
            "service-account-issuer",
            format!("https://127.0.0.1:{}/", ports.api_server),
        )
        .set(
            "service-account-key-file",
            certificates.service_account_public_key(),
        )
        .set(
            "service-account-signing-key-file",
            certificates.service_account_key(),
        )
        .set("token-auth-file", layout.tokens())
        .set("client-ca-file", certificates.authority())
        .set("kubelet-certificate-authority", certificates.authority())
        .set(
            "kubelet-client-certificate",
            certificates.kubelet_client_certificate(),
        )
        .set("kubelet-client-key", certificates.kubelet_client_key())
        .set("kubelet-preferred-address-types", "InternalIP")
        // Webhooks are called at the endpoints of their Service: nothing here routes a Service's address.
        .set("enable-aggregator-routing", "true")
        .set("endpoint-reconciler-type", "none")
        .set("profiling", "false")
        .0
}

pub(crate) fn controller_manager(layout: &Layout, certificates: &Certificates) -> Vec<OsString> {
    Flags::default()
        .set("kubeconfig", layout.kubeconfig(User::ControllerManager))
        .set(
            "service-account-private-key-file",
            certificates.service_account_key(),
        )
        .set("root-ca-file", certificates.authority())
        .set("cluster-signing-cert-file", certificates.authority())
        .set("cluster-signing-key-file", certificates.authority_key())
        .set("leader-elect", "false")
        .set("secure-port", "0")
        .set("controllers", CONTROLLERS)
        .set("node-monitor-grace-period", NODE_GRACE)
        .0
}

pub(crate) fn scheduler(
    layout: &Layout,
    certificates: &Certificates,
    config: &Path,
    kubeconfig: &Path,
    port: u16,
) -> Vec<OsString> {
    Flags::default()
        .set("config", config)
        .set("bind-address", "127.0.0.1")
        .set("secure-port", port.to_string())
        .set("cert-dir", layout.certificates())
        .set("tls-cert-file", certificates.serving_certificate())
        .set("tls-private-key-file", certificates.serving_key())
        .set("authentication-kubeconfig", kubeconfig)
        .set("authorization-kubeconfig", kubeconfig)
        .set(
            "authorization-always-allow-paths",
            "/healthz,/readyz,/livez,/metrics",
        )
        .0
}
