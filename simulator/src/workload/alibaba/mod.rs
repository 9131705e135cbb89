//! Workloads of the structure of Alibaba-DP, the macro-benchmark of DPack (EuroSys'25, section 6.3): tasks with all kinds
//! of Renyi curves that ask for the newest of the blocks that have come.
//!
//! The published trace is not part of this crate. [`Submissions::synthetic`] draws tasks of its structure from stated
//! distributions; [`Submissions::read_csv`] reads the published file where somebody has it.

mod profile;
mod synthetic;
mod trace_csv;

use privatekube_policy::{Budget, Composition, Orders, Weight};

pub use synthetic::CATALOGUE;
pub use trace_csv::TraceCsvError;

use super::{BlockArrival, Task, Workload, WorkloadError, newest_blocks};
use crate::{TooLong, time};

/// The time between two blocks, in seconds. It only sets the unit: submissions are spread over all blocks.
pub(crate) const BLOCK_INTERVAL: f64 = 86_400.0;
/// How many blocks there are at the start.
const FIRST_BLOCKS: u32 = 100;
/// How many more may come.
const MOST_BLOCKS: u32 = 10_000;
const BLOCK_EPSILON: &str = "10";
const BLOCK_DELTA: &str = "0.0000001";

/// What is submitted, the earliest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Submissions {
    /// Of the curves.
    pub orders: Orders,
    /// What the kinds of mechanisms are called.
    pub classes: Vec<String>,
    /// One for each task.
    pub tasks: Vec<Submission>,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// When it comes, as a part of the time in which blocks come: 0 to 1.
    pub at: f64,
    /// How many of the newest blocks it asks for.
    pub blocks: u32,
    /// What it asks of each of them.
    pub demand: Budget,
    /// How much its grant is worth.
    pub weight: Weight,
    /// Its place in the classes.
    pub class: usize,
}

impl Submissions {
    /// How budgets add up.
    #[must_use]
    pub fn composition(&self) -> Composition {
        Composition::Renyi(self.orders.clone())
    }

    /// The workload: a hundred blocks from the start, then `blocks` more, one in each interval, over which the
    /// submissions are spread. It goes on for `rest` seconds after the last of them. A task that asks for more blocks
    /// than there are asks for none, and so waits in vain.
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
