//! Finds the largest set of tasks that any policy could grant if all tasks arrive at once and all budget is
//! unlocked: the privacy knapsack (EuroSys'25, section 3), which is NP-hard.
//!
//! One block whose tasks have equal weights is solved exactly at any size. Several blocks are a mixed-integer
//! program, which is searched by branch and bound for a limited number of nodes. The result is the best set
//! found and an upper bound; the set is proven optimal if its weight equals the bound.
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

/// A set of tasks that fit together, and an upper bound on the weight of such sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// For each task of the workload, whether it is in the set.
    pub granted: Vec<bool>,
    /// Sum of the weights of the set's tasks.
    pub worth: u64,
    /// An upper bound on the weight of any set that fits. If it equals `worth`, the set is proven optimal.
    pub bound: u64,
    /// Number of nodes searched; 0 if no search was needed.
    pub nodes: u64,
}

/// The reason why no optimum is returned.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OptimumError {
    /// The set to start from does not fit.
    #[error("the set that the search should begin with does not fit")]
    Start,
    /// The set that was found does not fit.
    #[error("the set that was found does not fit: this is a defect of the simulator")]
    Found,
    /// The set that was found exceeds the bound.
    #[error(
        "the set that was found is worth {worth}, more than the bound {bound}: this is a defect of the simulator"
    )]
    Bound {
        /// The set's weight.
        worth: u64,
        /// The bound.
        bound: u64,
    },
}

/// Finds the heaviest set of tasks of `workload` that fit together, as if all tasks and blocks arrived at
/// once and all budget was unlocked.
///
/// `start` is a set that fits, such as the tasks that a policy grants (for each task, whether it is in the
/// set). A search begins with it and stops after at most `nodes` nodes. The result depends on the arguments
/// alone.
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
    // Check the result against the unreduced blocks, in integers.
    if !knapsack.fits(&solved.granted) || knapsack.worth(&solved.granted) != solved.worth {
        return Err(OptimumError::Found);
    }
    if solved.worth > solved.bound {
        let Solved { worth, bound, .. } = solved;
        return Err(OptimumError::Bound { worth, bound });
    }
    Ok(solved)
}
