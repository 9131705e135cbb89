//! Tests the commands `generate` and `compare` as programs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

fn simulator(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"));
    command.args(arguments).output().unwrap()
}

fn out(arguments: &[&str]) -> String {
    let output = simulator(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
    text(output.stdout)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_generated_trace_is_the_experiment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.json");
    let path = path.to_str().unwrap();
    for parameters in [
        &["micro-single", "--policy", "dpf-n", "--n", "100"][..],
        &[
            "micro-multi",
            "--policy",
            "rr-t",
            "--lifetime",
            "9.765625",
            "--mice",
            "50",
        ],
        &["macro", "--policy", "fcfs"],
    ] {
        out(&[&["generate"], parameters, &["--answers", "--out", path]].concat());
        // Fails if an answer differs.
        out(&["replay", "--check", path]);
        let trace: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let source = trace["source"].as_str().unwrap();
        assert!(source.contains(&format!("{}/", parameters[0])), "{source}");
        let tasks = trace["tasks"].as_array().unwrap().len();
        let report: Value = serde_json::from_str(&out(&[&["experiment"], parameters].concat())).unwrap();
        assert_eq!(report["tasks"], tasks);
    }
    let whole = out(&["generate", "micro-single"]);
    assert!(whole.starts_with('{') && whole.ends_with("}\n"));
}

#[test]
fn runs_traces_and_results_can_all_be_compared() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (trace, results) = (file("trace.json"), file("results.jsonl"));
    out(&[
        "generate",
        "micro-single",
        "--policy",
        "rr-n",
        "--n",
        "100",
        "--out",
        &trace,
    ]);
    fs::write(&results, out(&["replay", &trace])).unwrap();
    let compared = |a: &str, b: &str| {
        let mut comparison: Value = serde_json::from_str(&out(&["compare", a, b, "-o", "json"])).unwrap();
        let a = comparison["a"]["run"].take();
        comparison["b"]["run"].take();
        (comparison, a)
    };
    let (of_names, name) = compared("micro-single/rr-n/n=100", "fcfs");
    // The released simulator grants 48 and 46 with seed 3345.
    assert_eq!(
        (&of_names["a"]["granted"], &of_names["b"]["granted"]),
        (&Value::from(48), &Value::from(46))
    );
    assert_eq!(name, "micro-single/basic/rr-n/n=100/mice=75/seed=3345");
    assert_eq!(compared(&trace, "fcfs").0, of_names);
    assert_eq!(compared(&results, "fcfs").0, of_names);
    assert_eq!(
        compared(&results, "micro-single/basic/fcfs/mice=75/seed=3345").0,
        of_names
    );
    let only_a = of_names["only_a"].as_array().unwrap().len();
    let only_b = of_names["only_b"].as_array().unwrap().len();
    assert_eq!(only_a - only_b, 2);

    let page = out(&["compare", "micro-single/rr-n/n=100", "fcfs", "--list", "1"]);
    assert!(
        page.contains(&format!("Granted by A only, 1 of {only_a}")),
        "{page}"
    );
}

#[test]
fn results_of_several_traces_are_paired_by_trace() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (one, other) = (file("one.json"), file("other.json"));
    out(&["generate", "micro-single", "--seed", "1", "--out", &one]);
    out(&["generate", "micro-single", "--seed", "2", "--out", &other]);
    let (before, after, alone) = (file("before.jsonl"), file("after.jsonl"), file("alone.jsonl"));
    fs::write(&before, out(&["replay", &one, &other])).unwrap();
    fs::write(&after, out(&["replay", &other, &one])).unwrap();
    fs::write(&alone, out(&["replay", &other])).unwrap();
    let lines = out(&["compare", &before, &after, "-o", "json"]);
    let runs: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (comparison, path) in runs.iter().zip([&one, &other]) {
        assert_eq!(
            (&comparison["a"]["run"], &comparison["b"]["run"]),
            (&Value::from(path.as_str()), &Value::from(path.as_str()))
        );
        assert_eq!(comparison["only_a"], Value::Array(Vec::new()));
    }
    assert_eq!(runs.len(), 2);

    let refusal = |a: &str, b: &str| {
        let output = simulator(&["compare", a, b]);
        assert_eq!(output.status.code(), Some(1));
        text(output.stderr)
    };
    let error = refusal(&before, &alone);
    assert!(
        error.contains(&format!("{alone} has no run to compare with {one} of {before}")),
        "{error}"
    );
    let error = refusal(&before, "fcfs");
    assert!(
        error.contains("fcfs: decides one workload") && error.contains("has 2 runs"),
        "{error}"
    );
    fs::write(&alone, "{\"file\": 3}\n").unwrap();
    let error = refusal(&alone, "fcfs");
    assert!(
        error.contains("alone.jsonl: line 1: ") && error.contains("lines that `replay` prints"),
        "{error}"
    );
    let short = format!("{{\"file\":{one:?},\"granted\":[[0,1.5]],\"refused\":[],\"waiting\":[]}}\n");
    fs::write(&alone, short).unwrap();
    let error = refusal(&alone, "fcfs");
    assert!(
        error.contains("tasks, but the line has 1: was the trace changed since?"),
        "{error}"
    );
}
