//! DPack's macro-benchmark (EuroSys'25, section 6.3), on synthetic tasks or on the published trace.

use super::{CompositionKind, Experiment, ExperimentError, Parameters, Prepared};
use crate::{
    PolicyChoice, PolicyKind, PolicySettings, Unlock,
    workload::{BLOCK_INTERVAL, Submissions},
};

/// Default number of tasks.
const DEFAULT_TASKS: u32 = 20_000;
/// Default number of blocks that arrive after the first hundred.
const DEFAULT_BLOCKS: u32 = 90;
/// The paper's lifetime of a block and time between two decisions, in intervals between two blocks.
const LIFETIME: f64 = 30.0;
const TICK: f64 = 10.0;
/// The paper's number of grants after which costs are recomputed.
const RECOMPUTE_AFTER: u32 = 50;

/// Default: DPack, unlocking over time.
fn policy(parameters: &Parameters) -> PolicyChoice {
    parameters.choice(PolicyKind::Dpack, Unlock::Lifetime)
}

/// Prepares a run on synthetic tasks.
pub(super) fn prepare(parameters: &Parameters) -> Result<Prepared, ExperimentError> {
    let tasks = parameters.tasks.unwrap_or(DEFAULT_TASKS);
    prepare_with(parameters, &Submissions::synthetic(tasks, parameters.seed)?)
}

/// Prepares a run on given submissions.
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
    // By then the last block is unlocked and one more decision was made.
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

/// Returns the published numbers of blocks with the default number of tasks, and several numbers of tasks
/// with the default number of blocks: each under DPack, DPF, and first come first served.
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

/// A rough measurement.
pub(super) fn cost(_parameters: &Parameters) -> f64 {
    1.0
}
