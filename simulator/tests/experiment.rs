//! Tests the command `experiment` as a program.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use serde_json::{Value, json};

fn experiment(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .arg("experiment")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_run_is_one_line_with_its_parameters_and_results() {
    let (succeeded, out, err) = experiment(&["micro-multi", "--policy", "dpf-n", "--n", "210"]);
    assert!(succeeded, "{err}");
    assert_eq!(out.lines().count(), 1);
    let line: Value = serde_json::from_str(&out).unwrap();
    for (key, value) in [
        ("experiment", json!("micro-multi")),
        ("policy", json!("dpf-n")),
        ("composition", json!("basic")),
        ("order", json!("published")),
        ("n", json!(210)),
        ("mice_percent", json!(75.0)),
        ("seed", json!(3345)),
        ("blocks", json!(41)),
        ("tasks", json!(3879)),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert_eq!(line["granted"]["total"], 2334);
    assert_eq!(line["granted"]["by_engine"], 2333);
    let classes = line["granted"]["classes"].as_array().unwrap();
    let of_classes: u64 = classes
        .iter()
        .map(|class| class["granted"].as_u64().unwrap())
        .sum();
    assert_eq!(of_classes, 2334);
    let count = |key: &str| line[key].as_u64().unwrap();
    assert_eq!(2334 + count("refused") + count("waiting"), 3879);
    assert!(line["delay_seconds"]["p50"].as_f64().unwrap() < line["delay_seconds"]["max"].as_f64().unwrap());
    assert!(line["wall_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn parameters_left_out_have_the_experiments_defaults() {
    let line = |arguments: &[&str]| -> Value { serde_json::from_str(&experiment(arguments).1).unwrap() };
    let own = line(&["micro-single"]);
    assert_eq!(
        (&own["policy"], &own["n"], &own["granted"]["total"]),
        (&json!("dpf-n"), &json!(125), &json!(100))
    );
    let over_time = line(&["micro-single", "--lifetime", "75"]);
    assert_eq!(
        (&over_time["policy"], &over_time["granted"]["total"]),
        (&json!("dpf-t"), &json!(73))
    );
    let shared = line(&["micro-multi", "--n", "210", "--order", "share"]);
    assert_eq!(
        (&shared["granted"]["total"], &shared["granted"]["by_engine"]),
        (&json!(2333), &Value::Null)
    );
}

#[test]
fn the_optimum_is_reported_with_its_bound() {
    let line = |arguments: &[&str]| -> Value {
        let (succeeded, out, err) = experiment(arguments);
        assert!(succeeded, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let one_block = line(&["dpack-orders", "--policy", "optimum"]);
    assert_eq!(
        (
            &one_block["granted"]["total"],
            &one_block["bound"],
            &one_block["nodes"]
        ),
        (&json!(199), &json!(199), &Value::Null)
    );
    let proven = line(&["dpack-blocks", "--policy", "optimum"]);
    assert_eq!(
        (&proven["granted"]["total"], &proven["bound"], &proven["nodes"]),
        (&json!(61), &json!(61), &json!(100_000))
    );
    let ended = line(&["dpack-blocks", "--policy", "optimum", "--nodes", "10"]);
    let (granted, bound) = (ended["granted"]["total"].as_u64(), ended["bound"].as_u64());
    assert!(granted < Some(61) && bound >= Some(61), "{ended}");
    let dpack = line(&["dpack-blocks"]);
    assert!(dpack["granted"]["total"].as_u64() <= granted && dpack["bound"].is_null());
}

#[test]
fn errors_are_named_with_what_is_accepted() {
    let wrong: [(&[&str], &[&str]); 14] = [
        (&["micro"], &["\"micro\"", "micro-single"]),
        (
            &["micro-single", "--policy", "lottery"],
            &["--policy", "lottery", "dpf"],
        ),
        (&["micro-single", "--n", "-1"], &["--n"]),
        (&["micro-single", "--n", "0"], &["0", "1"]),
        (
            &["micro-single", "--policy", "dpf-t", "--n", "4"],
            &["n is 4", "dpf-t", "leave n out"],
        ),
        (&["micro-single", "--mice", "101"], &["mice", "101", "0 to 100"]),
        (
            &["micro-single", "--spread", "2"],
            &["spread is 2", "micro-single", "leave it out"],
        ),
        (
            &["micro-single", "--policy", "fcfs", "--order", "published"],
            &["published", "dpf-n"],
        ),
        (
            &["micro-multi", "--policy", "rr-n", "--composition", "renyi"],
            &["roundRobin", "basic"],
        ),
        (
            &["micro-multi", "--policy", "optimum"],
            &["optimum", "dpack-orders and dpack-blocks only"],
        ),
        (
            &["alibaba", "--policy", "optimum"],
            &["optimum", "dpack-orders and dpack-blocks only"],
        ),
        (
            &["macro", "--policy", "optimum-n"],
            &["\"optimum-n\" is no policy"],
        ),
        (
            &["dpack-orders", "--policy", "optimum", "--nodes", "9"],
            &["nodes is 9", "dpack-blocks", "leave nodes out"],
        ),
        (
            &["dpack-blocks", "--policy", "optimum", "--lifetime", "9"],
            &["lifetime is 9", "optimum", "leave lifetime out"],
        ),
    ];
    for (arguments, says) in wrong {
        let (succeeded, _, err) = experiment(arguments);
        assert!(!succeeded, "{arguments:?}");
        for word in says {
            assert!(err.contains(word), "{word:?} is not in: {err}");
        }
    }
}

#[test]
fn help_has_an_example() {
    let (succeeded, out, _) = experiment(&["--help"]);
    assert!(
        succeeded && out.contains("privatekube-simulator experiment "),
        "{out}"
    );
}

/// With N = 100, mice demand exactly a fair share: DPF grants each at once that is among the first, and other policies
/// don't.
#[test]
fn a_run_is_measured_for_fairness() {
    let measures = |policy: &str| -> Value {
        let (succeeded, out, err) =
            experiment(&["micro-multi", "--policy", policy, "--n", "100", "--revision", "3"]);
        assert!(succeeded, "{err}");
        let line: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(line["revision"], 3);
        line["measures"].clone()
    };
    let dpf = measures("dpf-n");
    assert_eq!((&dpf["fair_not_at_once"], &dpf["envied"]), (&json!(0), &json!(0)));
    let fair = |measures: &Value| {
        measures["fair_at_once"].as_u64().unwrap() + measures["fair_not_at_once"].as_u64().unwrap()
    };
    let fcfs = measures("fcfs-wait-n");
    assert!(
        fair(&dpf) > 2000 && fcfs["fair_not_at_once"].as_u64().unwrap() > 100,
        "{dpf} {fcfs}"
    );
    assert!(fcfs["envied"].as_u64().unwrap() > 50, "{fcfs}");
    assert!(dpf["unused_blocks"].as_f64().unwrap() > 0.0);
    assert!((0.3..1.0).contains(&dpf["jain"].as_f64().unwrap()));
}

#[test]
fn the_released_order_of_visits_goes_with_the_released_rules() {
    let arguments = ["micro-single", "--order", "published", "--revision"];
    let (succeeded, out, _) = experiment(&[&arguments[..], &["1"]].concat());
    assert!(succeeded);
    let released: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&released["revision"], &released["order"]),
        (&json!(1), &json!("published"))
    );
    let (succeeded, _, err) = experiment(&[&arguments[..], &["3"]].concat());
    assert!(!succeeded && err.contains("revision 1 only"), "{err}");
    let (succeeded, _, err) = experiment(&["micro-single", "--revision", "4"]);
    assert!(
        !succeeded && err.contains("\"4\" is no revision of the rules"),
        "{err}"
    );
}
