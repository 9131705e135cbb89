//! The papers' grids: all runs of an experiment that a sweep makes, and an estimate of what each costs.

use super::{Experiment, Parameters, alibaba, macro_benchmark, micro, packing};

impl Experiment {
    /// Returns the paper's whole grid of this experiment with one seed: complete parameters, each once, in
    /// the paper's order.
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
    /// Estimates how long the run takes, in seconds on one core. Sweeps order and divide their runs by it;
    /// nothing else depends on it.
    #[must_use]
    pub fn cost(&self) -> f64 {
        match self.experiment {
            Experiment::MicroSingle | Experiment::MicroMulti => micro::cost(self),
            Experiment::Macro => macro_benchmark::cost(self),
            Experiment::Alibaba => alibaba::cost(self),
            Experiment::DpackOrders | Experiment::DpackBlocks => packing::cost(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::{CompositionKind, REFERENCE_SEED};

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

    /// Otherwise a run would have one name in the grid and another in its row.
    #[test]
    fn the_grids_parameters_are_complete() {
        let mut kinds = BTreeSet::new();
        for run in Experiment::ALL
            .into_iter()
            .flat_map(|experiment| experiment.grid(7))
        {
            let policy = run.policy.map(|policy| policy.to_string());
            // Defaults depend on these only; making all workloads would take long.
            if kinds.insert((run.experiment, run.composition, policy)) {
                assert_eq!(run.prepare().unwrap().parameters, run, "{}", run.name());
            }
        }
    }
}
