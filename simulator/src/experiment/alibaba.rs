//! DPack's macro-benchmark (EuroSys'25, section 6.3), on synthetic tasks or on the published trace.

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, Unlock,
    workload::{BLOCK_INTERVAL, Submissions},
};

/// How many tasks are drawn.
const DEFAULT_TASKS: u32 = 20_000;
/// How many blocks come after the first hundred.
const DEFAULT_BLOCKS: u32 = 90;
/// DPack's numbers, in blocks that come: how long a block unlocks, and how often is decided.
const LIFETIME: f64 = 30.0;
const TICK: f64 = 10.0;
/// DPack's: after how many grants costs are worked out anew.
const RECOMPUTE_AFTER: u32 = 50;

/// Without a policy: DPack. What isn't said to unlock by arrivals does over time.
fn policy(parameters: &Parameters) -> PolicyChoice {
    parameters.choice(PolicyKind::Dpack, Unlock::Lifetime)
}

/// On synthetic tasks.
pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    let tasks = parameters.tasks.unwrap_or(DEFAULT_TASKS);
    prepare_with(parameters, &Submissions::synthetic(tasks, parameters.seed)?)
}

/// On submissions from elsewhere.
pub(super) fn prepare_with(
    parameters: &Parameters,
    submissions: &Submissions,
) -> Result<Prepared, ExperimentError> {
    parameters.refuse("mice", parameters.mice)?;
    parameters.refuse("spread", parameters.spread)?;
    parameters.refuse("least", parameters.least)?;
    if parameters.composition == Some(CompositionKind::Basic) {
        parameters.refuse("composition", Some("basic"))?;
    }
    let policy = policy(parameters);
    let by_time = policy.unlock == Some(Unlock::Lifetime);
    let blocks = parameters.blocks.unwrap_or(DEFAULT_BLOCKS);
    let lifetime = LIFETIME * BLOCK_INTERVAL;
    let parameters = Parameters {
        policy: Some(policy),
        lifetime: parameters.lifetime.or(by_time.then_some(lifetime)),
        composition: Some(CompositionKind::Renyi),
        order: None,
        recompute_after: parameters.recompute_after.or(Some(RECOMPUTE_AFTER)),
        tasks: u32::try_from(submissions.tasks.len()).ok(),
        blocks: Some(blocks),
        ..parameters.clone()
    }
    .with_packing(policy);
    let settings = PolicySettings::of(&parameters, policy, TICK * BLOCK_INTERVAL);
    let dataset_rules = settings.dataset_rules(submissions.composition())?;
    // By then the last block is unlocked, and was decided about.
    let rest = parameters.lifetime.unwrap_or(lifetime) + TICK * BLOCK_INTERVAL;
    Ok(Prepared {
        workload: submissions.workload(blocks, rest)?,
        parameters,
        settings,
        dataset_rules,
        published: None,
        search: None,
    })
}

/// The published numbers of blocks with one number of tasks, and, with one number of blocks, several numbers of tasks:
/// each under DPack, DPF, and first come, first served.
pub(super) fn grid() -> Vec<Parameters> {
    const BLOCKS: [u32; 5] = [30, 60, 90, 120, 180];
    const TASKS: [u32; 4] = [5_000, 10_000, 40_000, 80_000];
    let by_blocks = BLOCKS.map(|blocks| (DEFAULT_TASKS, blocks));
    let by_tasks = TASKS.map(|tasks| (tasks, DEFAULT_BLOCKS));
    let runs = by_blocks.into_iter().chain(by_tasks).flat_map(|(tasks, blocks)| {
        [PolicyKind::Dpack, PolicyKind::Dpf, PolicyKind::FcfsWait].map(|kind| Parameters {
            policy: Some(PolicyChoice {
                kind,
                unlock: Some(Unlock::Lifetime),
            }),
            lifetime: Some(LIFETIME * BLOCK_INTERVAL),
            composition: Some(CompositionKind::Renyi),
            recompute_after: (kind == PolicyKind::Dpack).then_some(RECOMPUTE_AFTER),
            tasks: Some(tasks),
            blocks: Some(blocks),
            ..Parameters::of(Experiment::Alibaba)
        })
    });
    runs.collect()
}

/// Measured, roughly.
pub(super) fn cost(_parameters: &Parameters) -> f64 {
    1.0
}
