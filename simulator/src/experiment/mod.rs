//! The experiments by name: what each one's parameters are, the workload and the rules that they make, and the paper's
//! grid of them. One file for each family of experiments.

mod alibaba;
mod grid;
mod macro_benchmark;
mod micro;
mod name;
mod packing;
mod parameters;
mod prepared;
mod report;

use std::{fmt, str::FromStr};

use privatekube_policy::{Composition, Order, Orders};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    PolicyKind, PolicySettingsError, RunError, Submissions, TooLong, WorkloadError, optimum::OptimumError,
};
pub use name::NameError;
pub use parameters::Parameters;
pub use prepared::{OptimumSearch, Prepared};
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
    /// EuroSys'25, section 6.3: DPack on a cluster's tasks. They are synthetic, unless the published trace is given.
    Alibaba,
    /// EuroSys'25, section 6.2: tasks that differ in the orders that are best for them.
    DpackOrders,
    /// EuroSys'25, section 6.2: tasks that differ in how many blocks they ask for.
    DpackBlocks,
}

const NAMES: [(&str, Experiment); 6] = [
    ("micro-single", Experiment::MicroSingle),
    ("micro-multi", Experiment::MicroMulti),
    ("macro", Experiment::Macro),
    ("alibaba", Experiment::Alibaba),
    ("dpack-orders", Experiment::DpackOrders),
    ("dpack-blocks", Experiment::DpackBlocks),
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
    pub const ALL: [Self; 6] = [
        Self::MicroSingle,
        Self::MicroMulti,
        Self::Macro,
        Self::Alibaba,
        Self::DpackOrders,
        Self::DpackBlocks,
    ];

    /// The mean time between two tasks, in seconds, where the paper gives lifetimes as so many of them.
    #[must_use]
    pub fn interval(self, composition: CompositionKind) -> Option<f64> {
        match self {
            Self::MicroSingle | Self::MicroMulti => Some(micro::interval(self, composition)),
            _ => None,
        }
    }
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

/// In which order DPF visits waiting tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VisitOrder {
    /// By dominant share, as the paper says and the engine does.
    Share,
    /// As the released simulator does: see [`released_simulator`](crate::released_simulator).
    Published,
}

/// Why parameters make no run.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The workload can't be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The rules can't be made.
    #[error(transparent)]
    PolicySettings(#[from] PolicySettingsError),
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
    /// An order that only the micro-benchmarks have, under one policy and composition.
    #[error(
        "order is published, but that is known of policies dpf-n and dpf-t under basic composition in micro-single and \
         micro-multi only: leave order out"
    )]
    NotPublished,
    /// A limit of a search that is not made.
    #[error(
        "nodes is {0}, but only policy optimum in dpack-blocks searches: leave nodes out, or choose policy optimum there"
    )]
    UselessNodes(u32),
    /// The run fails.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The optimum can't be told.
    #[error(transparent)]
    Optimum(#[from] OptimumError),
    /// A time that can't be simulated.
    #[error(transparent)]
    Time(#[from] TooLong),
}

impl Parameters {
    /// Refuses the released order where it is not known. The micro-benchmarks have more to say of it.
    fn refuse_published(&self) -> Result<(), ExperimentError> {
        let is_micro = matches!(self.experiment, Experiment::MicroSingle | Experiment::MicroMulti);
        if self.order == Some(VisitOrder::Published) && !is_micro {
            return Err(ExperimentError::NotPublished);
        }
        Ok(())
    }

    /// Refuses the optimum and its numbers where nothing is searched.
    fn refuse_optimum(&self) -> Result<(), ExperimentError> {
        let is_optimum = self
            .policy
            .is_some_and(|policy| policy.kind == PolicyKind::Optimum);
        let packs = matches!(self.experiment, Experiment::DpackOrders | Experiment::DpackBlocks);
        if is_optimum && !packs {
            return Err(PolicySettingsError::Optimum.into());
        }
        let searches = is_optimum && self.experiment == Experiment::DpackBlocks;
        match self.nodes {
            Some(nodes) if !searches => Err(ExperimentError::UselessNodes(nodes)),
            _ => Ok(()),
        }
    }

    /// Makes the workload and the rules.
    pub fn prepare(&self) -> Result<Prepared, ExperimentError> {
        self.refuse_optimum()?;
        self.refuse_published()?;
        match self.experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro::prepare(self),
            Experiment::Macro => macro_benchmark::prepare(self),
            Experiment::Alibaba => alibaba::prepare(self),
            Experiment::DpackOrders | Experiment::DpackBlocks => packing::prepare(self),
        }
    }

    /// Makes the workload and the rules of experiment alibaba, with submissions from elsewhere.
    pub fn prepare_with(&self, submissions: &Submissions) -> Result<Prepared, ExperimentError> {
        self.refuse_optimum()?;
        self.refuse_published()?;
        alibaba::prepare_with(self, submissions)
    }
}

/// The reference simulator's orders.
pub(crate) fn reference_orders() -> Orders {
    const ORDERS: [&str; 15] = [
        "1.000001", "1.0001", "1.5", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1024", "2048",
        "20480",
    ];
    let orders: Vec<Order> = ORDERS.iter().filter_map(|order| order.parse().ok()).collect();
    // The fall-back is never needed: a test checks that these are 15 different orders.
    Orders::new(orders).unwrap_or_default()
}

fn reference_composition(kind: CompositionKind) -> Composition {
    match kind {
        CompositionKind::Basic => Composition::Basic,
        CompositionKind::Renyi => Composition::Renyi(reference_orders()),
    }
}

#[cfg(test)]
mod tests {
    use super::reference_orders;

    /// `reference_orders` drops what is no order, and falls back to others if they can't be combined.
    #[test]
    fn the_reference_has_15_orders_from_1_000001_to_20480() {
        let orders: Vec<String> = reference_orders().iter().map(|order| order.to_string()).collect();
        assert_eq!(orders.len(), 15);
        assert_eq!((orders[0].as_str(), orders[14].as_str()), ("1.000001", "20480"));
    }
}
