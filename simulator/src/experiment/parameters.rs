//! The parameters of a run, and helpers by which experiments fill in their defaults.

use std::{fmt, str::FromStr};

use privatekube_policy::Revision;
use thiserror::Error;

use super::{CompositionKind, Experiment, ExperimentError, REFERENCE_SEED, VisitOrder};
use crate::{PolicyChoice, PolicyKind, PolicySettings, Unlock};

/// The parameters of a run. `None` means the experiment's default, or that the experiment has no such
/// parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The experiment.
    pub experiment: Experiment,
    /// The policy, and how blocks unlock.
    pub policy: Option<PolicyChoice>,
    /// Unlocking by arrivals: number of arrivals that unlock a block.
    pub n: Option<u32>,
    /// Unlocking over time: seconds in which a block unlocks.
    pub lifetime: Option<f64>,
    /// Percentage of mice (small tasks) among the tasks.
    pub mice: Option<f64>,
    /// The composition.
    pub composition: Option<CompositionKind>,
    /// The order in which DPF visits waiting tasks.
    pub order: Option<VisitOrder>,
    /// Seed of the random numbers.
    pub seed: u64,
    /// DPack and blend: number of grants after which costs are recomputed.
    pub recompute_after: Option<u32>,
    /// Blend: the part of unlocked budget that DPF allocates, in thousandths.
    pub fairness: Option<u16>,
    /// Heterogeneity of the tasks: the standard deviation that the experiment varies.
    pub spread: Option<f64>,
    /// A task's demand at its best order, as a part of a block.
    pub least: Option<f64>,
    /// Number of tasks.
    pub tasks: Option<u32>,
    /// Number of blocks that arrive after those that exist at the start.
    pub blocks: Option<u32>,
    /// Optimum: number of nodes after which the search stops.
    pub nodes: Option<u32>,
    /// The revision of the engine's rules. The default is the first, that of the papers, which complete parameters
    /// leave out.
    pub revision: Option<Revision>,
}

/// The error for a text that is not the number of a revision.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is no revision of the rules: accepted are 1 (that of the papers), 2, and 3 (that of a new dataset)"
)]
pub struct NoRevision(String);

/// Parses the number of a revision.
pub fn revision(text: &str) -> Result<Revision, NoRevision> {
    let number = u32::from_str(text).ok();
    let revision = number.and_then(|number| Revision::try_from(number).ok());
    revision.ok_or_else(|| NoRevision(text.to_owned()))
}

impl Parameters {
    /// Returns the parameters of an experiment's default run, with the released simulator's seed.
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
            revision: None,
        }
    }

    /// Returns the same run with `revision`. The released simulator's order is known of the first only; with another,
    /// DPF visits waiting tasks by share.
    #[must_use]
    pub fn at_revision(self, revision: Revision) -> Self {
        let is_first = revision == Revision::First;
        let order = match self.order {
            Some(VisitOrder::Published) if !is_first => Some(VisitOrder::Share),
            order => order,
        };
        Self {
            revision: (!is_first).then_some(revision),
            order,
            ..self
        }
    }

    /// Errors if a parameter is given that the experiment doesn't have.
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

    /// Fills in the numbers of DPack and blend, and removes those that `policy` doesn't have.
    pub(super) fn with_packing(self, policy: PolicyChoice) -> Self {
        let packs = matches!(policy.kind, PolicyKind::Dpack | PolicyKind::Blend);
        let blends = policy.kind == PolicyKind::Blend;
        Self {
            recompute_after: packs.then(|| self.recompute_after.unwrap_or(1)),
            fairness: blends.then(|| self.fairness.unwrap_or(500)),
            ..self
        }
    }

    /// Fills in N or the lifetime, whichever `policy` unlocks by: `n` arrivals, or `n` times the mean
    /// `interval` between two arrivals, in seconds.
    pub(super) fn with_unlocking(self, policy: PolicyChoice, n: u32, interval: f64) -> Self {
        let unlocks_by = |unlock| policy.unlock == Some(unlock);
        let lifetime = || unlocks_by(Unlock::Lifetime).then(|| f64::from(n) * interval);
        Self {
            n: self.n.or_else(|| unlocks_by(Unlock::Arrivals).then_some(n)),
            lifetime: self.lifetime.or_else(lifetime),
            ..self
        }
    }

    /// Returns the policy, with the experiment's defaults `kind` and `unlock` for what is left out. Policies
    /// with all budget unlocked from the start have no way of unlocking.
    pub(super) fn choice(&self, kind: PolicyKind, unlock: Unlock) -> PolicyChoice {
        let kind = self.policy.map_or(kind, |given| given.kind);
        let unlock = self.policy.and_then(|given| given.unlock).unwrap_or(unlock);
        PolicyChoice {
            kind,
            unlock: kind.unlocks_later().then_some(unlock),
        }
    }

    /// Returns how blocks unlock if the policy's name doesn't say: over time if there is a lifetime and no n,
    /// otherwise by arrivals.
    pub(super) fn unlock_by_number(&self) -> Unlock {
        if self.lifetime.is_some() && self.n.is_none() {
            Unlock::Lifetime
        } else {
            Unlock::Arrivals
        }
    }
}

impl PolicySettings {
    /// Returns the policy settings of complete parameters.
    pub(super) fn of(parameters: &Parameters, policy: PolicyChoice, tick: f64) -> Self {
        Self {
            policy,
            n: parameters.n,
            lifetime: parameters.lifetime,
            tick: Some(tick),
            // `with_packing` has filled these in for the policies that read them; the others ignore them.
            recompute_after: parameters.recompute_after.unwrap_or(1),
            fairness: parameters.fairness.unwrap_or(0),
            // The papers' results are those of the released rules.
            revision: parameters.revision.unwrap_or_default(),
        }
    }
}
