//! Tests that the totals of the released simulator (OSDI'21 artifact, seed 3345) are reproduced exactly.
#![allow(clippy::unwrap_used, reason = "a test")]

use privatekube_simulator::{
    Summary,
    experiment::{
        CompositionKind::{self, Basic, Renyi},
        Experiment::{self, MicroMulti, MicroSingle},
        Parameters, VisitOrder,
    },
};

// The paper's values of N. The lifetimes T are the same numbers of mean times between two tasks.
const SINGLE_N: [u32; 11] = [1, 10, 50, 75, 100, 125, 175, 200, 225, 275, 325];
const MULTI_N: [u32; 17] = [
    1, 10, 50, 75, 100, 125, 175, 210, 275, 325, 375, 750, 1125, 1500, 3000, 6000, 10000,
];
const MULTI_INTERVAL: f64 = 0.078_125;
const MULTI_RENYI_INTERVAL: f64 = 0.004_264_781;
const SINGLE_RENYI_N: [u32; 11] = [
    1, 1451, 7257, 10885, 14514, 18142, 25399, 29028, 32656, 39913, 47170,
];

fn parameters(experiment: Experiment, composition: CompositionKind, policy: &str) -> Parameters {
    Parameters {
        policy: Some(policy.parse().unwrap()),
        composition: Some(composition),
        ..Parameters::of(experiment)
    }
}

/// Sets N, or the lifetime of the same number of intervals.
fn at(run: &Parameters, n: u32, interval: f64) -> Parameters {
    let by_time = run.policy.unwrap().to_string().ends_with("-t");
    Parameters {
        n: (!by_time).then_some(n),
        lifetime: by_time.then(|| f64::from(n) * interval),
        ..run.clone()
    }
}

fn summary(run: &Parameters) -> Summary {
    let prepared = run.prepare().unwrap();
    prepared.run().unwrap().summary(&prepared.workload)
}

fn granted(run: &Parameters) -> usize {
    summary(run).granted
}

/// Checks a column of totals.
fn check<const N: usize>(run: &Parameters, interval: f64, n: [u32; N], totals: [usize; N]) {
    let found = n.map(|n| granted(&at(run, n, interval)));
    assert_eq!(found, totals, "{} {}", run.experiment, run.policy.unwrap());
}

/// Checks the totals at 0, 25, 50, 75 and 100% mice.
fn check_mice(run: &Parameters, totals: [usize; 5]) {
    let found = [0.0, 25.0, 50.0, 75.0, 100.0].map(|mice| {
        granted(&Parameters {
            mice: Some(mice),
            ..run.clone()
        })
    });
    assert_eq!(found, totals, "{} {}", run.experiment, run.policy.unwrap());
}

#[test]
fn one_block_basic() {
    assert_eq!(granted(&parameters(MicroSingle, Basic, "fcfs")), 46);
    for (policy, totals) in [
        ("dpf-n", [46, 46, 46, 64, 82, 100, 100, 100, 100, 97, 82]),
        ("dpf-t", [46, 46, 55, 73, 91, 100, 100, 100, 100, 85, 72]),
        ("rr-n", [39, 39, 42, 46, 48, 45, 36, 29, 24, 16, 9]),
        ("rr-t", [40, 40, 41, 49, 49, 43, 32, 21, 19, 5, 3]),
    ] {
        check(&parameters(MicroSingle, Basic, policy), 1.0, SINGLE_N, totals);
    }
}

#[test]
fn many_blocks_basic() {
    assert_eq!(granted(&parameters(MicroMulti, Basic, "fcfs")), 1146);
    let column = |policy, totals| {
        check(
            &parameters(MicroMulti, Basic, policy),
            MULTI_INTERVAL,
            MULTI_N,
            totals,
        );
    };
    column(
        "dpf-n",
        [
            1146, 1146, 1254, 1623, 2015, 2293, 2356, 2334, 2284, 2237, 2201, 1395, 924, 691, 338, 160, 88,
        ],
    );
    column(
        "dpf-t",
        [
            1146, 1146, 1290, 1668, 2028, 2344, 2345, 2333, 2318, 2309, 2293, 2202, 2122, 1999, 1622, 976,
            580,
        ],
    );
    column(
        "rr-n",
        [
            1016, 1016, 1064, 1184, 1294, 1338, 1343, 1303, 1186, 1062, 741, 0, 0, 0, 0, 0, 0,
        ],
    );
}

#[test]
fn many_blocks_round_robin_over_time() {
    let run = parameters(MicroMulti, Basic, "rr-t");
    let n = MULTI_N;
    let totals = [
        1013, 1013, 1062, 1196, 1314, 1342, 1313, 1310, 1327, 1339, 1321, 1064, 737, 4, 0, 0, 0,
    ];
    check(&run, MULTI_INTERVAL, n, totals);
}

