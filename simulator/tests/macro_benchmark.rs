//! Tests the macro-benchmark against what is published of its workload and results.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test, with small counts"
)]

use std::collections::BTreeMap;

use privatekube_policy::{DatasetRules, Revision};
use privatekube_simulator::{
    Decision, Macro, PolicySettings, StatisticDays, Workload,
    experiment::{CompositionKind, Experiment, Parameters},
    run, seconds,
    trace::{self, Trace},
};

const DAY: f64 = 86_400.0;
const SEEDS: [u64; 4] = [3345, 1, 2, 3];

fn benchmark(is_renyi: bool, statistic_days: StatisticDays, seed: u64) -> Macro {
    Macro {
        is_renyi,
        mice_percentage: 75.0,
        statistic_days,
        seed,
    }
}

fn workload(is_renyi: bool, seed: u64) -> Workload {
    benchmark(is_renyi, StatisticDays::One, seed).workload().unwrap()
}

fn settings_and_rules(policy: &str, n: Option<u32>, workload: &Workload) -> (PolicySettings, DatasetRules) {
    let settings = PolicySettings {
        policy: policy.parse().unwrap(),
        n,
        lifetime: None,
        tick: None,
        recompute_after: 1,
        fairness: 500,
        revision: Revision::First,
    };
    (
        settings,
        settings.dataset_rules(workload.composition.clone()).unwrap(),
    )
}

fn decisions(policy: &str, n: Option<u32>, workload: &Workload) -> Vec<Decision> {
    let (_, dataset_rules) = settings_and_rules(policy, n, workload);
    run(workload, &dataset_rules).unwrap().decisions
}

/// Returns the number of granted tasks, in all and of each class.
fn granted(n: u32, workload: &Workload) -> (usize, Vec<usize>) {
    let (_, dataset_rules) = settings_and_rules("dpf-n", Some(n), workload);
    let summary = run(workload, &dataset_rules).unwrap().summary(workload);
    let classes = summary.classes.iter().map(|class| class.granted).collect();
    (summary.granted, classes)
}

#[test]
fn a_block_arrives_each_day_and_300_tasks_once_there_are_ten() {
    for seed in SEEDS {
        let workload = workload(false, seed);
        let days: Vec<f64> = workload
            .blocks
            .iter()
            .map(|block| seconds(block.at) / DAY)
            .collect();
        assert_eq!(days, (1..=60).map(f64::from).collect::<Vec<_>>());
        let times: Vec<f64> = workload.tasks.iter().map(|task| seconds(task.at) / DAY).collect();
        assert!(times.iter().all(|at| (10.0..61.0).contains(at)));
        assert!(times.is_sorted());
        // 51 days of 300 tasks: the mean is 15300, the standard deviation 124.
        assert!((14_800..15_800).contains(&times.len()), "{}", times.len());
        let mice = workload.tasks.iter().filter(|task| task.class == 0).count();
        let part = mice as f64 / times.len() as f64;
        assert!((0.735..0.765).contains(&part), "{part}");
    }
}

#[test]
fn each_task_requests_the_newest_days_of_its_pipeline() {
    let workload = workload(false, 3345);
    let mut days_of: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for task in &workload.tasks {
        // A slow count that looks at every block.
        let there: Vec<u32> = (0_u32..)
            .zip(&workload.blocks)
            .filter(|(_, block)| block.at <= task.at)
            .map(|(number, _)| number)
            .collect();
        assert!(there.ends_with(&task.blocks));
        *days_of.entry((task.class, task.blocks.len())).or_default() += 1;
    }
    let sizes = |class| {
        let days = days_of.keys().filter(move |(of, _)| *of == class);
        days.map(|(_, days)| *days).collect::<Vec<_>>()
    };
    assert_eq!(sizes(0), [1]);
    // Tasks without blocks request 20 days while there are fewer.
    assert_eq!(sizes(1), [0, 2, 5, 10, 20]);
    assert_eq!(sizes(2), [1, 2, 5, 10]);
    assert_eq!(sizes(3), [1, 2, 5]);
    let in_vain = workload.tasks.iter().filter(|task| task.blocks.is_empty());
    assert!(in_vain.clone().count() > 0);
    assert!(in_vain.clone().all(|task| seconds(task.at) < 20.0 * DAY));
}

/// The 18 mice have equal probabilities, and so have the 8 elephants of each epsilon.
#[test]
fn pipelines_have_equal_probabilities() {
    let workload = workload(true, 3345);
    let mut counts: BTreeMap<(usize, Vec<i64>), f64> = BTreeMap::new();
    for task in &workload.tasks {
        *counts
            .entry((task.class, task.demand.units().to_vec()))
            .or_default() += 1.0;
    }
    let of = |class: usize| counts.iter().filter(move |((of, _), _)| *of == class);
    let mice: Vec<f64> = of(0).map(|(_, count)| *count).collect();
    assert_eq!(mice.len(), 3, "the same Laplace noise for six statistics each");
    let total = workload.tasks.len() as f64;
    for count in mice {
        assert!((count / total - 0.25).abs() < 0.015, "{count}");
    }
    for class in 1..=3 {
        let count: f64 = of(class).map(|(_, count)| count).sum();
        assert!((count / total - 0.25 / 3.0).abs() < 0.01, "{class}: {count}");
    }
}

