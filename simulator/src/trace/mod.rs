//! Trace files: one run each, as JSON, with the answers where they are known.
//!
//! | key | meaning |
//! |---|---|
//! | `policy` | `fcfs`, `dpf-n`, `dpf-t`, `rr-n`, `rr-t`, or another [`PolicyChoice`](crate::PolicyChoice) |
//! | `composition` | `epsilon-delta` or `renyi` |
//! | `orders` | Renyi orders, as numbers; left out, those of the reference simulator |
//! | `n` / `lifetime`, `tick` | arrivals that unlock a block / seconds in which, and between two steps of which, it unlocks |
//! | `recompute_after`, `fairness` | of the policies `dpack` and `blend`; left out, 1 and 500 |
//! | `block` | the budget of each block: `epsilon` and `delta`, or a `curve` with an epsilon for each order |
//! | `blocks` | how many there are |
//! | `block_arrivals` | when each comes, in seconds; left out, all from the start |
//! | `task_delta` | Renyi: a task's epsilon stands for the Gaussian calibrated to it and this delta |
//! | `demands` | Renyi: curves by name |
//! | `timeout`, `end` | seconds a task waits at most (null: for ever); end of the run |
//! | `classes` | names of classes of tasks |
//! | `tasks` | in any order; `[arrival, first block, last block, demand, granted at]`, the last of which may be left out, or `{"arrival": ..., "blocks": [...], "demand": ..., "weight": ..., "class": ..., "granted_at": ...}` |
//!
//! A task with an empty list of blocks asks for more than there are, and waits in vain.
//!
//! Under `epsilon-delta` a trace has epsilons alone: what a file says of deltas is left alone, and they are not written.
//! (In the experiments epsilon is always used up first.)
//!
//! A demand is an epsilon (a number), a name in `demands`, or a mechanism (`"laplace(scale=10)"`). Other keys say nothing
//! to a simulator and are left alone.

mod file;
mod load;
mod save;

pub use file::TraceError;
pub use save::write;

use privatekube_policy::{DatasetRules, Time};

use crate::{PolicySettings, Workload};

/// A run that was read from a file, or will be written to one.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What happens, the earliest task first.
    pub workload: Workload,
    /// The policy and its numbers, as the file gives them.
    pub settings: PolicySettings,
    /// The same as rules for the engine.
    pub dataset_rules: DatasetRules,
    /// For each task of the workload, its place in the file.
    pub places: Vec<usize>,
    /// For each task of the workload, when it is known to be granted; nothing, if the file doesn't say.
    pub granted: Vec<Option<Time>>,
}
