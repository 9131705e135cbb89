//! Loads an image into a running node.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::services::ctr_arguments;
use super::{Home, NodeSpec};
use crate::layout::Layout;

/// Loads an image that was made into the real node of the cluster in `layout`.
pub(crate) fn load_image(layout: &Layout, home: &Home, name: &str) -> Result<()> {
    let archive = home.made_image(name)?;
    let path = layout.dir().join("node.json");
    let spec = NodeSpec::read(&path).context("the cluster has no real node")?;
    let first = fs::read_to_string(spec.first_process())
        .with_context(|| format!("no cluster with a real node is up in {}", layout.dir().display()))?;
    let output = Command::new("nsenter")
        .args(["--mount", "--pid", "--net", "--target", first.trim(), "--"])
        .arg(spec.home().program("ctr"))
        .args(ctr_arguments())
        .args(["images", "import", "--local", "--no-unpack=false"])
        .arg(&archive)
        .stdin(Stdio::null())
        .output()
        .context("can't run nsenter")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} could not be loaded ({}): {}",
            output.status,
            complaint.trim()
        );
    }
    Ok(())
}
