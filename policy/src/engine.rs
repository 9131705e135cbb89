//! The engine: events in, records out.

use serde::Serialize;
use thiserror::Error;

use crate::{Arrival, BlockId, Budget, ClaimId, Denial, Event, Record, Setting, SettingError, Time};

/// Where a claim is in its life. `Waiting -> Granted -> Consumed | Released`,
/// `Waiting -> Denied | Expired | Withdrawn`, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Phase {
    /// Not decided yet.
    Waiting,
    /// All it asks is its own; some of it is neither consumed nor released.
    Granted,
    /// Nothing is left allocated, and some of it was consumed.
    Consumed,
    /// Nothing is left allocated, and nothing was consumed.
    Released,
    /// Refused for good.
    Denied,
    /// Waited for its whole timeout.
    Expired,
    /// Taken back while it waited.
    Withdrawn,
}

/// Why an event makes no sense. Nothing has changed, and the event must not be written.
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
    /// A claim that never arrived.
    #[error("claim {0} is unknown")]
    UnknownClaim(ClaimId),
    /// A claim that arrives again.
    #[error("claim {0} is known already")]
    ClaimExists(ClaimId),
    /// A claim that asks nothing, names a block twice, or needs no block.
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
    /// Something that only a claim in another phase can do.
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

/// A block's budget, at each coordinate in that coordinate's unit.
/// `locked + unlocked + allocated + consumed = capacity`, exactly, at each; `unlocked` may be negative at a Renyi
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockBooks {
    /// What it may ever spend.
    pub capacity: Budget,
    /// Not available yet.
    pub locked: Vec<i128>,
    /// Available.
    pub unlocked: Vec<i128>,
    /// Granted, neither consumed nor released.
    pub allocated: Vec<i128>,
    /// Spent.
    pub consumed: Vec<i128>,
    /// Claims that arrived for it.
    pub arrivals: u64,
    /// Whether it is gone.
    pub retired: bool,
}

/// A claim as the engine knows it.
#[derive(Clone, Debug)]
pub struct ClaimState<'a> {
    /// As it arrived, or as it was matched.
    pub arrival: &'a Arrival,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it arrived.
    pub arrived: Time,
    /// When it was granted, denied, expired or withdrawn.
    pub decided: Option<Time>,
    /// Why it was denied.
    pub denial: Option<&'a Denial>,
    /// What was consumed in all on each of its blocks, in the order of its demands.
    pub consumed: Vec<(&'a BlockId, Budget)>,
    /// What was released in all on each of its blocks, in the order of its demands.
    pub released: Vec<(&'a BlockId, Budget)>,
}

/// Why a claim waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Blocks matched so far and blocks needed, while these are more.
    pub unmatched: Option<(u32, u32)>,
    /// Each block that lacks budget for the claim, in the order of its demands; for Renyi at the order that lacks
    /// least.
    pub lacks: Vec<Lack>,
    /// The claim's dominant share as (asked, capacity) in the same unit; none if it is not matched.
    pub dominant_share: Option<(i64, i64)>,
    /// When its timeout is over.
    pub expires: Option<Time>,
}

/// What a block lacks for a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The block.
    pub block: BlockId,
    /// The coordinate.
    pub coordinate: usize,
    /// What the claim asks there.
    pub asked: i64,
    /// What is available there.
    pub unlocked: i128,
    /// `asked - unlocked`.
    pub missing: i128,
    /// What is still locked there.
    pub locked: i128,
    /// What would make it enough if nobody else took any.
    pub unlocks: Unlocks,
}

/// What would make a block's budget enough, if nobody else took any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unlocks {
    /// So many more arrivals of claims.
    Arrivals(u64),
    /// The clock, at this time.
    At(Time),
    /// Only budget that other claims hold, should they release it.
    OnlyReturned,
}

/// One dataset's blocks and claims, and the policy that decides between them.
#[derive(Debug)]
pub struct Engine {
    setting: Setting,
}

impl Engine {
    /// An engine without blocks and claims, at the start of time.
    pub fn new(setting: Setting) -> Result<Self, SettingError> {
        setting.check()?;
        Ok(Self { setting })
    }

    /// Its rules.
    #[must_use]
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The latest time it was told.
    #[must_use]
    pub fn now(&self) -> Time {
        unimplemented!()
    }

    /// Lets time pass until `now`: steps of the clock and timeouts take effect each at its own time, in order
    /// (at the same time: steps, then timeouts). An earlier time than the latest is taken as that.
    /// `advance(a); advance(b)` is `advance(b)`.
    pub fn advance(&mut self, _now: Time) -> Vec<Record> {
        unimplemented!()
    }

    /// Lets `event` happen now.
    pub fn apply(&mut self, _event: &Event) -> Result<Vec<Record>, Refusal> {
        unimplemented!()
    }

    /// The next time at which [`advance`](Self::advance) may decide something.
    #[must_use]
    pub fn next_step(&self) -> Option<Time> {
        unimplemented!()
    }

    /// A block's budget.
    #[must_use]
    pub fn block(&self, _block: &BlockId) -> Option<BlockBooks> {
        unimplemented!()
    }

    /// Every block, in the order in which they were added.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> + '_ {
        std::iter::empty()
    }

    /// A claim.
    #[must_use]
    pub fn claim(&self, _claim: &ClaimId) -> Option<ClaimState<'_>> {
        unimplemented!()
    }

    /// Every claim that ever arrived, in the order of arrival.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimId> + '_ {
        std::iter::empty()
    }

    /// Why a waiting claim waits; none for any other. Changes nothing.
    #[must_use]
    pub fn explain(&self, _claim: &ClaimId) -> Option<Explanation> {
        unimplemented!()
    }
}
