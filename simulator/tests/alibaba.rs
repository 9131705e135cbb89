//! Tests the synthetic workload of experiment alibaba: its stated distributions, and how many tasks DPack
//! grants on it.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test, with small counts"
)]

use std::{fs, process::Command};

use privatekube_policy::{Composition, Orders};
use privatekube_simulator::{
    CATALOGUE, Submissions, Workload,
    experiment::{CompositionKind, Experiment, Parameters},
    run, seconds,
    trace::{self, Trace},
};

const DAY: f64 = 86_400.0;

fn parameters(policy: &str, tasks: u32, blocks: u32) -> Parameters {
    Parameters {
        policy: Some(policy.parse().unwrap()),
        tasks: Some(tasks),
        blocks: Some(blocks),
        ..Parameters::of(Experiment::Alibaba)
    }
}

fn workload(tasks: u32, blocks: u32) -> Workload {
    parameters("dpf-t", tasks, blocks).prepare().unwrap().workload
}

fn granted(policy: &str, tasks: u32, blocks: u32) -> usize {
    let prepared = parameters(policy, tasks, blocks).prepare().unwrap();
    prepared.run().unwrap().summary(&prepared.workload).granted
}

#[test]
fn a_hundred_blocks_exist_and_one_more_arrives_in_each_interval() {
    let workload = workload(2000, 30);
    let at: Vec<f64> = workload
        .blocks
        .iter()
        .map(|block| seconds(block.at) / DAY)
        .collect();
    let later = (0..30).map(f64::from);
    assert_eq!(at, [0.0; 100].into_iter().chain(later).collect::<Vec<_>>());
    let capacity = Composition::Renyi(Orders::default());
    let capacity = capacity
        .capacity("10".parse().unwrap(), "1e-7".parse().unwrap())
        .unwrap();
    assert!(workload.blocks.iter().all(|block| block.capacity == capacity));
}

#[test]
fn tasks_are_spread_over_the_blocks_and_request_the_newest() {
    let workload = workload(5000, 30);
    assert_eq!(workload.tasks.len(), 5000);
    let mut in_interval = [0_u32; 30];
    for task in &workload.tasks {
        let at = seconds(task.at) / DAY;
        let interval = (0_u32..30).rfind(|interval| f64::from(*interval) <= at).unwrap();
        in_interval[interval as usize] += 1;
        let newest = 100 + interval;
        assert!((1..=100).contains(&task.blocks.len()));
        let oldest = newest + 1 - u32::try_from(task.blocks.len()).unwrap();
        assert_eq!(task.blocks, (oldest..=newest).collect::<Vec<_>>());
    }
    // The mean is 167, the standard deviation 13.
    assert!(
        in_interval.iter().all(|count| (100..240).contains(count)),
        "{in_interval:?}"
    );
}

#[test]
fn demands_are_those_that_the_trace_keeps() {
    let workload = workload(5000, 30);
    let capacity = workload.blocks[0].capacity.units();
    for task in &workload.tasks {
        let shares = task.demand.units().iter().zip(capacity);
        let shares = shares
            .filter(|(_, capacity)| **capacity > 0)
            .map(|(demand, capacity)| *demand as f64 / *capacity as f64);
        let least = shares.fold(f64::INFINITY, f64::min);
        assert!((0.001..=1.0).contains(&least), "{least}");
    }
}

/// Many tasks demand little and few demand much, in epsilon and in blocks.
#[test]
fn demands_have_a_long_tail() {
    let workload = workload(20_000, 30);
    let mut blocks: Vec<usize> = workload.tasks.iter().map(|task| task.blocks.len()).collect();
    blocks.sort_unstable();
    assert!(
        blocks[10_000] <= 3 && blocks[19_000] >= 20,
        "{} {}",
        blocks[10_000],
        blocks[19_000]
    );
    // Order 5 is the eighth of the twelve, counted from the end.
    let mut asked: Vec<i64> = workload.tasks.iter().map(|task| task.demand.units()[6]).collect();
    asked.sort_unstable();
    assert!(
        asked[19_000] > 10 * asked[10_000],
        "{} {}",
        asked[10_000],
        asked[19_000]
    );
}

/// Half of the tasks use GPUs and have one of two mechanisms; the others have one of three. Tasks with
/// Gaussian noise alone are left out more often than others.
#[test]
fn all_five_mechanisms_occur() {
    let prepared = parameters("dpf-t", 20_000, 30).prepare().unwrap();
    let summary = prepared.run().unwrap().summary(&prepared.workload);
    let classes: Vec<(&str, usize)> = summary
        .classes
        .iter()
        .map(|class| (class.class.as_str(), class.tasks))
        .collect();
    let names: Vec<&str> = classes.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "gaussian",
            "laplace",
            "subsampled_laplace",
            "dp_ftrl",
            "subsampled_gaussian"
        ]
    );
    assert!(classes.iter().all(|(_, tasks)| *tasks > 1500), "{classes:?}");
}