#[test]
fn shares_of_mice_basic() {
    let at_125 = |policy| at(&parameters(MicroMulti, Basic, policy), 125, MULTI_INTERVAL);
    check_mice(
        &parameters(MicroMulti, Basic, "fcfs"),
        [300, 552, 696, 1146, 2863],
    );
    check_mice(&at_125("dpf-n"), [300, 980, 1651, 2293, 2863]);
    check_mice(&at_125("dpf-t"), [300, 991, 1665, 2344, 2863]);
    check_mice(&at_125("rr-n"), [0, 294, 703, 1338, 2832]);
    check_mice(&at_125("rr-t"), [2, 296, 712, 1342, 2739]);
}

/// The exact totals of other seeds: the least, the largest and the mean over seeds 0 to 4.
#[test]
fn other_seeds_basic() {
    for (n, least, most, sum) in [
        (125, 2187, 2221, 11_009),
        (175, 2229, 2296, 11_300),
        (375, 2107, 2188, 10_745),
    ] {
        let totals = [0, 1, 2, 3, 4].map(|seed| {
            granted(&Parameters {
                n: Some(n),
                seed,
                ..parameters(MicroMulti, Basic, "dpf-n")
            })
        });
        assert_eq!(totals.iter().min(), Some(&least), "{n}: {totals:?}");
        assert_eq!(totals.iter().max(), Some(&most), "{n}: {totals:?}");
        assert_eq!(totals.iter().sum::<usize>(), sum, "{n}: {totals:?}");
    }
}

#[test]
fn classes_and_delays_of_many_blocks() {
    let classes = |run: &Parameters| -> Vec<usize> {
        let summary = summary(run);
        summary.classes.iter().map(|class| class.granted).collect()
    };
    assert_eq!(
        classes(&parameters(MicroMulti, Basic, "dpf-n")),
        [2198, 24, 71, 0]
    );
    assert_eq!(classes(&parameters(MicroMulti, Basic, "fcfs")), [923, 17, 204, 2]);
    for (policy, n, average, p99) in [
        ("dpf-n", 375, 18.1, 77.0),
        ("dpf-t", 1500, 39.1, 103.0),
        ("dpf-n", 210, 2.9, 30.0),
    ] {
        let run = at(&parameters(MicroMulti, Basic, policy), n, MULTI_INTERVAL);
        let delay = summary(&run).delay.unwrap();
        assert!((delay.average - average).abs() < 0.06, "{policy} {n}: {delay:?}");
        // The released simulator's percentile is the mean of two neighbours, printed in whole seconds.
        assert!((delay.p99 - p99).abs() < 1.5, "{policy} {n}: {delay:?}");
    }
}

/// The totals of the engine, where those of the released simulator's order differ.
#[test]
fn the_engine_differs_from_the_released_order_by_less_than_a_percent() {
    let mut differing = 0;
    for n in [100, 125, 175, 210, 275, 375] {
        for seed in [3345, 0, 1, 2, 3, 4] {
            let run = Parameters {
                n: Some(n),
                seed,
                ..parameters(MicroMulti, Basic, "dpf-n")
            };
            let by_share = Parameters {
                order: Some(VisitOrder::Share),
                ..run.clone()
            };
            let (published, engine) = (granted(&run), granted(&by_share));
            assert!(
                published.abs_diff(engine) * 100 < published,
                "N={n} seed={seed}: {published} {engine}"
            );
            differing += usize::from(published != engine);
        }
    }
    assert_eq!(differing, 8);
}

#[test]
fn one_block_renyi() {
    assert_eq!(granted(&parameters(MicroSingle, Renyi, "fcfs")), 654);
    for (policy, totals) in [
        (
            "dpf-n",
            [
                654, 1248, 5604, 8277, 11049, 13722, 14514, 14514, 14514, 12487, 10566,
            ],
        ),
        (
            "dpf-t",
            [
                654, 1347, 5505, 8277, 11049, 13722, 14514, 14514, 14514, 12468, 10550,
            ],
        ),
    ] {
        check(
            &parameters(MicroSingle, Renyi, policy),
            1.0,
            SINGLE_RENYI_N,
            totals,
        );
    }
    check_mice(
        &parameters(MicroSingle, Renyi, "fcfs"),
        [145, 258, 357, 654, 14514],
    );
    check_mice(
        &parameters(MicroSingle, Renyi, "dpf-n"),
        [145, 6495, 12633, 14514, 14514],
    );
    check_mice(
        &parameters(MicroSingle, Renyi, "dpf-t"),
        [145, 6495, 12633, 14514, 14514],
    );
}

#[test]
fn many_blocks_renyi() {
    assert_eq!(granted(&parameters(MicroMulti, Renyi, "fcfs")), 18_432);
    let n = [1, 1451, 7257, 10885];
    check(
        &parameters(MicroMulti, Renyi, "dpf-n"),
        MULTI_RENYI_INTERVAL,
        n,
        [18_432, 30_510, 51_363, 53_899],
    );
    check(
        &parameters(MicroMulti, Renyi, "dpf-t"),
        MULTI_RENYI_INTERVAL,
        [1, 1451],
        [18_432, 30_510],
    );
}
