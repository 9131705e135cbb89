//! A cluster with a real node: what its containers are, and that nothing of it is left behind.

mod common;

use std::path::PathBuf;

use common::node::{cgroups_of, link_of, script, serve};
use common::{create, kill, processes_naming, program, until, until_phase};
use privatekube_cluster::{Cluster, Config, Part, RealNode, tests_run_real_nodes};

#[tokio::test]
async fn pods_run_as_containers_and_the_node_can_be_stopped_and_started() {
    if !tests_run_real_nodes().unwrap() {
        return;
    }
    let config = Config {
        real_node: Some(RealNode::default()),
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    let client = cluster.client().await.unwrap();
    // A network, processes and a user's token of its own, and a way to the API server. Kubernetes halves the
    // dollar signs.
    let looks = r#"echo "$(hostname) $$$$"; ip -4 -o address show eth0 | grep -c 10.244.0.
        cd /var/run/secrets/kubernetes.io/serviceaccount && ls | wc -l
        nc -w 10 "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" </dev/null && echo reached"#;
    create(&client, &script("looks", looks)).await;
    until_phase(&client, "looks", "Succeeded").await;
    let log = cluster.kubectl(["logs", "looks"]).await.unwrap();
    assert_eq!(log, "looks 1\n1\n3\nreached\n");

    create(&client, &script("fails", "exit 3")).await;
    let failed = until_phase(&client, "fails", "Failed").await;
    let statuses = failed.status.unwrap().container_statuses.unwrap();
    let ended = statuses[0].state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(ended.exit_code, 3);

    create(&client, &script("stays", "echo here; exec sleep 1000")).await;
    until_phase(&client, "stays", "Running").await;
    let said = cluster
        .kubectl(["exec", "stays", "--", "echo", "inside"])
        .await
        .unwrap();
    assert_eq!(said, "inside\n");

    cluster.stop_part(Part::Node).await.unwrap();
    cluster.start_part(Part::Node).await.unwrap();
    create(&client, &script("after", "echo again")).await;
    until_phase(&client, "after", "Succeeded").await;
}

#[tokio::test]
async fn killing_the_owner_leaves_nothing_of_its_node() {
    if !tests_run_real_nodes().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut owner, keeper) = serve(path);
    let link = link_of(dir.path());
    assert!(link.exists() && cgroups_of(keeper).len() > 4);
    assert!(
        processes_naming(path)
            .iter()
            .any(|(_, line)| line.contains("kubelet"))
    );
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("no process is left", async || processes_naming(path).is_empty()).await;
    assert_eq!(cgroups_of(keeper), Vec::<PathBuf>::new());
    assert!(!dir.path().join("node").exists());
    until("the link is gone", async || !link.exists()).await;
}

#[tokio::test]
async fn a_killed_keeper_ends_the_cluster_and_down_removes_the_cgroups() {
    if !tests_run_real_nodes().unwrap() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut owner, keeper) = serve(path);
    kill(keeper);
    assert!(!owner.wait().unwrap().success());
    until("no process is left", async || processes_naming(path).is_empty()).await;
    // Whatever starts or ends a cluster removes them.
    let down = program()
        .args(["down", "--remove", "--dir", path])
        .status()
        .unwrap();
    assert!(down.success());
    assert_eq!(cgroups_of(keeper), Vec::<PathBuf>::new());
    assert!(!dir.path().exists());
}

#[test]
fn options_of_the_other_kind_of_node_are_refused() {
    for (arguments, words) in [
        (["--nodes", "2", "--node", "real"], "--nodes needs --node fake"),
        (
            ["--image", "example.dev/a:1", "--node", "fake"],
            "--image needs --node real",
        ),
    ] {
        let output = program()
            .arg("run")
            .args(arguments)
            .args(["--", "true"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(words), "{text}");
    }
}

#[test]
fn a_machine_that_lacks_something_is_told_what_with_an_exit_code_of_its_own() {
    // Without a path, no program is found.
    for command in [&["check-node"][..], &["run", "--node", "real", "--", "true"]] {
        let output = program()
            .args(command)
            .env("PATH", "/nowhere")
            .env("PRIVATEKUBE_NODE_DIR", "/nowhere")
            .output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(
            text.contains("the program unshare (Debian's package util-linux)"),
            "{text}"
        );
        assert!(text.contains("--kubeconfig"), "{text}");
    }
}
