//! Tests that tables are read as they were written, and the errors of reading.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::row::Row;
use super::*;
use crate::experiment::Parameters;

fn result(policy: &str, mice: f64) -> RunResult {
    let run = Parameters {
        policy: Some(policy.parse().unwrap()),
        mice: Some(mice),
        ..Parameters::of(Experiment::MicroSingle)
    };
    run.result().unwrap()
}

fn tables() -> Tables {
    [result("fcfs", 75.0), result("dpf-n", 0.0), result("rr-t", 0.0)]
        .into_iter()
        .collect()
}

fn columns<R: Row>(row: &R) -> BTreeSet<String> {
    let Value::Object(values) = serde_json::to_value(row).unwrap() else {
        panic!("a row has fields");
    };
    values.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn each_field_of_a_row_is_a_column() {
    fn known<R: Row>() -> BTreeSet<String> {
        R::COLUMNS.iter().map(|column| column.name.to_owned()).collect()
    }
    let tables = tables();
    assert_eq!(columns(&tables.runs[0]), known::<RunRow>());
    assert_eq!(columns(&tables.classes[0]), known::<ClassRow>());
    assert_eq!(columns(&tables.delays[0]), known::<DelayRow>());
}

#[test]
fn csv_and_parquet_read_back_as_the_same_tables() {
    let directory = tempfile::tempdir().unwrap();
    let tables = tables();
    tables.write(directory.path(), "").unwrap();
    assert_eq!(Tables::read(directory.path()).unwrap(), tables);
    for table in ["runs", "classes", "delays"] {
        fs::remove_file(directory.path().join(format!("{table}.csv"))).unwrap();
    }
    assert_eq!(Tables::read(directory.path()).unwrap(), tables);
}

#[test]
fn empty_tables_are_written_and_read_too() {
    let directory = tempfile::tempdir().unwrap();
    Tables::default().write(directory.path(), "").unwrap();
    assert_eq!(Tables::read(directory.path()).unwrap(), Tables::default());
    let header = fs::read_to_string(directory.path().join("delays.csv")).unwrap();
    assert_eq!(header, "run,delay,granted\n");
}

#[test]
fn a_line_of_the_journal_reads_back_as_the_same_result() {
    let result = result("dpf-t", 75.0);
    let line = serde_json::to_string(&result).unwrap();
    assert_eq!(serde_json::from_str::<RunResult>(&line).unwrap(), result);
}

#[test]
fn shards_are_merged_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let part = |results: Vec<RunResult>, part: &str| {
        let tables: Tables = results.into_iter().collect();
        tables.write(directory.path(), part).unwrap();
    };
    part(vec![result("rr-t", 0.0), result("fcfs", 75.0)], "-2-of-2");
    part(vec![result("dpf-n", 0.0)], "-1-of-2");
    // A file that is not a table.
    fs::write(directory.path().join("runs-old.csv"), "x").unwrap();
    let read = Tables::read(directory.path()).unwrap();
    let without_wall = |tables: &Tables| {
        let mut tables = tables.clone();
        for run in &mut tables.runs {
            run.wall = 0.0;
        }
        tables
    };
    assert_eq!(without_wall(&read), without_wall(&tables()));
}

#[test]
fn a_run_may_occur_twice_but_not_with_different_results() {
    let directory = tempfile::tempdir().unwrap();
    let one = result("dpf-n", 0.0);
    let mut other = one.clone();
    other.row.wall += 1.0;
    for (result, part) in [(one, "-1-of-2"), (other.clone(), "-2-of-2")] {
        Tables::from_iter([result]).write(directory.path(), part).unwrap();
    }
    assert_eq!(Tables::read(directory.path()).unwrap().runs.len(), 1);
    other.row.granted += 1;
    Tables::from_iter([other]).write(directory.path(), "").unwrap();
    let error = Tables::read(directory.path()).unwrap_err().to_string();
    assert!(
        error.contains("micro-single/basic/dpf-n/published/n=125/mice=0/seed=3345")
            && error.contains("runs-1-of-2"),
        "{error}"
    );
}

#[test]
fn errors_in_a_file_are_named_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let refusal = || Tables::read(directory.path()).unwrap_err().to_string();
    assert!(refusal().contains("expected runs.csv"), "{}", refusal());

    tables().write(directory.path(), "").unwrap();
    let delays = fs::read_to_string(path("delays.csv")).unwrap();
    let seventh = delays.lines().nth(6).unwrap();
    let wrong = |line: &str| fs::write(path("delays.csv"), delays.replacen(seventh, line, 1)).unwrap();
    wrong("somewhere,soon,3");
    assert!(
        refusal().contains("delays.csv: line 7: column delay: invalid float"),
        "{}",
        refusal()
    );
    wrong("somewhere");
    assert!(
        refusal().contains("line 7: 1 values, but there are 3 columns"),
        "{}",
        refusal()
    );
    fs::write(path("delays.csv"), "run,delay\n").unwrap();
    assert!(
        refusal().contains("line 1: column granted is missing"),
        "{}",
        refusal()
    );
    fs::remove_file(path("delays.csv")).unwrap();
    fs::write(path("delays.parquet"), "PAR1").unwrap();
    assert!(refusal().contains("delays.parquet: "), "{}", refusal());
    fs::remove_file(path("delays.parquet")).unwrap();
    assert!(
        refusal().contains("delays.csv or delays.parquet is missing"),
        "{}",
        refusal()
    );
}

#[test]
fn a_file_that_cannot_be_finished_leaves_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    fs::write(&path, "old").unwrap();
    let failed: std::io::Result<()> =
        write_atomically(&path, |_| Err(std::io::Error::other("no space left")));
    assert_eq!(failed.unwrap_err().to_string(), "no space left");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
