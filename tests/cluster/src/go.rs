//! Builds programs from Go modules without much code of their own, whose `tool` directives name the programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// How programs are built from a Go module.
pub(crate) struct Recipe {
    /// What the programs are, in messages.
    pub(crate) title: &'static str,
    /// The module's folder in the workspace.
    pub(crate) module: &'static str,
    /// The version that the programs report. The module requires the same.
    pub(crate) version: &'static str,
    /// The file that records from what the programs beside it were built.
    pub(crate) stamp: &'static str,
    /// Build tags.
    pub(crate) tags: &'static str,
    /// Variables of packages that say the version.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// The folders of programs in the module itself, beside those of its `tool` directive.
    pub(crate) own: &'static [&'static str],
}

/// The version of Kubernetes.
pub(crate) const KUBERNETES: &str = "v1.36.3";
/// The variables that say the version of Kubernetes' programs. Without them, they report `v0.0.0-master`, which clients
/// can't parse.
pub(crate) const KUBERNETES_VARIABLES: &[(&str, &str)] = &[
    ("k8s.io/component-base/version.gitVersion", KUBERNETES),
    ("k8s.io/component-base/version.gitMajor", "1"),
    ("k8s.io/component-base/version.gitMinor", "36"),
    ("k8s.io/client-go/pkg/version.gitVersion", KUBERNETES),
];

impl Recipe {
    /// Builds the programs into a directory, unless those of this module and version are there, as `check` finds.
    /// `complete` adds what is no program.
    pub(crate) fn build(
        &self,
        workspace: &Path,
        out: &Path,
        force: bool,
        check: impl Fn() -> Result<()>,
        complete: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let title = format!("{} {}", self.title, self.version);
        let module = workspace.join(self.module);
        let stamp = self.stamp_of(&module)?;
        let stamp_path = out.join(self.stamp);
        let built_from = fs::read_to_string(&stamp_path).unwrap_or_default();
        if !force && built_from == stamp && check().is_ok() {
            println!("{title} in {} is up to date.", out.display());
            return Ok(());
        }
        fs::create_dir_all(out).with_context(|| format!("can't make {}", out.display()))?;
        println!("{title} is being built; the first time takes some minutes.");
        self.run_go(&module, out)?;
        complete(&module)?;
        check()?;
        fs::write(&stamp_path, stamp).with_context(|| format!("can't write {}", stamp_path.display()))?;
        println!("{title} is in {}.", out.display());
        Ok(())
    }

    fn run_go(&self, module: &Path, out: &Path) -> Result<()> {
        let mut directory = out.as_os_str().to_owned();
        // With the slash, Go takes the path for a directory.
        directory.push("/");
        let mut linker_flags = "-s -w".to_owned();
        for (variable, value) in self.variables {
            write!(linker_flags, " -X {variable}={value}")?;
        }
        let status = Command::new("go")
            .current_dir(module)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly")
            .args(["build", "-v", "-trimpath", "-tags", self.tags])
            .args(["-ldflags", &linker_flags, "-o"])
            .arg(directory)
            .arg("tool")
            .args(self.own.iter().map(|folder| format!("./{folder}")))
            .status()
            .context("can't run `go`: building these programs takes Go 1.26 or newer")?;
        if !status.success() {
            bail!("`go build` in {} ended with {status}", module.display());
        }
        Ok(())
    }

    /// The version, and a digest of the files that determine the programs' source.
    fn stamp_of(&self, module: &Path) -> Result<String> {
        let mut digest = Sha256::new();
        let own = self.own.iter().map(|folder| module.join(folder).join("main.go"));
        for path in ["go.mod", "go.sum"]
            .map(|name| module.join(name))
            .into_iter()
            .chain(own)
        {
            digest.update(fs::read(&path).with_context(|| format!("can't read {}", path.display()))?);
        }
        let mut stamp = format!("{} ", self.version);
        for byte in digest.finalize() {
            write!(stamp, "{byte:02x}")?;
        }
        stamp.push('\n');
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_require_the_versions_that_their_programs_report() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let containerd = crate::real_node::build::CONTAINERD_VERSION;
        for (module, requirement) in [
            ("controlplane", format!("k8s.io/kubernetes {KUBERNETES} ")),
            ("realnode/kubelet", format!("k8s.io/kubernetes {KUBERNETES} ")),
            (
                "realnode/containerd",
                format!("github.com/containerd/containerd/v2 {containerd} "),
            ),
        ] {
            let text = fs::read_to_string(tests.join(module).join("go.mod")).unwrap();
            assert!(
                text.contains(&requirement),
                "{module} does not require {requirement}"
            );
        }
    }
}
