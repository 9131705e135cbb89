//! The experiments by name: what each one's parameters are, the workload and the rules that they make, and the paper's
//! grid of them. One file for each family of experiments.

mod alibaba;
mod grid;
mod macro_benchmark;
mod micro;
mod name;
mod packing;
mod report;

use std::{fmt, str::FromStr, time::Instant};

use privatekube_policy::{Composition, Order, Orders, Setting, Time};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Decision, Outcome, PolicyChoice, PolicyKind, Rules, RulesError, RunError, Submissions, TooLong, Unlock,
    Workload, WorkloadError,
    optimum::{OptimumError, optimum},
    published::{Fate, Published},
    run, time,
};
pub use name::NameError;
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
    /// As the released simulator does: see [`published`](crate::published).
    Published,
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

/// A run that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The parameters, with all that the experiment has filled in and all that it doesn't have left out.
    pub parameters: Parameters,
    /// What happens.
    pub workload: Workload,
    /// How is decided.
    pub rules: Rules,
    /// The same, as the engine takes it; where the optimum is asked for, how what its search begins with is decided.
    pub setting: Setting,
    /// The released simulator's view of it, where its order is asked for.
    pub published: Option<Published>,
    /// The search for the optimum, where that is asked for.
    pub search: Option<Search>,
}

/// A search for the optimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// When everything is unlocked, and what is found is granted.
    pub at: Time,
    /// After how many nodes it ends at the latest.
    pub nodes: u32,
}

/// Why parameters make no run.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// The workload can't be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
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

    /// With what unlocks a block filled in, if anything does: `n` arrivals, or as many mean `interval`s between them, in
    /// seconds.
    fn with_unlocking(self, policy: PolicyChoice, n: u32, interval: f64) -> Self {
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
    fn choice(&self, kind: PolicyKind, unlock: Unlock) -> PolicyChoice {
        let kind = self.policy.map_or(kind, |given| given.kind);
        let unlock = self.policy.and_then(|given| given.unlock).unwrap_or(unlock);
        PolicyChoice {
            kind,
            unlock: kind.unlocks_later().then_some(unlock),
        }
    }

    /// What unlocks, if only a number says so: a lifetime without n is one of time.
    fn unlock_by_number(&self) -> Unlock {
        if self.lifetime.is_some() && self.n.is_none() {
            Unlock::Lifetime
        } else {
            Unlock::Arrivals
        }
    }

    /// Refuses the released order where it is not known. The micro-benchmarks have more to say of it.
    fn refuse_published(&self) -> Result<(), ExperimentError> {
        let is_micro = matches!(self.experiment, Experiment::MicroSingle | Experiment::MicroMulti);
        if self.order == Some(VisitOrder::Published) && !is_micro {
            return Err(ExperimentError::NotPublished);
        }
        Ok(())
    }

    /// Refuses the optimum and its numbers where nothing is searched.
    fn refuse_search(&self) -> Result<(), ExperimentError> {
        let is_optimum = self
            .policy
            .is_some_and(|policy| policy.kind == PolicyKind::Optimum);
        let packs = matches!(self.experiment, Experiment::DpackOrders | Experiment::DpackBlocks);
        if is_optimum && !packs {
            return Err(RulesError::Optimum.into());
        }
        let searches = is_optimum && self.experiment == Experiment::DpackBlocks;
        match self.nodes {
            Some(nodes) if !searches => Err(ExperimentError::UselessNodes(nodes)),
            _ => Ok(()),
        }
    }

    /// Makes the workload and the rules.
    pub fn prepare(&self) -> Result<Prepared, ExperimentError> {
        self.refuse_search()?;
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
        self.refuse_search()?;
        self.refuse_published()?;
        alibaba::prepare_with(self, submissions)
    }
}

impl Prepared {
    /// Lets it happen: to the engine, or in the released simulator's order where that is asked for; or finds the optimum.
    pub fn run(&self) -> Result<Outcome, ExperimentError> {
        if let Some(search) = self.search {
            return self.find_optimum(search);
        }
        match &self.published {
            None => Ok(run(&self.workload, &self.setting)?),
            Some(published) => {
                let started = Instant::now();
                let fates = published.run().into_iter();
                let decisions = fates.map(|fate| {
                    Ok(match fate {
                        Fate::Granted(at) => Decision::Granted(time(at)?),
                        Fate::Refused(at) => Decision::Refused(time(at)?),
                        Fate::Waiting => Decision::Waiting,
                    })
                });
                Ok(Outcome {
                    decisions: decisions.collect::<Result<_, TooLong>>()?,
                    bound: None,
                    wall: started.elapsed(),
                })
            }
        }
    }

    /// Begins with what a policy grants, so that no less is found.
    fn find_optimum(&self, Search { at, nodes }: Search) -> Result<Outcome, ExperimentError> {
        let started = Instant::now();
        let first = run(&self.workload, &self.setting)?.decisions.into_iter();
        let first: Vec<bool> = first
            .map(|decision| matches!(decision, Decision::Granted(_)))
            .collect();
        let solved = optimum(&self.workload, &first, nodes)?;
        let decisions = solved.granted.into_iter().map(|is_granted| {
            if is_granted {
                Decision::Granted(at)
            } else {
                Decision::Refused(at)
            }
        });
        Ok(Outcome {
            decisions: decisions.collect(),
            bound: Some(solved.bound),
            wall: started.elapsed(),
        })
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
