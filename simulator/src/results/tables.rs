//! The three tables together: made from results, written to a directory, and read from one.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    ClassRow, DelayRow, Format, ResultsError, RunResult, RunRow, csv_file, parquet_file, row::Row,
    write_atomically,
};

/// The three tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// In the order of the runs' parameters.
    pub runs: Vec<RunRow>,
    /// In the order of `runs`; the classes of one run are in the workload's order.
    pub classes: Vec<ClassRow>,
    /// In the order of `runs`; the points of one run are in ascending order.
    pub delays: Vec<DelayRow>,
}

impl FromIterator<RunResult> for Tables {
    fn from_iter<I: IntoIterator<Item = RunResult>>(results: I) -> Self {
        let mut results: Vec<RunResult> = results.into_iter().collect();
        results.sort_by(|one, other| compare(&one.row, &other.row));
        Self {
            classes: results.iter().flat_map(RunResult::class_rows).collect(),
            delays: results.iter().flat_map(RunResult::delay_rows).collect(),
            runs: results.into_iter().map(|result| result.row).collect(),
        }
    }
}

impl Tables {
    /// Writes all tables to `directory` in both formats. `part` becomes part of the file names: empty for a
    /// whole sweep, or such as `-2-of-4`. Each file is replaced atomically.
    pub fn write(&self, directory: &Path, part: &str) -> Result<(), ResultsError> {
        write(&self.runs, directory, part)?;
        write(&self.classes, directory, part)?;
        write(&self.delays, directory, part)
    }

    /// Reads and merges all tables in `directory`. A table that exists in both formats is read from its CSV
    /// file. Errors if a table is missing or invalid, or if two shards have different results of one run.
    pub fn read(directory: &Path) -> Result<Self, ResultsError> {
        let mut results: BTreeMap<String, (RunResult, String)> = BTreeMap::new();
        for part in parts(directory)? {
            for result in read_part(directory, &part)? {
                let run = result.row.run.clone();
                match results.get(&run) {
                    Some((first, _)) if is_same(first, &result) => {}
                    Some((_, first)) => {
                        return Err(ResultsError::Contradiction {
                            directory: directory.to_owned(),
                            run,
                            first: first.clone(),
                            second: part,
                        });
                    }
                    None => {
                        results.insert(run, (result, part.clone()));
                    }
                }
            }
        }
        Ok(results.into_values().map(|(result, _)| result).collect())
    }
}

/// Whether two results are equal except for the wall-clock time.
fn is_same(one: &RunResult, other: &RunResult) -> bool {
    let row = RunRow {
        wall: one.row.wall,
        ..other.row.clone()
    };
    one.row == row && one.classes == other.classes && one.delays == other.delays
}

/// Orders runs by experiment, composition, revision, seed, mice, spread, demand, policy, and the policy's numbers.
fn compare(one: &RunRow, other: &RunRow) -> Ordering {
    // A missing number comes first.
    let number = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
    let whole = |row: &RunRow| (row.n, row.recompute_after, row.fairness);
    (one.experiment, one.composition, one.revision, one.seed)
        .cmp(&(other.experiment, other.composition, other.revision, other.seed))
        .then_with(|| number(one.mice).total_cmp(&number(other.mice)))
        .then_with(|| number(one.spread).total_cmp(&number(other.spread)))
        .then_with(|| number(one.least).total_cmp(&number(other.least)))
        .then_with(|| (&one.policy, one.order).cmp(&(&other.policy, other.order)))
        .then_with(|| whole(one).cmp(&whole(other)))
        .then_with(|| number(one.lifetime).total_cmp(&number(other.lifetime)))
        .then_with(|| one.run.cmp(&other.run))
}

fn file<R: Row>(directory: &Path, part: &str, format: Format) -> PathBuf {
    directory.join(format!("{}{part}.{}", R::TABLE, format.ending()))
}

fn write<R: Row>(rows: &[R], directory: &Path, part: &str) -> Result<(), ResultsError> {
    let path = file::<R>(directory, part, Format::Csv);
    write_atomically(&path, |to| csv_file::write(rows, to)).map_err(ResultsError::io(&path))?;
    let path = file::<R>(directory, part, Format::Parquet);
    write_atomically(&path, |to| parquet_file::write(rows, to))
        .map_err(|error| ResultsError::Parquet { path, error })
}

/// Returns the parts of file names for which `directory` has a table of runs.
fn parts(directory: &Path) -> Result<Vec<String>, ResultsError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory).map_err(ResultsError::io(directory))? {
        let name = entry.map_err(ResultsError::io(directory))?.file_name();
        let part = name.to_str().and_then(|name| {
            let (stem, ending) = name.split_once('.')?;
            let is_table = Format::ALL.iter().any(|format| format.ending() == ending);
            let part = stem.strip_prefix(RunRow::TABLE).filter(|_| is_table)?;
            (part.is_empty() || is_shard(part)).then(|| part.to_owned())
        });
        parts.extend(part);
    }
    if parts.is_empty() {
        return Err(ResultsError::None {
            directory: directory.to_owned(),
        });
    }
    parts.sort();
    parts.dedup();
    Ok(parts)
}

/// Whether a part of a file name is a shard's, such as `-2-of-4`.
fn is_shard(part: &str) -> bool {
    let numbers = part
        .strip_prefix('-')
        .and_then(|numbers| numbers.split_once("-of-"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(index, count)| is_number(index) && is_number(count))
}

fn read_part(directory: &Path, part: &str) -> Result<Vec<RunResult>, ResultsError> {
    let runs: Vec<RunRow> = read(directory, part)?;
    let mut classes: BTreeMap<String, Vec<(String, u64, u64)>> = BTreeMap::new();
    for row in read::<ClassRow>(directory, part)? {
        let of_run = classes.entry(row.run).or_default();
        of_run.push((row.class, row.tasks, row.granted));
    }
    let mut delays: BTreeMap<String, Vec<(f64, u64)>> = BTreeMap::new();
    for row in read::<DelayRow>(directory, part)? {
        delays.entry(row.run).or_default().push((row.delay, row.granted));
    }
    let results = runs.into_iter().map(|row| RunResult {
        classes: classes.remove(&row.run).unwrap_or_default(),
        delays: delays.remove(&row.run).unwrap_or_default(),
        row,
    });
    Ok(results.collect())
}

fn read<R: Row>(directory: &Path, part: &str) -> Result<Vec<R>, ResultsError> {
    for format in Format::ALL {
        let path = file::<R>(directory, part, format);
        if path.exists() {
            return match format {
                Format::Csv => csv_file::read(&path),
                Format::Parquet => parquet_file::read(&path),
            };
        }
    }
    Err(ResultsError::Incomplete {
        directory: directory.to_owned(),
        table: R::TABLE,
        part: part.to_owned(),
    })
}