#[test]
fn each_seed_has_its_own_workload() {
    assert_eq!(workload(true, 5), workload(true, 5));
    assert_ne!(workload(true, 5).tasks, workload(true, 6).tasks);
}

/// The paper calls N = 1 first come first served.
#[test]
fn n_1_grants_the_tasks_that_fcfs_grants() {
    for seed in SEEDS {
        for is_renyi in [false, true] {
            let workload = workload(is_renyi, seed);
            let by_n = decisions("dpf-n", Some(1), &workload);
            let at_once = decisions("fcfs", None, &workload);
            for (by_n, at_once) in by_n.iter().zip(&at_once) {
                assert_eq!(
                    matches!(by_n, Decision::Granted(_)),
                    matches!(at_once, Decision::Granted(_))
                );
            }
        }
    }
}

/// Figures 12 and 19, event level: N and the number of granted tasks, read off the plots.
const BASIC: [(u32, usize); 6] = [
    (1, 4000),
    (50, 3800),
    (100, 5900),
    (200, 8200),
    (300, 10_200),
    (400, 10_300),
];
const RENYI: [(u32, usize); 6] = [
    (1, 8300),
    (50, 8100),
    (100, 8600),
    (200, 10_400),
    (300, 12_400),
    (400, 13_200),
];

fn largest_difference(is_renyi: bool, days: StatisticDays, seed: u64) -> f64 {
    let workload = benchmark(is_renyi, days, seed).workload().unwrap();
    let published = if is_renyi { RENYI } else { BASIC };
    let differences = published.map(|(n, published)| {
        let (found, _) = granted(n, &workload);
        (found as f64 / published as f64 - 1.0).abs()
    });
    differences.into_iter().fold(0.0, f64::max)
}

#[test]
fn totals_are_the_papers_within_a_tenth_or_so() {
    for seed in SEEDS {
        for is_renyi in [false, true] {
            let difference = largest_difference(is_renyi, StatisticDays::One, seed);
            assert!(difference < 0.15, "seed {seed}, Renyi {is_renyi}: {difference}");
        }
    }
}

#[test]
fn with_the_longer_statistics_of_the_figure_fewer_are_granted_than_in_the_paper() {
    for (is_renyi, published) in [(false, 10_300), (true, 13_200)] {
        let workload = benchmark(is_renyi, StatisticDays::Figure, 3345)
            .workload()
            .unwrap();
        let (found, _) = granted(400, &workload);
        let part = found as f64 / f64::from(published);
        assert!((0.9..0.97).contains(&part), "Renyi {is_renyi}: {found}");
    }
}

#[test]
fn at_n_400_basic_composition_grants_mice_only_and_renyi_elephants_by_epsilon() {
    for seed in SEEDS {
        let (basic, of_basic) = granted(400, &workload(false, seed));
        assert!(basic - of_basic[0] <= 5, "hardly an elephant: {of_basic:?}");
        let (renyi, of_renyi) = granted(400, &workload(true, seed));
        assert!(
            of_renyi[1] > 5 * of_renyi[3] / 2 && of_renyi[2] > 5 * of_renyi[3] / 2,
            "{of_renyi:?}"
        );
        let gain = renyi as f64 / basic as f64;
        assert!((1.2..1.35).contains(&gain), "published is 1.29: {gain}");
    }
}

#[test]
fn under_both_compositions_n_400_grants_much_more_than_n_1() {
    for (is_renyi, least) in [(false, 2.3), (true, 1.4)] {
        let workload = workload(is_renyi, 3345);
        let gain = granted(400, &workload).0 as f64 / granted(1, &workload).0 as f64;
        assert!(gain > least, "Renyi {is_renyi}: {gain}");
    }
}

#[test]
fn a_trace_of_it_replays_to_the_same_decisions() {
    for is_renyi in [false, true] {
        let workload = workload(is_renyi, 3345);
        let (settings, dataset_rules) = settings_and_rules("dpf-n", Some(300), &workload);
        let outcome = run(&workload, &dataset_rules).unwrap();
        let mut file = Vec::new();
        trace::write(&mut file, &workload, &settings, None, "test").unwrap();
        let read = Trace::read(&String::from_utf8(file).unwrap()).unwrap();
        let again = run(&read.workload, &read.dataset_rules).unwrap();
        assert!(again.decisions == outcome.decisions, "Renyi {is_renyi}");
    }
}

#[test]
fn parameters_that_it_does_not_have_are_refused() {
    let parameters = Parameters::of(Experiment::Macro);
    let refused = |parameters: Parameters| parameters.prepare().unwrap_err().to_string();
    let error = refused(Parameters {
        tasks: Some(7),
        ..parameters.clone()
    });
    assert_eq!(error, "tasks is 7, but experiment macro has none: leave it out");
    let error = refused(Parameters {
        mice: Some(101.0),
        composition: Some(CompositionKind::Renyi),
        ..parameters
    });
    assert_eq!(error, "mice is 101 percent: accepted is 0 to 100");
}
