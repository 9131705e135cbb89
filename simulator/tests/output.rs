//! Tests the commands with a standard output that can't be written to: a closed pipe and a full disk.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs::OpenOptions,
    io,
    process::{Command, Stdio},
};

const TRACE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../policy/tests/traces/dpf-n-eps-11.json"
);

/// The commands that write to standard output.
const COMMANDS: [&[&str]; 8] = [
    &["replay", TRACE, TRACE],
    &["experiment", "micro-single"],
    &["compare", "micro-single", "fcfs"],
    &["compare", "micro-single", "fcfs", "-o", "json"],
    &["generate", "micro-single"],
    &["--help"],
    &["replay", "--help"],
    &["--version"],
];

/// Returns the exit code and the text on standard error.
fn run(arguments: &[&str], out: impl Into<Stdio>) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .args(arguments)
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn closed() -> io::PipeWriter {
    io::pipe().unwrap().1
}

fn full() -> std::fs::File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_closed_pipe_ends_each_command_quietly() {
    for arguments in COMMANDS {
        assert_eq!(
            run(arguments, closed()),
            (Some(141), String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_full_disk_is_an_error_of_each_command() {
    for arguments in COMMANDS {
        let (code, err) = run(arguments, full());
        assert_eq!(code, Some(1), "{arguments:?}: {err}");
        assert!(
            err.starts_with("privatekube-simulator: can't write to standard output: "),
            "{arguments:?}: {err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn plot_too_says_that_its_last_line_can_not_be_written() {
    let results = tempfile::tempdir().unwrap();
    let results = results.path().to_str().unwrap();
    let sweep = ["sweep", "micro-single", "--only", "policy=fcfs", "--out", results];
    let (code, err) = run(&sweep, closed());
    assert_eq!(code, Some(0), "a sweep writes nothing there: {err}");
    let plot = ["plot", results];
    assert_eq!(run(&plot, closed()).0, Some(141));
    let (code, err) = run(&plot, full());
    assert!(
        code == Some(1) && err.contains("can't write to standard output"),
        "{err}"
    );
}

#[test]
fn a_closed_standard_error_is_not_an_error() {
    let status = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .args(["replay", "none.json"])
        .stderr(full())
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}
