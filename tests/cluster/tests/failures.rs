//! Errors name the part that failed, its log, and the log's last lines.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{kill, processes_naming, program, programs_with};
use privatekube_cluster::{Cluster, Config};

#[tokio::test]
async fn a_part_that_dies_at_its_start_is_named_with_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let programs = programs_with(
        dir.path(),
        "kube-scheduler",
        "echo 'a planted complaint' >&2; exit 3",
    );
    let cluster = dir.path().join("cluster");
    let config = Config {
        bin_dir: Some(programs),
        dir: Some(cluster.clone()),
        ..Config::default()
    };
    let error = format!("{:#}", Cluster::start(config).await.unwrap_err());
    assert!(
        error.contains("kube-scheduler ended unexpectedly (exit status: 3)"),
        "{error}"
    );
    let log = cluster.join("kube-scheduler.log");
    assert!(error.contains(log.to_str().unwrap()) && log.exists(), "{error}");
    assert!(error.contains("a planted complaint"), "{error}");
    assert_eq!(processes_naming(cluster.to_str().unwrap()), []);
}

#[test]
fn a_part_that_dies_later_ends_the_cluster_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut owner = program()
        .args(["serve", "--dir", path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"ready\""));
    let parts = processes_naming(path);
    let (part, _) = parts
        .iter()
        .find(|(_, line)| line.contains("kube-controller-manager "))
        .unwrap();
    kill(*part);
    let output = owner.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("kube-controller-manager ended unexpectedly (signal: 9"),
        "{error}"
    );
    assert!(
        error.contains("kube-controller-manager.log ends with:"),
        "{error}"
    );
    assert_eq!(processes_naming(path), []);
}

#[tokio::test]
async fn a_taken_port_makes_the_start_try_again_with_other_ports() {
    let dir = tempfile::tempdir().unwrap();
    let real = common::real_programs().join("server");
    let marker = dir.path().join("tried");
    let script = format!(
        "if [ ! -e {marker} ]; then touch {marker}; echo 'listen tcp: bind: address already in use' >&2; exit 1; fi\n\
         exec {real} \"$@\"",
        marker = marker.display(),
        real = real.display(),
    );
    let programs = programs_with(dir.path(), "server", &script);
    let cluster = Cluster::start(Config {
        bin_dir: Some(programs),
        ..Config::default()
    })
    .await
    .unwrap();
    assert!(marker.exists());
    assert_eq!(
        cluster
            .kubectl(["get", "node", "node-0", "-o", "name"])
            .await
            .unwrap(),
        "node/node-0\n"
    );
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_to_build_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        bin_dir: Some(dir.path().to_owned()),
        ..Config::default()
    };
    let error = format!("{:#}", Cluster::start(config).await.unwrap_err());
    assert!(
        error.contains(dir.path().join("server").to_str().unwrap()),
        "{error}"
    );
    assert!(error.contains("make controlplane"), "{error}");
}

#[tokio::test]
async fn a_directory_has_one_cluster_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        dir: Some(dir.path().join("cluster")),
        ..Config::default()
    };
    let first = Cluster::start(config.clone()).await.unwrap();
    let error = format!("{:#}", Cluster::start(config).await.unwrap_err());
    assert!(error.contains("already up"), "{error}");
    first.client().await.unwrap().apiserver_version().await.unwrap();
}
