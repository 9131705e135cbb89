//! Tests the command `replay` as a program.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

fn traces() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/traces");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

fn replay(files: &[PathBuf]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .arg("replay")
        .arg("--check")
        .args(files)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn each_known_trace_gives_a_line_with_its_known_answers() {
    let files = traces();
    assert_eq!(files.len(), 48);
    let (succeeded, out, err) = replay(&files);
    assert!(succeeded, "{err}");
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), files.len());
    for (line, path) in lines.iter().zip(&files) {
        let trace: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let tasks = trace["tasks"].as_array().unwrap();
        let known = tasks.iter().enumerate().filter(|(_, task)| !task[4].is_null());
        let known: Vec<Value> = known.map(|(at, task)| json!([at, task[4]])).collect();
        assert_eq!(line["file"], path.display().to_string());
        assert_eq!(line["granted"], Value::from(known), "{}", path.display());
        let count = |key: &str| line[key].as_array().unwrap().len();
        assert_eq!(
            count("granted") + count("refused") + count("waiting"),
            tasks.len()
        );
        if trace["policy"] == "fcfs" {
            assert_eq!(count("waiting"), 0);
        }
    }
}

/// Changes of the small trace that make it unlock over time.
fn over_time(trace: &mut Value) {
    trace["policy"] = json!("dpf-t");
    trace["n"] = json!(null);
    trace["lifetime"] = json!(5);
}

/// Returns a small trace with some values replaced.
fn write(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let mut trace = json!({
        "policy": "dpf-n", "composition": "epsilon-delta", "n": 2, "lifetime": null, "tick": 0.5,
        "block": {"epsilon": 1.0, "delta": 1e-6}, "task_delta": 1e-9, "blocks": 2, "timeout": 5, "end": 10,
        "tasks": [[1.5, 0, 1, 0.5, 1.5], [0.5, 0, 0, 0.9, null], [2, 1, 1, 0.25, 2]],
    });
    change(&mut trace);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    fs::write(&path, trace.to_string()).unwrap();
    (folder, path)
}

#[test]
fn tasks_may_come_in_any_order_and_keep_their_place() {
    let (_folder, path) = write(|_| ());
    let (succeeded, out, err) = replay(&[path]);
    assert!(succeeded, "{err}");
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["granted"], json!([[0, 1.5], [2, 2.0]]));
    assert_eq!(line["refused"], json!([1]));
}

/// The page's examples replay with the answers that they state, and its tables have all keys.
#[test]
fn the_documented_format_is_the_one_that_is_read() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/traces.md");
    let page = fs::read_to_string(page).unwrap();
    let examples: Vec<&str> = page.split("```json\n").skip(1).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let trace: Value = serde_json::from_str(example.split("```").next().unwrap()).unwrap();
        let has_answers = trace["tasks"][0].get(4).is_some();
        let (_folder, path) = write(|all| *all = trace);
        let (succeeded, out, err) = replay(&[path]);
        assert!(succeeded || !has_answers, "{err}");
        assert!(out.contains("\"waiting\":[]"), "{out}{err}");
    }
    // The message for an unknown key lists the known ones.
    let (_folder, path) = write(|trace| trace["unknown"] = json!(1));
    let (_, _, err) = replay(&[path]);
    let known: Vec<&str> = err.split('`').skip(3).step_by(2).collect();
    assert_eq!(known.len(), 20, "{err}");
    for key in known {
        assert!(
            page.contains(&format!("| `{key}`")) || page.contains(&format!("`, `{key}` |")),
            "{key}"
        );
    }
}

type Change = fn(&mut Value);

/// Replays traces with one change each, and looks for words in the error messages.
fn all_are_refused(wrong: &[(Change, &[&str])]) {
    for (change, says) in wrong {
        let (_folder, path) = write(change);
        let (succeeded, _, err) = replay(std::slice::from_ref(&path));
        assert!(!succeeded, "{says:?}");
        for word in says.iter().chain(&["trace.json"]) {
            assert!(err.contains(word), "{word:?} is not in: {err}");
        }
    }
}

