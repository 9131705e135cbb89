//! Tests that the command `generate` writes a trace with the experiment's results.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use privatekube_simulator::experiment::Experiment;
use serde_json::Value;

fn simulator(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .args(arguments)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&simulator(arguments)).unwrap()
}

/// Generates an experiment's trace and replays it. Checks each task's answer and the experiment's totals.
fn check_same_results(arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let trace = path.to_str().unwrap();
    let generate = [&["generate"], arguments, &["--answers", "--out", trace]].concat();
    simulator(&generate);
    let replayed = json(&["replay", "--check", trace]);
    let count = |key: &str| replayed[key].as_array().unwrap().len();

    let report = json(&[&["experiment"], arguments].concat());
    assert_eq!(report["granted"]["total"], count("granted"), "{arguments:?}");
    assert_eq!(report["refused"], count("refused"), "{arguments:?}");
    assert_eq!(report["waiting"], count("waiting"), "{arguments:?}");
}

#[test]
fn each_experiment_has_the_same_results_from_its_trace() {
    for experiment in Experiment::ALL {
        let name = experiment.to_string();
        if name.starts_with("micro-") {
            // A trace has the order of shares only.
            check_same_results(&[&name, "--order", "share"]);
        } else {
            check_same_results(&[&name]);
        }
    }
}

#[test]
fn each_batch_of_the_widest_spread_has_the_same_results_from_its_trace() {
    for name in ["dpack-orders", "dpack-blocks"] {
        for seed in ["1", "2"] {
            check_same_results(&[name, "--spread", "8", "--least", "0.1", "--seed", seed]);
        }
    }
}
