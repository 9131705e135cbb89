//! Budgets, with one amount for each coordinate of a dataset's composition, and the Renyi orders that
//! coordinates stand for. How budgets are computed is in `composition` and `mechanism`.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A Renyi order (alpha) above 1, counted in millionths. Stored as a decimal in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Order(u64);

/// At least one Renyi order, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Order>", into = "Vec<Order>")]
pub struct Orders(Arc<[Order]>);

/// An amount at each coordinate of a composition, in that coordinate's unit (1e-12 of epsilon, 1e-18 of
/// delta). Never negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<i64>", into = "Vec<i64>")]
pub struct Budget(Arc<[i64]>);

/// Why something is not a budget of a composition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CompositionError {
    /// An order that isn't a number above 1 with at most six decimals.
    #[error(
        "{0:?} is not a Renyi order: write a number above 1 and below 1000000000 with at most 6 decimals, like 1.5 or 64"
    )]
    NotAnOrder(String),
    /// No order at all.
    #[error("no Renyi order is given: at least one is needed")]
    NoOrders,
    /// The same order twice.
    #[error("the Renyi order {0} is given twice")]
    OrderTwice(Order),
    /// A curve names orders that the dataset does not account for, or a demand leaves out orders, so that it can't be charged
    /// there.
    #[error("{}", wrong_orders(unknown, missing, orders))]
    WrongOrders {
        /// The orders named that aren't the dataset's.
        unknown: Vec<Order>,
        /// The dataset's orders that a demand leaves out.
        missing: Vec<Order>,
        /// The orders of the dataset.
        orders: Orders,
    },
    /// A Renyi curve on a dataset that sums epsilons and deltas.
    #[error("a Renyi curve is given, but the dataset's composition is Basic: give epsilon and delta")]
    CurveOnBasic,
    /// A Renyi capacity from epsilon and a delta of zero: ln(1/0).
    #[error("delta is 0, but a Renyi block's epsilon needs a delta above 0")]
    NoDelta,
    /// A negative amount.
    #[error("{0} is negative: an amount must be zero or more")]
    Negative(i64),
}

fn wrong_orders(unknown: &[Order], missing: &[Order], orders: &Orders) -> String {
    let listed = |some: &[Order]| {
        let texts: Vec<String> = some.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let foreign = match unknown {
        [] => None,
        [_] => Some(format!(
            "the Renyi order {} is not one of the dataset's orders",
            listed(unknown)
        )),
        _ => Some(format!(
            "the Renyi orders {} are not among the dataset's orders",
            listed(unknown)
        )),
    };
    let plural = if missing.len() > 1 { "s" } else { "" };
    let lacks = format!(
        "the Renyi curve has no epsilon at order{plural} {}; it needs one at each of {orders}",
        listed(missing)
    );
    match (foreign, missing) {
        (Some(foreign), []) => format!("{foreign}: {orders}"),
        (Some(foreign), _) => format!(
            "{foreign}: {orders}; and the curve has no epsilon at order{plural} {}",
            listed(missing)
        ),
        (None, _) => lacks,
    }
}

impl Order {
    const DECIMALS: usize = 6;

    /// The order as a float, for formulas.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an order has at most 15 digits")]
    pub fn value(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The order less 1 as a float. An order near 1 would lose its digits if 1 were subtracted from the
    /// float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an order has at most 15 digits")]
    pub(crate) fn less_one(self) -> f64 {
        // An order is above 1, so nothing saturates.
        self.0.saturating_sub(1_000_000) as f64 / 1e6
    }
}

impl FromStr for Order {
    type Err = CompositionError;

    fn from_str(text: &str) -> Result<Self, CompositionError> {
        let not_an_order = || CompositionError::NotAnOrder(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        // With nine digits before the point, the order is exact as a float, too.
        if whole.is_empty() || whole.len() > 9 || !digits(whole) || !digits(fraction) {
            return Err(not_an_order());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > Self::DECIMALS {
            return Err(not_an_order());
        }
        let millionths: u64 = format!("{whole}{fraction:0<width$}", width = Self::DECIMALS)
            .parse()
            .map_err(|_| not_an_order())?;
        if millionths > 1_000_000 {
            Ok(Self(millionths))
        } else {
            Err(not_an_order())
        }
    }
}

impl TryFrom<String> for Order {
    type Error = CompositionError;

    fn try_from(text: String) -> Result<Self, CompositionError> {
        text.parse()
    }
}

impl From<Order> for String {
    fn from(order: Order) -> Self {
        order.to_string()
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if fraction == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
        }
    }
}

impl Orders {
    /// `orders`, sorted.
    pub fn new(mut orders: Vec<Order>) -> Result<Self, CompositionError> {
        orders.sort_unstable();
        if let Some(pair) = orders.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CompositionError::OrderTwice(pair[0]));
        }
        if orders.is_empty() {
            Err(CompositionError::NoOrders)
        } else {
            Ok(Self(orders.into()))
        }
    }

    /// The orders, ascending.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Order> + '_ {
        self.0.iter().copied()
    }
}

