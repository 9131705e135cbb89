//! No process is left behind, however the process that started a cluster ends.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{kill, processes_naming, program, until};

#[tokio::test]
async fn killing_the_owner_ends_all_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut owner = program()
        .args(["serve", "--dir", path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(owner.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(ready.starts_with("{\"ready\":"), "{ready}");
    assert_eq!(
        processes_naming(path).len(),
        5,
        "the owner and four parts: {:?}",
        processes_naming(path)
    );
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("no process is left", async || processes_naming(path).is_empty()).await;
}

#[tokio::test]
async fn killing_the_caller_ends_its_cluster_and_its_command() {
    // An unusual number, by which the command is recognised.
    let seconds = format!("1000.{}", std::process::id());
    let mut caller = program()
        .args(["run", "--nodes", "1", "--", "sleep", &seconds])
        // Otherwise a command that is left behind would keep this test's output open.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sleeping = || {
        processes_naming(&format!("sleep {seconds}"))
            .into_iter()
            .find(|(_, line)| line.starts_with("sleep"))
    };
    until("the command runs", async || sleeping().is_some()).await;
    let prefix = format!("privatekube-cluster-{}-", caller.id());
    assert!(!processes_naming(&prefix).is_empty());
    kill(i32::try_from(caller.id()).unwrap());
    caller.wait().unwrap();
    until("no process is left", async || {
        processes_naming(&prefix).is_empty() && sleeping().is_none()
    })
    .await;
    let leftover = |name: &str| name.starts_with(&prefix);
    until("the directory is removed", async || {
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
        !entries
            .into_iter()
            .any(|entry| entry.file_name().to_str().is_some_and(leftover))
    })
    .await;
}

#[tokio::test]
async fn a_caller_killed_during_the_start_leaves_no_process() {
    let mut caller = program()
        .args(["run", "--nodes", "1", "--", "true"])
        .spawn()
        .unwrap();
    let prefix = format!("privatekube-cluster-{}-", caller.id());
    let api_server_starts = || {
        processes_naming(&prefix)
            .iter()
            .any(|(_, line)| line.contains("kube-apiserver"))
    };
    until("the API server starts", async || api_server_starts()).await;
    kill(i32::try_from(caller.id()).unwrap());
    caller.wait().unwrap();
    until("no process is left", async || {
        processes_naming(&prefix).is_empty()
    })
    .await;
}

#[tokio::test]
async fn up_and_down_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let copy = dir.path().join("copy");
    let call = |arguments: &[&str]| {
        let output = program().args(arguments).args(["--dir", path]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let text = call(&["up", "--nodes", "1", "--kubeconfig-out", copy.to_str().unwrap()]);
    assert!(text.contains("export KUBECONFIG="), "{text}");
    assert!(copy.is_file());
    assert!(call(&["up"]).contains("is up already"));
    assert!(call(&["down"]).contains("is down"));
    assert_eq!(processes_naming(path), []);
    assert!(call(&["down"]).contains("No cluster is up"));
}

#[tokio::test]
async fn an_up_killed_during_the_start_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut up = program().args(["up", "--dir", path]).spawn().unwrap();
    let api_server_starts = || {
        processes_naming(path)
            .iter()
            .any(|(_, line)| line.contains("kube-apiserver"))
    };
    until("the API server starts", async || api_server_starts()).await;
    kill(i32::try_from(up.id()).unwrap());
    up.wait().unwrap();
    until("no process is left", async || processes_naming(path).is_empty()).await;
}

#[test]
fn run_has_the_exit_code_of_its_command() {
    let script = "kubectl get node node-0 >/dev/null && exit 7";
    let status = program()
        .args(["run", "--nodes", "1", "--", "sh", "-c", script])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
}
