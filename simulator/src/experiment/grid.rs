//! The papers' grids: all runs of an experiment that a sweep makes, and what each is called.

use std::fmt::Write as _;

use super::{CompositionKind, Experiment, Parameters, macro_benchmark, micro};

impl Experiment {
    /// The paper's whole grid of this experiment with one seed: complete parameters, each once, in the order in which
    /// the paper tells of them.
    pub fn grid(self, seed: u64) -> impl Iterator<Item = Parameters> {
        let runs = match self {
            Self::MicroSingle | Self::MicroMulti => micro::grid(self),
            Self::Macro => macro_benchmark::grid(),
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
        }
    }

    /// The run's name: all parameters that are given, such as `micro-multi/renyi/dpf-n/n=7257/mice=75/seed=3345`. Runs
    /// of different parameters have different names.
    #[must_use]
    pub fn name(&self) -> String {
        // Each field by its name here, so that the next one can't be forgotten.
        let Self {
            experiment,
            policy,
            n,
            lifetime,
            mice,
            composition,
            seed,
            recompute_after,
            fairness,
            spread,
            least,
        } = self;
        let mut name = experiment.to_string();
        match composition {
            Some(CompositionKind::Basic) => name.push_str("/basic"),
            Some(CompositionKind::Renyi) => name.push_str("/renyi"),
            None => {}
        }
        if let Some(policy) = policy {
            let _ = write!(name, "/{policy}");
        }
        add(&mut name, "n", n.as_ref());
        add(&mut name, "t", lifetime.as_ref());
        add(&mut name, "recompute", recompute_after.as_ref());
        add(&mut name, "fairness", fairness.as_ref());
        add(&mut name, "spread", spread.as_ref());
        add(&mut name, "least", least.as_ref());
        add(&mut name, "mice", mice.as_ref());
        add(&mut name, "seed", Some(seed));
        name
    }
}

fn add(name: &mut String, key: &str, value: Option<&impl std::fmt::Display>) {
    if let Some(value) = value {
        let _ = write!(name, "/{key}={value}");
    }
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
            "micro-multi/renyi/blend-t/t=9.765625/recompute=10/fairness=500/spread=0.5/least=0.01/mice=75/seed=3345"
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
