//! The experiments of the papers, by name: the parameters of each, the workload and the policy that they
//! describe, and the paper's grid of parameters. There is one file for each family of experiments. Workloads
//! are drawn in `workload`; sweeps over grids are in `sweep`.
//!
//! Begin reading at [`Parameters`], then [`Prepared`].

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

use privatekube_policy::{Composition, Order, Orders, Revision};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    PolicyKind, PolicySettingsError, RunError, Submissions, TooLong, WorkloadError, optimum::OptimumError,
};
pub use name::NameError;
pub use parameters::{NoRevision, Parameters, revision};
pub use prepared::{OptimumSearch, Prepared};
pub use report::Report;

/// An experiment of a paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Experiment {
    /// OSDI'21, section 6.1.1: one block (figures 6, 7, 16, 17).
    MicroSingle,
    /// OSDI'21, section 6.1.2: a new block every ten seconds (figures 8, 9, 10, 18).
    MicroMulti,
    /// OSDI'21, section 6.2, event-level privacy: statistics and trainings on one block for each day (figures
    /// 12, 13, 19).
    Macro,
    /// EuroSys'25, section 6.3: DPack on the tasks of a cluster. The tasks are synthetic unless the published
    /// trace is given.
    Alibaba,
    /// EuroSys'25, section 6.2: tasks that differ in their best Renyi orders.
    DpackOrders,
    /// EuroSys'25, section 6.2: tasks that differ in the number of blocks that they request.
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

/// The seed of the released simulator's benchmarks.
pub const REFERENCE_SEED: u64 = 3345;

/// The error for a text that names no experiment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no experiment: accepted are {names}", names = names())]
pub struct NoExperiment(String);

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

impl Experiment {
    /// All experiments.
    pub const ALL: [Self; 6] = [
        Self::MicroSingle,
        Self::MicroMulti,
        Self::Macro,
        Self::Alibaba,
        Self::DpackOrders,
        Self::DpackBlocks,
    ];

    /// Returns the mean time between two arrivals in seconds, for the experiments in which the paper gives
    /// lifetimes in that unit.
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

/// The composition: how budgets add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompositionKind {
    /// Epsilons and deltas add up.
    Basic,
    /// Renyi curves add up at each order.
    Renyi,
}

/// The order in which DPF visits waiting tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VisitOrder {
    /// By dominant share, as in the paper and in the engine.
    Share,
    /// As in the released simulator: see [`released_simulator`](crate::released_simulator).
    Published,
}

/// The reason why parameters describe no run.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The workload can't be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The policy settings are invalid.
    #[error(transparent)]
    PolicySettings(#[from] PolicySettingsError),
    /// A parameter is given that the experiment doesn't have.
    #[error("{field} is {value}, but experiment {experiment} has none: leave it out")]
    Useless {
        /// The parameter.
        field: &'static str,
        /// The given value.
        value: String,
        /// The experiment.
        experiment: Experiment,
    },
    /// The released simulator's order is requested where it is not known.
    #[error(
        "order is published, but that is known of policies dpf-n and dpf-t under basic composition in micro-single and \
         micro-multi with revision 1 only: leave order out"
    )]
    NotPublished,
    /// A limit of nodes is given, but nothing is searched.
    #[error(
        "nodes is {0}, but only policy optimum in dpack-blocks searches: leave nodes out, or choose policy optimum there"
    )]
    UselessNodes(u32),
    /// The run fails.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The search for the optimum fails.
    #[error(transparent)]
    Optimum(#[from] OptimumError),
    /// A time that can't be simulated.
    #[error(transparent)]
    Time(#[from] TooLong),
}

impl Parameters {
    /// Refuses the released simulator's order outside the micro-benchmarks, which check it further
    /// themselves.
    fn refuse_published(&self) -> Result<(), ExperimentError> {
        let is_micro = matches!(self.experiment, Experiment::MicroSingle | Experiment::MicroMulti);
        if self.order == Some(VisitOrder::Published) && !is_micro {
            return Err(ExperimentError::NotPublished);
        }
        Ok(())
    }

    /// Refuses the policy `optimum` and its number of nodes in experiments without a search.
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

    /// Makes the workload and the rules of the run.
    pub fn prepare(&self) -> Result<Prepared, ExperimentError> {
        self.refuse_optimum()?;
        self.refuse_published()?;
        let own = self.with_named_revision();
        match self.experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro::prepare(&own),
            Experiment::Macro => macro_benchmark::prepare(&own),
            Experiment::Alibaba => alibaba::prepare(&own),
            Experiment::DpackOrders | Experiment::DpackBlocks => packing::prepare(&own),
        }
    }

    /// Makes the workload and the rules of a run of experiment alibaba from given submissions.
    pub fn prepare_with(&self, submissions: &Submissions) -> Result<Prepared, ExperimentError> {
        self.refuse_optimum()?;
        self.refuse_published()?;
        alibaba::prepare_with(&self.with_named_revision(), submissions)
    }

    /// Leaves the first revision out, so that a run has one name.
    fn with_named_revision(&self) -> Self {
        Self {
            revision: self.revision.filter(|revision| *revision != Revision::First),
            ..self.clone()
        }
    }
}

/// The Renyi orders of the released simulator.
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
