//! The rules of a dataset: policy, unlocking and composition. They are fixed for the life of its ledger.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Composition, Span};

/// How waiting claims are ordered and granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Dominant Private Block Fairness: the smallest dominant share first. A claim that does not fit is
    /// skipped (OSDI'21, Algorithms 1 to 3).
    #[default]
    Dpf,
    /// First come, first served: in the order of arrival. A claim that does not fit is skipped.
    #[serde(rename_all = "camelCase")]
    Fcfs {
        /// Whether a claim that does not fit when it arrives is denied at once, so that none ever waits for
        /// budget.
        refusing: bool,
    },
    /// Unlocked budget is divided by max-min fairness among the claims that wait for the block; a claim is
    /// granted when it has gathered all that it demands. Basic composition only.
    RoundRobin,
    /// The most efficient claim first: the one with the largest weight over its cost, which is its demand
    /// over the capacity at each block's best order, summed (EuroSys'25). A claim that does not fit is
    /// skipped.
    #[serde(rename_all = "camelCase")]
    Dpack {
        /// After how many grants of a pass costs are computed again: 1 or more.
        recompute_after: u32,
    },
    /// DPF on a part of the available budget, then DPack on the rest.
    #[serde(rename_all = "camelCase")]
    Blend {
        /// That part, in thousandths: 1000 is DPF, 0 is DPack.
        fairness: u16,
        /// As under DPack.
        recompute_after: u32,
    },
}

/// The most steps of a lifetime under round robin, which takes them one by one.
const MAX_ROUND_ROBIN_STEPS: u64 = 1_000_000;

/// How the locked budget of a block becomes available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unlocking {
    /// Each claim that arrives for the block unlocks one N-th of it (DPF-N), where N is at least 1. After k
    /// arrivals, floor(capacity x k / N) is unlocked, so N arrivals unlock exactly everything.
    Arrivals(u32),
    /// The clock unlocks equal steps at the multiples of `tick`, from the first at or after the time at which
    /// the block was added, over `lifetime` (DPF-T). There are n = floor((added + lifetime - first) / tick) +
    /// 1 steps, and after k of them floor(capacity x k / n) is unlocked. If not even the first step lies
    /// within the lifetime, it unlocks everything.
    #[serde(rename_all = "camelCase")]
    Lifetime {
        /// How long it takes until everything is unlocked.
        lifetime: Span,
        /// The time between two steps: more than zero.
        tick: Span,
    },
    /// Everything is unlocked as soon as the block is added.
    Immediate,
}

/// How the engine decides where a release changed it. A ledger is replayed as it was written, so each keeps
/// the revision that it began with. As JSON, a revision is its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Revision {
    /// That of release 0.1.0 and of ledgers that name none. A claim that is denied when it arrives unlocks
    /// budget all the same, and what a claim had gathered that ends without a grant is lost (round robin).
    #[default]
    First,
    /// A claim that is denied when it arrives changes nothing, and what a claim had gathered that ends without
    /// a grant is divided again (round robin).
    Second,
    /// As the second. A claim's share of a block under Renyi composition is that at the order where it is
    /// smallest ([`ShareRule::SmallestOrder`]), not where it is largest.
    Third,
}

/// What fraction of a block a claim demands, of those at each coordinate. Coordinates at which the block has no
/// capacity don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareRule {
    /// The largest: of epsilon and delta (basic composition), or over the Renyi orders (OSDI'21, Algorithm 3).
    LargestCoordinate,
    /// That at the Renyi order where it is smallest. As a claim has to fit at one order only, its inverse is how
    /// many such claims the block could carry.
    SmallestOrder,
}

impl ShareRule {
    /// The share of a block with `capacity` that a demand of `amounts` is: the amount and the capacity at the
    /// coordinate that decides. None if the block has no capacity at all.
    #[must_use]
    pub fn share(self, amounts: &[i64], capacity: impl IntoIterator<Item = i64>) -> Option<(i64, i64)> {
        let usable = amounts.iter().copied().zip(capacity);
        let shares = usable.filter(|(_, capacity)| *capacity > 0);
        let compare = |one: &(i64, i64), other: &(i64, i64)| {
            // Two 63-bit factors: the products are exact.
            let mine = i128::from(one.0) * i128::from(other.1);
            mine.cmp(&(i128::from(other.0) * i128::from(one.1)))
        };
        match self {
            Self::LargestCoordinate => shares.max_by(compare),
            Self::SmallestOrder => shares.min_by(compare),
        }
    }
}

/// The number of a revision that this version does not know: a later version wrote it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("revision {0} of the rules is unknown: it takes a later version of PrivateKube")]
pub struct UnknownRevision(u32);

