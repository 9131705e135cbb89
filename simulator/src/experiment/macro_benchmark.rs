//! The OSDI'21 macro-benchmark under event-level privacy (figures 12, 13, 19).

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, Unlock,
    workload::{DAY, Macro, StatisticDays, TASKS_A_DAY},
};

const DEFAULT_MICE: f64 = 75.0;
/// Where the paper compares the two compositions.
const DEFAULT_N: u32 = 400;
/// The paper's numbers of arrivals. It calls 1 first come, first served: everything is unlocked for the first that comes.
const ARRIVALS: [u32; 7] = [1, 50, 100, 200, 300, 400, 500];

/// The mean time between two tasks, in seconds.
fn interval() -> f64 {
    DAY / f64::from(TASKS_A_DAY)
}

/// Without a policy: DPF, unlocking by what is given.
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
    // The release takes a step of a lifetime twice as often as tasks come.
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

/// The paper's N for both compositions, and first come, first served that refuses what doesn't fit.
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

/// Measured, roughly.
pub(super) fn cost(_parameters: &Parameters) -> f64 {
    0.5
}
