//! What a run is made of, and how an experiment fills it in.

use std::fmt;

use super::{CompositionKind, Experiment, ExperimentError, REFERENCE_SEED, VisitOrder};
use crate::{PolicyChoice, PolicyKind, PolicySettings, Unlock};

/// What a run is made of. What is none is the experiment's own, or what it doesn't have.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Which one.
    pub experiment: Experiment,
    /// Who goes first, and what unlocks.
    pub policy: Option<PolicyChoice>,
    /// Unlocking by arrivals: how many unlock a block.
    pub n: Option<u32>,
    /// Unlocking over time: in how many seconds a block unlocks.
    pub lifetime: Option<f64>,
    /// How many tasks in 100 are mice.
    pub mice: Option<f64>,
    /// How budgets add up.
    pub composition: Option<CompositionKind>,
    /// In which order DPF visits waiting tasks.
    pub order: Option<VisitOrder>,
    /// Of the random numbers.
    pub seed: u64,
    /// DPack and blend: after how many grants costs are worked out anew.
    pub recompute_after: Option<u32>,
    /// Blend: the part of what is unlocked that goes by DPF, in thousandths.
    pub fairness: Option<u16>,
    /// How much tasks differ from each other: the standard deviation that the experiment varies.
    pub spread: Option<f64>,
    /// What a task asks at its best order at least, as a part of a block.
    pub least: Option<f64>,
    /// How many tasks come.
    pub tasks: Option<u32>,
    /// How many blocks come after those that are there at the start.
    pub blocks: Option<u32>,
    /// Optimum: after how many nodes its search ends at the latest.
    pub nodes: Option<u32>,
}

impl Parameters {
    /// An experiment with everything its own, and the reference's seed.
    #[must_use]
    pub const fn of(experiment: Experiment) -> Self {
        Self {
            experiment,
            policy: None,
            n: None,
            lifetime: None,
            mice: None,
            composition: None,
            order: None,
            seed: REFERENCE_SEED,
            recompute_after: None,
            fairness: None,
            spread: None,
            least: None,
            tasks: None,
            blocks: None,
            nodes: None,
        }
    }

    /// Refuses a parameter that the experiment doesn't have.
    pub(super) fn refuse(
        &self,
        field: &'static str,
        value: Option<impl fmt::Display>,
    ) -> Result<(), ExperimentError> {
        value.map_or(Ok(()), |value| {
            Err(ExperimentError::Useless {
                field,
                value: value.to_string(),
                experiment: self.experiment,
            })
        })
    }

    /// With the numbers that `policy` packs by filled in, or left out if it doesn't pack.
    pub(super) fn with_packing(self, policy: PolicyChoice) -> Self {
        let packs = matches!(policy.kind, PolicyKind::Dpack | PolicyKind::Blend);
        let blends = policy.kind == PolicyKind::Blend;
        Self {
            recompute_after: packs.then(|| self.recompute_after.unwrap_or(1)),
            fairness: blends.then(|| self.fairness.unwrap_or(500)),
            ..self
        }
    }

    /// With what unlocks a block filled in, if anything does: `n` arrivals, or as many mean `interval`s between them, in
    /// seconds.
    pub(super) fn with_unlocking(self, policy: PolicyChoice, n: u32, interval: f64) -> Self {
        let unlocks_by = |unlock| policy.unlock == Some(unlock);
        let lifetime = || unlocks_by(Unlock::Lifetime).then(|| f64::from(n) * interval);
        Self {
            n: self.n.or_else(|| unlocks_by(Unlock::Arrivals).then_some(n)),
            lifetime: self.lifetime.or_else(lifetime),
            ..self
        }
    }

    /// The policy, with the experiment's own in place of what is left out. What is unlocked from the start unlocks by
    /// nothing.
    pub(super) fn choice(&self, kind: PolicyKind, unlock: Unlock) -> PolicyChoice {
        let kind = self.policy.map_or(kind, |given| given.kind);
        let unlock = self.policy.and_then(|given| given.unlock).unwrap_or(unlock);
        PolicyChoice {
            kind,
            unlock: kind.unlocks_later().then_some(unlock),
        }
    }

    /// What unlocks, if only a number says so: a lifetime without n is one of time.
    pub(super) fn unlock_by_number(&self) -> Unlock {
        if self.lifetime.is_some() && self.n.is_none() {
            Unlock::Lifetime
        } else {
            Unlock::Arrivals
        }
    }
}

impl PolicySettings {
    /// The rules of complete parameters.
    pub(super) fn of(parameters: &Parameters, policy: PolicyChoice, tick: f64) -> Self {
        Self {
            policy,
            n: parameters.n,
            lifetime: parameters.lifetime,
            tick: Some(tick),
            // `with_packing` has filled these in for the policies that read them; the others ignore them.
            recompute_after: parameters.recompute_after.unwrap_or(1),
            fairness: parameters.fairness.unwrap_or(0),
        }
    }
}
