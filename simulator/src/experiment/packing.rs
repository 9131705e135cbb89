//! DPack's microbenchmark (EuroSys'25, section 6.2): batches of tasks that differ in their best orders or in how many
//! blocks they ask for.

use super::{CompositionKind, Experiment, ExperimentError, OptimumSearch, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, PolicySettingsError, Unlock, time,
    workload::{LIFETIME, Packing, TICK},
};

/// After how many nodes the search for the optimum ends: several times as many as any run of the grid needs.
const NODES: u32 = 100_000;

/// What differs between the two benchmarks.
struct Scale {
    /// The published spreads.
    spreads: &'static [f64],
    /// The spread without another one.
    spread: f64,
    /// What tasks ask at least, in the grid.
    leasts: &'static [f64],
    /// The same without another one.
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

/// Without a policy: DPack. What isn't said to unlock by arrivals does at one tick.
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

/// How DPack would decide what the optimum is asked of, which has no numbers of its own.
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

/// Every spread with every least demand, under DPack with costs worked out anew after each grant and only once, DPF,
/// the blend in the middle between them, and first come, first served; and the optimum.
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

/// Measured, roughly.
pub(super) const fn cost(parameters: &Parameters) -> f64 {
    if parameters.nodes.is_some() { 0.5 } else { 0.05 }
}
