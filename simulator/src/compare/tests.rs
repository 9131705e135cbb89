//! Tests comparisons of small traces, and the errors.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::*;

/// A trace in which two of four arrivals unlock half of a block, and a large task arrives before small ones.
fn trace(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, PathBuf) {
    let mut trace = json!({
        "policy": "dpf-n",
        "composition": "epsilon-delta",
        "n": 4,
        "block": {"epsilon": 1, "delta": 0},
        "blocks": 2,
        "timeout": null,
        "end": 10,
        "classes": ["mice", "elephants"],
        "tasks": [
            {"arrival": 1, "blocks": [0, 1], "demand": 0.9, "class": 1},
            [2, 0, 0, 0.3],
            [3, 0, 0, 0.3],
            [4, 0, 0, 0.3],
            [5, 1, 1, 0.2],
        ],
    });
    change(&mut trace);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.json");
    fs::write(&path, trace.to_string()).unwrap();
    (directory, path)
}

fn compare(a: &str, b: &str) -> Result<Comparison, CompareError> {
    let pairs = pair(a, b)?;
    let (a, b) = &pairs[0];
    Comparison::of(a, b)
}

#[test]
fn two_policies_are_compared_task_by_task() {
    let (_directory, path) = trace(|_| ());
    let comparison = compare(path.to_str().unwrap(), "fcfs").unwrap();
    // Under DPF, 0.3 fits as soon as two of four arrivals have unlocked half of the block, and the large task
    // never fits. First come first served grants the large task and nothing after it.
    assert_eq!((comparison.a.granted, comparison.b.granted), (4, 1));
    assert_eq!((comparison.a.waiting, comparison.b.refused), (0, 4));
    let numbers = |tasks: &[TaskPair]| tasks.iter().map(|task| task.task).collect::<Vec<_>>();
    assert_eq!(numbers(&comparison.only_a), [1, 2, 3, 4]);
    assert_eq!(numbers(&comparison.only_b), [0]);
    let elephant = &comparison.only_b[0];
    assert_eq!(
        (elephant.blocks, elephant.class.as_str(), elephant.other),
        (2, "elephants", End::Refused)
    );
    assert!((elephant.dominant_share - 0.9).abs() < 1e-12);
    assert!((elephant.granted_at - 1.0).abs() < 1e-12);
    let classes: Vec<_> = comparison
        .classes
        .iter()
        .map(|class| (class.granted_a, class.granted_b))
        .collect();
    assert_eq!(classes, [(4, 0), (0, 1)]);
    assert_eq!(comparison.dominant_shares.only_a.unwrap().count, 4);
    assert_eq!(comparison.dominant_shares.both, None);
    assert_eq!(comparison.delay_change.seconds, None);
}

#[test]
fn tasks_that_both_grant_are_compared_by_their_delay() {
    let (_directory, path) =
        trace(|trace| trace["tasks"] = json!([[1, 0, 0, 0.5], [2, 0, 0, 0.1], [3, 0, 0, 0.1]]));
    let comparison = compare(path.to_str().unwrap(), "dpf-n/n=2").unwrap();
    // With N = 4 a small task is granted before the first one, which waits for the third arrival, 2 s.
    let change = comparison.delay_change;
    assert_eq!((change.sooner, change.same, change.later), (1, 2, 0));
    assert!((change.seconds.unwrap().min + 2.0).abs() < 1e-9);
}

#[test]
fn a_run_compared_with_itself_does_not_differ() {
    let (_directory, path) = trace(|_| ());
    let path = path.to_str().unwrap();
    for (a, b) in [
        (path, path),
        (path, "dpf-n/n=4"),
        ("micro-single/n=100", "micro-single/dpf-n/n=100"),
    ] {
        let comparison = compare(a, b).unwrap();
        assert_eq!(
            (comparison.only_a.len(), comparison.only_b.len()),
            (0, 0),
            "{a} {b}"
        );
        assert_eq!(comparison.a.delay_seconds, comparison.b.delay_seconds);
        assert!(comparison.ends.iter().all(|pair| pair.a == pair.b));
        let change = comparison.delay_change;
        assert_eq!((change.sooner, change.later), (0, 0));
    }
}

#[test]
fn a_page_has_totals_classes_and_the_first_tasks() {
    let (_directory, path) = trace(|_| ());
    let comparison = compare(path.to_str().unwrap(), "fcfs").unwrap();
    let page = comparison.page(2).to_string();
    for line in [
        "B: fcfs",
        "5 tasks, 2 blocks",
        "granted                                      5           4           1          -3",
        "  elephants                                  1           0           1          +1",
        "Granted by A only, 2 of 4",
        "         0      1.000000       2  0.900000      1.000000  ",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

/// Under the papers' rules a share is often in the thousands, and a trace may be of years.
#[test]
fn wide_values_stay_apart() {
    let (_directory, path) = trace(|_| ());
    let mut comparison = compare(path.to_str().unwrap(), "fcfs").unwrap();
    let wide = TaskPair {
        task: 12_345_678_901,
        arrival: 1_234_567_890.123_456,
        blocks: 123_456_789,
        dominant_share: 123_456.75,
        class: "elephants".to_owned(),
        granted_at: 3_234_567_890.5,
        other: End::Waiting,
    };
    comparison.only_a = vec![wide.clone(), wide];
    comparison.tasks = 12_345_678_901;
    let page = comparison.page(2).to_string();
    let table = |first: &str| {
        let lines = page.lines().skip_while(|line| !line.starts_with(first)).skip(1);
        let lines = lines.take_while(|line| !line.is_empty());
        lines.map(cells).collect::<Vec<_>>()
    };
    for row in table("Granted by A only") {
        assert_eq!(row.len(), 7, "{row:?} of\n{page}");
    }
    assert_eq!(
        table("Granted by A only")[1],
        [
            "12345678901",
            "1234567890.123456",
            "123456789",
            "123456.750000",
            "3234567890.500000",
            "waiting",
            "elephants"
        ]
    );
    let granted = page.lines().find(|line| line.starts_with("granted")).unwrap();
    assert_eq!(cells(granted)[1], "12345678901");
}

/// A line's cells, between which there are two blanks or more.
fn cells(line: &str) -> Vec<String> {
    let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    cells.map(str::to_owned).collect()
}

#[test]
fn runs_that_cannot_be_compared_are_refused_with_the_reason() {
    let (_directory, path) = trace(|_| ());
    let (_other_directory, other) = trace(|trace| trace["tasks"][4] = json!([6, 1, 1, 0.2]));
    let (_less_directory, less) = trace(|trace| trace["tasks"][4] = json!([5, 1, 1, 0.1]));
    let path = path.to_str().unwrap();
    for (a, b, says) in [
        (
            path,
            other.to_str().unwrap(),
            "different workloads: task 4 comes at another time",
        ),
        (
            path,
            less.to_str().unwrap(),
            "different workloads: task 4 asks for other budgets",
        ),
        ("micro-single", "micro-multi", "different workloads: the one has"),
        (
            path,
            "lottery",
            "\"lottery\" is neither a file nor a run: \"lottery\" is no policy",
        ),
        (
            "missing.json",
            "fcfs",
            "\"missing.json\" is neither a file nor a run: \"missing.json\" is no experiment",
        ),
        (path, "fcfs/mice=3", "a trace says what is asked"),
        (
            path,
            "dpf-n",
            "dpf-n: policy dpf-n unlocks by arrivals: it needs n",
        ),
        (
            "micro-single",
            "rr-n/lifetime=3",
            "rr-n/lifetime=3: lifetime is 3, but policy rr-n",
        ),
    ] {
        let error = compare(a, b).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
