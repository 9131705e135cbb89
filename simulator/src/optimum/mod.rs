//! The most that any policy could grant of tasks that are all there at once, on blocks that are unlocked: the privacy
//! knapsack (EuroSys'25, section 3), which is NP-hard.
//!
//! One block of tasks that are worth the same is solved exactly at any size. Several are a mixed-integer program, which is
//! searched for so many nodes: what is found is then told beside what no set can exceed, and only where both are the same
//! is it known to be the most.
//!
//! Begin reading at [`optimum`], then `knapsack`, then `program`.

mod knapsack;
mod one_block;
mod program;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::Workload;
use knapsack::Knapsack;

/// A set of tasks that fit together, and what no such set exceeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// For each task of the workload, whether it is in the set.
    pub granted: Vec<bool>,
    /// The sum of the weights of those in it.
    pub worth: u64,
    /// No set that fits is worth more. Where it is `worth`, the set is proven to be the most that can be granted.
    pub bound: u64,
    /// How many nodes were searched; 0 where nothing had to be searched.
    pub nodes: u64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OptimumError {
    /// The set that a search should begin with does not fit.
    #[error("the set that the search should begin with does not fit")]
    Start,
    /// The set that was found does not fit.
    #[error("the set that was found does not fit: this is a defect of the simulator")]
    Found,
    /// The set that was found is worth more than can be.
    #[error(
        "the set that was found is worth {worth}, more than the bound {bound}: this is a defect of the simulator"
    )]
    Bound {
        /// What it is worth.
        worth: u64,
        /// What nothing should exceed.
        bound: u64,
    },
}

/// The most that can be granted of `workload`, as if all its tasks and blocks came at once and everything was unlocked.
///
/// A search begins with `start`, a set that fits (for each task whether it is in it), such as what a policy grants, and ends
/// after `nodes` nodes at the latest. The same arguments give the same answer.
pub fn optimum(workload: &Workload, start: &[bool], nodes: u32) -> Result<Solved, OptimumError> {
    let knapsack = Knapsack::of(workload);
    if !knapsack.fits(start) {
        return Err(OptimumError::Start);
    }
    let reduced = knapsack.clone().reduced();
    let solved = match one_block::most(&reduced) {
        Some(granted) => {
            let worth = knapsack.worth(&granted);
            Solved {
                granted,
                worth,
                bound: worth,
                nodes: 0,
            }
        }
        None => program::search(&reduced, start, nodes),
    };
    // By the blocks as they are, and in integers, whoever found it.
    if !knapsack.fits(&solved.granted) || knapsack.worth(&solved.granted) != solved.worth {
        return Err(OptimumError::Found);
    }
    if solved.worth > solved.bound {
        let Solved { worth, bound, .. } = solved;
        return Err(OptimumError::Bound { worth, bound });
    }
    Ok(solved)
}
