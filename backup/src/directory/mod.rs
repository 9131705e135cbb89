//! An export directory: the ledgers of a cluster outside of it, to which entries are appended as they are committed.
//!
//! ```text
//! DIR/NAMESPACE/DATASET/UID OF THE NAMESPACE/0001-0000000001.jsonl      a segment: generation, first entry
//! ```
//!
//! Each line of a segment is one JSON object:
//! ```text
//! {"segment":{"version":1,"namespace":"data","dataset":"taxi","namespaceUid":"...","generation":1,"first":1}}
//! {"checkpoint":{...}}, {"piece":"..."}       if it begins after entries that were removed: as in an export file
//! {"object":{"privateDataset":{...}}}         an object as it is now; the last one of a name counts
//! {"deleted":{"block":"taxi-1"}}              a block's object is gone
//! {"hash":"...","entry":{"sequence":1,...}}   an entry and its hash
//! ```
//!
//! **Nobody ever changes a segment that somebody else may write.** Whoever appends makes a segment of its own, whose name nobody
//! else can have made, and after a failed write goes on in another one. So a crash, a full disk, or a former leader that still
//! writes leaves at most a torn line at the end of a segment, and entries that are there twice. A reader passes over both: it
//! takes the entries that lead from the last one back to the first, each by the hash that the next one names.
//!
//! A **generation** is one ledger without contradictions. Entries are exported once they are committed, so a ledger contradicts
//! its export only if it has lost entries. Once an administrator has accepted that, it goes on in the next generation, which has
//! the ledger from its beginning, and says which entry of the one before is given up. The last generation counts.
//!
//! A ledger is that of a namespace with a certain UID, as everywhere: in a namespace that is created again, datasets begin anew.

mod exporter;
mod line;
mod open;
mod segment;
#[cfg(test)]
mod tests;
mod witness;
mod writer;

use std::path::{Path, PathBuf};

use privatekube_api::DatasetKey;

pub use exporter::{AppendReport, DatasetAppend, Exporter, append};
pub(crate) use line::SegmentLine;
pub(crate) use open::{FoundLedger, find_ledgers};
pub use witness::Witness;
pub use writer::DirectoryWriter;

use crate::BackupError;

/// How deep ledgers are below an export directory: namespace, dataset, UID.
const DEPTH: usize = 3;

/// The directory of one ledger in an export directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerDirectory {
    path: PathBuf,
    dataset: DatasetKey,
    namespace_uid: String,
}

impl LedgerDirectory {
    /// That of the ledger of `dataset` in the namespace with this UID. It need not exist; `root`, the export directory, must, since
    /// a volume that isn't mounted would look like an export without entries.
    pub fn new(root: &Path, dataset: DatasetKey, namespace_uid: &str) -> Result<Self, BackupError> {
        let parts = [&dataset.namespace, &dataset.name, namespace_uid];
        if let Some(part) = parts.iter().find(|part| !is_component(part)) {
            return Err(BackupError::Directory {
                path: root.to_owned(),
                problem: format!("{part:?} can't be the name of a directory"),
            });
        }
        if !root.is_dir() {
            return Err(BackupError::Directory {
                path: root.to_owned(),
                problem: "it is no directory: mount its volume, or create it".to_owned(),
            });
        }
        Ok(Self {
            path: parts.iter().fold(root.to_owned(), |path, part| path.join(part)),
            namespace_uid: namespace_uid.to_owned(),
            dataset,
        })
    }

    /// The export directory.
    fn root(&self) -> Option<&Path> {
        self.path.ancestors().nth(DEPTH)
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a name of Kubernetes is that of a directory within another one, and not hidden.
fn is_component(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}
