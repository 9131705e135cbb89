//! The costs of mechanisms, compared with values that were computed independently.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use privatekube_policy::{Composition, Mechanism, Orders};
use proptest::{collection::vec, prelude::*};

/// The cost in units of 1e-12.
fn cost(mechanism: &str, order: &str) -> i64 {
    let orders = Orders::new(vec![order.parse().unwrap()]).unwrap();
    let mechanism: Mechanism = mechanism.parse().unwrap();
    let demand = mechanism.demand(&Composition::Renyi(orders)).unwrap();
    demand.units()[0]
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Half a unit of the last digit of `value`.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a few digits"
)]
fn half_digit(value: &str) -> f64 {
    let (mantissa, exponent) = value.split_once('e').unwrap_or((value, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    0.5 * 10_f64.powi(exponent.parse::<i32>().unwrap() - i32::try_from(decimals).unwrap())
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "the tolerance is larger")]
fn curves_agree_with_published_values_to_their_digits() {
    for line in lines(include_str!("known/curves.txt")) {
        let [mechanism, order, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let known: f64 = value.parse().unwrap();
        let units = cost(mechanism, order) as f64;
        // The published value is rounded at its last digit, and was computed with floats to 6.3e-9; ours is
        // rounded up.
        let slack = (half_digit(value) * 1.01 + known * 6.3e-9) * 1e12 + 1.0;
        assert!((units - known * 1e12).abs() <= slack, "{line}: {units}");
    }
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "the tolerance is larger")]
fn sampled_gaussians_cost_no_less_than_the_true_value_and_hardly_more() {
    for line in lines(include_str!("known/sampled-gaussian.txt")) {
        let [rate, noise, order, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let known = value.parse::<f64>().unwrap() * 1e12;
        // Many steps, so that rounding up to a whole unit does not hide the error of the formula.
        for steps in [1_u32, 1_000_000] {
            let known = known * f64::from(steps);
            if known > 9e18 {
                continue;
            }
            let units = cost(
                &format!("dp-sgd(noise-multiplier={noise},sample-rate={rate},steps={steps})"),
                order,
            ) as f64;
            // The reference has 17 digits.
            assert!(
                units >= known * (1.0 - 1e-15),
                "{line} x {steps}: {units} below {known}"
            );
            assert!(
                units <= known * (1.0 + 3e-12) + 1.01,
                "{line} x {steps}: {units} above {known}"
            );
        }
    }
}

/// Where A is near 2, terms of hundreds of thousands cancel to nearly 0.
#[test]
fn sampled_gaussians_cost_no_less_than_the_true_value_at_large_orders() {
    for line in [
        "dp-sgd(noise-multiplier=67974.9014265515,sample-rate=0.5,steps=10000000) 32289 8.735106287285161999855",
        "dp-sgd(noise-multiplier=15.958882534745115,sample-rate=3.11920788787097e-08,steps=10000000) 8804 0.1286428688269",
        "dp-sgd(noise-multiplier=4.473793269472313,sample-rate=1e-09,steps=10000000) 830 0.1487968751402",
        "dp-sgd(noise-multiplier=3.8351056304040654,sample-rate=1e-09,steps=10000000) 610.176282 2.659146106928854",
    ] {
        is_charged(line, 1e-8);
    }
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "the tolerance is larger")]
fn laplace_costs_no_less_than_the_true_value_and_hardly_more() {
    for line in lines(include_str!("known/laplace.txt")) {
        let [scale, order, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let known = value.parse::<f64>().unwrap() * 1e12;
        let units = cost(&format!("laplace(scale={scale})"), order) as f64;
        assert!(units >= known * (1.0 - 1e-15), "{line}: {units} below {known}");
        assert!(
            units <= known * (1.0 + 3e-13) + 1.01,
            "{line}: {units} above {known}"
        );
    }
}

/// Checks a line `mechanism order epsilon`: the cost is at least epsilon, which has 17 digits, and more by at
/// most the relative `margin`.
#[allow(clippy::cast_precision_loss, reason = "the tolerance is larger")]
fn is_charged(line: &str, margin: f64) {
    let [mechanism, order, value] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    let known = value.parse::<f64>().unwrap() * 1e12;
    let units = cost(mechanism, order) as f64;
    assert!(units >= known * (1.0 - 1e-15), "{line}: {units} below {known}");
    assert!(
        units <= known * (1.0 + margin) + 1.01,
        "{line}: {units} above {known}"
    );
}

#[test]
fn pure_exponential_and_randomized_response_cost_no_less_than_the_true_value_and_hardly_more() {
    for line in lines(include_str!("known/finite.txt")) {
        is_charged(line, 3e-12);
    }
}

#[test]
fn sampled_laplace_costs_no_less_than_the_true_value_and_hardly_more() {
    for line in lines(include_str!("known/sampled-laplace.txt")) {
        is_charged(line, 3e-12);
    }
}

proptest! {
    #[test]
    fn gaussians_cost_no_less_than_the_exact_value_and_at_most_two_units_more(
        sigma in 1_u32..100_000,
        order in 2_u32..1000,
    ) {
        let units = i128::from(cost(&format!("gaussian(sigma={sigma})"), &order.to_string()));
        let twice_variance = 2 * i128::from(sigma) * i128::from(sigma);
        let exact = i128::from(order) * 1_000_000_000_000;
        prop_assert!(units * twice_variance >= exact);
        // Up to 100 units the margin is absolute.
        let most = exact + 2 * twice_variance + exact / 50_000_000_000_000;
        prop_assert!(units * twice_variance <= most);
    }

    #[test]
    fn costs_rise_with_the_order_and_a_sample_costs_at_most_as_much_as_the_whole_data_set(
        kind in 0_usize..9,
        size in -8.0_f64..8.0,
        rate in -14.0_f64..0.0,
        orders in (0.0_f64..4.5, 0.0_f64..4.5),
    ) {
        // Uniform logarithms: from 0.0003 to 3000, from 1e-14 to 1, and from 1.000001 to 31624.
        let (size, rate) = (size.exp(), 10_f64.powf(rate));
        let (mechanism, most) = match kind {
            0 => (format!("dp-sgd(noise-multiplier={size},sample-rate={rate},steps=1)"), format!("gaussian(sigma={size})")),
            1 => (format!("subsampled-laplace(scale={size},sample-rate={rate})"), format!("laplace(scale={size})")),
            2 => (format!("laplace(scale={size})"), format!("pure(epsilon={:.12})", 1.0 / size + 1e-12)),
            3 => (format!("exponential(epsilon={size:.12})"), format!("pure(epsilon={size:.12})")),
            4 => (format!("randomized-response(noise-probability={rate},categories=7)"), String::new()),
            5 => (
                format!("randomized-response(noise-probability={rate},categories=7,neighbours=replace-special)"),
                format!("randomized-response(noise-probability={rate},categories=7)"),
            ),
            6 => (format!("tree-aggregation(noise-multiplier={size},steps=100)"), format!("7*gaussian(sigma={size})")),
            7 => (format!("pure(epsilon={size:.12})"), String::new()),
            _ => (format!("dp-sgd(noise-multiplier={size},sample-rate={rate},steps=1)"), String::new()),
        };
        let most = if most.is_empty() { mechanism.clone() } else { most };
        // The last kind is tested at whole orders.
        let order = |logarithm: f64| {
            let order = 10_f64.powf(logarithm) + 0.000_001;
            if kind == 8 { (order + 1.0).floor().to_string() } else { format!("{order:.6}") }
        };
        let (low, high) = (order(orders.0.min(orders.1)), order(orders.0.max(orders.1)));
        let margin = |cost: i64| i128::from(cost) + 8 + i128::from(cost) / 10_000_000_000;
        let (less, more) = (cost(&mechanism, &low), cost(&mechanism, &high));
        prop_assert!(less >= 1 && i128::from(less) <= margin(more), "{}: {} at {}, {} at {}", mechanism, less, low, more, high);
        prop_assert!(i128::from(more) <= margin(cost(&most, &high)), "{}: {} at {}", mechanism, more, high);
    }

    #[test]
    fn a_displayed_mechanism_is_parsed_as_the_same(
        terms in vec((1_u64.., 0_usize..8, 1e-12_f64..1e18, 1e-12_f64..=1.0, 2_u64..), 1..5)
    ) {
        let terms = terms.into_iter().map(|(times, kind, number, rate, steps)| match kind {
            0 => format!("{times}*gaussian(sigma={number})"),
            1 => format!("{times} * laplace(scale={number})"),
            2 => format!("{times}*subsampled-laplace(scale={number}, sample-rate={rate})"),
            3 => format!("tree-aggregation(steps={steps},noise-multiplier={number})"),
            4 => format!("randomized-response(noise-probability={rate},categories={steps})"),
            5 => format!("{times}*pure(epsilon={}e-12)", (steps >> 2) | 1),
            6 => format!("zcdp(xi={rate},rho={number})"),
            _ => format!("dp-sgd(sample-rate={rate},steps={steps},noise-multiplier={number})"),
        });
        let mechanism: Mechanism = terms.collect::<Vec<_>>().join("+").parse().unwrap();
        prop_assert_eq!(mechanism.to_string().parse(), Ok(mechanism));
    }
}

#[test]
fn a_sample_of_the_whole_data_set_is_the_gaussian() {
    for order in ["1.5", "7", "64"] {
        assert_eq!(
            cost("dp-sgd(noise-multiplier=3,sample-rate=1,steps=1)", order),
            cost("gaussian(sigma=3)", order)
        );
    }
}

#[test]
fn extreme_mechanisms_cost_at_least_a_unit_and_never_wrap() {
    for mechanism in [
        "gaussian(sigma=1e300)",
        "laplace(scale=1e300)",
        "dp-sgd(noise-multiplier=1e300,sample-rate=1e-300,steps=1)",
        "dp-sgd(noise-multiplier=1e-300,sample-rate=1e-300,steps=1)",
        "dp-sgd(noise-multiplier=0.001,sample-rate=0.999999,steps=18446744073709551615)",
        "subsampled-laplace(scale=1e300,sample-rate=1e-300)",
        "subsampled-laplace(scale=1e-300,sample-rate=1e-300)",
        "subsampled-laplace(scale=0.0014,sample-rate=1e-300)",
        "subsampled-laplace(scale=0.0015,sample-rate=0.9999999999999999)",
        "subsampled-laplace(scale=1e300,sample-rate=0.999999)",
        "tree-aggregation(noise-multiplier=1e300,steps=18446744073709551615)",
        "tree-aggregation(noise-multiplier=1e-300,steps=1)",
        "randomized-response(noise-probability=1e-300,categories=18446744073709551615)",
        "randomized-response(noise-probability=1e-300,categories=18446744073709551615,neighbours=replace-special)",
        "randomized-response(noise-probability=1,categories=2)",
        "randomized-response(noise-probability=1,categories=18446744073709551615,neighbours=replace-special)",
        "randomized-response(noise-probability=0.9999999999999999,categories=2)",
        "exponential(epsilon=1e-12)",
        "exponential(epsilon=1e-6)",
        "exponential(epsilon=9000000)",
        "pure(epsilon=1e-12)",
        "pure(epsilon=9000000)",
        "zcdp(rho=1e-300)",
        "zcdp(rho=1e300,xi=1e300)",
        "guarantee(epsilon=1e-12,delta=1e-18)",
        "guarantee(epsilon=9000000,delta=1)",
        "guarantee(epsilon=9000000,delta=0)",
    ] {
        for order in [
            "1.000001",
            "1.5",
            "2",
            "63.5",
            "64",
            "20480",
            "32767.5",
            "999999999",
        ] {
            assert!(cost(mechanism, order) >= 1, "{mechanism} at {order}");
        }
    }
    assert_eq!(cost("gaussian(sigma=1e300)", "2"), 1);
    assert_eq!(
        cost("dp-sgd(noise-multiplier=1e-300,sample-rate=1e-300,steps=1)", "2"),
        i64::MAX
    );
}

#[test]
fn fractional_orders_cost_no_more_than_their_neighbours_allow() {
    // (order - 1) x epsilon is convex in the order. Where no sum is feasible, the chord is charged.
    for noise in ["0.02", "0.3", "1.5"] {
        let mechanism = format!("dp-sgd(noise-multiplier={noise},sample-rate=0.01,steps=1)");
        let moment = |order: &str, less_one: i128| i128::from(cost(&mechanism, order)) * less_one;
        assert!(moment("2.5", 15) <= moment("2", 5) + moment("3", 10) + 30);
        assert!(moment("24.5", 235) <= moment("24", 115) + moment("25", 120) + 300);
        assert!(cost(&mechanism, "24.5") >= cost(&mechanism, "24"));
    }
}