#[test]
fn the_same_seed_gives_the_same_tasks_of_one_catalogue() {
    let one = Submissions::synthetic(3000, 7).unwrap();
    assert_eq!(one, Submissions::synthetic(3000, 7).unwrap());
    assert_ne!(one, Submissions::synthetic(3000, 8).unwrap());
    let mut demands: Vec<_> = one
        .tasks
        .iter()
        .map(|task| (task.blocks, task.demand.units()))
        .collect();
    demands.sort_unstable();
    demands.dedup();
    assert!(demands.len() <= CATALOGUE);
}

/// The published ratio is 1.3 to 1.7. It grows with the load.
#[test]
fn dpack_grants_more_than_dpf_the_more_tasks_there_are_for_each_block() {
    let ratio =
        |tasks, blocks| granted("dpack-t", tasks, blocks) as f64 / granted("dpf-t", tasks, blocks) as f64;
    let light = ratio(2000, 90);
    let heavy = ratio(10_000, 15);
    assert!((0.99..1.1).contains(&light), "{light}");
    assert!((1.3..1.8).contains(&heavy), "{heavy}");
}

#[test]
fn useless_parameters_are_refused() {
    let own = Parameters::of(Experiment::Alibaba);
    for (wrong, says) in [
        (
            Parameters {
                mice: Some(50.0),
                ..own.clone()
            },
            "mice is 50, but experiment alibaba has none: leave it out",
        ),
        (
            Parameters {
                composition: Some(CompositionKind::Basic),
                ..own.clone()
            },
            "composition is basic, but experiment alibaba has none: leave it out",
        ),
        (
            Parameters {
                tasks: Some(0),
                ..own.clone()
            },
            "tasks is 0: accepted is 1 to 10000000",
        ),
        (
            Parameters {
                blocks: Some(0),
                ..own
            },
            "blocks is 0: accepted is 1 to 10000",
        ),
    ] {
        assert_eq!(wrong.prepare().unwrap_err().to_string(), says);
    }
}

const CSV: &str = "\
n_blocks,profit,block_selection_policy,task_name,alphas,rdp_epsilons,relative_submit_time
3,1,LatestBlocksFirst,\"laplace-epsilon=2.30e-01\",\"[3, 64]\",\"[0.05, 0.2]\",0.0
200,1,LatestBlocksFirst,\"dp_ftrl-epsilon=2.30e-01\",\"[3, 64]\",\"[0.05, 0.2]\",30.0
";

fn command(csv: &str, experiment: &str) -> (bool, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tasks.csv");
    fs::write(&file, csv).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_privatekube-simulator"))
        .args(["experiment", experiment, "--trace-csv"])
        .arg(&file)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_report_says_where_its_tasks_are_from() {
    let (succeeded, out, err) = command(CSV, "alibaba");
    assert!(succeeded, "{err}");
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(line["data"].as_str().unwrap().ends_with("tasks.csv"));
    assert_eq!(
        (&line["tasks"], &line["granted"]["total"]),
        (&2.into(), &1.into())
    );
    // There are fewer than 200 blocks at any time.
    assert_eq!(line["waiting"], 1);
    let report = parameters("dpf-t", 10, 5).report().unwrap();
    assert_eq!(serde_json::to_value(report).unwrap()["data"], "synthetic");
    assert!(
        parameters("dpf-t", 10, 5)
            .name()
            .starts_with("alibaba/synthetic/")
    );
}

#[test]
fn errors_in_a_file_are_named_with_file_line_and_column() {
    let (succeeded, _, err) = command(&CSV.replace("0.2]\",30", "x]\",30"), "alibaba");
    assert!(!succeeded);
    assert!(
        err.contains("tasks.csv: line 3, column rdp_epsilons: \"[0.05, x]\": accepted are"),
        "{err}"
    );
    let (succeeded, _, err) = command(CSV, "macro");
    assert!(!succeeded && err.contains("experiment macro has none"), "{err}");
}

#[test]
fn a_trace_of_it_replays_to_the_same_decisions() {
    let prepared = parameters("dpack-t", 1000, 10).prepare().unwrap();
    let mut file = Vec::new();
    trace::write(&mut file, &prepared.workload, &prepared.settings, None, "test").unwrap();
    let read = Trace::read(&String::from_utf8(file).unwrap()).unwrap();
    let again = run(&read.workload, &read.dataset_rules).unwrap();
    assert!(again.decisions == prepared.run().unwrap().decisions);
}
