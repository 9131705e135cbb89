//! `build`: builds the programs of a Go module in `tests`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use crate::binaries;
use crate::prometheus;

#[derive(Debug, Args)]
pub(super) struct Build {
    /// What to build
    #[arg(default_value = "control-plane")]
    what: Programs,
    /// Where the programs go [default: .local/bin of the workspace]
    #[arg(long, env = binaries::BIN_DIR_VARIABLE)]
    bin_dir: Option<PathBuf>,
    /// Build even if nothing seems to have changed
    #[arg(long)]
    force: bool,
}

/// Programs that are built together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Programs {
    /// Kubernetes' and etcd
    ControlPlane,
    /// Prometheus and promtool
    Prometheus,
}

/// How programs are built from a Go module.
struct Recipe {
    /// What the programs are, in messages.
    title: &'static str,
    /// The module's folder.
    module: &'static str,
    /// The version that the programs report. The module requires the same.
    version: &'static str,
    /// The file that records from what the programs beside it were built.
    stamp: &'static str,
    /// Build tags.
    tags: &'static str,
    /// Variables of packages that say the version.
    variables: &'static [(&'static str, &'static str)],
}

const CONTROL_PLANE: Recipe = Recipe {
    title: "The control plane",
    module: "tests/controlplane",
    version: "v1.36.3",
    stamp: ".built-from",
    tags: "",
    // Without them, the programs report `v0.0.0-master`, which clients can't parse.
    variables: &[
        ("k8s.io/component-base/version.gitVersion", "v1.36.3"),
        ("k8s.io/component-base/version.gitMajor", "1"),
        ("k8s.io/component-base/version.gitMinor", "36"),
        ("k8s.io/client-go/pkg/version.gitVersion", "v1.36.3"),
    ],
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
};

/// The module with the operator's definitions, and their folder in it.
const OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";
const DEFINITIONS: &str = "example/prometheus-operator-crd";

impl Programs {
    const fn recipe(self) -> &'static Recipe {
        match self {
            Self::ControlPlane => &CONTROL_PLANE,
            Self::Prometheus => &PROMETHEUS,
        }
    }
}

impl Build {
    pub(super) fn execute(self) -> Result<()> {
        let recipe = self.what.recipe();
        let title = format!("{} {}", recipe.title, recipe.version);
        let module = binaries::workspace_root()?.join(recipe.module);
        let bin_dir = binaries::bin_dir(self.bin_dir.as_deref())?;
        let stamp = stamp(recipe, &module)?;
        let stamp_path = bin_dir.join(recipe.stamp);
        let built_from = fs::read_to_string(&stamp_path).unwrap_or_default();
        if !self.force && built_from == stamp && self.check(&bin_dir).is_ok() {
            println!("{title} in {} is up to date.", bin_dir.display());
            return Ok(());
        }
        fs::create_dir_all(&bin_dir).with_context(|| format!("can't make {}", bin_dir.display()))?;
        println!("{title} is being built; the first time takes some minutes.");
        go_build(recipe, &module, &bin_dir)?;
        if self.what == Programs::Prometheus {
            copy_definitions(&module, &bin_dir)?;
        }
        self.check(&bin_dir)?;
        fs::write(&stamp_path, stamp).with_context(|| format!("can't write {}", stamp_path.display()))?;
        println!("{title} is in {}.", bin_dir.display());
        Ok(())
    }

    fn check(&self, bin_dir: &Path) -> Result<()> {
        match self.what {
            Programs::ControlPlane => binaries::check(bin_dir),
            Programs::Prometheus => prometheus::check(bin_dir),
        }
    }
}

fn go_build(recipe: &Recipe, module: &Path, bin_dir: &Path) -> Result<()> {
    let mut out = bin_dir.as_os_str().to_owned();
    // With the slash, Go takes the path for a directory.
    out.push("/");
    let mut linker_flags = "-s -w".to_owned();
    for (variable, value) in recipe.variables {
        write!(linker_flags, " -X {variable}={value}")?;
    }
    let status = Command::new("go")
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-v", "-trimpath", "-tags", recipe.tags])
        .args(["-ldflags", &linker_flags, "-o"])
        .arg(out)
        .arg("tool")
        .status()
        .context("can't run `go`: building these programs takes Go 1.26 or newer")?;
    if !status.success() {
        bail!("`go build` in {} ended with {status}", module.display());
    }
    Ok(())
}

/// Copies the Prometheus operator's custom resource definitions out of its module.
fn copy_definitions(module: &Path, bin_dir: &Path) -> Result<()> {
    let output = Command::new("go")
        .current_dir(module)
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", OPERATOR])
        .output()
        .context("can't run `go`")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`go list` of {OPERATOR} ended with {}: {complaint}",
            output.status
        );
    }
    let dir = String::from_utf8(output.stdout).context("the module's folder is not UTF-8")?;
    let from = Path::new(dir.trim()).join(DEFINITIONS);
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

/// The version, and a digest of the files that determine the programs' source.
fn stamp(recipe: &Recipe, module: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let path = module.join(name);
        digest.update(fs::read(&path).with_context(|| format!("can't read {}", path.display()))?);
    }
    let mut stamp = format!("{} ", recipe.version);
    for byte in digest.finalize() {
        write!(stamp, "{byte:02x}")?;
    }
    stamp.push('\n');
    Ok(stamp)
}
