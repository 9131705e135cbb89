//! The errors of making workloads.

use privatekube_policy::{CompositionError, DecimalError, MechanismError};
use thiserror::Error;

use crate::TooLong;

/// The reason why a workload can't be made: an invalid parameter, or a number that is not a valid time,
/// capacity or demand.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WorkloadError {
    /// Mice is not a percentage.
    #[error("mice is {0} percent: accepted is 0 to 100")]
    Mice(f64),
    /// Spread is not a standard deviation.
    #[error("spread is {0}: accepted is 0 or more")]
    Spread(f64),
    /// Least is not a part of a block.
    #[error("least is {0}: accepted is more than 0 and less than 1, a part of a block")]
    Least(f64),
    /// No task, or more than fit into memory.
    #[error("tasks is {given}: accepted is 1 to {most}")]
    Tasks {
        /// The requested number.
        given: u32,
        /// The limit.
        most: u32,
    },
    /// No arriving block, or more than a run should have.
    #[error("blocks is {given}: accepted is 1 to {most}")]
    Blocks {
        /// The requested number.
        given: u32,
        /// The limit.
        most: u32,
    },
    /// No noise keeps a training's epsilon.
    #[error("no noise from 0.01 to 1000 keeps epsilon {epsilon}")]
    NoNoise {
        /// The epsilon.
        epsilon: f64,
    },
    /// A number is not a valid budget.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
    /// A time can't be simulated.
    #[error(transparent)]
    Time(#[from] TooLong),
    /// An amount is not valid under the composition.
    #[error(transparent)]
    Budget(#[from] CompositionError),
    /// A mechanism has no demand under the composition.
    #[error(transparent)]
    Mechanism(#[from] MechanismError),
}
