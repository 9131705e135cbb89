//! The reference simulator's totals (OSDI'21 artifact, seed 3345), to the task.
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_simulator::{
    experiment::{CompositionKind, Experiment, Parameters},
    run,
};

/// The paper's grid for one block and basic composition.
const SINGLE_N: [u32; 11] = [1, 10, 50, 75, 100, 125, 175, 200, 225, 275, 325];

/// How many tasks are granted.
fn granted(parameters: &Parameters) -> usize {
    let prepared = parameters.prepare().unwrap();
    let outcome = run(&prepared.workload, &prepared.setting).unwrap();
    outcome.summary(&prepared.workload).granted
}

fn parameters(experiment: Experiment, composition: CompositionKind, policy: &str) -> Parameters {
    Parameters {
        policy: Some(policy.parse().unwrap()),
        composition: Some(composition),
        ..Parameters::of(experiment)
    }
}

/// The totals of a policy with -n over a column of N, or of one with -t over the same column of N x interval.
fn check(
    experiment: Experiment,
    composition: CompositionKind,
    policy: &str,
    interval: f64,
    column: &[(u32, usize)],
) {
    let run = parameters(experiment, composition, policy);
    let found: Vec<_> = column
        .iter()
        .map(|(n, _)| {
            let by_time = policy.ends_with("-t");
            let run = Parameters {
                n: (!by_time).then_some(*n),
                lifetime: by_time.then(|| f64::from(*n) * interval),
                ..run.clone()
            };
            (*n, granted(&run))
        })
        .collect();
    assert_eq!(found, column, "{experiment} {policy}");
}

#[test]
fn one_block_basic() {
    use {CompositionKind::Basic, Experiment::MicroSingle};
    assert_eq!(granted(&parameters(MicroSingle, Basic, "fcfs")), 46);

    for (policy, totals) in [
        ("dpf-n", [46, 46, 46, 64, 82, 100, 100, 100, 100, 97, 82]),
        ("dpf-t", [46, 46, 55, 73, 91, 100, 100, 100, 100, 85, 72]),
        ("rr-n", [39, 39, 42, 46, 48, 45, 36, 29, 24, 16, 9]),
        ("rr-t", [40, 40, 41, 49, 49, 43, 32, 21, 19, 5, 3]),
    ] {
        let column: Vec<_> = SINGLE_N.into_iter().zip(totals).collect();
        check(MicroSingle, Basic, policy, 1.0, &column);
    }
}
