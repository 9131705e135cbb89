//! The configuration files of containerd, the kubelet and the CNI plugins.

use std::path::Path;

use serde_json::{Value, json};

use super::home::PAUSE_IMAGE;
use super::{KUBELET_PORT, NodeSpec};

/// Where containerd answers, inside of the node. The directory is also fixed in containerd's shims.
pub(super) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// The plugins of containerd that a node doesn't use, and that look for devices, file systems or services.
const DISABLED: [&str; 6] = [
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.differ.v1.erofs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
];

/// containerd's configuration.
pub(super) fn containerd(spec: &NodeSpec, runc: &Path, plugins: &Path) -> String {
    let files = spec.files();
    let disabled = DISABLED.map(|plugin| text(Path::new(plugin))).join(", ");
    let (root, network) = (text(&files.join("containerd")), text(&files.join("cni")));
    let (runc, plugins) = (text(runc), text(plugins));
    let snapshotter = &spec.snapshotter;
    // Without CAP_SYS_RESOURCE, runc can't lower a process's oom_score_adj, and no pod starts.
    format!(
        r#"version = 3
root = {root}
state = "/run/containerd"
disabled_plugins = [{disabled}]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = [{plugins}]
    conf_dir = {network}
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = {runc}
        SystemdCgroup = false
"#
    )
}

/// A TOML string; JSON escapes as TOML does.
fn text(path: &Path) -> String {
    Value::String(path.display().to_string()).to_string()
}

/// The pods' network: a bridge of the node's, whose addresses are known in the node alone.
pub(super) fn network() -> Value {
    json!({"cniVersion": "1.0.0", "name": "privatekube", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
        "ipam": {
            "type": "host-local", "dataDir": "/run/cni",
            "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
        },
    }]})
}

/// The kubelet's configuration.
pub(super) fn kubelet(spec: &NodeSpec) -> Value {
    let (files, certificates) = (spec.files(), spec.certificates());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "failSwapOn": false,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "address": spec.link.node,
        "port": KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": certificates.kubelet_certificate(),
        "tlsPrivateKeyFile": certificates.kubelet_key(),
        // Only the API server has a certificate of this authority.
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": certificates.authority()},
        },
        "authorization": {"mode": "AlwaysAllow"},
        // Pods have no name server: nothing resolves names here.
        "resolvConf": files.join("resolv.conf"),
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": files.join("kubelet/volume-plugins"),
        "makeIPTablesUtilChains": false,
        // A machine that is nearly full, as those of developers are, evicts no pods.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "nodeStatusUpdateFrequency": "10s",
    })
}
