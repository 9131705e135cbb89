//! What can happen to an engine, and what it decides. Both are written to the ledger as they stand here.

use std::{fmt, num::NonZeroU32, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Budget, Span, Time};

macro_rules! name {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(name: T) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(BlockId, "A block's name, unique in its dataset for ever.");
name!(
    ClaimId,
    "A claim's name, unique in its dataset for ever: a claim that is made again has another one."
);

/// The same budget asked on each of some blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// On which blocks. A block is named by one demand of a claim at most.
    pub blocks: Vec<BlockId>,
    /// How much on each of them.
    pub budget: Budget,
}

/// A claim that arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// Its name.
    pub claim: ClaimId,
    /// What it asks, on all the blocks it matches. While these are fewer than `min_blocks`, it waits for a
    /// [`Event::Match`] and neither unlocks nor competes.
    pub demands: Vec<Demand>,
    /// How many blocks it needs at least, 1 or more.
    pub min_blocks: u32,
    /// How long it waits at most, from its arrival; for ever if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Higher goes before lower, before any share is compared.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// How much it counts, which is what its namespace counts.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

/// How much a claim counts: with twice the weight, a dominant share is half as large and a grant worth twice as much.
/// 1 if nothing else is said; where all weights are equal, they change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// `weight`; none if it is 0.
    #[must_use]
    pub fn new(weight: u32) -> Option<Self> {
        NonZeroU32::new(weight).map(Self)
    }

    /// The weight as it was given.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_one(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// How much of a granted claim, in all so far: what is asked again is not done twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Amount {
    /// Everything that is still allocated.
    All,
    /// So much on each block in all, counted from the grant. A block that isn't named stays as it is.
    InAll(Vec<Demand>),
}

/// Something that happens to an engine. Its time is told before it, by [`Engine::advance`](crate::Engine::advance).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A block comes, with what it may ever spend.
    AddBlock {
        /// Its name.
        block: BlockId,
        /// What it may ever spend.
        capacity: Budget,
    },
    /// A block goes: nothing more is granted on it, its waiting claims are denied. What was granted stays.
    RetireBlock {
        /// Its name.
        block: BlockId,
    },
    /// A claim comes.
    Arrive(Arrival),
    /// A claim that came with too few blocks now matches these.
    Match {
        /// The claim.
        claim: ClaimId,
        /// All its demands, in place of those it came with.
        demands: Vec<Demand>,
    },
    /// Budget of a granted claim is spent: what it protects may run from now on.
    Consume {
        /// The claim.
        claim: ClaimId,
        /// How much of it.
        amount: Amount,
    },
    /// Budget of a granted claim that was not consumed returns to its blocks.
    Release {
        /// The claim.
        claim: ClaimId,
        /// How much of it.
        amount: Amount,
    },
    /// A claim's owner is gone. Waiting: it ends. Granted: what is not consumed returns. Else nothing.
    Withdraw {
        /// The claim.
        claim: ClaimId,
    },
    /// What a claim was consumed for provably never ran: what was consumed returns.
    NeverRan {
        /// The claim.
        claim: ClaimId,
    },
}

/// Why a claim can never be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Denial {
    /// It asks more of a block than that can still ever unlock (what is not consumed).
    TooLarge {
        /// The first such block, in the order of the claim's demands.
        block: BlockId,
        /// The coordinate that lacks least (Renyi), or the first that lacks (basic).
        coordinate: u32,
        /// What is asked there, in the coordinate's unit.
        asked: i64,
        /// What can still ever be unlocked there. May be negative at a Renyi order.
        left: i64,
    },
    /// A block it asks for was retired.
    BlockRetired {
        /// The block.
        block: BlockId,
    },
    /// It asks more of a block than is unlocked, and the policy lets nothing wait.
    DoesNotFit {
        /// The first such block, in the order of the claim's demands.
        block: BlockId,
        /// The coordinate that lacks least (Renyi), or the first that lacks (basic).
        coordinate: u32,
        /// What is asked there, in the coordinate's unit.
        asked: i64,
        /// What is unlocked there. May be negative at a Renyi order.
        unlocked: i64,
    },
    /// A block was divided among the claims that waited for it (round robin), and nothing of it is left to divide.
    DividedUp {
        /// The block.
        block: BlockId,
    },
}

/// A decision. What it says is true once it is durable, and only then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A block is there, all of it locked but for what unlocks at once.
    BlockAdded {
        /// The block.
        block: BlockId,
    },
    /// A block is gone.
    BlockRetired {
        /// The block.
        block: BlockId,
    },
    /// A claim's arrival unlocked one step of these blocks: each that it asks for and that was not unlocked
    /// completely before. (Steps of the clock follow from the time alone and are not recorded.)
    Unlocked {
        /// The blocks.
        blocks: Vec<BlockId>,
    },
    /// A claim came and was not decided at once.
    Waits {
        /// The claim.
        claim: ClaimId,
    },
    /// All that a claim asks, on all its blocks, is its own now.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// When.
        at: Time,
    },
    /// A claim is refused for good.
    Denied {
        /// The claim.
        claim: ClaimId,
        /// Why.
        reason: Denial,
        /// When.
        at: Time,
    },
    /// A claim waited for its whole timeout.
    Expired {
        /// The claim.
        claim: ClaimId,
        /// When its timeout was over.
        at: Time,
    },
    /// A waiting claim was taken back.
    Withdrawn {
        /// The claim.
        claim: ClaimId,
    },
    /// Allocated budget was spent.
    Consumed {
        /// The claim.
        claim: ClaimId,
        /// Whether nothing of the claim is left allocated.
        entirely: bool,
    },
    /// Budget of a claim returned to its blocks, where it is available again.
    Released {
        /// The claim.
        claim: ClaimId,
        /// Whether nothing of the claim is left allocated.
        entirely: bool,
    },
}
