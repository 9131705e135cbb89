//! The parameters of one run, as arguments.

use clap::{Args, ValueEnum};
use privatekube_simulator::{
    PolicyChoice,
    experiment::{CompositionKind, Experiment, Parameters, VisitOrder},
};

/// The parameters of one run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ParameterArguments {
    /// The experiment: micro-single, micro-multi, macro, alibaba, dpack-orders, dpack-blocks.
    #[arg(value_name = "NAME")]
    pub(crate) experiment: Experiment,
    /// The policy: fcfs, or fcfs-wait, dpf, rr, dpack or blend with -n (unlocking by arrivals) or -t (over time). Left
    /// out: the experiment's own. In dpack-orders and dpack-blocks also optimum, the most that any policy could grant.
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PolicyChoice>,
    /// Policies with -n: how many arrivals unlock a block. Left out: the experiment's own.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) n: Option<u32>,
    /// Policies with -t: in how many seconds a block unlocks. Left out: the experiment's own.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) lifetime: Option<f64>,
    /// How many tasks in 100 are mice.
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    pub(crate) mice: Option<f64>,
    /// How budgets add up. Left out: the experiment's own.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) composition: Option<CompositionArgument>,
    /// In which order DPF visits waiting tasks: micro-single and micro-multi under basic composition go in the published
    /// simulator's own order, unless share is asked for.
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) order: Option<OrderArgument>,
    /// Of the random numbers.
    #[arg(
        long,
        value_name = "SEED",
        allow_negative_numbers = true,
        default_value_t = 3345
    )]
    pub(crate) seed: u64,
    /// DPack and blend: after how many grants costs are worked out anew.
    #[arg(long, value_name = "GRANTS", allow_negative_numbers = true)]
    pub(crate) recompute_after: Option<u32>,
    /// Blend: the part of what is unlocked that goes by DPF, in thousandths.
    #[arg(long, value_name = "THOUSANDTHS", allow_negative_numbers = true)]
    pub(crate) fairness: Option<u16>,
    /// How much tasks differ from each other: the standard deviation that dpack-orders and dpack-blocks vary.
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    pub(crate) spread: Option<f64>,
    /// dpack-orders, dpack-blocks: what a task asks at its best order at least, as a part of a block.
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    pub(crate) least: Option<f64>,
    /// alibaba, dpack-orders, dpack-blocks: how many tasks come.
    #[arg(long, value_name = "TASKS")]
    pub(crate) tasks: Option<u32>,
    /// alibaba: how many blocks come after the first hundred.
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) blocks: Option<u32>,
    /// dpack-blocks, policy optimum: after how many nodes the search ends at the latest, with what was found and a bound.
    #[arg(long, value_name = "NODES", allow_negative_numbers = true)]
    pub(crate) nodes: Option<u32>,
}

/// How budgets add up.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompositionArgument {
    /// Epsilons and deltas add up.
    Basic,
    /// Renyi curves add up at each order.
    Renyi,
}

/// In which order DPF visits waiting tasks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OrderArgument {
    /// By dominant share, as the paper says and the engine does.
    Share,
    /// As the published simulator does.
    Published,
}

impl ParameterArguments {
    pub(crate) fn parameters(&self) -> Parameters {
        Parameters {
            policy: self.policy,
            n: self.n,
            lifetime: self.lifetime,
            mice: self.mice,
            composition: self.composition.map(|kind| match kind {
                CompositionArgument::Basic => CompositionKind::Basic,
                CompositionArgument::Renyi => CompositionKind::Renyi,
            }),
            order: self.order.map(|order| match order {
                OrderArgument::Share => VisitOrder::Share,
                OrderArgument::Published => VisitOrder::Published,
            }),
            seed: self.seed,
            recompute_after: self.recompute_after,
            fairness: self.fairness,
            spread: self.spread,
            least: self.least,
            tasks: self.tasks,
            blocks: self.blocks,
            nodes: self.nodes,
            ..Parameters::of(self.experiment)
        }
    }
}
