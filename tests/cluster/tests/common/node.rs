//! What the tests of a real node share.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{pod, processes_naming, program};

/// A pod whose container runs a script.
pub fn script(name: &str, script: &str) -> Pod {
    let mut pod = serde_json::to_value(pod(name, None)).unwrap();
    pod["spec"]["containers"][0]["image"] = json!("privatekube.dev/busybox:1");
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    serde_json::from_value(pod).unwrap()
}

/// The cgroups of the node of a keeper.
pub fn cgroups_of(keeper: i32) -> Vec<PathBuf> {
    fn search(directory: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str() == Some(name) {
                    found.push(entry.path());
                }
                search(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    search(
        Path::new("/sys/fs/cgroup"),
        &format!("privatekube-node-{keeper}"),
        &mut found,
    );
    found
}

/// Starts the owner of a cluster with a real node, and waits until it is ready. Returns its keeper, too.
pub fn serve(path: &str) -> (Child, i32) {
    let mut owner = program()
        .args(["serve", "--node", "real", "--dir", path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(owner.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(ready.starts_with("{\"ready\":"), "{ready}");
    let keeper = processes_naming(path)
        .into_iter()
        .find(|(_, line)| line.contains("node keep"));
    (owner, keeper.unwrap().0)
}

/// The interface of a node's link in this machine's network.
pub fn link_of(dir: &Path) -> PathBuf {
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("node.json")).unwrap()).unwrap();
    Path::new("/sys/class/net").join(format!("pknode{}", spec["link"]["number"]))
}
