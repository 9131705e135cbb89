//! Trace files: each describes one run as JSON, and the times of grants if they are known. The table below is
//! the format's documentation. Begin reading at [`Trace`].
//!
//! | key | meaning |
//! |---|---|
//! | `policy` | `fcfs`, `dpf-n`, `dpf-t`, `rr-n`, `rr-t`, or another [`PolicyChoice`](crate::PolicyChoice) |
//! | `composition` | `epsilon-delta` or `renyi` |
//! | `orders` | Renyi orders, as numbers; by default those of the released simulator |
//! | `n` | arrivals that unlock a block |
//! | `lifetime`, `tick` | seconds in which a block unlocks, and seconds between two steps |
//! | `recompute_after`, `fairness` | of the policies `dpack` and `blend`; by default 1 and 500 |
//! | `revision` | of the rules: 3, those of a new dataset; by default 1, those of the papers and of release 0.1.0 |
//! | `block` | the budget of each block: `epsilon` and `delta`, or a `curve` with an epsilon for each order |
//! | `blocks` | number of blocks |
//! | `block_arrivals` | when each arrives, in seconds; by default all at the start |
//! | `task_delta` | Renyi: a task's epsilon stands for the Gaussian calibrated to it and this delta |
//! | `demands` | Renyi: curves by name |
//! | `timeout`, `end` | seconds after which a task expires (null: never); end of the run in seconds |
//! | `classes` | names of classes of tasks |
//! | `tasks` | the tasks in any order, as below |
//!
//! A task is an array `[arrival, first block, last block, demand, granted at]`, of which the last may be left
//! out, or an object with the keys `arrival`, `blocks` (a list), `demand`, `weight`, `class` and `granted_at`.
//!
//! A task with an empty list of blocks stands for one that requests more blocks than exist. It waits until it
//! expires.
//!
//! Under `epsilon-delta` a trace has epsilons only: deltas in a file are ignored, and none are written. (In
//! the experiments epsilon always runs out first.)
//!
//! A demand is an epsilon (a number), a name in `demands`, or a mechanism (`"laplace(scale=10)"`). Other keys
//! are ignored.

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
