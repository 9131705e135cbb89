//! Tests the command `sweep` as a program: shards, interruption, resumption, and damaged directories.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use privatekube_simulator::results::{RunResult, Tables};
use rustix::process::{Pid, Signal, kill_process};

/// Filters for 45 runs that take milliseconds.
const SMALL: [&str; 5] = ["micro-single", "--only", "composition=basic", "--only", "mice=75"];

fn sweep(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"));
    command.arg("sweep").args(arguments).arg("--out").arg(directory);
    command
}

fn made(directory: &Path, arguments: &[&str]) -> Output {
    let output = sweep(directory, arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Removes the column that differs between machines.
fn tables(directory: &Path) -> Tables {
    let mut tables = Tables::read(directory).unwrap();
    for run in &mut tables.runs {
        run.wall = 0.0;
    }
    tables
}

fn lines(journal: &Path) -> usize {
    let text = fs::read(journal).unwrap_or_default();
    text.into_iter().filter(|byte| *byte == b'\n').count()
}

/// Waits until the journal has this number of runs, or the sweep has ended.
fn wait_for_lines(child: &mut Child, journal: &Path, count: usize) {
    while lines(journal) < count && child.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
}

#[test]
fn all_shards_together_equal_the_whole_sweep() {
    let whole = tempfile::tempdir().unwrap();
    made(whole.path(), &SMALL);
    let shards = tempfile::tempdir().unwrap();
    for shard in ["2/3", "1/3", "3/3"] {
        made(
            shards.path(),
            &[&SMALL[..], &["--shard", shard, "--jobs", "1"]].concat(),
        );
    }
    let whole = tables(whole.path());
    assert_eq!(whole.runs.len(), 45);
    assert_eq!(tables(shards.path()), whole);
    let shard = fs::read_to_string(shards.path().join("runs-2-of-3.csv")).unwrap();
    let manifest = fs::read_to_string(shards.path().join("manifest-2-of-3.json")).unwrap();
    let runs = format!("\"runs\": {}\n", shard.lines().count() - 1);
    assert!(manifest.contains(&runs), "{manifest}");
    assert!(
        manifest.contains("--only mice=75 --seed 3345 --shard 2/3\"")
            && manifest.contains("\"grid_runs\": 45"),
        "{manifest}"
    );
}

#[test]
fn csv_parquet_and_journal_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &SMALL);
    let csv = Tables::read(directory.path()).unwrap();
    for table in ["runs", "classes", "delays"] {
        fs::remove_file(directory.path().join(format!("{table}.csv"))).unwrap();
    }
    assert_eq!(Tables::read(directory.path()).unwrap(), csv);
    let journal = fs::read_to_string(directory.path().join("journal.jsonl")).unwrap();
    let journal = journal
        .lines()
        .map(|line| serde_json::from_str::<RunResult>(line).unwrap());
    assert_eq!(journal.collect::<Tables>(), csv);
}

#[test]
fn a_killed_sweep_continues_where_it_stopped() {
    let whole = tempfile::tempdir().unwrap();
    let grid = ["micro-single", "--only", "composition=basic", "--jobs", "2"];
    made(whole.path(), &grid);
    let killed = tempfile::tempdir().unwrap();
    let journal = killed.path().join("journal.jsonl");
    let mut child = sweep(killed.path(), &grid).stderr(Stdio::null()).spawn().unwrap();
    wait_for_lines(&mut child, &journal, 5);
    child.kill().unwrap();
    child.wait().unwrap();

    // Simulates a last line that did not reach the disk.
    let text = fs::read(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 10]).unwrap();
    let kept = lines(&journal);
    assert!(kept >= 4, "{kept}");
    let output = made(killed.path(), &[&grid[..], &["--resume"]].concat());
    assert!(
        stderr(&output).starts_with(&format!("sweep: {kept} of 225 runs")),
        "{}",
        stderr(&output)
    );
    assert_eq!(tables(killed.path()), tables(whole.path()));
    assert_eq!(lines(&journal), 225);
}

