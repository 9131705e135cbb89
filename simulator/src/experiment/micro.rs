//! The OSDI'21 micro-benchmarks.

use privatekube_policy::Revision;

use super::{
    CompositionKind, Experiment, ExperimentError, Parameters, Prepared, VisitOrder, reference_composition,
};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, PolicySettingsError, Unlock,
    released_simulator::{ReleasedSimulator, Unlocks},
    workload::{Blocks, Micro},
};

const DEFAULT_MICE: f64 = 75.0;

/// What differs between the two benchmarks and the two compositions.
struct Scale {
    blocks: Blocks,
    /// The mean time between two tasks, in seconds.
    interval: f64,
    duration: f64,
    timeout: Option<f64>,
    /// The N at which the paper varies the percentage of mice.
    n: u32,
}

impl Scale {
    fn of(experiment: Experiment, composition: CompositionKind) -> Self {
        match (experiment, composition) {
            // The durations are 2.25 x 1.05 times the number of mice that fit into the block, in whole
            // seconds.
            (Experiment::MicroSingle, CompositionKind::Basic) => Self {
                blocks: Blocks::One,
                interval: 1.0,
                duration: 236.0,
                timeout: Some(300.0),
                n: 125,
            },
            (Experiment::MicroSingle, CompositionKind::Renyi) => Self {
                blocks: Blocks::One,
                interval: 1.0,
                duration: 34_289.0,
                timeout: Some(300.0),
                n: 25_399,
            },
            (_, CompositionKind::Basic) => Self {
                blocks: Blocks::Growing,
                interval: 0.078_125,
                duration: 300.0,
                timeout: None,
                n: 125,
            },
            (_, CompositionKind::Renyi) => Self {
                blocks: Blocks::Growing,
                interval: 0.004_264_781,
                duration: 300.0,
                timeout: None,
                n: 25_399,
            },
        }
    }
}

/// Default: DPF, unlocking over time if a lifetime is given, otherwise by arrivals.
fn policy(parameters: &Parameters) -> PolicyChoice {
    parameters.choice(PolicyKind::Dpf, parameters.unlock_by_number())
}

/// Returns the order in which DPF visits waiting tasks, `None` under other policies. The default under basic
/// composition is the released simulator's order, since these are its benchmarks. Under Renyi composition
/// both orders yield its totals.
fn order(
    requested: Option<VisitOrder>,
    policy: PolicyChoice,
    kind: CompositionKind,
    revision: Option<Revision>,
) -> Result<Option<VisitOrder>, ExperimentError> {
    let is_dpf = policy.kind == PolicyKind::Dpf;
    // The released simulator has the rules of the first revision.
    let is_released = kind == CompositionKind::Basic && revision.unwrap_or_default() == Revision::First;
    match (requested, is_dpf, is_released) {
        (None, true, true) => Ok(Some(VisitOrder::Published)),
        (None, true, false) => Ok(Some(VisitOrder::Share)),
        (None | Some(VisitOrder::Share), false, _) => Ok(None),
        (Some(VisitOrder::Published), true, true) | (Some(VisitOrder::Share), true, _) => Ok(requested),
        (Some(VisitOrder::Published), ..) => Err(ExperimentError::NotPublished),
    }
}

pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    parameters.refuse("spread", parameters.spread)?;
    parameters.refuse("least", parameters.least)?;
    parameters.refuse("tasks", parameters.tasks)?;
    parameters.refuse("blocks", parameters.blocks)?;
    let kind = parameters.composition.unwrap_or(CompositionKind::Basic);
    let scale = Scale::of(parameters.experiment, kind);
    let policy = policy(parameters);
    let parameters = Parameters {
        policy: Some(policy),
        mice: Some(parameters.mice.unwrap_or(DEFAULT_MICE)),
        composition: Some(kind),
        order: order(parameters.order, policy, kind, parameters.revision)?,
        ..parameters.clone()
    }
    .with_unlocking(policy, scale.n, scale.interval)
    .with_packing(policy);
    let composition = reference_composition(kind);
    let tick = scale.interval * 0.5;
    let settings = PolicySettings::of(&parameters, policy, tick);
    let dataset_rules = settings.dataset_rules(composition.clone())?;
    let micro = Micro {
        composition,
        interval: scale.interval,
        duration: scale.duration,
        timeout: scale.timeout,
        mice_percentage: parameters.mice.unwrap_or(DEFAULT_MICE),
        blocks: scale.blocks,
        seed: parameters.seed,
    };
    let published = if parameters.order == Some(VisitOrder::Published) {
        Some(ReleasedSimulator {
            draws: micro.draws(),
            blocks: micro.block_arrivals(),
            unlocks: match (parameters.n, parameters.lifetime) {
                (_, Some(seconds)) => Unlocks::Lifetime { seconds, tick },
                (Some(n), None) => Unlocks::Arrivals(n),
                (None, None) => return Err(PolicySettingsError::NoN(policy).into()),
            },
            end: scale.duration,
        })
    } else {
        None
    };
    Ok(Prepared {
        workload: micro.workload()?,
        parameters,
        settings,
        dataset_rules,
        published,
        search: None,
    })
}

