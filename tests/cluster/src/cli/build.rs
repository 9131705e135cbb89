//! `build`: builds the programs of a Go module in `tests`, and what a real node needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::go::{KUBERNETES, KUBERNETES_VARIABLES, Recipe};
use crate::real_node::{self, Home};
use crate::{binaries, prometheus};

#[derive(Debug, Args)]
pub(super) struct Build {
    /// What to build
    #[arg(default_value = "control-plane")]
    what: Programs,
    /// Where the programs go [default: .local/bin of the workspace]; those of a real node go elsewhere
    #[arg(long, env = binaries::BIN_DIR_VARIABLE)]
    bin_dir: Option<PathBuf>,
    /// Build even if nothing seems to have changed
    #[arg(long)]
    force: bool,
    /// With real-node: only say why if the tests of a real node are left out here
    #[arg(long)]
    if_possible: bool,
}

/// Programs that are built together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Programs {
    /// Kubernetes' and etcd
    ControlPlane,
    /// Prometheus and promtool
    Prometheus,
    /// kubelet, containerd, runc, CNI plugins and two images
    RealNode,
}

const CONTROL_PLANE: Recipe = Recipe {
    title: "The control plane",
    module: "tests/controlplane",
    version: KUBERNETES,
    stamp: ".built-from",
    tags: "",
    variables: KUBERNETES_VARIABLES,
    own: &[],
};

const PROMETHEUS: Recipe = Recipe {
    title: "Prometheus",
    module: "tests/prometheus",
    version: "3.16.0",
    stamp: ".prometheus-built-from",
    // Of the ways to discover targets, Kubernetes' is enough. Without the tag `builtinassets` there is no user interface,
    // whose files are not part of the module.
    tags: "remove_all_sd,enable_kubernetes_sd",
    variables: &[("github.com/prometheus/common/version.Version", "3.16.0")],
    own: &[],
};

/// The module with the operator's definitions, and their folder in it.
const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";
const DEFINITIONS: &str = "example/prometheus-operator-crd";

impl Build {
    pub(super) fn execute(self) -> Result<()> {
        let workspace = binaries::workspace_root()?;
        let bin_dir = binaries::bin_dir(self.bin_dir.as_deref())?;
        match self.what {
            Programs::ControlPlane => {
                let check = || binaries::check(&bin_dir);
                CONTROL_PLANE.build(&workspace, &bin_dir, self.force, check, |_| Ok(()))
            }
            Programs::Prometheus => {
                let check = || prometheus::check(&bin_dir);
                PROMETHEUS.build(&workspace, &bin_dir, self.force, check, |module| {
                    copy_definitions(module, &bin_dir)
                })
            }
            Programs::RealNode => {
                if !self.if_possible {
                    real_node::check_machine()?;
                } else if !real_node::tests_run_real_nodes()? {
                    return Ok(());
                }
                real_node::build::build(&workspace, &Home::find()?, self.force)
            }
        }
    }
}

/// What `go mod download -json` says of a module, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
}

/// Copies the Prometheus operator's custom resource definitions out of its module. Nothing else needs the module, so that it may not
/// be on the machine yet.
fn copy_definitions(module: &Path, bin_dir: &Path) -> Result<()> {
    let output = Command::new("go")
        .current_dir(module)
        .args(["mod", "download", "-json", OPERATOR])
        .output()
        .context("can't run `go`")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let complaint = String::from_utf8_lossy(&said);
        bail!(
            "`go mod download` of {OPERATOR} ended with {}: {complaint}",
            output.status
        );
    }
    let downloaded: Downloaded =
        serde_json::from_slice(&output.stdout).context("can't read what `go mod download` says")?;
    let from = downloaded.dir.join(DEFINITIONS);
    let to = bin_dir.join(prometheus::DEFINITIONS_DIR);
    fs::create_dir_all(&to).with_context(|| format!("can't make {}", to.display()))?;
    for name in prometheus::DEFINITIONS {
        // Not `copy`, which would keep that the module's files can't be written.
        let (from, to) = (from.join(name), to.join(name));
        let text = fs::read(&from).with_context(|| format!("can't read {}", from.display()))?;
        fs::write(&to, text).with_context(|| format!("can't write {}", to.display()))?;
    }
    Ok(())
}
