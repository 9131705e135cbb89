//! Tests the Jobs of `examples/sweep` by running their commands as a node would.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use privatekube_simulator::results::Tables;
use serde_json::Value;

fn job(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/sweep")
        .join(file);
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn container(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]["containers"][0]
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
}

#[test]
fn its_pods_make_all_shards_and_the_figures_of_all_of_them() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path().to_str().unwrap();
    let sweep = job("01-sweep.yaml");
    let shards = sweep["spec"]["completions"].as_u64().unwrap();
    let container_of_sweep = container(&sweep);
    let env = &container_of_sweep["env"][0];
    assert_eq!(
        (&env["name"], &env["value"]),
        (&Value::from("SHARDS"), &Value::from(shards.to_string()))
    );
    let script = container_of_sweep["args"][0].as_str().unwrap();
    assert!(
        script.contains(" sweep all ") && script.contains(" --out /results"),
        "{script}"
    );
    // Fewer runs, in a temporary directory.
    let script = script
        .replace(
            " sweep all ",
            " sweep micro-single --only composition=basic --only mice=75 ",
        )
        .replace(" /results", &format!(" {results}"));
    let path = env::join_paths(
        [program().parent().unwrap().to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    for index in 0..shards {
        let status = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", path.as_ref().unwrap())
            .env("SHARDS", shards.to_string())
            .env("JOB_COMPLETION_INDEX", index.to_string())
            .status();
        assert!(status.unwrap().success(), "shard {index}");
    }
    assert_eq!(Tables::read(Path::new(results)).unwrap().runs.len(), 45);

    let plot = job("02-plot.yaml");
    let arguments = container(&plot)["args"].as_array().unwrap().iter();
    let arguments = arguments.map(|argument| argument.as_str().unwrap().replace("/results", results));
    let status = Command::new(program()).args(arguments).status();
    assert!(status.unwrap().success());
    assert!(Path::new(results).join("figures/index.html").exists());
}
