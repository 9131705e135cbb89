//! `kubectl privacy` against a cluster: explanations, dry runs and ledgers.

mod audit_trail;
mod explain;
mod import;
mod ledger;

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result};
use privatekube_e2e::TestEnvironment;
use tokio::{io::AsyncWriteExt, process::Command};

/// The namespace of all that these tests make.
const DATA: &str = "data";

/// How `kubectl privacy` ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    text: String,
    complaint: String,
}

/// Runs `kubectl privacy` as the administrator, or with another kubeconfig. kubectl finds the plugin on the PATH.
async fn privacy(
    env: &TestEnvironment,
    kubeconfig: Option<&PathBuf>,
    input: &str,
    arguments: &[&str],
) -> Result<Ended> {
    let tests = std::env::current_exe()?;
    let programs = tests
        .parent()
        .and_then(|deps| deps.parent())
        .context("a build directory")?;
    let mut command = std::process::Command::new("kubectl");
    env.cluster.environment(&mut command);
    let path = command.get_envs().find(|(name, _)| *name == "PATH");
    let mut path = path.and_then(|(_, value)| value).unwrap_or_default().to_owned();
    path.push(":");
    path.push(programs);
    command.env("PATH", path);
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    command
        .arg("privacy")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Command::from(command).spawn().context("kubectl")?;
    if let Some(mut stdin) = running.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = running.wait_with_output().await?;
    Ok(Ended {
        code: output.status.code().unwrap_or(-1),
        text: String::from_utf8(output.stdout)?,
        complaint: String::from_utf8(output.stderr)?,
    })
}
