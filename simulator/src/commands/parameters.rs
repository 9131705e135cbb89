//! The command-line arguments that describe one run.

use clap::{Args, ValueEnum};
use privatekube_policy::Revision;
use privatekube_simulator::{
    PolicyChoice,
    experiment::{CompositionKind, Experiment, Parameters, VisitOrder, revision},
};

/// The parameters of one run, as arguments.
#[derive(Clone, Debug, Args)]
pub(crate) struct ParameterArguments {
    /// The experiment: micro-single, micro-multi, macro, alibaba, dpack-orders, dpack-blocks.
    #[arg(value_name = "NAME")]
    pub(crate) experiment: Experiment,
    /// The policy: fcfs, or fcfs-wait, dpf, rr, dpack or blend with -n (unlocking by arrivals) or -t (over
    /// time). Default: the experiment's own. In dpack-orders and dpack-blocks also optimum, the most that any
    /// policy could grant.
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PolicyChoice>,
    /// Policies with -n: number of arrivals that unlock a block. Default: the experiment's own.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) n: Option<u32>,
    /// Policies with -t: seconds in which a block unlocks. Default: the experiment's own.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) lifetime: Option<f64>,
    /// Percentage of mice (small tasks) among the tasks.
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    pub(crate) mice: Option<f64>,
    /// The composition. Default: the experiment's own.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) composition: Option<CompositionArgument>,
    /// The order in which DPF visits waiting tasks. Default: that of the published simulator in micro-single
    /// and micro-multi under basic composition, and share elsewhere.
    #[arg(long, value_enum, value_name = "ORDER")]
    pub(crate) order: Option<OrderArgument>,
    /// Seed of the random numbers.
    #[arg(
        long,
        value_name = "SEED",
        allow_negative_numbers = true,
        default_value_t = 3345
    )]
    pub(crate) seed: u64,
    /// DPack and blend: number of grants after which costs are recomputed.
    #[arg(long, value_name = "GRANTS", allow_negative_numbers = true)]
    pub(crate) recompute_after: Option<u32>,
    /// Blend: the part of unlocked budget that DPF allocates, in thousandths.
    #[arg(long, value_name = "THOUSANDTHS", allow_negative_numbers = true)]
    pub(crate) fairness: Option<u16>,
    /// dpack-orders, dpack-blocks: the standard deviation of the tasks' best orders or numbers of blocks.
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    pub(crate) spread: Option<f64>,
    /// dpack-orders, dpack-blocks: a task's demand at its best order, as a part of a block.
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    pub(crate) least: Option<f64>,
    /// alibaba, dpack-orders, dpack-blocks: number of tasks.
    #[arg(long, value_name = "TASKS")]
    pub(crate) tasks: Option<u32>,
    /// alibaba: number of blocks that arrive after the first hundred.
    #[arg(long, value_name = "BLOCKS")]
    pub(crate) blocks: Option<u32>,
    /// dpack-blocks with policy optimum: number of nodes after which the search stops, with the best set
    /// found and a bound.
    #[arg(long, value_name = "NODES", allow_negative_numbers = true)]
    pub(crate) nodes: Option<u32>,
    /// The revision of the engine's rules: 1, that of the papers and of release 0.1.0; 2; or 3, that of a new dataset,
    /// in which a claim's share under Renyi composition is that at the order where it is smallest. Default: 1.
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    pub(crate) revision: Option<Revision>,
}

/// The composition: how budgets add up.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompositionArgument {
    /// Epsilons and deltas add up.
    Basic,
    /// Renyi curves add up at each order.
    Renyi,
}

/// The order in which DPF visits waiting tasks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OrderArgument {
    /// By dominant share, as in the paper and in the engine.
    Share,
    /// As in the published simulator.
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
            revision: self.revision,
            ..Parameters::of(self.experiment)
        }
    }
}
