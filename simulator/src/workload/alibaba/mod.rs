//! Workloads with the structure of Alibaba-DP, the macro-benchmark of DPack (EuroSys'25, section 6.3): tasks
//! with several kinds of Renyi curves that request the newest blocks.
//!
//! The published trace is not part of this crate. [`Submissions::synthetic`] draws tasks with its structure
//! from stated distributions. [`Submissions::read_csv`] reads the published file. Begin reading at
//! [`Submissions::workload`].

mod profile;
mod synthetic;
mod trace_csv;

use privatekube_policy::{Budget, Composition, Orders, Weight};

pub use synthetic::CATALOGUE;
pub use trace_csv::TraceCsvError;

use super::{BlockArrival, Task, Workload, WorkloadError, newest_blocks};
use crate::{TooLong, time};

/// Seconds between two blocks. This only sets the unit of time, since submissions are spread over the whole
/// duration.
pub(crate) const BLOCK_INTERVAL: f64 = 86_400.0;
/// Number of blocks at the start.
const FIRST_BLOCKS: u32 = 100;
/// Limit of the number of later blocks.
const MOST_BLOCKS: u32 = 10_000;
const BLOCK_EPSILON: &str = "10";
const BLOCK_DELTA: &str = "0.0000001";

/// Submitted tasks, independent of the number of blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Submissions {
    /// The orders of the curves.
    pub orders: Orders,
    /// Names of the kinds of mechanisms.
    pub classes: Vec<String>,
    /// The tasks, in the order of arrival.
    pub tasks: Vec<Submission>,
}

/// A submitted task.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Time of arrival, as a part of the time in which blocks arrive: 0 to 1.
    pub at: f64,
    /// Number of the newest blocks that it requests.
    pub blocks: u32,
    /// Its demand on each of them.
    pub demand: Budget,
    /// The task's weight.
    pub weight: Weight,
    /// Its place in the classes.
    pub class: usize,
}

impl Submissions {
    /// Returns the composition.
    #[must_use]
    pub fn composition(&self) -> Composition {
        Composition::Renyi(self.orders.clone())
    }

    /// Makes the workload: a hundred blocks from the start, then `blocks` more, one in each interval, over
    /// which the submissions are spread. It ends `rest` seconds after the last interval. A task that requests
    /// more blocks than exist gets none, and so waits until the end.
    pub fn workload(&self, blocks: u32, rest: f64) -> Result<Workload, WorkloadError> {
        if !(1..=MOST_BLOCKS).contains(&blocks) {
            return Err(WorkloadError::Blocks {
                given: blocks,
                most: MOST_BLOCKS,
            });
        }
        let composition = self.composition();
        let capacity = composition.capacity(BLOCK_EPSILON.parse()?, BLOCK_DELTA.parse()?)?;
        let first = (0..FIRST_BLOCKS).map(|_| 0.0);
        let later = (0..blocks).map(|nth| f64::from(nth) * BLOCK_INTERVAL);
        let arrivals = BlockArrival::all_at(first.chain(later), &capacity)?;
        let duration = f64::from(blocks) * BLOCK_INTERVAL;
        let tasks = self.tasks.iter().map(|submission| {
            let at = time(submission.at * duration)?;
            let existing = arrivals.partition_point(|block| block.at <= at);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most FIRST_BLOCKS + MOST_BLOCKS, which is 10,100"
            )]
            let existing = existing as u32;
            Ok(Task {
                at,
                blocks: newest_blocks(submission.blocks, existing),
                demand: submission.demand.clone(),
                guarantee: None,
                weight: submission.weight,
                class: submission.class,
            })
        });
        Ok(Workload {
            tasks: tasks.collect::<Result<_, TooLong>>()?,
            blocks: arrivals,
            composition,
            classes: self.classes.clone(),
            timeout: None,
            end: time(duration + rest)?,
        })
    }
}
