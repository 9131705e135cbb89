//! What an engine shows of itself.

use serde::Serialize;

use crate::{Arrival, BlockId, Budget, Denial, Record, Time};

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

/// A block's budget, at each coordinate in that coordinate's unit.
/// `locked + available + allocated + consumed = capacity`, exactly, at each; `available` may be negative at a Renyi
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockState {
    /// What it may ever spend.
    pub capacity: Budget,
    /// Not available yet.
    pub locked: Vec<i128>,
    /// Available.
    pub available: Vec<i128>,
    /// Granted, neither consumed nor released.
    pub allocated: Vec<i128>,
    /// InPart.
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
    pub arrival: Arrival,
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
    /// Each block that lacks budget for the claim, in the order of its demands. Basic: at each coordinate that lacks;
    /// Renyi: once, at the order that lacks least of those at which the block can still ever have enough. Empty while
    /// too few blocks are matched.
    pub lacks: Vec<Lack>,
    /// The claim's dominant share as (asked, capacity) in the same unit, before its weight divides it; none if it is not
    /// matched.
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
    /// What is available there; what is set aside for the claim, under a policy that sets budget aside.
    pub available: i128,
    /// `asked - available`. Not above 0 where nothing is missing.
    pub missing: i128,
    /// What is still locked there.
    pub locked: i128,
    /// What would make it enough if nobody else took any. Of no meaning where nothing is missing.
    pub unlocks: Unlocks,
}

/// All about a waiting claim: what each of its blocks has for it, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Each block of the claim, in the order of its demands, at each coordinate (Renyi: at which it has any budget),
    /// whether it lacks anything there or not.
    pub needs: Vec<Lack>,
    /// How many waiting claims go before it if all fit: under DPack, as costs are now. None while it matches too few
    /// blocks, and under a policy that has no order.
    pub ahead: Option<usize>,
}

/// What would come of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// What the engine would decide.
    pub records: Vec<Record>,
    /// Why the claim that the event is about would wait then, if it would.
    pub waits: Option<Explanation>,
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
