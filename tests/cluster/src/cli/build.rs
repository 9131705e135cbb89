//! `build`: builds the control plane's programs from their Go module.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::binaries;

/// The version that the programs report. The module in `tests/controlplane` requires the same.
const VERSION: &str = "v1.36.3";
const MAJOR: &str = "1";
const MINOR: &str = "36";
/// The file that records from which module and version the programs beside it were built.
const STAMP: &str = ".built-from";

#[derive(Debug, Args)]
pub(super) struct Build {
    /// Where the programs go [default: .local/bin of the workspace]
    #[arg(long, env = binaries::BIN_DIR_VARIABLE)]
    bin_dir: Option<PathBuf>,
    /// Build even if nothing seems to have changed
    #[arg(long)]
    force: bool,
}

impl Build {
    pub(super) fn execute(self) -> Result<()> {
        let module = binaries::workspace_root()?.join("tests/controlplane");
        let bin_dir = binaries::bin_dir(self.bin_dir.as_deref())?;
        let stamp = stamp(&module)?;
        let stamp_path = bin_dir.join(STAMP);
        let built_from = fs::read_to_string(&stamp_path).unwrap_or_default();
        if !self.force && built_from == stamp && binaries::check(&bin_dir).is_ok() {
            println!(
                "The control plane {VERSION} in {} is up to date.",
                bin_dir.display()
            );
            return Ok(());
        }
        fs::create_dir_all(&bin_dir).with_context(|| format!("can't make {}", bin_dir.display()))?;
        println!("Building the control plane {VERSION}; the first time takes some minutes.");
        go_build(&module, &bin_dir)?;
        binaries::check(&bin_dir)?;
        fs::write(&stamp_path, stamp).with_context(|| format!("can't write {}", stamp_path.display()))?;
        println!("The control plane {VERSION} is in {}.", bin_dir.display());
        Ok(())
    }
}

fn go_build(module: &Path, bin_dir: &Path) -> Result<()> {
    let mut out = bin_dir.as_os_str().to_owned();
    // With the slash, Go takes the path for a directory.
    out.push("/");
    let status = Command::new("go")
        .current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .args(["build", "-v", "-trimpath", "-ldflags", &linker_flags(), "-o"])
        .arg(out)
        .arg("tool")
        .status()
        .context("can't run `go`: building the control plane takes Go 1.26 or newer")?;
    if !status.success() {
        bail!("`go build` in {} ended with {status}", module.display());
    }
    Ok(())
}

/// Sets the programs' version. Without it they report `v0.0.0-master`, which clients can't parse.
fn linker_flags() -> String {
    let component = "k8s.io/component-base/version";
    format!(
        "-s -w -X {component}.gitVersion={VERSION} -X {component}.gitMajor={MAJOR} -X {component}.gitMinor={MINOR} \
         -X k8s.io/client-go/pkg/version.gitVersion={VERSION}"
    )
}

/// The version, and a digest of the files that determine the programs' source.
fn stamp(module: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for name in ["go.mod", "go.sum"] {
        let path = module.join(name);
        digest.update(fs::read(&path).with_context(|| format!("can't read {}", path.display()))?);
    }
    let mut stamp = format!("{VERSION} ");
    for byte in digest.finalize() {
        write!(stamp, "{byte:02x}")?;
    }
    stamp.push('\n');
    Ok(stamp)
}
