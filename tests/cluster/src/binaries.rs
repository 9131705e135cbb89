//! Finds programs: the control plane's, this tool's and the extender's.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::part::PROGRAMS;

/// The environment variable that names the directory of the control plane's programs.
pub(crate) const BIN_DIR_VARIABLE: &str = "PRIVATEKUBE_BIN_DIR";
const TOOL: &str = "privatekube-cluster";
const TOOL_VARIABLE: &str = "PRIVATEKUBE_CLUSTER_BIN";
const EXTENDER: &str = "privatekube-extender";
const EXTENDER_VARIABLE: &str = "PRIVATEKUBE_EXTENDER_BIN";
/// The file by which the workspace's root is recognised.
const GO_MODULE: &str = "tests/controlplane/go.mod";

/// The nearest folder above the current one, or above this program, that holds the control plane's Go module.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let starts = [env::current_dir(), env::current_exe()];
    starts
        .iter()
        .flatten()
        .flat_map(|start| start.ancestors())
        .find(|folder| folder.join(GO_MODULE).is_file())
        .map(Path::to_owned)
        .context("neither this folder nor this program is inside of a PrivateKube workspace")
}

/// The directory of the control plane's programs: the given one, else from the environment, else the
/// workspace's.
pub(crate) fn bin_dir(given: Option<&Path>) -> Result<PathBuf> {
    let dir = match (given, env::var_os(BIN_DIR_VARIABLE)) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(dir)) => PathBuf::from(dir),
        (None, None) => workspace_root()
            .with_context(|| {
                format!("name the control plane's programs with --bin-dir or {BIN_DIR_VARIABLE}")
            })?
            .join(".local/bin"),
    };
    std::path::absolute(&dir).with_context(|| format!("{} is no path", dir.display()))
}

/// Checks that all of the control plane's programs exist. The error names the first that is missing.
pub(crate) fn check(bin_dir: &Path) -> Result<()> {
    for program in PROGRAMS {
        let path = bin_dir.join(program);
        if !path.is_file() {
            bail!(
                "{} is missing: build the control plane with `make controlplane`",
                path.display()
            );
        }
    }
    Ok(())
}

/// The program `privatekube-cluster`, for a test that uses the library.
pub(crate) fn tool() -> Result<PathBuf> {
    find(TOOL, TOOL_VARIABLE, "cargo build -p privatekube-cluster")
}

/// The extender's program: the given one, else from the environment, else beside this program.
pub(crate) fn extender(given: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = given else {
        return find(EXTENDER, EXTENDER_VARIABLE, "cargo build -p privatekube-extender");
    };
    if !path.is_file() {
        bail!("there is no extender at {}", path.display());
    }
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

/// Finds a program from the environment, beside this one, or one folder above (tests are in `deps`).
fn find(program: &str, variable: &str, build: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} names {}, which does not exist", path.display());
    }
    let current = env::current_exe().context("this program's own path is unknown")?;
    let found = current
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.with_context(|| {
        let folder = current.parent().unwrap_or(&current);
        format!(
            "{program} is neither in {} nor above: build it with `{build}`, or name it in {variable}",
            folder.display()
        )
    })
}
