//! A workload: which blocks and tasks come when, and what each task asks. It says nothing of policies.

mod alibaba;
mod calibration;
mod curves;
mod digits;
mod error;
mod macro_benchmark;
mod macro_pipelines;
mod micro;
mod packing;

pub(crate) use alibaba::BLOCK_INTERVAL;
pub use alibaba::{CATALOGUE, Submission, Submissions, TraceCsvError};
pub use error::WorkloadError;
pub use macro_benchmark::Macro;
pub(crate) use macro_benchmark::{DAY, TASKS_A_DAY};
pub use macro_pipelines::{Pipeline, StatisticDays};
pub use micro::{Blocks, Draw, Micro};
pub use packing::Packing;
pub(crate) use packing::{LIFETIME, TICK};
use privatekube_policy::{Budget, Composition, Delta, Epsilon, Span, Time, Weight};

use crate::{TooLong, time};

/// What happens from outside, over virtual time.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// How budgets add up. It gives the budgets below their coordinates.
    pub composition: Composition,
    /// In the order in which they come. A block's number is its place here.
    pub blocks: Vec<BlockArrival>,
    /// In the order in which they come. A task's number is its place here.
    pub tasks: Vec<Task>,
    /// What the classes of tasks are called, for whoever reads a result.
    pub classes: Vec<String>,
    /// How long a task waits at most; for ever if none.
    pub timeout: Option<Span>,
    /// The end of virtual time: what comes then or later doesn't happen.
    pub end: Time,
}

/// A block that comes.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockArrival {
    /// When. Before every task that comes at the same time.
    pub at: Time,
    /// What it may ever spend.
    pub capacity: Budget,
}

/// A task that comes, asks for budget once, and spends it as soon as it is granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// When.
    pub at: Time,
    /// The numbers of the blocks it asks for, which must have come; none twice. Without any it asks for more than there
    /// are, and waits in vain.
    pub blocks: Vec<u32>,
    /// What it asks of each of them.
    pub demand: Budget,
    /// The (epsilon, delta) that the demand stands for, where it was made from one: see
    /// [`Mechanism::for_guarantee`](privatekube_policy::Mechanism::for_guarantee).
    pub guarantee: Option<(Epsilon, Delta)>,
    /// How much its grant is worth.
    pub weight: Weight,
    /// Its place in [`Workload::classes`].
    pub class: usize,
}

impl BlockArrival {
    /// Blocks with the same `capacity`, one at each of these `seconds`.
    fn all_at(seconds: impl IntoIterator<Item = f64>, capacity: &Budget) -> Result<Vec<Self>, TooLong> {
        let blocks = seconds.into_iter().map(|seconds| {
            Ok(Self {
                at: time(seconds)?,
                capacity: capacity.clone(),
            })
        });
        blocks.collect()
    }
}

/// The numbers of the newest blocks, of so many that are `there`. Who asks for more than that asks for none, and so waits
/// in vain.
fn newest_blocks(count: u32, existing: u32) -> Vec<u32> {
    let first = existing.checked_sub(count);
    first.map_or_else(Vec::new, |first| (first..existing).collect())
}
