//! Why parts are not the state of an engine.

use thiserror::Error;

use crate::{BlockId, ClaimId, DatasetRulesError};

/// Why a sequence of parts is not the state of an engine.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A part comes before the head, or there is none at all.
    #[error("the state has no head: its first part must be one")]
    NoHead,
    /// A second head.
    #[error("the state has a second head: only its first part may be one")]
    SecondHead,
    /// A version that this one does not read: a later version wrote it.
    #[error("version {0} of the state is unknown: this version of PrivateKube reads version 1")]
    UnknownVersion(u32),
    /// Rules that can't be used.
    #[error("the rules of the state can't be used: {0}")]
    Rules(#[from] DatasetRulesError),
    /// A part of a kind of which the head announces no more, or that belongs before the last one.
    #[error("the state has a {kind} too many: its head announces {announced} of them, in their place")]
    TooMany {
        /// The kind: lost block, block, sum of forgotten claims, or claim.
        kind: &'static str,
        /// How many the head announces.
        announced: u64,
    },
    /// The sequence ended, or went on to another kind, too early.
    #[error("the state has {found} parts of kind {kind}: its head announces {announced}")]
    Missing {
        /// The kind: lost block, block, sum of forgotten claims, or claim.
        kind: &'static str,
        /// How many there are.
        found: u64,
        /// How many the head announces.
        announced: u64,
    },
    /// A sum of forgotten claims that can't be as its part says.
    #[error("the sum {described} of the claims that the state has forgotten: {problem}")]
    Folded {
        /// Of which block and group it is.
        described: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A block that can't be as its part says.
    #[error("block {block} of the state: {problem}")]
    Block {
        /// The block.
        block: BlockId,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A claim that can't be as its part says.
    #[error("claim {claim} of the state: {problem}")]
    Claim {
        /// The claim.
        claim: ClaimId,
        /// What is wrong, and what would be right.
        problem: String,
    },
}