/// The rules of a dataset. They are the first content of its ledger and never change there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetRules {
    /// How waiting claims are ordered and granted.
    pub policy: Policy,
    /// How budget becomes available.
    pub unlocking: Unlocking,
    /// How budgets add up.
    pub composition: Composition,
    /// How the engine decides where a release changed it: [`Revision::CURRENT`] for a new dataset. Absent in
    /// the ledgers of release 0.1.0.
    #[serde(default, skip_serializing_if = "Revision::is_first")]
    pub revision: Revision,
}

/// Why rules cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DatasetRulesError {
    /// Unlocking by 0 arrivals, which would never unlock anything.
    #[error("unlocking.arrivals is 0: it must be at least 1")]
    NoArrivals,
    /// A tick of zero length.
    #[error("unlocking.tick is 0s: it must be longer")]
    NoTick,
    /// Round robin with Renyi composition, where a curve cannot be divided order by order.
    #[error("policy roundRobin needs basic composition: a Renyi curve can't be divided order by order")]
    RoundRobinRenyi,
    /// Round robin with too many ticks in a lifetime: it takes each of them while claims wait.
    #[error("unlocking.tick is too short for policy roundRobin: a lifetime may have at most 1000000 ticks")]
    TooManyTicks,
    /// Costs that would never be computed.
    #[error("policy.recomputeAfter is 0: it must be at least 1")]
    NoRecomputation,
    /// A fairness above 1000 thousandths.
    #[error("policy.fairness is {0} thousandths: it must be at most 1000")]
    TooFair(u16),
}

impl Revision {
    /// The revision of new datasets.
    pub const CURRENT: Self = Self::Third;

    /// Whether a claim that is denied when it arrives unlocks budget all the same.
    pub(crate) fn denied_arrivals_unlock(self) -> bool {
        self == Self::First
    }

    /// Whether what a claim had gathered that ends without a grant is lost (round robin).
    pub(crate) fn gathered_is_lost(self) -> bool {
        self == Self::First
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_first(&self) -> bool {
        *self == Self::First
    }
}

impl TryFrom<u32> for Revision {
    type Error = UnknownRevision;

    fn try_from(number: u32) -> Result<Self, UnknownRevision> {
        match number {
            1 => Ok(Self::First),
            2 => Ok(Self::Second),
            3 => Ok(Self::Third),
            _ => Err(UnknownRevision(number)),
        }
    }
}

impl From<Revision> for u32 {
    fn from(revision: Revision) -> Self {
        match revision {
            Revision::First => 1,
            Revision::Second => 2,
            Revision::Third => 3,
        }
    }
}

impl DatasetRules {
    /// How a claim's share of a block follows from its demand at each coordinate.
    #[must_use]
    pub fn share_rule(&self) -> ShareRule {
        match (&self.composition, self.revision) {
            (Composition::Renyi(_), Revision::Third) => ShareRule::SmallestOrder,
            (Composition::Renyi(_), Revision::First | Revision::Second) | (Composition::Basic, _) => {
                ShareRule::LargestCoordinate
            }
        }
    }

    /// Whether `other` has the same policy, unlocking and composition. These are what a user chooses; the
    /// revision is that of the release with which a ledger began.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let Self {
            policy,
            unlocking,
            composition,
            revision: _,
        } = self;
        (policy, unlocking, composition) == (&other.policy, &other.unlocking, &other.composition)
    }

    /// Checks that the rules can be used together.
    pub fn check(&self) -> Result<(), DatasetRulesError> {
        match self.unlocking {
            Unlocking::Arrivals(0) => return Err(DatasetRulesError::NoArrivals),
            Unlocking::Lifetime { tick, .. } if tick.micros() == 0 => return Err(DatasetRulesError::NoTick),
            _ => {}
        }
        match (self.policy, self.unlocking) {
            (Policy::RoundRobin, _) if self.composition != Composition::Basic => {
                Err(DatasetRulesError::RoundRobinRenyi)
            }
            (Policy::RoundRobin, Unlocking::Lifetime { lifetime, tick })
                if lifetime.micros() / tick.micros() > MAX_ROUND_ROBIN_STEPS =>
            {
                Err(DatasetRulesError::TooManyTicks)
            }
            (
                Policy::Dpack { recompute_after: 0 }
                | Policy::Blend {
                    recompute_after: 0, ..
                },
                _,
            ) => Err(DatasetRulesError::NoRecomputation),
            (Policy::Blend { fairness, .. }, _) if fairness > 1000 => {
                Err(DatasetRulesError::TooFair(fairness))
            }
            _ => Ok(()),
        }
    }
}
