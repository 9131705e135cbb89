//! The OSDI'21 micro-benchmarks.

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared, reference_composition};
use crate::{
    PolicyChoice, PolicyKind, Rules, Unlock,
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
    /// The number of arrivals at which the paper compares shares of mice.
    n: u32,
}

impl Scale {
    fn of(experiment: Experiment, composition: CompositionKind) -> Self {
        match (experiment, composition) {
            // The durations are 2.25 x 1.05 times what the block can carry of mice, in whole seconds.
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

/// Without a policy: DPF, unlocking by what is given.
fn policy(parameters: &Parameters) -> PolicyChoice {
    let unlock = if parameters.lifetime.is_some() && parameters.n.is_none() {
        Unlock::Lifetime
    } else {
        Unlock::Arrivals
    };
    let given = parameters.policy.unwrap_or(PolicyChoice {
        kind: PolicyKind::Dpf,
        unlock: None,
    });
    PolicyChoice {
        kind: given.kind,
        unlock: match given.kind {
            PolicyKind::Fcfs => None,
            _ => given.unlock.or(Some(unlock)),
        },
    }
}

pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    parameters.refuse("spread", parameters.spread)?;
    parameters.refuse("least", parameters.least)?;
    let kind = parameters.composition.unwrap_or(CompositionKind::Basic);
    let scale = Scale::of(parameters.experiment, kind);
    let policy = policy(parameters);
    let parameters = Parameters {
        policy: Some(policy),
        n: parameters
            .n
            .or_else(|| (policy.unlock == Some(Unlock::Arrivals)).then_some(scale.n)),
        lifetime: parameters.lifetime.or_else(|| {
            (policy.unlock == Some(Unlock::Lifetime)).then(|| f64::from(scale.n) * scale.interval)
        }),
        mice: Some(parameters.mice.unwrap_or(DEFAULT_MICE)),
        composition: Some(kind),
        ..parameters.clone()
    }
    .with_packing(policy);
    let composition = reference_composition(kind);
    let setting = Rules::of(&parameters, policy, scale.interval * 0.5).setting(composition.clone())?;
    let micro = Micro {
        composition,
        interval: scale.interval,
        duration: scale.duration,
        timeout: scale.timeout,
        mice_percentage: parameters.mice.unwrap_or(DEFAULT_MICE),
        blocks: scale.blocks,
        seed: parameters.seed,
    };
    Ok(Prepared {
        workload: micro.workload()?,
        parameters,
        setting,
    })
}
