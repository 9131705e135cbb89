//! The durable journal of a sweep: a line of JSON for each run, written when the run ends.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::SweepError;
use crate::results::RunResult;

/// The open journal file. It is locked, so no other sweep can open it.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates the journal and returns the results in it. Removes an incomplete last line.
    pub(super) fn open(path: &Path, resume: bool) -> Result<(Self, Vec<RunResult>), SweepError> {
        let io = SweepError::io(path);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(&io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SweepError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(error) => io(error),
        })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(&io)?;
        let (made, end) = read(&text).map_err(|(line, error)| SweepError::Line {
            path: path.to_owned(),
            line,
            error,
        })?;
        if !resume && !made.is_empty() {
            return Err(SweepError::NotEmpty {
                path: path.to_owned(),
                runs: made.len(),
            });
        }
        file.set_len(end as u64).map_err(&io)?;
        file.seek(SeekFrom::End(0)).map_err(&io)?;
        let path = path.to_owned();
        Ok((Self { path, file }, made))
    }

    /// Appends a result. When this returns, it survives a crash of the machine.
    pub(super) fn add(&mut self, result: &RunResult) -> Result<(), SweepError> {
        let io = SweepError::io(&self.path);
        let mut line = serde_json::to_vec(result).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(&io)?;
        self.file.sync_data().map_err(&io)
    }
}

/// Returns the results, and the position after the last whole line.
fn read(text: &[u8]) -> Result<(Vec<RunResult>, usize), (usize, serde_json::Error)> {
    let mut made: Vec<RunResult> = Vec::new();
    let mut names = BTreeSet::new();
    let mut end = 0;
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let is_last = lines.peek().is_none();
        match serde_json::from_slice::<RunResult>(line) {
            Ok(result) if line.ends_with(b"\n") => {
                // A run may occur twice if somebody concatenated journals.
                if names.insert(result.row.run.clone()) {
                    made.push(result);
                }
                end += line.len();
            }
            Err(error) if !is_last => return Err((number + 1, error)),
            _ => break,
        }
    }
    Ok((made, end))
}

#[cfg(test)]
mod tests {
    use std::{fs, slice};

    use super::*;
    use crate::experiment::{Experiment, Parameters};

    fn result(mice: f64) -> RunResult {
        let run = Parameters {
            mice: Some(mice),
            ..Parameters::of(Experiment::MicroSingle)
        };
        run.result().unwrap()
    }

    #[test]
    fn added_results_are_read_when_the_journal_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (one, other) = (result(0.0), result(100.0));
        let (mut journal, made) = Journal::open(&path, false).unwrap();
        assert_eq!(made, []);
        journal.add(&one).unwrap();
        drop(journal);
        let (mut journal, made) = Journal::open(&path, true).unwrap();
        assert_eq!(made, slice::from_ref(&one));
        journal.add(&other).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, true).unwrap().1, [one, other]);
    }

    #[test]
    fn an_incomplete_last_line_is_dropped_and_overwritten() {
        let (one, other) = (result(0.0), result(100.0));
        let whole = serde_json::to_string(&one).unwrap() + "\n";
        let torn = serde_json::to_string(&other).unwrap() + "\n";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        for length in (0..torn.len()).step_by(7) {
            fs::write(&path, whole.clone() + &torn[..length]).unwrap();
            let (mut journal, made) = Journal::open(&path, true).unwrap();
            assert_eq!(made, slice::from_ref(&one), "{length} bytes");
            journal.add(&other).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole.clone() + &torn);
        }
        // Disk blocks that were allocated but not written before the power failed.
        fs::write(&path, [whole.as_bytes(), &[0; 100], b"\n"].concat()).unwrap();
        assert_eq!(Journal::open(&path, true).unwrap().1, [one]);
    }

    #[test]
    fn a_wrong_line_in_the_middle_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let line = serde_json::to_string(&result(0.0)).unwrap();
        fs::write(&path, format!("{line}\n{{}}\n{line}\n")).unwrap();
        let error = Journal::open(&path, true).unwrap_err().to_string();
        assert!(error.contains("journal: line 2: missing field"), "{error}");
    }

    #[test]
    fn a_journal_is_neither_overwritten_nor_shared() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        journal.add(&result(0.0)).unwrap();
        let error = Journal::open(&path, true).unwrap_err().to_string();
        assert!(error.contains("in use by another sweep"), "{error}");
        drop(journal);
        let error = Journal::open(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("results of 1 runs: go on with them (--resume)"),
            "{error}"
        );
    }
}
