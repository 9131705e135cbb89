//! Trace files: each describes one run as JSON, and the times of grants if they are known. `docs/traces.md` has the
//! format. Begin reading at [`Trace`].

mod file;
mod load;
mod save;

pub use file::TraceError;
pub use save::write;

use privatekube_policy::{DatasetRules, Time};

use crate::{PolicySettings, Workload};

/// A run that was read from a file.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The workload, with the tasks in the order of arrival.
    pub workload: Workload,
    /// The policy and its numbers, as the file gives them.
    pub settings: PolicySettings,
    /// The same as rules for the engine.
    pub dataset_rules: DatasetRules,
    /// For each task of the workload, its place in the file.
    pub places: Vec<usize>,
    /// For each task of the workload, the time of its grant that the file states, if any.
    pub granted: Vec<Option<Time>>,
}
