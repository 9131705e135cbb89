//! Files that are there as a whole or not at all, and what can be wrong with them.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use thiserror::Error;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Text, a row a line.
    Csv,
    /// Columns.
    Parquet,
}

impl Format {
    /// Both. Where a table is there in both, the first one is read: it is what people see, and change.
    pub const ALL: [Self; 2] = [Self::Csv, Self::Parquet];

    /// How its files' names end.
    #[must_use]
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Why results can't be written or read.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// The file system refuses.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not CSV, or not this table.
    #[error("{path}: {place}{what}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line and the column, where known.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// It is not Parquet, or not this table.
    #[error("{path}: {error}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ParquetError,
    },
    /// A row is not one of this table.
    #[error("{path}: row {row}: {error}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's number, from 1.
        row: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A directory without results.
    #[error(
        "{directory}: no results are here: expected runs.csv or runs.parquet, or those of shards \
         (runs-1-of-2.csv, ...), as `sweep --out {directory}` makes them"
    )]
    None {
        /// The directory.
        directory: PathBuf,
    },
    /// A table without its companions.
    #[error("{directory}: {table}{part}.csv or {table}{part}.parquet is missing, but runs{part} is here")]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// Which one is missing.
        table: &'static str,
        /// Which shard, as in the files' names.
        part: String,
    },
    /// A run that ended in two ways.
    #[error(
        "{directory}: run {run} has two results, runs{first} and runs{second}: runs of the same parameters and version \
         always end the same; remove the files of one"
    )]
    Contradiction {
        /// The directory.
        directory: PathBuf,
        /// The run.
        run: String,
        /// The one shard.
        first: String,
        /// The other.
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

/// Writes a file under another name and renames it when it is complete.
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
