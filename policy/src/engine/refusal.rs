//! Why an event is refused.

use thiserror::Error;

use super::Phase;
use crate::{BlockId, ClaimId};

/// Why an event is refused. Nothing has changed, and the event must not be written to a ledger.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// A block that was never added.
    #[error("block {0} is unknown")]
    UnknownBlock(BlockId),
    /// A block added again with another budget.
    #[error("block {0} is known with another budget: budget that was spent can't be renewed")]
    BlockDiffers(BlockId),
    /// A block added again.
    #[error("block {0} is known already")]
    BlockExists(BlockId),
    /// A block whose budget was written off.
    #[error("block {0} was written off: decisions about it were lost")]
    BlockWrittenOff(BlockId),
    /// A claim that never arrived.
    #[error("claim {0} is unknown")]
    UnknownClaim(ClaimId),
    /// A claim that arrives again.
    #[error("claim {0} is known already")]
    ClaimExists(ClaimId),
    /// A claim that demands nothing of a block, names a block twice, or needs no block.
    #[error("claim {claim} {problem}")]
    Malformed {
        /// The claim.
        claim: ClaimId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A budget of another composition.
    #[error("a budget has {given} coordinates, the dataset {expected}")]
    WrongCoordinates {
        /// How many it has.
        given: usize,
        /// How many it should have.
        expected: usize,
    },
    /// An event that only applies to a claim in another phase.
    #[error("claim {claim} is {phase:?}")]
    WrongPhase {
        /// The claim.
        claim: ClaimId,
        /// The phase it is in.
        phase: Phase,
    },
    /// More than what is still allocated to the claim on a block.
    #[error("claim {claim} has less than that left on block {block}")]
    TooMuch {
        /// The claim.
        claim: ClaimId,
        /// The block.
        block: BlockId,
    },
    /// A sum beyond what an integer holds.
    #[error("an amount is beyond what can be counted exactly")]
    Overflow,
}