#[test]
fn errors_are_named_with_their_place_and_what_is_accepted() {
    let wrong: [(Change, &[&str]); 22] = [
        (
            |t| t["time_out"] = json!(5),
            &["unknown field `time_out`", "expected one of", "`timeout`"],
        ),
        (
            |t| t["task_columns"] = json!(["arrival", "demand"]),
            &["task_columns: [\"arrival\", \"demand\"]: accepted is [\"arrival\", \"first_block\""],
        ),
        (
            |t| t["block"]["alpha"] = json!(5),
            &["block", "unknown field `alpha`", "`epsilon`, `delta`, `curve`"],
        ),
        (
            |t| t["tasks"][1] = json!({"arrival": 1, "blocks": [0], "demand": 0.5, "importance": 2}),
            &["tasks[1]", "unknown field `importance`", "`weight`"],
        ),
        (|t| t["policy"] = json!("lottery"), &["policy", "lottery", "dpf"]),
        (|t| t["n"] = json!(null), &["policy", "dpf-n", "needs n"]),
        (|t| t["n"] = json!("2"), &["n:", "line 1 column", "u32"]),
        (
            |t| t["composition"] = json!("sum"),
            &["composition", "sum", "epsilon-delta"],
        ),
        (|t| t["block"] = json!({}), &["block", "epsilon", "curve"]),
        (
            |t| t["block"] = json!({"epsilon": -1}),
            &["block.epsilon", "-1", "negative"],
        ),
        (|t| t["blocks"] = json!(0), &["blocks", "0", "1 to"]),
        (
            |t| t["tasks"][1][0] = json!(-1),
            &["tasks[1]: arrival", "-1 seconds", "0 to"],
        ),
        (
            |t| t["tasks"][1][2] = json!(2),
            &["tasks[1]: blocks", "0 to 2", "0 to 1"],
        ),
        (|t| t["tasks"][1][3] = json!(0), &["tasks[1]: demand", "0"]),
        (
            |t| t["tasks"][1][3] = json!("noise"),
            &["tasks[1]: demand", "noise", "gaussian"],
        ),
        (
            |t| t["tasks"][1][3] = json!([1]),
            &["tasks[1]", "epsilon", "mechanism"],
        ),
        (
            |t| t["tasks"][1] = json!([1, 2]),
            &[
                "tasks[1]: invalid length 2, expected a row of 5 values: arrival, first block, last block, demand",
            ],
        ),
        (
            |t| t["tasks"][1] = json!([1, 0, 0, 0.5, 1, 7]),
            &["tasks[1]: invalid length 6, expected a task: [arrival, first block, last block, demand"],
        ),
        (
            |t| drop(t.as_object_mut().unwrap().remove("end")),
            &["trace.json: missing field `end` at line 1 column"],
        ),
        (
            |t| t["tasks"][2][4] = json!(3),
            &[
                "1 task differs",
                "task 2",
                "granted at 2 here",
                "granted at 3 there",
            ],
        ),
        (
            |t| t["block_arrivals"] = json!([0]),
            &["block_arrivals", "1 times", "2 blocks"],
        ),
        (
            |t| t["block_arrivals"] = json!([0, 9]),
            &["tasks[0]: blocks", "1", "after the task"],
        ),
    ];
    all_are_refused(&wrong);
}

#[test]
fn a_number_of_the_policy_is_named_by_its_key() {
    let wrong: [(Change, &[&str]); 7] = [
        (
            |t| t["n"] = json!(0),
            &["trace.json: n is 0: it must be at least 1"],
        ),
        (
            |t| {
                t["policy"] = json!("dpf-t");
                t["n"] = json!(null);
            },
            &["trace.json: policy dpf-t", "needs a lifetime"],
        ),
        (
            |t| {
                over_time(t);
                t["tick"] = json!(null);
            },
            &["trace.json: policy dpf-t", "needs a tick"],
        ),
        (
            |t| {
                over_time(t);
                t["tick"] = json!(0);
            },
            &["trace.json: tick is 0 seconds: it must be longer"],
        ),
        (
            |t| {
                over_time(t);
                t["policy"] = json!("rr-t");
                t["tick"] = json!(1e-9);
            },
            &["trace.json: tick is 0.000000001 seconds", "1000000 ticks"],
        ),
        (
            |t| {
                t["policy"] = json!("dpack-n");
                t["recompute_after"] = json!(0);
            },
            &["trace.json: recompute_after is 0: it must be at least 1"],
        ),
        (
            |t| {
                t["policy"] = json!("blend-n");
                t["fairness"] = json!(1001);
            },
            &["trace.json: fairness is 1001 thousandths: it must be at most 1000"],
        ),
    ];
    all_are_refused(&wrong);
}

#[test]
fn invalid_json_is_named_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    for (text, says) in [
        ("", "trace.json: EOF while parsing a value at line 1 column 0\n"),
        (
            "{",
            "trace.json: EOF while parsing an object at line 1 column 1\n",
        ),
        (
            "{\n\"policy\": }",
            "trace.json: expected value at line 2 column 11\n",
        ),
        (
            "[]",
            "trace.json: invalid type: sequence, expected an object: a trace, with at least policy, composition, block, \
             blocks, end and tasks at line 1 column 0\n",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let (succeeded, _, err) = replay(std::slice::from_ref(&path));
        assert!(!succeeded && err.contains(says), "{says:?} is not in: {err}");
    }
}

#[test]
fn a_missing_file_does_not_keep_the_others_from_being_replayed() {
    let (folder, path) = write(|_| ());
    let (succeeded, out, err) = replay(&[folder.path().join("none.json"), path]);
    assert!(
        !succeeded && err.contains("none.json") && err.contains("1 of 2"),
        "{err}"
    );
    assert_eq!(out.lines().count(), 1);
}

/// Without a `revision`, a trace has that of the papers: the first task, refused, unlocks half a block for the second.
#[test]
fn a_trace_says_which_revision_of_the_rules_it_has() {
    let replayed = |revision: Value, granted_at: Value| {
        let (_folder, path) = write(|trace| {
            trace["tasks"] = json!([[0.5, 0, 0, 9, null], [1.5, 0, 0, 1, granted_at]]);
            if !revision.is_null() {
                trace["revision"] = revision;
            }
        });
        let (succeeded, _, err) = replay(&[path]);
        assert!(succeeded, "{err}");
    };
    replayed(json!(null), json!(1.5));
    replayed(json!(1), json!(1.5));
    replayed(json!(2), json!(null));
}
