//! Runs kubectl, and installs kustomizations with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::http_client;
use crate::layout::Layout;
use crate::policies;
use crate::process;
use crate::tie;
use crate::users::User;

/// How often a kustomization is applied before its error is final. The API server knows custom resources only
/// a moment after their definitions, and an extender may have changed the objects.
const APPLY_ATTEMPTS: usize = 5;
const APPLY_PAUSE: Duration = Duration::from_millis(500);

/// kubectl with the credentials of a cluster's administrator.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    tool: PathBuf,
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(tool: &Path, bin_dir: &Path, layout: &Layout) -> Self {
        Self {
            tool: tool.to_owned(),
            program: bin_dir.join("kubectl"),
            kubeconfig: layout.kubeconfig(User::Admin),
            cache: layout.kubectl_cache(),
        }
    }

    /// Runs kubectl, and returns its output. The error holds what it printed to standard error.
    pub(crate) async fn run<I>(&self, arguments: I) -> Result<String>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let arguments: Vec<OsString> = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned())
            .collect();
        let mut command = tie::tied(&self.tool, &self.program);
        self.environment(&mut command);
        command
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = process::output(command).await?;
        if !output.status.success() {
            let arguments = arguments.join(OsStr::new(" "));
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!(
                "kubectl {}: {}: {}",
                arguments.display(),
                output.status,
                complaint.trim()
            );
        }
        String::from_utf8(output.stdout).context("kubectl's output is not UTF-8")
    }

    /// Sets a command's environment for the cluster. The cache is the cluster's own, since an earlier cluster
    /// may have had the same address.
    pub(crate) fn environment(&self, command: &mut Command) {
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache);
    }

    /// Applies a kustomization, and waits until the API server serves its custom resources and enforces its admission
    /// policies. The resources' definitions may lie beside it, in the folder `crds`: then these are applied first.
    pub(crate) async fn install(&self, manifests: &Path) -> Result<()> {
        let definitions = manifests.join("../crds");
        if definitions.is_dir() {
            self.apply(&definitions).await?;
        }
        self.apply(manifests).await?;
        policies::until_enforced(&http_client::client(&self.kubeconfig, None).await?).await
    }

    async fn apply(&self, manifests: &Path) -> Result<()> {
        let mut attempt = 1;
        loop {
            let applied = self
                .run([
                    OsStr::new("apply"),
                    OsStr::new("--server-side"),
                    OsStr::new("-k"),
                    manifests.as_os_str(),
                ])
                .await;
            match applied {
                Ok(_) => break,
                Err(error) if attempt >= APPLY_ATTEMPTS => {
                    return Err(error).with_context(|| format!("can't apply {}", manifests.display()));
                }
                Err(error) => tracing::debug!("applying {} again: {error:#}", manifests.display()),
            }
            attempt += 1;
            // An extender that a test starts replaces a webhook's Service by its URL, and no webhook may
            // have both.
            self.run([
                "delete",
                "mutatingwebhookconfigurations,validatingwebhookconfigurations",
                "--selector=app.kubernetes.io/part-of=privatekube",
            ])
            .await?;
            tokio::time::sleep(APPLY_PAUSE).await;
        }
        if self.run(["get", "crd", "-o", "name"]).await?.trim().is_empty() {
            return Ok(());
        }
        self.run([
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd",
            "--all",
        ])
        .await
        .map(drop)
    }
}
