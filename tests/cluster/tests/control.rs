//! Parts of a cluster that `up` started are stopped and started by commands, and the cluster goes on.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod common;

use std::fs;
use std::path::Path;

use common::{fake_extender, kill, processes_naming, program, until};

/// Runs a command of the program for the cluster in `dir`; its output, or what it complains about.
fn run(command: &[&str], dir: &Path) -> Result<String, String> {
    let output = program().args(command).arg("--dir").arg(dir).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The extender's process.
fn extender(dir: &Path) -> Option<i32> {
    let tls = dir.join("tls");
    processes_naming(&format!("fake-extender serve --kubeconfig {}", dir.display()))
        .into_iter()
        .find(|(_, line)| line.contains(tls.to_str().unwrap()) && !line.contains(" tie "))
        .map(|(pid, _)| pid)
}

#[tokio::test]
async fn the_extender_is_stopped_and_started_and_comes_back_by_itself_while_the_cluster_goes_on() {
    let temporary = tempfile::tempdir().unwrap();
    // Longer than the address of a socket may be.
    let dir = temporary.path().canonicalize().unwrap().join("a".repeat(120));
    let manifests = temporary.path().join("base");
    fs::create_dir(&manifests).unwrap();
    fs::write(
        manifests.join("kustomization.yaml"),
        "resources: [namespace.yaml]\n",
    )
    .unwrap();
    fs::write(
        manifests.join("namespace.yaml"),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: privatekube-system}\n",
    )
    .unwrap();
    let missing = run(&["stop", "extender"], temporary.path()).unwrap_err();
    assert!(missing.contains("start one with `up`"), "{missing}");

    let (bin, base) = (fake_extender(), manifests.display().to_string());
    let up = [
        "up",
        "--nodes=1",
        "--with-privatekube",
        "--extender-bin",
        bin.to_str().unwrap(),
        "--manifests",
        &base,
    ];
    run(&up, &dir).unwrap();
    let pid = fs::read_to_string(dir.join("serve.pid")).unwrap();
    let first = extender(&dir).unwrap();

    let told = run(&["stop", "extender"], &dir).unwrap();
    assert!(
        told.contains("privatekube-cluster start extender --dir"),
        "{told}"
    );
    assert_eq!(extender(&dir), None);
    let again = run(&["stop", "extender"], &dir).unwrap_err();
    assert!(again.contains("extender is not running"), "{again}");
    run(&["start", "extender"], &dir).unwrap();
    let second = extender(&dir).unwrap();
    let running = run(&["start", "extender"], &dir).unwrap_err();
    assert!(running.contains("extender is running already"), "{running}");
    run(&["restart", "extender", "--kill"], &dir).unwrap();
    let third = extender(&dir).unwrap();
    assert!(first != second && second != third);

    // One that ends by itself is started again.
    kill(third);
    until("another extender runs", async || {
        extender(&dir).is_some_and(|pid| pid != third)
    })
    .await;
    // So are other parts by the commands.
    run(&["restart", "kube-scheduler"], &dir).unwrap();
    let unknown = run(&["stop", "kubelet"], &dir).unwrap_err();
    assert!(
        unknown.contains("extender") && unknown.contains("kube-scheduler"),
        "{unknown}"
    );

    assert_eq!(fs::read_to_string(dir.join("serve.pid")).unwrap(), pid);
    run(&["down", "--remove"], &dir).unwrap();
    assert!(!dir.exists());
}
