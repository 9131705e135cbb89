//! The experiments by name: what each one's parameters are, the workload and the rules that they make, and the paper's
//! grid of them. One file for each family of experiments.

mod grid;
mod macro_benchmark;
mod micro;
mod report;

use std::{fmt, str::FromStr};

use privatekube_policy::{Composition, Order, Orders, Setting};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{MacroError, MicroError, PolicyChoice, PolicyKind, Rules, RulesError, RunError, Workload};
pub use report::Report;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// OSDI'21, section 6.1.1: one block (figures 6, 7, 16, 17).
    MicroSingle,
    /// OSDI'21, section 6.1.2: a block every ten seconds (figures 8, 9, 10, 18).
    MicroMulti,
    /// OSDI'21, section 6.2, event-level privacy: statistics and trainings on a block a day (figures 12, 13, 19).
    Macro,
}

const NAMES: [(&str, Experiment); 3] = [
    ("micro-single", Experiment::MicroSingle),
    ("micro-multi", Experiment::MicroMulti),
    ("macro", Experiment::Macro),
];

/// The seed of the reference's benchmarks.
pub const REFERENCE_SEED: u64 = 3345;

/// A text that names no experiment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no experiment: accepted are {names}", names = names())]
pub struct NoExperiment(String);

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MicroSingle, Self::MicroMulti, Self::Macro];
}

impl FromStr for Experiment {
    type Err = NoExperiment;

    fn from_str(text: &str) -> Result<Self, NoExperiment> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, experiment)| *experiment)
            .ok_or_else(|| NoExperiment(text.to_owned()))
    }
}

impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.iter().find(|(_, experiment)| experiment == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

/// How budgets add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompositionKind {
    /// Epsilons and deltas add up.
    Basic,
    /// Renyi curves add up at each order.
    Renyi,
}

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
}

/// A run that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The parameters, with all that the experiment has filled in and all that it doesn't have left out.
    pub parameters: Parameters,
    /// What happens.
    pub workload: Workload,
    /// How is decided.
    pub setting: Setting,
}

/// Why parameters make no run.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The workload can't be made.
    #[error(transparent)]
    Micro(#[from] MicroError),
    /// The workload can't be made.
    #[error(transparent)]
    Macro(#[from] MacroError),
    /// The rules can't be made.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A parameter that the experiment doesn't have.
    #[error("{field} is {value}, but experiment {experiment} has none: leave it out")]
    Useless {
        /// Which one.
        field: &'static str,
        /// What is given.
        value: String,
        /// The experiment.
        experiment: Experiment,
    },
    /// The run fails.
    #[error(transparent)]
    Run(#[from] RunError),
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
            seed: REFERENCE_SEED,
            recompute_after: None,
            fairness: None,
            spread: None,
            least: None,
        }
    }

    /// Refuses a parameter that the experiment doesn't have.
    fn refuse(&self, field: &'static str, value: Option<impl fmt::Display>) -> Result<(), ExperimentError> {
        value.map_or(Ok(()), |value| {
            Err(ExperimentError::Useless {
                field,
                value: value.to_string(),
                experiment: self.experiment,
            })
        })
    }

    /// With the numbers that `policy` packs by filled in, or left out if it doesn't pack.
    fn with_packing(self, policy: PolicyChoice) -> Self {
        let packs = matches!(policy.kind, PolicyKind::Dpack | PolicyKind::Blend);
        let blends = policy.kind == PolicyKind::Blend;
        Self {
            recompute_after: packs.then(|| self.recompute_after.unwrap_or(1)),
            fairness: blends.then(|| self.fairness.unwrap_or(500)),
            ..self
        }
    }

    /// Makes the workload and the rules.
    pub fn prepare(&self) -> Result<Prepared, ExperimentError> {
        match self.experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro::prepare(self),
            Experiment::Macro => macro_benchmark::prepare(self),
        }
    }
}

impl Rules {
    /// The rules of complete parameters.
    fn of(parameters: &Parameters, policy: PolicyChoice, tick: f64) -> Self {
        Self {
            policy,
            n: parameters.n,
            lifetime: parameters.lifetime,
            tick,
            recompute_after: parameters.recompute_after.unwrap_or(1),
            fairness: parameters.fairness.unwrap_or(0),
        }
    }
}

/// The reference simulator's orders.
pub(crate) fn reference_orders() -> Orders {
    const ORDERS: [&str; 15] = [
        "1.000001", "1.0001", "1.5", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048",
        "20480",
    ];
    let orders: Vec<Order> = ORDERS.iter().filter_map(|order| order.parse().ok()).collect();
    // They are orders, and none is there twice.
    Orders::new(orders).unwrap_or_default()
}

fn reference_composition(kind: CompositionKind) -> Composition {
    match kind {
        CompositionKind::Basic => Composition::Basic,
        CompositionKind::Renyi => Composition::Renyi(reference_orders()),
    }
}
