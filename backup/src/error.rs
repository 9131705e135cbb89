//! What can go wrong.

use std::{io, path::PathBuf};

use privatekube_api::DatasetKey;
use privatekube_kubernetes::{plain, unreachable_webhook};
use privatekube_ledger::{ContentError, StoreError, VerifyError};
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
    /// An export directory can't be used.
    #[error("{}: {problem}", path.display())]
    Directory {
        /// The directory, or one within it.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The ledger in the cluster doesn't have what was exported of it.
    #[error(
        "the ledger of {dataset} ends at entry {found} and doesn't have entry {known} of its export in {}: it lost entries, and \
         nothing was appended. Put them back by restoring that directory, or write the budget off; then the extender with --export \
         begins the next generation",
        directory.display()
    )]
    Witness {
        /// The dataset.
        dataset: DatasetKey,
        /// The directory of its ledger.
        directory: PathBuf,
        /// The last entry of the export.
        known: u64,
        /// The last entry of the ledger.
        found: u64,
    },
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
    #[error("{what}: {}", answered(error))]
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
    /// The content of a checkpoint can't be used.
    #[error("the checkpoint at entry {sequence} can't be used: {error}")]
    Checkpoint {
        /// The entry that it stands at.
        sequence: u64,
        /// What is wrong.
        error: ContentError,
    },
    /// A piece of a checkpoint is no base64.
    #[error("a piece of the checkpoint is no base64: {0}")]
    Piece(String),
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

impl From<VerifyError> for FileError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Content { sequence, error } => Self::Checkpoint { sequence, error },
            error => Self::Verify(Box::new(error)),
        }
    }
}

fn list(problems: &[String]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("- {problem}")).collect();
    lines.join("\n")
}

/// What the API server answered, and what to do if that is known.
fn answered(error: &kube::Error) -> String {
    match unreachable_webhook(error) {
        Some(webhook) => format!(
            "the API server can't reach the webhook {webhook}, which checks what is created: start the extender, or remove its \
             webhook configurations until it is installed again, and repeat this command with the same options"
        ),
        None => plain(error),
    }
}

/// Names what was requested in an error of the API server.
pub(crate) fn requesting(what: impl Into<String>) -> impl FnOnce(kube::Error) -> BackupError {
    let what = what.into();
    |error| BackupError::Request {
        what,
        error: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_webhook_that_cannot_be_reached_is_one_sentence_with_what_to_do() {
        let status = Status {
            code: 500,
            reason: "InternalError".to_owned(),
            message: "Internal error occurred: failed calling webhook \"datasets.privatekube.dev\": failed to call webhook: Post \
                      \"https://127.0.0.1:9443/webhook/datasets?timeout=10s\": dial tcp 127.0.0.1:9443: connect: connection \
                      refused"
                .to_owned(),
            ..Status::default()
        };
        let error = requesting("create the PrivateDataset data/taxi")(kube::Error::Api(Box::new(status)));
        assert_eq!(
            error.to_string(),
            "create the PrivateDataset data/taxi: the API server can't reach the webhook datasets.privatekube.dev, which checks \
             what is created: start the extender, or remove its webhook configurations until it is installed again, and repeat \
             this command with the same options"
        );
    }
}
