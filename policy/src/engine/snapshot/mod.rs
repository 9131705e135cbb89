//! The state of an engine as data: a sequence of parts ([`StatePart`]) from which an equal engine is made
//! ([`Restoring`]).
//!
//! A sequence is a head, the blocks that are lost, the blocks in the order in which they were added, the sums of
//! the claims that were forgotten, and the claims in the order in which they arrived. It is written and read part by
//! part, so that its length doesn't matter. Equal states give equal parts, in this process and in any other: a part holds
//! nothing that depends on a hash map, on when a block was last settled, or on which block an index watches.
//!
//! The indices (classes, families, timeouts, wakes, the store of demands) are not written. They are built
//! again, and may differ inside from those of the original engine; no decision depends on how they differ.
//! What can be computed from the rest is not written either (locked and available budget, whether a claim is
//! matched, the phase of a granted claim).
//!
//! `export` makes the parts; `restoring` checks their sequence, `blocks`, `folded` and `claims` what each says, and
//! `sums` what they say together. Begin reading at [`StatePart`], then [`Restoring::push`].

mod blocks;
mod claims;
mod error;
mod export;
mod folded;
mod kept;
mod restoring;
mod sums;
mod units;

pub use error::StateError;
pub(super) use kept::Kept;
pub use restoring::Restoring;
pub(super) use units::Units;

use serde::{Deserialize, Serialize};

use super::Phase;
use crate::{BlockId, Budget, ClaimId, DatasetRules, Demand, Denial, Span, Time, Weight};

/// The version of the parts. A reader refuses any other.
const VERSION: u32 = 1;

/// A part of the state of an engine, as [`Engine::parts`](crate::Engine::parts) gives them and
/// [`Restoring`] takes them. As JSON it is the stored form. Amounts are in the unit of their coordinate, and
/// those that may be beyond 64 bits are decimals in strings; times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StatePart {
    /// What is of the dataset as a whole. The first part.
    Head(Box<Head>),
    /// A block that was written off before it was ever added. Sorted by name.
    LostBlock(BlockId),
    /// A block, in the order in which they were added.
    Block(Box<BlockPart>),
    /// A sum of claims that were forgotten, in the order of [`Engine::folded`](crate::Engine::folded).
    Folded(Box<FoldedPart>),
    /// A claim, in the order in which they arrived.
    Claim(Box<ClaimPart>),
}

/// What is of the dataset as a whole, and how many parts follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    version: u32,
    rules: DatasetRules,
    now: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_write_off: Option<u64>,
    lost_blocks: u64,
    blocks: u64,
    folded: u64,
    claims: u64,
}

/// A block. Its locked and available budget follow from the rules, the time and this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockPart {
    block: BlockId,
    capacity: Budget,
    /// When it was added first, from which the steps of the clock follow.
    added: Time,
    arrivals: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    retired: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    written_off: bool,
    allocated: Vec<Units>,
    consumed: Vec<Units>,
    /// What the policy keeps of it.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    policy: Kept,
}

/// A sum of the claims of a group that ended in one way and were forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FoldedPart {
    /// None for the sum of all claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    outcome: FoldedOutcome,
    claims: u64,
    /// Empty without a block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    consumed: Vec<Units>,
}

/// How claims ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum FoldedOutcome {
    Consumed,
    Released,
    Denied,
    Expired,
    Withdrawn,
}

impl From<FoldedOutcome> for Phase {
    fn from(outcome: FoldedOutcome) -> Self {
        match outcome {
            FoldedOutcome::Consumed => Self::Consumed,
            FoldedOutcome::Released => Self::Released,
            FoldedOutcome::Denied => Self::Denied,
            FoldedOutcome::Expired => Self::Expired,
            FoldedOutcome::Withdrawn => Self::Withdrawn,
        }
    }
}

impl FoldedOutcome {
    /// None for claims that have not ended.
    const fn of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Waiting | Phase::Granted => None,
            Phase::Consumed => Some(Self::Consumed),
            Phase::Released => Some(Self::Released),
            Phase::Denied => Some(Self::Denied),
            Phase::Expired => Some(Self::Expired),
            Phase::Withdrawn => Some(Self::Withdrawn),
        }
    }
}

/// A claim: what its arrival said, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimPart {
    claim: ClaimId,
    /// As they were grouped when it arrived or was matched. Without those of a claim that ended without a grant
    /// before the time of the head: nothing needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    demands: Vec<Demand>,
    min_blocks: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: i32,
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    weight: Weight,
    arrived: Time,
    outcome: ClaimOutcome,
    /// What the policy keeps of it.
    #[serde(default, skip_serializing_if = "Kept::is_empty")]
    policy: Kept,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub(super) enum ClaimOutcome {
    /// It waits.
    Waiting,
    /// It was granted. What is neither consumed nor released is allocated.
    Granted {
        /// When.
        at: Time,
        /// What was consumed.
        #[serde(default, skip_serializing_if = "PartOfDemands::is_nothing")]
        consumed: PartOfDemands,
        /// What was released.
        #[serde(default, skip_serializing_if = "PartOfDemands::is_nothing")]
        released: PartOfDemands,
    },
    /// It was denied.
    Denied {
        /// When.
        at: Time,
        /// Why.
        reason: Denial,
    },
    /// It expired.
    Expired {
        /// When.
        at: Time,
    },
    /// It was withdrawn while it waited.
    Withdrawn {
        /// When.
        at: Time,
    },
}

/// How much of a claim's demands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum PartOfDemands {
    /// Nothing.
    #[default]
    Nothing,
    /// Everything.
    Everything,
    /// An amount for each coordinate of its first block, then of the second, and so on.
    Partly(Vec<i64>),
}

impl PartOfDemands {
    fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(priority: &i32) -> bool {
    *priority == 0
}