#[test]
fn an_interrupted_sweep_keeps_finished_runs_and_prints_how_to_continue() {
    let directory = tempfile::tempdir().unwrap();
    // More runs than can be made before the signal arrives.
    let seeds: Vec<String> = (0..200).map(|seed| format!("--seed={seed}")).collect();
    let seeds = seeds.iter().map(String::as_str);
    let grid: Vec<&str> = ["micro-single", "--only=composition=basic", "--jobs=1"]
        .into_iter()
        .chain(seeds)
        .collect();
    let mut child = sweep(directory.path(), &grid)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = directory.path().join("journal.jsonl");
    wait_for_lines(&mut child, &journal, 3);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let made = Tables::read(directory.path()).unwrap().runs.len();
    assert_eq!(made, lines(&journal));
    let message = format!("interrupted: {made} of 45000 runs are kept");
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    let resume = format!("--out {} --jobs 1 --resume\n", directory.path().display());
    assert!(stderr(&output).ends_with(&resume), "{}", stderr(&output));
}

#[test]
fn a_long_run_does_not_delay_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = sweep(directory.path(), &["micro-multi", "--jobs", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert_eq!(line, "sweep: 0 of 430 runs, time left unknown yet\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    told.read_to_string(&mut line).unwrap();
    assert!(
        line.contains("interrupted: ") && line.contains(" of 430 runs are kept"),
        "{line}"
    );
    Tables::read(directory.path()).unwrap();
}

#[test]
fn results_are_not_overwritten_or_mixed() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &SMALL);
    let refusal = |arguments: &[&str]| {
        let output = sweep(directory.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let again = refusal(&SMALL);
    assert!(
        again.contains("journal.jsonl has the results of 45 runs") && again.contains("--resume"),
        "{again}"
    );
    let other = refusal(&["micro-single", "--only", "mice=75", "--resume"]);
    assert!(
        other.contains("manifest.json is of another sweep: its command is")
            && other.contains("choose another directory"),
        "{other}"
    );
    // All runs exist: nothing is left to do.
    let output = made(directory.path(), &[&SMALL[..], &["--resume"]].concat());
    assert!(
        stderr(&output).starts_with("sweep: 45 of 45 runs"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn errors_are_named_with_what_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (
            &["micro-singel"][..],
            &[
                "'micro-singel'",
                "accepted are micro-single, micro-multi",
                "and all",
            ][..],
        ),
        (
            &["all", "--shard", "5/4"],
            &["'5/4'", "--shard <I/N>", "I from 1 to N"],
        ),
        (&["all", "--jobs", "0"], &["'0'", "--jobs <N>"]),
        (
            &["all", "--only", "mice"],
            &["'mice'", "--only <KEY=VALUE,...>", "such as mice=75"],
        ),
        (
            &["micro-single", "--only", "mice=33"],
            &["only mice=33: no run has mice 33: accepted are 0, 25, 50, 75, 100"],
        ),
        (
            &["micro-single", "--only", "policy=lottery"],
            &["policy lottery", "dpf-n, dpf-t, fcfs, rr-n, rr-t"],
        ),
        (&["micro-single", "--seed", "x"], &["'x'", "--seed <SEED>"]),
        (&[], &["<NAME>..."]),
    ] {
        let output = sweep(directory.path(), arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        for word in says {
            assert!(
                stderr(&output).contains(word),
                "{arguments:?}: {}",
                stderr(&output)
            );
        }
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = sweep(&file, &SMALL).output().unwrap();
    assert!(
        stderr(&output).contains(&file.display().to_string()),
        "{}",
        stderr(&output)
    );
}

#[test]
fn plot_whole_refuses_a_sweep_that_lacks_a_shard() {
    let directory = tempfile::tempdir().unwrap();
    let figures = directory.path().join("figures");
    made(directory.path(), &[&SMALL[..], &["--shard", "1/2"]].concat());
    let plot = |whole: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"));
        command
            .arg("plot")
            .arg(directory.path())
            .args(whole)
            .output()
            .unwrap()
    };
    let output = plot(&["--whole"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("of 45 runs are missing in "),
        "{}",
        stderr(&output)
    );
    assert!(!figures.exists());
    let output = plot(&[]);
    assert!(output.status.success() && stderr(&output).contains("of 45 runs are missing"));
    made(directory.path(), &[&SMALL[..], &["--shard", "2/2"]].concat());
    let output = plot(&["--whole"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("are missing"), "{}", stderr(&output));
    assert!(figures.join("index.html").exists());
}
