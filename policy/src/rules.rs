//! What one dataset's engine is made with: policy, unlocking and composition. Fixed for the life of its ledger.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Composition, Span};

/// How waiting claims are ordered and granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// Dominant Private Block Fairness: the smallest dominant share first, all or nothing, what does not fit is
    /// skipped (OSDI'21, Algorithms 1 to 3).
    #[default]
    Dpf,
    /// First come, first served: in the order of arrival, all or nothing, what does not fit is skipped.
    #[serde(rename_all = "camelCase")]
    Fcfs {
        /// What does not fit when it arrives is denied then and never waits.
        refusing: bool,
    },
    /// What is unlocked is divided by max-min fairness among the claims that wait for the block; a claim is granted
    /// when it has gathered all it asks. Basic composition only.
    RoundRobin,
    /// The most efficient first: the largest weight for its cost, which is what a claim asks of each block's capacity
    /// at the order that is best for that block, summed (EuroSys'25). Best effort, so what does not fit is skipped.
    #[serde(rename_all = "camelCase")]
    Dpack {
        /// After how many grants of a pass costs are worked out anew, 1 or more.
        recompute_after: u32,
    },
    /// First DPF on a part of what is unlocked, then DPack on the rest.
    #[serde(rename_all = "camelCase")]
    Blend {
        /// That part, in thousandths: 1000 is DPF, 0 is DPack.
        fairness: u16,
        /// As of DPack.
        recompute_after: u32,
    },
}

/// The steps of a lifetime that round robin takes one by one.
const MAX_ROUND_ROBIN_STEPS: u64 = 1_000_000;

/// How a block's locked budget becomes available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unlocking {
    /// One N-th of the block with each claim that arrives for it (DPF-N). After k arrivals floor(total x k / N) is
    /// unlocked, so N arrivals unlock exactly everything. At least 1.
    Arrivals(u32),
    /// In equal steps at the multiples of `tick`, from the first at or after the block's arrival, over
    /// `lifetime` (DPF-T): floor((arrival + lifetime - first) / tick) + 1 steps, after k of n of them
    /// floor(total x k / n). If not even the first step lies within the lifetime, everything at that step.
    #[serde(rename_all = "camelCase")]
    Lifetime {
        /// Over how long everything is unlocked.
        lifetime: Span,
        /// How often a step is taken. More than zero.
        tick: Span,
    },
    /// Everything at once.
    Immediate,
}

/// A dataset's rules. They are the first thing in its ledger and never change there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetRules {
    /// How waiting claims are ordered and granted.
    pub policy: Policy,
    /// How budget becomes available.
    pub unlocking: Unlocking,
    /// How budgets add up.
    pub composition: Composition,
}

/// Why a rules can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DatasetRulesError {
    /// No arrivals would never unlock anything.
    #[error("unlocking.arrivals is 0: it must be at least 1")]
    NoArrivals,
    /// Steps of no length.
    #[error("unlocking.tick is 0s: it must be longer")]
    NoTick,
    /// Nothing says how a curve is divided.
    #[error("policy roundRobin needs basic composition: a Renyi curve can't be divided order by order")]
    RoundRobinRenyi,
    /// Round robin looks at each step at which claims wait.
    #[error("unlocking.tick is too short for policy roundRobin: a lifetime may have at most 1000000 ticks")]
    TooManyTicks,
    /// Costs that are never worked out.
    #[error("policy.recomputeAfter is 0: it must be at least 1")]
    NoRecomputation,
    /// More than everything.
    #[error("policy.fairness is {0} thousandths: it must be at most 1000")]
    TooFair(u16),
}

impl DatasetRules {
    /// Whether the rules can be used.
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
