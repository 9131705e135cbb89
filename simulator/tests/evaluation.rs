//! Tests that the results in `docs/evaluation` are those of the present code, by repeating some of the runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::HashMap, path::Path};

use privatekube_simulator::{
    experiment::{Experiment, REFERENCE_SEED},
    results::{RunRow, Tables},
};

/// Limit of a run's estimated time, in seconds. Longer runs are left to `make evaluation`.
const CHEAP: f64 = 0.1;

/// Repeats every eleventh run of every experiment, if it is cheap.
#[test]
fn published_runs_are_reproduced() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/evaluation");
    let tables = Tables::read(Path::new(directory)).unwrap();
    let published: HashMap<&str, &RunRow> = tables.runs.iter().map(|row| (row.run.as_str(), row)).collect();
    for experiment in Experiment::ALL {
        let mut compared = 0;
        for run in experiment.grid(REFERENCE_SEED).step_by(11) {
            let published = published[run.prepare().unwrap().parameters.name().as_str()];
            if published.wall < CHEAP {
                let row = run.result().unwrap().row;
                let wall = row.wall;
                assert_eq!(
                    row,
                    RunRow {
                        wall,
                        ..published.clone()
                    }
                );
                compared += 1;
            }
        }
        // Every run of alibaba takes longer than the limit.
        assert!(compared > 0 || experiment == Experiment::Alibaba, "{experiment}");
    }
}
