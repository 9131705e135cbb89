//! Why a workload can't be made.

use privatekube_policy::{CompositionError, DecimalError, MechanismError};
use thiserror::Error;

use crate::TooLong;

/// Why a workload can't be made: a parameter that means nothing, or a number that is no time, capacity or demand.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WorkloadError {
    /// Not a percentage.
    #[error("mice is {0} percent: accepted is 0 to 100")]
    Mice(f64),
    /// Not a standard deviation.
    #[error("spread is {0}: accepted is 0 or more")]
    Spread(f64),
    /// Not a part of a block.
    #[error("least is {0}: accepted is more than 0 and less than 1, a part of a block")]
    Least(f64),
    /// No task, or more than fit the memory.
    #[error("tasks is {given}: accepted is 1 to {most}")]
    Tasks {
        /// How many are asked for.
        given: u32,
        /// How many there may be.
        most: u32,
    },
    /// No block that comes, or more than a run should have.
    #[error("blocks is {given}: accepted is 1 to {most}")]
    Blocks {
        /// How many are asked for.
        given: u32,
        /// How many there may be.
        most: u32,
    },
    /// No training keeps the epsilon.
    #[error("no noise from 0.01 to 1000 keeps epsilon {epsilon}")]
    NoNoise {
        /// The epsilon.
        epsilon: f64,
    },
    /// A number that is no budget.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
    /// A time that can't be simulated.
    #[error(transparent)]
    Time(#[from] TooLong),
    /// An amount that the composition doesn't have.
    #[error(transparent)]
    Budget(#[from] CompositionError),
    /// A mechanism that the composition can't account for.
    #[error(transparent)]
    Mechanism(#[from] MechanismError),
}
