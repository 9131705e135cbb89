//! What can go wrong.

use std::{io, path::PathBuf};

use privatekube_api::DatasetKey;
use privatekube_ledger::{StoreError, VerifyError};
use thiserror::Error;

/// Why an export or a restore ended.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is a file already where an export is to be written.
    #[error("{} exists, and an export never replaces a file: give another name", .0.display())]
    Exists(PathBuf),
    /// The file isn't a whole export, or was changed.
    #[error("{}, line {line}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        error: FileError,
    },
    /// The API server refuses a request, or doesn't answer.
    #[error("{what}: {error}")]
    Request {
        /// What was requested.
        what: String,
        /// The API server's answer.
        error: Box<kube::Error>,
    },
    /// The ledger of a dataset in the cluster can't be read.
    #[error("the ledger of {0} in the cluster: {1}")]
    Store(DatasetKey, StoreError),
    /// The ledger of a dataset in the cluster can't be verified.
    #[error("the ledger of {0} in the cluster: {1}")]
    Verify(DatasetKey, Box<VerifyError>),
    /// A dataset was named that isn't there.
    #[error("there is no dataset {0}: {1}")]
    UnknownDataset(DatasetKey, String),
    /// The cluster has something else than the export. Nothing was written.
    #[error("nothing was restored:\n{}", list(.0))]
    Conflicts(Vec<String>),
    /// Something changed in the cluster while it was restored.
    #[error("{0}")]
    Changed(String),
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum FileError {
    /// A line is not of an export.
    #[error("it is not a line of an export: {0}")]
    Malformed(serde_json::Error),
    /// The file is of another program or a later version.
    #[error("it is an export of version {0}, and this program reads version {1}: use a newer one")]
    Version(u64, u64),
    /// The line is too long.
    #[error("it has more than {0} bytes, which no line of an export has")]
    TooLong(u64),
    /// A line is out of place.
    #[error("{0}")]
    OutOfPlace(&'static str),
    /// The file ends too early.
    #[error("the file ends here, and an export ends with a line `end`: it was cut off")]
    CutOff,
    /// An entry doesn't follow from those before it.
    #[error("the ledger can't be verified: {0}")]
    Verify(Box<VerifyError>),
    /// The counts or the hash at the end of a dataset differ from what was read.
    #[error("the export says {says}, and has {has}")]
    Sum {
        /// What the line says.
        says: String,
        /// What was read.
        has: String,
    },
    /// An object is of another dataset or kind.
    #[error("it is not an object of dataset {0}")]
    Stranger(DatasetKey),
}

fn list(problems: &[String]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("- {problem}")).collect();
    lines.join("\n")
}

/// Names what was requested in an error of the API server.
pub(crate) fn requesting(what: impl Into<String>) -> impl FnOnce(kube::Error) -> BackupError {
    let what = what.into();
    |error| BackupError::Request {
        what,
        error: Box::new(error),
    }
}
