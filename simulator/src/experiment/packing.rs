//! DPack's microbenchmark (EuroSys'25, section 6.2): batches of tasks that differ in their best orders or in how many
//! blocks they ask for.

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared, VisitOrder};
use crate::{
    PolicyChoice, PolicyKind, Rules, Unlock,
    workload::{LIFETIME, Packing, TICK},
};

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
    let given = parameters.policy;
    let kind = given.map_or(PolicyKind::Dpack, |given| given.kind);
    let unlock = given.and_then(|given| given.unlock).unwrap_or(Unlock::Lifetime);
    PolicyChoice {
        kind,
        unlock: (kind != PolicyKind::Fcfs).then_some(unlock),
    }
}

pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    parameters.refuse("mice", parameters.mice)?;
    parameters.refuse("blocks", parameters.blocks)?;
    if parameters.composition == Some(CompositionKind::Basic) {
        parameters.refuse("composition", Some("basic"))?;
    }
    if parameters.order == Some(VisitOrder::Published) {
        return Err(ExperimentError::NotPublished);
    }
    let scale = Scale::of(parameters.experiment);
    let policy = policy(parameters);
    let by_time = policy.unlock == Some(Unlock::Lifetime);
    let spread = parameters.spread.unwrap_or(scale.spread);
    let least = parameters.least.unwrap_or(scale.least);
    let tasks = parameters.tasks.unwrap_or(scale.tasks);
    let parameters = Parameters {
        policy: Some(policy),
        lifetime: parameters.lifetime.or(by_time.then_some(LIFETIME)),
        composition: Some(CompositionKind::Renyi),
        order: None,
        spread: Some(spread),
        least: Some(least),
        tasks: Some(tasks),
        ..parameters.clone()
    }
    .with_packing(policy);
    let by_blocks = parameters.experiment == Experiment::DpackBlocks;
    let packing = Packing {
        order_spread: if by_blocks { 0.0 } else { spread },
        block_spread: by_blocks.then_some(spread),
        least,
        tasks,
        seed: parameters.seed,
    };
    let workload = packing.workload()?;
    let rules = Rules::of(&parameters, policy, TICK);
    let setting = rules.setting(workload.composition.clone())?;
    Ok(Prepared {
        workload,
        parameters,
        rules,
        setting,
        published: None,
    })
}

/// Every spread with every least demand, under DPack with costs worked out anew after each grant and only once, DPF,
/// the blend in the middle between them, and first come, first served.
pub(super) fn grid(experiment: Experiment) -> Vec<Parameters> {
    let scale = Scale::of(experiment);
    let policies = [
        (PolicyKind::Dpack, Some(1), None),
        (PolicyKind::Dpack, Some(u32::MAX), None),
        (PolicyKind::Blend, Some(1), Some(500)),
        (PolicyKind::Dpf, None, None),
        (PolicyKind::Fcfs, None, None),
    ];
    let mut runs = Vec::new();
    for least in scale.leasts {
        for spread in scale.spreads {
            runs.extend(policies.map(|(kind, recompute_after, fairness)| {
                let unlock = (kind != PolicyKind::Fcfs).then_some(Unlock::Lifetime);
                Parameters {
                    policy: Some(PolicyChoice { kind, unlock }),
                    lifetime: unlock.map(|_| LIFETIME),
                    composition: Some(CompositionKind::Renyi),
                    recompute_after,
                    fairness,
                    spread: Some(*spread),
                    least: Some(*least),
                    tasks: Some(scale.tasks),
                    ..Parameters::of(experiment)
                }
            }));
        }
    }
    runs
}

/// Measured, roughly.
pub(super) const fn cost(_parameters: &Parameters) -> f64 {
    0.05
}
