//! Conversions between curves, epsilons and deltas: known values, and properties of every conversion.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::cast_precision_loss, reason = "the tolerances are larger")]

use privatekube_policy::{
    Budget, Composition, Conversion, Delta, Epsilon, Mechanism, Order, Orders, adaptive_delta,
};
use proptest::{collection::vec, prelude::*};

const BOTH: [Conversion; 2] = [Conversion::Basic, Conversion::Improved];

fn orders(texts: &[&str]) -> Orders {
    let orders: Result<Vec<Order>, _> = texts.iter().map(|text| text.parse()).collect();
    Orders::new(orders.unwrap()).unwrap()
}

fn float(epsilon: Epsilon) -> f64 {
    epsilon.units() as f64 / 1e12
}

/// Epsilon, delta, and the capacities of a block at the default orders from the first that has any.
type Row = (&'static str, &'static str, usize, &'static [f64]);

const BASIC: [Row; 7] = [
    (
        "10",
        "1e-7",
        4,
        &[
            1.940_952_174_5,
            4.627_301_449_7,
            5.970_476_087_3,
            6.776_380_869_8,
            7.697_414_907,
            8.925_460_289_9,
            9.480_061_430_6,
            9.744_157_211_9,
        ],
    ),
    (
        "10",
        "1e-5",
        3,
        &[
            2.324_716_356_7,
            4.243_537_267_5,
            6.162_358_178_3,
            7.121_768_633_8,
            7.697_414_907,
            8.355_296_362_1,
            9.232_471_635_7,
            9.628_615_307_6,
            9.817_255_151_3,
        ],
    ),
    (
        "10",
        "1e-9",
        5,
        &[
            3.092_244_721,
            4.819_183_540_8,
            5.855_346_832_6,
            7.039_533_451_9,
            8.618_448_944_2,
            9.331_507_553_6,
            9.671_059_272_4,
        ],
    ),
    (
        "5",
        "1e-9",
        7,
        &[
            0.855_346_832_6,
            2.039_533_451_9,
            3.618_448_944_2,
            4.331_507_553_6,
            4.671_059_272_4,
        ],
    ),
    (
        "3",
        "1e-7",
        8,
        &[0.697_414_907, 1.925_460_289_9, 2.480_061_430_6, 2.744_157_211_9],
    ),
    (
        "1",
        "1e-6",
        9,
        &[0.078_965_962_8, 0.554_338_369_1, 0.780_706_181_6],
    ),
    (
        "1",
        "1e-5",
        9,
        &[0.232_471_635_7, 0.628_615_307_6, 0.817_255_151_3],
    ),
];

const IMPROVED: [Row; 3] = [
    (
        "10",
        "1e-7",
        3,
        &[
            0.376_289_011,
            2.895_723_427,
            5.377_081_642_5,
            6.595_979_116_7,
            7.317_054_320_4,
            8.128_009_377,
            9.174_838_059_2,
            9.623_608_061_3,
            9.825_919_586_1,
        ],
    ),
    (
        "3",
        "1e-7",
        7,
        &[
            0.317_054_320_4,
            1.128_009_377,
            2.174_838_059_2,
            2.623_608_061_3,
            2.825_919_586_1,
        ],
    ),
    (
        "1",
        "1e-6",
        9,
        &[0.328_343_732_1, 0.697_884_999_8, 0.862_468_555_8],
    ),
];

#[test]
fn blocks_get_the_basic_conversion() {
    let composition = Composition::Renyi(Orders::default());
    for (epsilon, delta, first, known) in BASIC {
        let capacity = composition.capacity(epsilon.parse().unwrap(), delta.parse().unwrap());
        let capacity = capacity.unwrap();
        for (at, units) in capacity.units().iter().enumerate() {
            let known = at.checked_sub(first).map_or(0.0, |at| known[at]);
            assert!(
                (*units as f64 / 1e12 - known).abs() < 6e-11,
                "({epsilon}, {delta}) at {at}: {units}"
            );
        }
    }
}

#[test]
fn a_curve_as_large_as_a_capacity_proves_the_guarantee_of_the_block() {
    for (conversion, table) in [
        (Conversion::Basic, &BASIC[..]),
        (Conversion::Improved, &IMPROVED[..]),
    ] {
        for (epsilon, delta, first, known) in table {
            for (order, cost) in Orders::default().iter().skip(*first).zip(*known) {
                let only = Orders::new(vec![order]).unwrap();
                #[allow(clippy::cast_possible_truncation, reason = "in range")]
                let curve = Budget::new(vec![(cost * 1e12).round() as i64]).unwrap();
                let proven = conversion.epsilon(&only, &curve, delta.parse().unwrap()).unwrap();
                let promised: f64 = epsilon.parse().unwrap();
                assert!(
                    (float(proven.value) - promised).abs() < 6e-11,
                    "{order}: {}",
                    proven.value
                );
                let back = conversion.delta(&only, &curve, epsilon.parse().unwrap()).unwrap();
                let promised: f64 = delta.parse().unwrap();
                let back = back.value.units() as f64 / 1e18;
                assert!((back / promised - 1.0).abs() < 1e-8, "{order}: {back}");
            }
        }
    }
}

#[test]
fn improved_delta_is_smaller_by_a_known_factor() {
    for (order, a) in [("2", 2.0_f64), ("8", 8.0), ("64", 64.0)] {
        let (orders, curve) = (orders(&[order]), Budget::new(vec![100_000_000_000]).unwrap());
        let delta = |conversion: Conversion| {
            let proven = conversion.delta(&orders, &curve, "0.4".parse().unwrap());
            proven.unwrap().value.units() as f64
        };
        let factor = delta(Conversion::Basic) / delta(Conversion::Improved);
        assert!((factor / (a * (a / (a - 1.0)).powf(a - 1.0)) - 1.0).abs() < 1e-7);
    }
}

#[test]
fn a_conversion_returns_the_order_that_proves_it() {
    // If it is the first or the last one, other orders may prove less.
    let curve = |orders: &Orders| {
        let mechanism: Mechanism = "gaussian(sigma=30)".parse().unwrap();
        mechanism.demand(&Composition::Renyi(orders.clone())).unwrap()
    };
    let at = |orders: &Orders| {
        let proven = Conversion::Improved.epsilon(orders, &curve(orders), "1e-9".parse().unwrap());
        proven.unwrap()
    };
    let few = at(&Orders::default());
    assert_eq!(few.order.to_string(), "64");
    let more = at(&orders(&["64", "128", "160", "192", "1024"]));
    assert_eq!(more.order.to_string(), "160");
    assert!(more.value < few.value);
}

#[test]
fn there_is_no_order_1_and_nothing_is_free_next_to_it() {
    for text in ["1", "1.0", "0.999999", "1.0000001", "1.00000001"] {
        assert!(text.parse::<Order>().is_err(), "{text}");
    }
    let next = orders(&["1.000001"]);
    for (mechanism, limit) in [
        // Kullback-Leibler divergences.
        ("gaussian(sigma=1)", 0.5),
        ("pure(epsilon=1)", 0.462_117_157_26),
        ("laplace(scale=1)", 0.367_879_441_17),
        ("exponential(epsilon=1)", 0.123_301_561),
        (
            "randomized-response(noise-probability=0.5,categories=2)",
            0.549_306_144_33,
        ),
    ] {
        let mechanism: Mechanism = mechanism.parse().unwrap();
        let curve = mechanism.demand(&Composition::Renyi(next.clone())).unwrap();
        let cost = curve.units()[0] as f64 / 1e12;
        assert!(
            cost > limit * (1.0 - 1e-8) && cost < limit * (1.0 + 3e-6),
            "{mechanism}: {cost}"
        );
        for conversion in BOTH {
            let proven = conversion.epsilon(&next, &curve, "1e-9".parse().unwrap());
            assert!(float(proven.unwrap().value) > 1e6);
        }
    }
}

/// The difference of an order near 1 and 1 has few digits if both are floats.
#[test]
fn conversions_lose_no_digits_next_to_order_1() {
    let next = orders(&["1.000002"]);
    for (mechanism, delta, conversion, exact) in [
        // With 60 digits, from the curve as it is charged.
        (
            "zcdp(rho=8.621976758952957e-05)",
            "0.1",
            Conversion::Basic,
            "1151292.546583242783",
        ),
        (
            "laplace(scale=1.6870985010964819)",
            "1e-18",
            Conversion::Improved,
            "20723251.86012996519",
        ),
    ] {
        let mechanism: Mechanism = mechanism.parse().unwrap();
        let curve = mechanism.demand(&Composition::Renyi(next.clone())).unwrap();
        let proven = conversion.epsilon(&next, &curve, delta.parse().unwrap()).unwrap();
        let exact: f64 = exact.parse().unwrap();
        let value = float(proven.value);
        assert!(
            value >= exact && value < exact * (1.0 + 1e-9),
            "{mechanism}: {value}, not {exact}"
        );
    }
}

#[test]
fn nothing_is_proven_without_a_delta_or_beyond_64_bits() {
    let orders = orders(&["2", "64"]);
    let curve = |units: [i64; 2]| Budget::new(units.to_vec()).unwrap();
    let (zero, some, one): (Delta, Delta, Delta) = (
        "0".parse().unwrap(),
        "1e-9".parse().unwrap(),
        "1".parse().unwrap(),
    );
    for conversion in BOTH {
        assert_eq!(conversion.epsilon(&orders, &curve([1, 1]), zero), None);
        assert_eq!(
            conversion.epsilon(&orders, &curve([i64::MAX, i64::MAX]), some),
            None
        );
        assert_eq!(
            conversion.delta(&orders, &curve([i64::MAX, i64::MAX]), Epsilon::ZERO),
            None
        );
        let proven = conversion.epsilon(&orders, &curve([1_000_000_000_000, i64::MAX]), some);
        assert_eq!(proven.unwrap().order.to_string(), "2");
        let proven = conversion.epsilon(&orders, &curve([1, 1]), one);
        assert_eq!(proven.unwrap().value, Epsilon::ZERO);
    }
}

proptest! {
    #[test]
    fn conversions_are_sound_in_any_order_and_undo_each_other(
        millionths in vec(1_000_001_u64..2_000_000_000, 1..6),
        costs in vec(0_i64..9_000_000_000_000_000_000, 6),
        delta in 1_i128..1_000_000_000_000_000_000,
    ) {
        let orders: Result<Vec<Order>, _> = millionths
            .iter()
            .map(|order| format!("{}.{:06}", order / 1_000_000, order % 1_000_000).parse())
            .collect();
        let Ok(orders) = Orders::new(orders.unwrap()) else {
            return Ok(());
        };
        let curve = Budget::new(costs[..orders.iter().len()].to_vec()).unwrap();
        let delta = Delta::from_units(delta);
        let [basic, improved] = BOTH.map(|conversion| conversion.epsilon(&orders, &curve, delta).unwrap());
        // The margins are for rounding.
        let most = float(basic.value) * (1.0 + 1e-13) + 2e-12;
        prop_assert!(float(improved.value) <= most, "{:?} {:?}", improved, basic);
        for (conversion, proven) in BOTH.into_iter().zip([basic, improved]) {
            prop_assert!(proven.value >= Epsilon::ZERO);
            let back = conversion.delta(&orders, &curve, proven.value).unwrap().value;
            prop_assert!(back > Delta::ZERO && back <= Delta::from_units(10_i128.pow(18)));
            // Both are rounded up; at large orders a unit of epsilon changes delta much.
            let slack = 1e-9 + proven.order.value() * (float(proven.value) + 60.0) * 1e-13;
            let most = delta.units() as f64 * slack.exp() + 2.0;
            prop_assert!(back.units() as f64 <= most, "{:?}: {} for {}", proven, back, delta);
        }
    }

    #[test]
    fn a_whole_block_keeps_its_guarantee_at_every_order(
        epsilon in 1_i128..100_000_000_000_000,
        delta in 1_i128..1_000_000_000_000_000_000,
    ) {
        let (epsilon, delta) = (Epsilon::from_units(epsilon), Delta::from_units(delta));
        let orders = Orders::default();
        let capacity = Composition::Renyi(orders.clone()).capacity(epsilon, delta).unwrap();
        for (order, units) in orders.iter().zip(capacity.units()) {
            let only = Orders::new(vec![order]).unwrap();
            let spent = Budget::new(vec![*units]).unwrap();
            let proven = Conversion::Basic.epsilon(&only, &spent, delta).unwrap();
            // At an order without capacity nothing is granted.
            if *units > 0 {
                // Within the margin of the conversion.
                prop_assert!(float(proven.value) <= float(epsilon) * (1.0 + 1e-12) + 2e-12);
            }
        }
        let usable = capacity.units().iter().filter(|units| **units > 0).count();
        prop_assert!(usable <= 1 || adaptive_delta(&orders, &capacity, epsilon) <= delta);
    }
}
