//! Formats and errors of the result files, and atomic writing.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use thiserror::Error;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// CSV: text, with one row a line.
    Csv,
    /// Parquet: compressed columns.
    Parquet,
}

impl Format {
    /// Both formats. If a table exists in both, the first is read, since people may edit it.
    pub const ALL: [Self; 2] = [Self::Csv, Self::Parquet];

    /// Returns the extension of file names.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// The reason why results can't be written or read.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// An error of the file system.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// The file is not CSV, or has another table.
    #[error("{path}: {place}{what}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line and the column, where known.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The file is not Parquet, or has another table.
    #[error("{path}: {error}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ParquetError,
    },
    /// A row does not match the table.
    #[error("{path}: row {row}: {error}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's number, from 1.
        row: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// The directory has no results.
    #[error(
        "{directory}: no results are here: expected runs.csv or runs.parquet, or those of shards \
         (runs-1-of-2.csv, ...), as `sweep --out {directory}` makes them"
    )]
    None {
        /// The directory.
        directory: PathBuf,
    },
    /// One of the three tables is missing.
    #[error("{directory}: {table}{part}.csv or {table}{part}.parquet is missing, but runs{part} is here")]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// The missing table.
        table: &'static str,
        /// The shard's part of the file names.
        part: String,
    },
    /// Two files have different results of one run.
    #[error(
        "{directory}: run {run} has two results, runs{first} and runs{second}: runs of the same parameters and version \
         always end the same; remove the files of one"
    )]
    Contradiction {
        /// The directory.
        directory: PathBuf,
        /// The run.
        run: String,
        /// The first file's part of its name.
        first: String,
        /// The second file's part of its name.
        second: String,
    },
}

impl ResultsError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            path: path.clone(),
            error,
        }
    }
}

/// Writes a file under a temporary name and renames it when it is complete and durable, so that `path` never
/// has half a file.
pub fn write_atomically<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let unfinished = path.with_file_name(name);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&unfinished)?);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&unfinished, path)?;
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}
