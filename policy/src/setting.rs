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
}

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
pub struct Setting {
    /// How waiting claims are ordered and granted.
    pub policy: Policy,
    /// How budget becomes available.
    pub unlocking: Unlocking,
    /// How budgets add up.
    pub composition: Composition,
}

/// Why a setting can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SettingError {
    /// No arrivals would never unlock anything.
    #[error("unlocking.arrivals is 0: it must be at least 1")]
    NoArrivals,
    /// Steps of no length.
    #[error("unlocking.tick is 0s: it must be longer")]
    NoTick,
}

impl Setting {
    /// Whether the setting can be used.
    pub const fn check(&self) -> Result<(), SettingError> {
        match self.unlocking {
            Unlocking::Arrivals(0) => Err(SettingError::NoArrivals),
            Unlocking::Lifetime { tick, .. } if tick.micros() == 0 => Err(SettingError::NoTick),
            _ => Ok(()),
        }
    }
}