/// Returns the mean time between two arrivals in seconds. The paper's lifetimes are its values of N times
/// this interval.
pub(super) fn interval(experiment: Experiment, composition: CompositionKind) -> f64 {
    Scale::of(experiment, composition).interval
}

/// The mice percentages of the paper.
const MICE: [u32; 5] = [0, 25, 50, 75, 100];

/// The paper's values of N. Its lifetimes T are the same numbers of mean intervals between two arrivals.
const fn arrivals(experiment: Experiment, composition: CompositionKind) -> &'static [u32] {
    match (experiment, composition) {
        (Experiment::MicroSingle, CompositionKind::Basic) => {
            &[1, 10, 50, 75, 100, 125, 175, 200, 225, 275, 325]
        }
        // 14514 mice fit into a block.
        (Experiment::MicroSingle, CompositionKind::Renyi) => &[
            1, 1_451, 7_257, 10_885, 14_514, 18_142, 25_399, 29_028, 32_656, 39_913, 47_170,
        ],
        (_, CompositionKind::Basic) => &[
            1, 10, 50, 75, 100, 125, 175, 210, 275, 325, 375, 750, 1_125, 1_500, 3_000, 6_000, 10_000,
        ],
        (_, CompositionKind::Renyi) => &[1, 1_451, 7_257, 10_885, 14_514, 18_142, 25_399, 30_479],
    }
}

/// The paper's policies besides first come, first served. Round robin is not defined for Renyi composition.
const fn policies(composition: CompositionKind) -> &'static [(PolicyKind, Unlock)] {
    const ALL: [(PolicyKind, Unlock); 4] = [
        (PolicyKind::Dpf, Unlock::Arrivals),
        (PolicyKind::Dpf, Unlock::Lifetime),
        (PolicyKind::RoundRobin, Unlock::Arrivals),
        (PolicyKind::RoundRobin, Unlock::Lifetime),
    ];
    match composition {
        CompositionKind::Basic => &ALL,
        CompositionKind::Renyi => ALL.split_at(2).0,
    }
}

/// Returns each policy with each N or T, and first come first served, which has neither; all of this for each
/// percentage of mice.
pub(super) fn grid(experiment: Experiment) -> Vec<Parameters> {
    let mut runs = Vec::new();
    for composition in [CompositionKind::Basic, CompositionKind::Renyi] {
        let interval = Scale::of(experiment, composition).interval;
        for mice in MICE {
            let run = |kind, unlock| {
                let policy = PolicyChoice { kind, unlock };
                Parameters {
                    policy: Some(policy),
                    mice: Some(f64::from(mice)),
                    composition: Some(composition),
                    order: order(None, policy, composition, None).ok().flatten(),
                    ..Parameters::of(experiment)
                }
            };
            runs.push(run(PolicyKind::Fcfs, None));
            for (kind, unlock) in policies(composition) {
                runs.extend(arrivals(experiment, composition).iter().map(|n| Parameters {
                    n: (*unlock == Unlock::Arrivals).then_some(*n),
                    lifetime: (*unlock == Unlock::Lifetime).then(|| f64::from(*n) * interval),
                    ..run(*kind, Some(*unlock))
                }));
            }
        }
    }
    runs
}

/// Estimates the seconds that a run takes: fitted to measurements, within a factor of 3 for the long runs.
/// Round robin allocates to each waiting task at each tick or arrival; the other policies visit few tasks.
pub(super) fn cost(parameters: &Parameters) -> f64 {
    let kind = parameters.composition.unwrap_or(CompositionKind::Basic);
    let scale = Scale::of(parameters.experiment, kind);
    let tasks = scale.duration / scale.interval;
    let policy = policy(parameters);
    let unlocks_in = parameters
        .lifetime
        .unwrap_or_else(|| f64::from(parameters.n.unwrap_or(0)) * scale.interval);
    let slowness = (unlocks_in / scale.duration).min(1.0);
    // With one block fewer tasks wait.
    let crowd = match scale.blocks {
        Blocks::One => 0.1,
        Blocks::Growing => 1.0,
    } * tasks.powi(2);
    match (policy.kind, kind) {
        // Round robin and the released order visit all waiting tasks in each pass.
        (PolicyKind::RoundRobin | PolicyKind::Dpf, CompositionKind::Basic) => {
            5e-6 * tasks + 1.5e-8 * crowd * slowness
        }
        _ => 5e-6 * tasks,
    }
}
