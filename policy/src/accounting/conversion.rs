//! Conversions of a Renyi curve to (epsilon, delta). Each costs a few operations for each order.

use libm::{exp, log, log1p};

use super::finite;
use crate::{Budget, Delta, Epsilon, Order, Orders};

/// A formula that turns a Renyi curve into an epsilon and a delta.
///
/// # Examples
///
/// ```
/// use privatekube_policy::{Composition, Conversion, Mechanism, Orders};
///
/// let orders = Orders::default();
/// let mechanism: Mechanism = "dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)".parse()?;
/// let curve = mechanism.demand(&Composition::Renyi(orders.clone()))?;
/// let proven = Conversion::Improved.epsilon(&orders, &curve, "1e-9".parse()?).unwrap();
/// assert_eq!(proven.order.to_string(), "8");
/// assert_eq!(proven.value.to_string(), "3.113942413649");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conversion {
    /// `epsilon + ln(1/delta) / (order - 1)` (Mironov 2017, Proposition 3). The capacities of blocks are
    /// computed with it.
    Basic,
    /// `epsilon + ln(1 - 1/order) - ln(delta order) / (order - 1)` (Canonne, Kamath and Steinke 2020,
    /// Proposition 12; the same as Balle et al. 2020, Theorem 21). It is smaller, and holds for mechanisms
    /// that were fixed beforehand. It is only for reporting: capacities computed with it would promise too
    /// much, since a claim may fit at any order and may depend on the answers to earlier ones.
    Improved,
}

/// An epsilon or delta that a curve proves, and the order that proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven<T> {
    /// The smallest value that the curve proves, rounded up.
    pub value: T,
    /// The order that proves it. If it is the least or the largest of the orders, an order beyond may prove
    /// less.
    pub order: Order,
}

/// A bound of the error of the floats, relative to the sum of the terms' absolute values.
const MARGIN: f64 = 1e-14;

impl Conversion {
    /// The epsilon that `curve`, with an amount at each of `orders`, proves for `delta`. None if delta is 0,
    /// or if the curve is `i64::MAX` at each order.
    #[must_use]
    pub fn epsilon(self, orders: &Orders, curve: &Budget, delta: Delta) -> Option<Proven<Epsilon>> {
        if delta <= Delta::ZERO {
            return None;
        }
        let proven = finite(orders, curve).map(|(order, epsilon)| Proven {
            value: self.epsilon_at(order, epsilon, delta),
            order,
        });
        proven.min_by_key(|proven| proven.value)
    }

    /// The delta that `curve`, with an amount at each of `orders`, proves for `epsilon`. None if the curve is
    /// `i64::MAX` at each order.
    #[must_use]
    pub fn delta(self, orders: &Orders, curve: &Budget, epsilon: Epsilon) -> Option<Proven<Delta>> {
        let proven = finite(orders, curve).map(|(order, cost)| Proven {
            value: delta_units(self.log_delta_at(order, cost, epsilon)),
            order,
        });
        proven.min_by_key(|proven| proven.value)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "rounded up on purpose"
    )]
    fn epsilon_at(self, order: Order, epsilon: f64, delta: Delta) -> Epsilon {
        let one = 10_i128.pow(Delta::DECIMALS);
        if delta.units() >= one {
            return Epsilon::ZERO;
        }
        let log_delta = log(delta.units() as f64 / 1e18);
        let less_one = order.less_one();
        let terms = match self {
            Self::Basic => [epsilon, -log_delta / less_one, 0.0, 0.0],
            Self::Improved => [
                epsilon,
                -log_delta / less_one,
                -log1p(less_one) / less_one,
                log_less_one_part(order),
            ],
        };
        let units = (sum_up(&terms) * 1e12).ceil();
        Epsilon::from_units(units.max(0.0) as i128)
    }

    /// The logarithm of the delta that one order proves, with a margin.
    #[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
    pub(super) fn log_delta_at(self, order: Order, cost: f64, epsilon: Epsilon) -> f64 {
        let less_one = order.less_one();
        let terms = [less_one * cost, -less_one * (epsilon.units() as f64 / 1e12)];
        match self {
            Self::Basic => sum_up(&terms),
            Self::Improved => {
                let [cost, epsilon] = terms;
                sum_up(&[
                    cost,
                    epsilon,
                    less_one * log_less_one_part(order),
                    -log1p(less_one),
                ])
            }
        }
    }
}

/// ln(1 - 1/order), without losing digits at either end.
fn log_less_one_part(order: Order) -> f64 {
    if order.less_one() < 1.0 {
        log(order.less_one() / order.value())
    } else {
        log1p(-1.0 / order.value())
    }
}

/// The sum of the terms, plus a margin for the error of the floats.
fn sum_up(terms: &[f64]) -> f64 {
    let size: f64 = terms.iter().map(|term| term.abs()).sum();
    terms.iter().sum::<f64>() + size * MARGIN
}

/// The delta with this logarithm, rounded up, at most 1.
#[expect(clippy::cast_possible_truncation, reason = "between 1 and 1e18")]
pub(super) fn delta_units(log_delta: f64) -> Delta {
    let units = (exp(log_delta) * 1e18 * (1.0 + MARGIN)).ceil();
    // A delta of 1 proves nothing.
    let units = if units.is_nan() {
        1e18
    } else {
        units.clamp(1.0, 1e18)
    };
    Delta::from_units(units as i128)
}
