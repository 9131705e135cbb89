//! DPack's microbenchmark (EuroSys'25, section 6.2): batches of tasks that differ in their best orders or in
//! the number of blocks that they request.

use super::{CompositionKind, Experiment, ExperimentError, OptimumSearch, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, PolicySettingsError, Unlock, time,
    workload::{LIFETIME, Packing, TICK},
};

/// Number of nodes after which the search for the optimum stops: several times what any run of the grid
/// needs.
const NODES: u32 = 100_000;

/// What differs between the two benchmarks.
struct Scale {
    /// The published spreads.
    spreads: &'static [f64],
    /// The default spread.
    spread: f64,
    /// The grid's demands at the best order, as parts of a block.
    leasts: &'static [f64],
    /// The default demand at the best order.
    least: f64,
    tasks: u32,
}

impl Scale {
    const fn of(experiment: Experiment) -> Self {
        match experiment {
            Experiment::DpackBlocks => Self {
                spreads: &[0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0],
                spread: 3.0,
                leasts: &[0.05, 0.1],
                least: 0.05,
                tasks: 300,
            },
            _ => Self {
                spreads: &[0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
                spread: 1.0,
                leasts: &[0.005, 0.01, 0.02, 0.05, 0.1],
                least: 0.005,
                tasks: 1000,
            },
        }
    }
}

/// Default: DPack, with all budget unlocked at one tick.
fn policy(parameters: &Parameters) -> PolicyChoice {
    parameters.choice(PolicyKind::Dpack, Unlock::Lifetime)
}

pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    parameters.refuse("mice", parameters.mice)?;
    parameters.refuse("blocks", parameters.blocks)?;
    if parameters.composition == Some(CompositionKind::Basic) {
        parameters.refuse("composition", Some("basic"))?;
    }
    let scale = Scale::of(parameters.experiment);
    let policy = policy(parameters);
    let by_time = policy.unlock == Some(Unlock::Lifetime);
    let spread = parameters.spread.unwrap_or(scale.spread);
    let least = parameters.least.unwrap_or(scale.least);
    let tasks = parameters.tasks.unwrap_or(scale.tasks);
    let by_blocks = parameters.experiment == Experiment::DpackBlocks;
    let parameters = Parameters {
        policy: Some(policy),
        lifetime: parameters.lifetime.or(by_time.then_some(LIFETIME)),
        composition: Some(CompositionKind::Renyi),
        order: None,
        spread: Some(spread),
        least: Some(least),
        tasks: Some(tasks),
        nodes: (policy.kind == PolicyKind::Optimum && by_blocks).then(|| parameters.nodes.unwrap_or(NODES)),
        ..parameters.clone()
    }
    .with_packing(policy);
    let packing = Packing {
        order_spread: if by_blocks { 0.0 } else { spread },
        block_spread: by_blocks.then_some(spread),
        least,
        tasks,
        seed: parameters.seed,
    };
    let settings = PolicySettings::of(&parameters, policy, TICK);
    let search = (policy.kind == PolicyKind::Optimum).then_some(OptimumSearch {
        at: time(TICK)?,
        // One block (dpack-orders) is solved without a search.
        nodes: parameters.nodes.unwrap_or(0),
    });
    let workload = packing.workload()?;
    let dataset_rules = match search {
        None => settings.dataset_rules(workload.composition.clone())?,
        Some(_) => dpack(settings)?.dataset_rules(workload.composition.clone())?,
    };
    Ok(Prepared {
        workload,
        parameters,
        settings,
        dataset_rules,
        published: None,
        search,
    })
}

/// Returns DPack's settings, for the run that the search for the optimum begins with. The optimum itself has
/// no N and no lifetime.
fn dpack(settings: PolicySettings) -> Result<PolicySettings, PolicySettingsError> {
    let policy = settings.policy;
    if let Some(n) = settings.n {
        return Err(PolicySettingsError::UselessN { n, policy });
    }
    if let Some(lifetime) = settings.lifetime {
        return Err(PolicySettingsError::UselessLifetime { lifetime, policy });
    }
    Ok(PolicySettings {
        policy: PolicyChoice {
            kind: PolicyKind::Dpack,
            unlock: Some(Unlock::Lifetime),
        },
        lifetime: Some(LIFETIME),
        ..settings
    })
}

/// Returns every spread with every least demand, under six policies: DPack with costs recomputed after each
/// grant, DPack with costs computed once, the half-and-half blend, DPF, first come first served, and the
/// optimum.
pub(super) fn grid(experiment: Experiment) -> Vec<Parameters> {
    let scale = Scale::of(experiment);
    let policies = [
        (PolicyKind::Dpack, Some(1), None),
        (PolicyKind::Dpack, Some(u32::MAX), None),
        (PolicyKind::Blend, Some(1), Some(500)),
        (PolicyKind::Dpf, None, None),
        (PolicyKind::Fcfs, None, None),
        (PolicyKind::Optimum, None, None),
    ];
    let mut runs = Vec::new();
    for least in scale.leasts {
        for spread in scale.spreads {
            runs.extend(policies.map(|(kind, recompute_after, fairness)| {
                let unlock = kind.unlocks_later().then_some(Unlock::Lifetime);
                Parameters {
                    policy: Some(PolicyChoice { kind, unlock }),
                    lifetime: unlock.map(|_| LIFETIME),
                    composition: Some(CompositionKind::Renyi),
                    recompute_after,
                    fairness,
                    spread: Some(*spread),
                    least: Some(*least),
                    tasks: Some(scale.tasks),
                    nodes: (kind == PolicyKind::Optimum && experiment == Experiment::DpackBlocks)
                        .then_some(NODES),
                    ..Parameters::of(experiment)
                }
            }));
        }
    }
    runs
}

/// A rough measurement.
pub(super) const fn cost(parameters: &Parameters) -> f64 {
    if parameters.nodes.is_some() { 0.5 } else { 0.05 }
}
