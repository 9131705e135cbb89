//! What the tests share: pods, waiting for conditions, and looking at processes.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of these")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends at the first surprise"
)]

pub mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::json;

/// Far more than any condition takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_privatekube-cluster"))
}

/// A pod that ends with the given outcome, or runs until it is deleted.
pub fn pod(name: &str, outcome: Option<&str>) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name, "annotations": {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]},
    });
    if let Some(outcome) = outcome {
        pod["metadata"]["annotations"][privatekube_cluster::OUTCOME_ANNOTATION] = outcome.into();
    }
    serde_json::from_value(pod).unwrap()
}

pub async fn create(client: &Client, pod: &Pod) -> Pod {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    pods.create(&PostParams::default(), pod).await.unwrap()
}

pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Waits until a pod is in a phase, and returns it.
pub async fn until_phase(client: &Client, name: &str, wanted: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let reached = await_condition(pods, name, |pod: Option<&Pod>| {
        pod.is_some_and(|pod| phase(pod) == wanted)
    });
    let reached = tokio::time::timeout(DEADLINE, reached).await;
    reached
        .unwrap_or_else(|_| panic!("pod {name} never was {wanted}"))
        .unwrap()
        .unwrap()
}

/// Waits until a condition holds. `what` describes it in the error.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The processes whose command lines contain `text`.
pub fn processes_naming(text: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push((pid, line));
        }
    }
    found
}

/// Kills a process by SIGKILL.
pub fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The stand-in for PrivateKube's extender, which cargo builds together with the tests.
pub fn fake_extender() -> PathBuf {
    let current = std::env::current_exe().unwrap();
    let path = current
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/fake-extender");
    assert!(
        path.is_file(),
        "{} is missing: `cargo test` builds it",
        path.display()
    );
    path
}

/// A directory with the control plane's programs, one of them replaced by a shell script.
pub fn programs_with(dir: &Path, program: &str, script: &str) -> PathBuf {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let real = real_programs();
    let programs = dir.join("programs");
    fs::create_dir(&programs).unwrap();
    for entry in fs::read_dir(&real)
        .expect("the control plane is built by `make controlplane`")
        .flatten()
    {
        symlink(entry.path(), programs.join(entry.file_name())).unwrap();
    }
    let path = programs.join(program);
    fs::remove_file(&path).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

/// The control plane's programs.
pub fn real_programs() -> PathBuf {
    std::env::var_os("PRIVATEKUBE_BIN_DIR")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.local/bin"),
            PathBuf::from,
        )
        .canonicalize()
        .expect("the control plane is built by `make controlplane`")
}
