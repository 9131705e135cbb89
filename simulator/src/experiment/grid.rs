//! The papers' grids: all runs of an experiment that a sweep makes, and what each is called.

use super::{CompositionKind, Experiment, Parameters, VisitOrder, alibaba, macro_benchmark, micro, packing};

impl Experiment {
    /// The paper's whole grid of this experiment with one seed: complete parameters, each once, in the order in which
    /// the paper tells of them.
    pub fn grid(self, seed: u64) -> impl Iterator<Item = Parameters> {
        let runs = match self {
            Self::MicroSingle | Self::MicroMulti => micro::grid(self),
            Self::Macro => macro_benchmark::grid(),
            Self::Alibaba => alibaba::grid(),
            Self::DpackOrders | Self::DpackBlocks => packing::grid(self),
        };
        runs.into_iter().map(move |run| Parameters { seed, ..run })
    }
}

impl Parameters {
    /// About how long the run takes, in seconds on one core. It orders and divides sweeps; nothing else depends on it.
    #[must_use]
    pub fn cost(&self) -> f64 {
        match self.experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro::cost(self),
            Experiment::Macro => macro_benchmark::cost(self),
            Experiment::Alibaba => alibaba::cost(self),
            Experiment::DpackOrders | Experiment::DpackBlocks => packing::cost(self),
        }
    }

    /// What is given, by its name as an argument, in the order in which a run's name tells it.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, String)> {
        // Each field by its name here, so that the next one can't be forgotten.
        let Self {
            experiment,
            policy,
            n,
            lifetime,
            mice,
            composition,
            order,
            seed,
            recompute_after,
            fairness,
            spread,
            least,
            tasks,
            blocks,
        } = self;
        let composition = composition.map(|kind| match kind {
            CompositionKind::Basic => "basic",
            CompositionKind::Renyi => "renyi",
        });
        let order = order.map(|order| match order {
            VisitOrder::Share => "share",
            VisitOrder::Published => "published",
        });
        let values = [
            (EXPERIMENT, Some(experiment.to_string())),
            (COMPOSITION, composition.map(str::to_owned)),
            (POLICY, policy.map(|policy| policy.to_string())),
            (ORDER, order.map(str::to_owned)),
            ("n", text(n.as_ref())),
            ("lifetime", text(lifetime.as_ref())),
            ("recompute-after", text(recompute_after.as_ref())),
            ("fairness", text(fairness.as_ref())),
            ("spread", text(spread.as_ref())),
            ("least", text(least.as_ref())),
            ("mice", text(mice.as_ref())),
            ("tasks", text(tasks.as_ref())),
            ("blocks", text(blocks.as_ref())),
            ("seed", text(Some(seed))),
        ];
        let given = values.into_iter();
        given.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The run's name: all that is given, such as `micro-multi/renyi/dpf-n/share/n=7257/mice=75/seed=3345`. Runs of
    /// different parameters have different names.
    #[must_use]
    pub fn name(&self) -> String {
        let values = self.values().into_iter();
        let parts = values.map(|(key, value)| match key {
            // Whoever reads a result should know.
            EXPERIMENT if self.experiment == Experiment::Alibaba => format!("{value}/synthetic"),
            // What they are is plain.
            EXPERIMENT | COMPOSITION | POLICY | ORDER => value,
            _ => format!("{key}={value}"),
        });
        parts.collect::<Vec<String>>().join("/")
    }
}

const EXPERIMENT: &str = "experiment";
const COMPOSITION: &str = "composition";
const POLICY: &str = "policy";
const ORDER: &str = "order";

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::REFERENCE_SEED;

    fn count(experiment: Experiment, composition: CompositionKind) -> usize {
        let grid = experiment.grid(REFERENCE_SEED);
        grid.filter(|run| run.composition == Some(composition)).count()
    }

    #[test]
    fn the_grids_of_osdi_21_have_770_runs() {
        use {CompositionKind::*, Experiment::*};
        assert_eq!(count(MicroSingle, Basic), 225);
        assert_eq!(count(MicroSingle, Renyi), 115);
        assert_eq!(count(MicroMulti, Basic), 345);
        assert_eq!(count(MicroMulti, Renyi), 85);
    }

    #[test]
    fn no_two_runs_have_the_same_name() {
        let grids = Experiment::ALL.map(|experiment| experiment.grid(1).chain(experiment.grid(2)));
        let names: Vec<String> = grids.into_iter().flatten().map(|run| run.name()).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn a_name_tells_the_parameters() {
        let run = Parameters {
            policy: "blend-t".parse().ok(),
            lifetime: Some(9.765_625),
            composition: Some(CompositionKind::Renyi),
            mice: Some(75.0),
            recompute_after: Some(10),
            fairness: Some(500),
            spread: Some(0.5),
            least: Some(0.01),
            ..Parameters::of(Experiment::MicroMulti)
        };
        assert_eq!(
            run.name(),
            "micro-multi/renyi/blend-t/lifetime=9.765625/recompute-after=10/fairness=500/spread=0.5/least=0.01/mice=75/seed=3345"
        );
    }

    /// Else a run would be called one thing in the grid and another in its row.
    #[test]
    fn the_grids_parameters_are_complete() {
        for run in Experiment::ALL
            .into_iter()
            .flat_map(|experiment| experiment.grid(7))
        {
            // Workloads do not depend on who is granted.
            if run.mice.is_none_or(|mice| mice > 99.0) {
                assert_eq!(run.prepare().unwrap().parameters, run, "{}", run.name());
            }
        }
    }
}
