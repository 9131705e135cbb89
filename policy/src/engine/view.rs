//! The types in which an engine shows its state: blocks, claims, and why a claim waits. Amounts are integers
//! in the unit of their coordinate.

use serde::Serialize;

use super::state::State;
use crate::{Arrival, BlockId, Budget, ClaimId, Denial, Record, Time, Weight};

/// A claim's phase: `Waiting -> Granted -> Consumed | Released`, `Waiting -> Denied | Expired | Withdrawn`,
/// and `Consumed -> Released` by [`Event::NeverRan`](crate::Event::NeverRan).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Phase {
    /// Not decided yet.
    Waiting,
    /// Its demands are allocated; some of that is neither consumed nor released.
    Granted,
    /// Nothing is left allocated, and some of it was consumed.
    Consumed,
    /// Nothing is left allocated, and nothing was consumed.
    Released,
    /// Can never be granted.
    Denied,
    /// Waited for its whole timeout.
    Expired,
    /// Withdrawn while it waited.
    Withdrawn,
}

impl Phase {
    /// Whether nothing more can happen to a claim but that what it was consumed for never ran.
    #[must_use]
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Waiting | Self::Granted => false,
            Self::Consumed | Self::Released | Self::Denied | Self::Expired | Self::Withdrawn => true,
        }
    }

    /// Whether a claim has ended without ever being granted.
    pub(super) const fn is_without_grant(self) -> bool {
        match self {
            Self::Waiting | Self::Granted | Self::Consumed | Self::Released => false,
            Self::Denied | Self::Expired | Self::Withdrawn => true,
        }
    }
}

/// A block's budget, at each coordinate in that coordinate's unit. `locked + available + allocated + consumed
/// = capacity`, exactly, at each; `available` may be negative at a Renyi order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockState {
    /// All that may ever be consumed.
    pub capacity: Budget,
    /// Not unlocked yet.
    pub locked: Vec<i128>,
    /// Unlocked and not taken.
    pub available: Vec<i128>,
    /// Granted, neither consumed nor released.
    pub allocated: Vec<i128>,
    /// Consumed.
    pub consumed: Vec<i128>,
    /// How many claims arrived for it.
    pub arrivals: u64,
    /// Whether it was retired.
    pub retired: bool,
    /// Whether it was [written off](crate::Event::WriteOff).
    pub written_off: bool,
}

/// A claim's state.
#[derive(Clone, Debug)]
pub struct ClaimState<'a> {
    /// Its number: how many claims arrived before it, without those that were forgotten before the engine was
    /// restored.
    pub number: usize,
    /// Its arrival, with the demands that it was matched with later, if it was.
    pub arrival: Arrival,
    /// Its phase.
    pub phase: Phase,
    /// When it arrived.
    pub arrived: Time,
    /// When it was granted, denied, expired or withdrawn.
    pub decided: Option<Time>,
    /// Why it was denied.
    pub denial: Option<&'a Denial>,
    /// The total consumed on each of its blocks, in the order of its demands.
    pub consumed: Vec<(&'a BlockId, Budget)>,
    /// The total released on each of its blocks, in the order of its demands.
    pub released: Vec<(&'a BlockId, Budget)>,
}

/// What is known of a claim without a copy of anything. See [`ClaimState`] for all of it.
#[derive(Clone, Copy, Debug)]
pub struct ClaimOutline<'a> {
    /// Its number, as in [`ClaimState`].
    pub number: usize,
    /// Its name.
    pub claim: &'a ClaimId,
    /// Its weight.
    pub weight: Weight,
    /// Its phase.
    pub phase: Phase,
    /// Whether it has released anything.
    pub has_released: bool,
    pub(super) state: &'a State,
}

impl<'a> ClaimOutline<'a> {
    /// Each of its blocks with what it demands there at each coordinate, in the order of its demands. Empty while it matches
    /// too few blocks.
    #[must_use]
    pub fn demands(&self) -> impl ExactSizeIterator<Item = (&'a BlockId, &'a [i64])> + use<'a> {
        let state = self.state;
        // Claims are numbered with 32 bits.
        let demands = u32::try_from(self.number).map(|number| state.demands(number));
        let demands = demands.unwrap_or_default();
        (0..demands.len()).map(move |part| {
            let part = demands.get(part);
            (&state.blocks.get(part.block).name, part.amounts)
        })
    }
}

/// A sum of the claims of a group that ended in one way and were [forgotten](crate::Event::Forget).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded<'a> {
    /// A block that was granted to the claims. None for the sum of all claims, of which those that were never
    /// granted are in no other sum.
    pub block: Option<&'a BlockId>,
    /// The group.
    pub group: Option<&'a str>,
    /// How the claims ended.
    pub phase: Phase,
    /// How many they are.
    pub claims: u64,
    /// What they consumed of the block at each coordinate, in that coordinate's unit. Empty without a block.
    pub consumed: &'a [i128],
}

/// Why a claim waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The number of blocks matched and the number needed, while fewer are matched than needed.
    pub unmatched: Option<(u32, u32)>,
    /// Each block that lacks budget for the claim, in the order of its demands. Basic: at each coordinate
    /// that lacks; Renyi: once, at the order that lacks least of those at which the block can still ever have
    /// enough. Empty while too few blocks are matched.
    pub lacks: Vec<Lack>,
    /// The claim's dominant share as (asked, capacity) in the same unit, before its weight divides it; none
    /// if it is not matched.
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
    /// The claim's demand there.
    pub asked: i64,
    /// What is available there; what is set aside for the claim, under a policy that sets budget aside.
    pub available: i128,
    /// `asked - available`. Not above 0 where nothing is missing.
    pub missing: i128,
    /// What is still locked there.
    pub locked: i128,
    /// What would make it enough if nothing else were granted. Of no meaning where nothing is missing.
    pub unlocks: Unlocks,
}

/// What each of its blocks has for a waiting claim, and its place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Each block of the claim, in the order of its demands, at each coordinate (Renyi: at which it has any
    /// budget), whether it lacks anything there or not.
    pub needs: Vec<Lack>,
    /// How many waiting claims go before it, if all fit. A policy whose order changes counts as of now. None
    /// while it matches too few blocks, and under a policy that has no order.
    pub ahead: Option<usize>,
}

/// What the engine would decide about an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// The records.
    pub records: Vec<Record>,
    /// Why the claim of the event would wait then, if it would.
    pub waits: Option<Explanation>,
}

/// What would make a block's budget enough, if nothing else were granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unlocks {
    /// This many more arrivals of claims.
    Arrivals(u64),
    /// The clock, at this time.
    At(Time),
    /// Only budget that is allocated to other claims, if they release it.
    OnlyReturned,
}
