//! A backup that can be put back: [`export`] writes the ledgers of datasets, and the objects that they are about, to one
//! file, [`append`] to a directory; [`restore`] puts them into a cluster.
//!
//! What is exported of a dataset is its ledger, its PrivateDataset and its PrivateDataBlocks. Claims are not: each claim is
//! in the ledger, and an object that is made again is another claim, which would be charged again.
//!
//! A file is read and verified as a whole before anything is written: its form, the chain of hashes, and that exactly the
//! written decisions follow from the events. The entry that a ledger is opened with, which is the first one or that of its
//! checkpoint, is written last, so that a ledger can be opened only once it is complete: an extender that runs meanwhile, or an
//! interruption, never goes on with a part of a ledger.
//!
//! A ledger whose first entries were removed begins with its checkpoint, in a file as in a cluster.
//!
//! An export directory ([`LedgerDirectory`]) has the same, and is appended to as entries are committed. Its last entry is a witness
//! outside of the cluster: a ledger that doesn't have it has lost entries.
//!
//! Begin reading at [`restore`], then [`ExportFile`] (the form of the file).
#![forbid(unsafe_code)]

mod chain;
mod directory;
mod error;
mod export;
mod file;
mod ledger;
mod objects;
mod plan;
mod restore;
mod settle;

pub use chain::check_state;
pub use directory::{
    AppendReport, DatasetAppend, DirectoryWriter, Exporter, LedgerDirectory, Witness, append,
};
pub use error::{BackupError, FileError};
pub use export::{DatasetExport, ExportReport, export};
pub use file::{DatasetPart, ExportFile};
pub use ledger::{Reading, read_state, read_verified};
pub use objects::DatasetObject;
pub use plan::Completeness;
pub use restore::{Clients, DatasetRestore, RestoreOptions, RestoreReport, restore};
