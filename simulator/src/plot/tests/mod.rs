//! Tests of figures, pictures and the page, from made-up rows.

mod drawing;
mod model;
mod page;

use crate::{
    experiment::{CompositionKind, Experiment, Parameters, REFERENCE_SEED},
    results::{ClassRow, DelayRow, RunRow, Tables},
};

/// Returns a row for a run with these numbers of tasks and of granted tasks.
fn row(parameters: &Parameters, tasks: u64, granted: u64) -> RunRow {
    RunRow {
        run: parameters.name(),
        experiment: parameters.experiment,
        policy: parameters
            .policy
            .map(|policy| policy.to_string())
            .unwrap_or_default(),
        order: parameters.order,
        composition: parameters.composition.unwrap_or(CompositionKind::Renyi),
        n: parameters.n,
        lifetime: parameters.lifetime,
        mice: parameters.mice,
        recompute_after: parameters.recompute_after,
        fairness: parameters.fairness,
        spread: parameters.spread,
        least: parameters.least,
        revision: parameters.revision.map(u32::from),
        seed: parameters.seed,
        blocks: u64::from(parameters.blocks.unwrap_or(1)),
        tasks,
        granted,
        granted_by_engine: None,
        bound: None,
        refused: 0,
        waiting: tasks - granted,
        delay_average: Some(1.5),
        delay_p50: Some(1.0),
        delay_p90: Some(2.0),
        delay_p99: Some(4.0),
        delay_p999: Some(5.0),
        delay_max: Some(5.0),
        jain: None,
        weighted_jain: None,
        weight_disagreement: None,
        fair_at_once: None,
        fair_not_at_once: None,
        envied: None,
        envied_unknown: None,
        unused_blocks: None,
        wall: 0.1,
    }
}

/// Returns tables of made-up results for these runs.
fn tables(runs: impl IntoIterator<Item = RunRow>) -> Tables {
    let mut tables = Tables::default();
    for run in runs {
        let class = |class: &str, tasks, granted| ClassRow {
            run: run.run.clone(),
            class: class.to_owned(),
            tasks,
            granted,
        };
        let half = run.granted / 2;
        tables.classes.extend([
            class("small", run.tasks - 10, run.granted - half),
            class("large", 10, half),
            class("nobody", 0, 0),
        ]);
        let delay = |delay, granted| DelayRow {
            run: run.run.clone(),
            delay,
            granted,
        };
        if run.granted > 0 {
            tables.delays.extend([delay(0.0, half), delay(5.0, run.granted)]);
        }
        tables.runs.push(run);
    }
    tables
}

/// Returns every run of every grid, with different results.
fn all() -> Tables {
    let grids = Experiment::ALL
        .into_iter()
        .flat_map(|experiment| experiment.grid(REFERENCE_SEED));
    tables(grids.enumerate().map(|(number, parameters)| {
        let granted = 20 + (number as u64 * 37) % 80;
        row(&parameters, u64::from(parameters.tasks.unwrap_or(200)), granted)
    }))
}

/// Returns a run of the micro-benchmark with one block and basic composition, at 75% mice.
fn single(policy: &str, n: Option<u32>, lifetime: Option<f64>, seed: u64, granted: u64) -> RunRow {
    let parameters = Parameters {
        policy: policy.parse().ok(),
        n,
        lifetime,
        mice: Some(75.0),
        composition: Some(CompositionKind::Basic),
        seed,
        ..Parameters::of(Experiment::MicroSingle)
    };
    row(&parameters, 236, granted)
}
