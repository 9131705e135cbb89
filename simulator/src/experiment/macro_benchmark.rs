//! The OSDI'21 macro-benchmark under event-level privacy (figures 12, 13, 19).

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, Unlock,
    workload::{DAY, Macro, StatisticDays, TASKS_A_DAY},
};

const DEFAULT_MICE: f64 = 75.0;
/// The N at which the paper compares the two compositions.
const DEFAULT_N: u32 = 400;
/// The paper's values of N. The paper calls N = 1 first come first served: the first arrival unlocks all
/// budget.
const ARRIVALS: [u32; 7] = [1, 50, 100, 200, 300, 400, 500];

/// The mean time between two tasks, in seconds.
fn interval() -> f64 {
    DAY / f64::from(TASKS_A_DAY)
}

/// Default: DPF, unlocking over time if a lifetime is given, otherwise by arrivals.
fn policy(parameters: &Parameters) -> PolicyChoice {
    parameters.choice(PolicyKind::Dpf, parameters.unlock_by_number())
}

pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    parameters.refuse("spread", parameters.spread)?;
    parameters.refuse("least", parameters.least)?;
    parameters.refuse("tasks", parameters.tasks)?;
    parameters.refuse("blocks", parameters.blocks)?;
    let kind = parameters.composition.unwrap_or(CompositionKind::Basic);
    let policy = policy(parameters);
    let mice = parameters.mice.unwrap_or(DEFAULT_MICE);
    let parameters = Parameters {
        policy: Some(policy),
        mice: Some(mice),
        composition: Some(kind),
        order: None,
        ..parameters.clone()
    }
    .with_unlocking(policy, DEFAULT_N, interval())
    .with_packing(policy);
    let benchmark = Macro {
        is_renyi: kind == CompositionKind::Renyi,
        mice_percentage: mice,
        statistic_days: StatisticDays::default(),
        seed: parameters.seed,
    };
    // The released scheduler unlocks twice in each mean interval between two arrivals.
    let settings = PolicySettings::of(&parameters, policy, interval() * 0.5);
    let dataset_rules = settings.dataset_rules(benchmark.composition())?;
    Ok(Prepared {
        workload: benchmark.workload()?,
        parameters,
        settings,
        dataset_rules,
        published: None,
        search: None,
    })
}

/// Returns the paper's values of N, and first come first served, for both compositions.
pub(super) fn grid() -> Vec<Parameters> {
    let compositions = [CompositionKind::Basic, CompositionKind::Renyi];
    let runs = compositions.into_iter().flat_map(|composition| {
        let run = move |kind, unlock, n| Parameters {
            policy: Some(PolicyChoice { kind, unlock }),
            n,
            mice: Some(DEFAULT_MICE),
            composition: Some(composition),
            ..Parameters::of(Experiment::Macro)
        };
        let dpf = move |n| run(PolicyKind::Dpf, Some(Unlock::Arrivals), Some(n));
        [run(PolicyKind::Fcfs, None, None)]
            .into_iter()
            .chain(ARRIVALS.into_iter().map(dpf))
    });
    runs.collect()
}

/// A rough measurement.
pub(super) fn cost(_parameters: &Parameters) -> f64 {
    0.5
}
