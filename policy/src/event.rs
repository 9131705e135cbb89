//! The inputs of an engine (events) and its decisions (records). Both are stored in the ledger in the JSON
//! form given here.

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

name!(
    BlockId,
    "A block's name, unique among all blocks that its dataset ever had."
);
name!(
    ClaimId,
    "A claim's name, unique among all claims that its dataset ever had: a claim that is created again has another name. \
     (The name of a claim that was forgotten is not known any more, and nothing gives it to another one.)"
);

/// A budget on each of some blocks, within a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The blocks. At most one demand of a claim names a block.
    pub blocks: Vec<BlockId>,
    /// The budget on each of them.
    pub budget: Budget,
}

/// A claim as it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// Its name.
    pub claim: ClaimId,
    /// Its demands on the blocks that it matches. While these are fewer than `min_blocks`, it waits for an
    /// [`Event::Match`], and neither unlocks budget nor joins the queue.
    pub demands: Vec<Demand>,
    /// The fewest blocks that it needs: 1 or more.
    pub min_blocks: u32,
    /// The longest that it waits, from its arrival; for ever if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// A claim with a higher priority goes first, whatever its shares.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Its weight: in a cluster, that of its namespace.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

/// A claim's weight: with twice the weight, its dominant share is half as large and its grant worth twice as
/// much. The default is 1. Equal weights change nothing, whatever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// `weight`; none if it is 0.
    #[must_use]
    pub fn new(weight: u32) -> Option<Self> {
        NonZeroU32::new(weight).map(Self)
    }

    /// The weight as a number, 1 or more.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(crate) fn is_one(&self) -> bool {
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

/// How much of a granted claim to consume or release. Amounts are totals, so an event that is repeated
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Amount {
    /// Everything that is still allocated.
    All,
    /// This total on each block, counted from the grant. A block that is not named stays as it is.
    InAll(Vec<Demand>),
}

/// An input of the engine. It happens at the time that [`Engine::advance`](crate::Engine::advance) was last
/// called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A block is added, or a retired one is added again with the same capacity.
    AddBlock {
        /// Its name.
        block: BlockId,
        /// Its capacity.
        capacity: Budget,
    },
    /// A block is retired: its waiting claims are denied, and nothing more is granted on it. Granted claims
    /// keep their budget.
    RetireBlock {
        /// Its name.
        block: BlockId,
    },
    /// A claim arrives.
    Arrive(Arrival),
    /// A claim that arrived with too few blocks is matched with these.
    Match {
        /// The claim.
        claim: ClaimId,
        /// All its demands, in place of those that it arrived with.
        demands: Vec<Demand>,
    },
    /// Budget of a granted claim is consumed: the computation that it pays for may run.
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
    /// A claim's owner was deleted. A waiting claim is withdrawn; of a granted one, what is not consumed is
    /// released. Any other claim stays as it is.
    Withdraw {
        /// The claim.
        claim: ClaimId,
    },
    /// The computation that a claim was consumed for provably never ran: what was consumed returns to its
    /// blocks.
    NeverRan {
        /// The claim.
        claim: ClaimId,
    },
    /// The ledger went on from here, and these decisions are lost. Somebody accepts that all budget of every
    /// block may have been consumed by them: whatever isn't allocated counts as consumed, and so does what
    /// would return later. The blocks are retired, and can't be added again.
    WriteOff {
        /// The sequence number of the ledger's last entry that is left.
        after: u64,
        /// Blocks that exist and were never added: the lost decisions may have added and consumed them. They
        /// can't be added any more.
        unknown_blocks: Vec<BlockId>,
        /// Why, in the words of whoever accepts it.
        reason: String,
    },
    /// These claims ended, and nothing can refer to them any more: the objects that they are of are gone. They are
    /// forgotten, as if they had never arrived. What they consumed stays consumed, and is added to the
    /// [sums](crate::Engine::folded) of the group. Gives no records.
    Forget {
        /// The claims: denied, expired, withdrawn, released or consumed ones. Unknown ones are passed over, so an
        /// event that is repeated changes nothing.
        claims: Vec<ClaimId>,
        /// The group of whose claims these are: in a cluster, their namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
}

/// Why a claim can never be granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Denial {
    /// It demands more of a block than what is not consumed, which is all that it can still ever have.
    TooLarge {
        /// The first such block, in the order of the claim's demands.
        block: BlockId,
        /// The coordinate that lacks least (Renyi), or the first that lacks (basic).
        coordinate: u32,
        /// The demand there, in the coordinate's unit.
        asked: i64,
        /// What is not consumed there. May be negative at a Renyi order, and is `i64::MIN` if it is less than
        /// that.
        left: i64,
    },
    /// A block of its demands was retired.
    BlockRetired {
        /// The block.
        block: BlockId,
    },
    /// It demands more of a block than is available, and the policy lets no claim wait.
    DoesNotFit {
        /// The first such block, in the order of the claim's demands.
        block: BlockId,
        /// The coordinate that lacks least (Renyi), or the first that lacks (basic).
        coordinate: u32,
        /// The demand there, in the coordinate's unit.
        asked: i64,
        /// What is available there. May be negative at a Renyi order, and is `i64::MIN` if it is less than
        /// that.
        unlocked: i64,
    },
    /// A block was divided among the claims that waited for it (round robin), and nothing of it is left to
    /// divide.
    DividedUp {
        /// The block.
        block: BlockId,
    },
}

/// A decision of the engine. It is true once it is durable, and not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A block was added, all of it locked but for what unlocks at once.
    BlockAdded {
        /// The block.
        block: BlockId,
    },
    /// A block was retired.
    BlockRetired {
        /// The block.
        block: BlockId,
    },
    /// A block was written off: all that isn't allocated counts as consumed, and nothing is granted any more.
    WrittenOff {
        /// The block.
        block: BlockId,
    },
    /// A claim's arrival unlocked one step of these blocks: those of its demands that were not unlocked
    /// completely before. (Steps of the clock follow from the time alone and are not recorded.)
    Unlocked {
        /// The blocks.
        blocks: Vec<BlockId>,
    },
    /// A claim arrived and was not decided at once.
    Waits {
        /// The claim.
        claim: ClaimId,
    },
    /// All demands of a claim, on all its blocks, are allocated to it.
    Granted {
        /// The claim.
        claim: ClaimId,
        /// When.
        at: Time,
    },
    /// A claim was denied.
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
    /// A waiting claim was withdrawn.
    Withdrawn {
        /// The claim.
        claim: ClaimId,
    },
    /// Allocated budget was consumed.
    Consumed {
        /// The claim.
        claim: ClaimId,
        /// Whether nothing of the claim is left allocated.
        entirely: bool,
    },
    /// Budget of a claim returned to its blocks, where it is available again, or counts as consumed if the
    /// block was written off.
    Released {
        /// The claim.
        claim: ClaimId,
        /// Whether nothing of the claim is left allocated.
        entirely: bool,
    },
}