impl Default for Orders {
    /// The twelve finite orders of the OSDI system. With the basic conversion and usual budgets, "some order
    /// fits" is a sound filter on them.
    fn default() -> Self {
        let millionths = [15, 17, 20, 25, 30, 40, 50, 60, 80, 160, 320, 640]
            .map(|tenths: u64| if tenths == 17 { 1_750_000 } else { tenths * 100_000 });
        Self(millionths.map(Order).into())
    }
}

impl TryFrom<Vec<Order>> for Orders {
    type Error = CompositionError;

    fn try_from(orders: Vec<Order>) -> Result<Self, CompositionError> {
        Self::new(orders)
    }
}

impl From<Orders> for Vec<Order> {
    fn from(orders: Orders) -> Self {
        orders.0.to_vec()
    }
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, order) in self.iter().enumerate() {
            write!(f, "{}{order}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Budget {
    /// An amount for each coordinate, in that coordinate's unit.
    pub fn new(units: Vec<i64>) -> Result<Self, CompositionError> {
        match units.iter().find(|units| **units < 0) {
            Some(negative) => Err(CompositionError::Negative(*negative)),
            None => Ok(Self(units.into())),
        }
    }

    /// A budget of computed amounts, which are never negative: one below 0 would count as 0.
    pub(crate) fn from_computed(units: impl Iterator<Item = i64>) -> Self {
        Self(units.map(|units| units.max(0)).collect())
    }

    /// The amount at each coordinate, in that coordinate's unit.
    #[must_use]
    pub fn units(&self) -> &[i64] {
        &self.0
    }

    /// What is left of it without `spent`: 0 where that is more. Both have the same coordinates.
    #[must_use]
    pub fn without(&self, spent: &Self) -> Self {
        let left = self
            .0
            .iter()
            .zip(spent.0.iter())
            .map(|(units, spent)| units.saturating_sub(*spent));
        Self::from_computed(left)
    }

    /// Whether the amount is 0 at every coordinate.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|units| *units == 0)
    }
}

impl TryFrom<Vec<i64>> for Budget {
    type Error = CompositionError;

    fn try_from(units: Vec<i64>) -> Result<Self, CompositionError> {
        Self::new(units)
    }
}

impl From<Budget> for Vec<i64> {
    fn from(budget: Budget) -> Self {
        budget.0.to_vec()
    }
}

/// An amount in 64 bits. A parsed amount always fits. A computed demand that does not is `i64::MAX`, which
/// never fits a block, since no parsed epsilon or delta, and so no capacity, is above 9e18 units. A computed
/// capacity can only be too small, and then counts as 0.
pub(crate) fn saturate(units: i128) -> i64 {
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        text.parse().unwrap()
    }

    #[test]
    fn orders_are_exact_decimals_above_one() {
        for text in ["1.5", "1.000001", "64", "20480", "1.75"] {
            assert_eq!(order(text).to_string(), text);
        }
        for text in ["1", "0.5", "", "1.0000001", "-2", "inf", "2e3", "."] {
            assert!(text.parse::<Order>().is_err(), "{text}");
        }
        assert_eq!(
            Orders::default().to_string(),
            "1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 16, 32, 64"
        );
        assert_eq!(
            Orders::new(vec![order("2"), order("2.0")]),
            Err(CompositionError::OrderTwice(order("2")))
        );
    }
}
