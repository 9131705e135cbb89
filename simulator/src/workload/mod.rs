//! Workloads: which blocks and tasks arrive when, and what each task demands. Policies are not part of a
//! workload. There is one file for each paper's generator; begin reading at [`Workload`].

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

/// The inputs of a run over virtual time.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The composition, which defines the coordinates of the budgets below.
    pub composition: Composition,
    /// The blocks, in the order of arrival. A block's number is its place here.
    pub blocks: Vec<BlockArrival>,
    /// The tasks, in the order of arrival. A task's number is its place here.
    pub tasks: Vec<Task>,
    /// Names of the classes of tasks, for readers of results.
    pub classes: Vec<String>,
    /// Time after which a waiting task expires; never if `None`.
    pub timeout: Option<Span>,
    /// The end of virtual time. Nothing happens at that time or later.
    pub end: Time,
}

/// The arrival of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockArrival {
    /// The time of arrival. Blocks arrive before tasks of the same time.
    pub at: Time,
    /// The block's capacity.
    pub capacity: Budget,
}

/// A task: one claim, which is consumed as soon as it is granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The time of arrival.
    pub at: Time,
    /// Numbers of the requested blocks, which must have arrived, without repetition. An empty list stands for
    /// a request of more blocks than exist: the task waits until it expires.
    pub blocks: Vec<u32>,
    /// The demand on each of these blocks.
    pub demand: Budget,
    /// The (epsilon, delta) from which the demand was made, if any: see
    /// [`Mechanism::for_guarantee`](privatekube_policy::Mechanism::for_guarantee).
    pub guarantee: Option<(Epsilon, Delta)>,
    /// The weight of the task.
    pub weight: Weight,
    /// Its place in [`Workload::classes`].
    pub class: usize,
}

impl BlockArrival {
    /// Returns blocks with the same `capacity`, one at each of these `seconds`.
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

/// Returns the numbers of the newest `count` of `existing` blocks. If there are fewer, returns none, so the
/// task waits until it expires.
fn newest_blocks(count: u32, existing: u32) -> Vec<u32> {
    let first = existing.checked_sub(count);
    first.map_or_else(Vec::new, |first| (first..existing).collect())
}
