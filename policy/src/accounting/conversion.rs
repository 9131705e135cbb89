//! From a Renyi curve to (epsilon, delta).

use libm::{exp, log, log1p};

use super::finite;
use crate::{Budget, Delta, Epsilon, Order, Orders};

/// How a Renyi curve is turned into an epsilon and a delta.
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
    /// `epsilon + ln(1/delta) / (order - 1)` (Mironov 2017, Proposition 3). What blocks are made with.
    Basic,
    /// `epsilon + ln(1 - 1/order) - ln(delta order) / (order - 1)` (Canonne, Kamath and Steinke 2020, Proposition 12; the
    /// same as Balle et al. 2020, Theorem 21). Smaller, and true for mechanisms that were fixed beforehand. Only for
    /// reporting: blocks made with it would promise too much, as a claim may fit at any order and may depend on
    /// what earlier ones answered.
    Improved,
}

/// What a curve proves, and at which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven<T> {
    /// The smallest that it proves, rounded up.
    pub value: T,
    /// The order that proves it. If it is the least or the largest one there is, other orders may prove less.
    pub order: Order,
}

/// More than the floats can be off, of the sum of the terms' sizes.
const MARGIN: f64 = 1e-14;

impl Conversion {
    /// The epsilon that `curve`, with an amount at each of `orders`, proves for `delta`. Nothing if delta is 0, or if it
    /// costs more than 64 bits hold at each order.
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

    /// The delta that `curve`, with an amount at each of `orders`, proves for `epsilon`. Nothing if it costs more than 64
    /// bits hold at each order.
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

    /// ln of the delta that one order proves, with a margin.
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

/// The sum, and a margin.
fn sum_up(terms: &[f64]) -> f64 {
    let size: f64 = terms.iter().map(|term| term.abs()).sum();
    terms.iter().sum::<f64>() + size * MARGIN
}

/// The delta with this ln, rounded up, at most 1.
#[expect(clippy::cast_possible_truncation, reason = "between 1 and 1e18")]
pub(super) fn delta_units(log_delta: f64) -> Delta {
    let units = (exp(log_delta) * 1e18 * (1.0 + MARGIN)).ceil();
    // What isn't a number proves nothing.
    let units = if units.is_nan() {
        1e18
    } else {
        units.clamp(1.0, 1e18)
    };
    Delta::from_units(units as i128)
}
