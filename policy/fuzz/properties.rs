//! Properties of the parsers for any text. The fuzz targets search for a text that breaks one;
//! `tests/mechanisms_parsers.rs` tries the seeds and random texts.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use privatekube_policy::{Composition, Delta, Epsilon, Mechanism, MechanismError, Order, Orders, Span};

/// A text that is parsed as a mechanism is displayed as a text of the same one, and its cost is above 0
/// everywhere.
pub(crate) fn mechanism(text: &str) {
    let Some(mechanism) = reads_and_writes::<Mechanism>(text) else {
        return;
    };
    let orders = ["1.000001", "1.5", "2", "10.3", "64"].map(str::parse::<Order>);
    let orders = Orders::new(orders.into_iter().flatten().collect());
    let composition = orders.map(Composition::Renyi);
    assert!(composition.is_ok());
    for composition in composition.into_iter().chain([Composition::Basic]) {
        match mechanism.demand(&composition) {
            Ok(demand) => {
                assert_eq!(demand.units().len(), composition.coordinates());
                let costs = if composition == Composition::Basic {
                    &demand.units()[..1]
                } else {
                    demand.units()
                };
                assert!(costs.iter().all(|cost| *cost > 0), "{mechanism}: {demand:?}");
            }
            Err(problem) => assert!(
                matches!(problem, MechanismError::NeedsRenyi { .. }) && composition == Composition::Basic,
                "{mechanism}: {problem}"
            ),
        }
    }
}

/// A text that is parsed as an amount, an order or a span is displayed as a text of the same one, and its
/// value is that of the text.
pub(crate) fn decimal(text: &str) {
    if let Some(epsilon) = reads_and_writes::<Epsilon>(text) {
        is_meant(text, epsilon.units(), 12, 9_000_000);
    }
    if let Some(delta) = reads_and_writes::<Delta>(text) {
        is_meant(text, delta.units(), 18, 1);
    }
    if let Some(order) = reads_and_writes::<Order>(text) {
        assert!(order.value() > 1.0 && order.value().is_finite(), "{text:?}");
    }
    reads_and_writes::<Span>(text);
}

fn reads_and_writes<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            let again = written.parse::<T>().ok();
            assert_eq!(again.as_ref(), Some(&value), "{text:?} is written as {written:?}");
            Some(value)
        }
        Err(problem) => {
            assert!(!problem.to_string().is_empty(), "{text:?}");
            None
        }
    }
}

/// Whether `units` of 10^-`decimals` is the value of `text`, within the precision of a float.
#[allow(clippy::cast_precision_loss, reason = "within the precision of a float")]
fn is_meant(text: &str, units: i128, decimals: i32, most: i128) {
    let value = units as f64 / 10_f64.powi(decimals);
    assert!(units >= 0 && value <= most as f64, "{text:?}");
    if let Ok(meant) = text.trim().parse::<f64>() {
        assert!((value - meant).abs() <= meant.abs() * 1e-14, "{text:?}: {units}");
    }
}
