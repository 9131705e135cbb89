//! Compositions: how budgets add up, and the capacity of a block that guarantees some (epsilon, delta).

use serde::{Deserialize, Serialize};

use crate::{
    Budget, CompositionError, Delta, Epsilon, Order, Orders, Rounding, adaptive_delta,
    budget::saturate,
    short::{apart, short},
};

/// How many units an epsilon of 1 has.
const UNITS: i64 = 10_i64.pow(Epsilon::DECIMALS);

/// Whether units of a demand, or a sum of demands, are only known to be more than 64 bits count: the true cost may be far
/// above them. No budget that is stated comes near.
#[must_use]
pub const fn is_beyond_count(units: i128) -> bool {
    units >= i64::MAX as i128
}

/// How budgets add up, which also says what the coordinates of a [`Budget`] are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Composition {
    /// Epsilons and deltas are summed. There are two coordinates, epsilon (in units of 1e-12) and delta
    /// (1e-18). A demand fits a block if both fit.
    Basic,
    /// Renyi curves are summed at fixed orders. There is one coordinate, an epsilon (in units of 1e-12), for
    /// each order. A demand fits a block if it fits at one order at which the block has any capacity, and it
    /// is charged at every order.
    Renyi(Orders),
}

impl Composition {
    /// How many coordinates a budget has.
    #[must_use]
    pub fn coordinates(&self) -> usize {
        match self {
            Self::Basic => 2,
            Self::Renyi(orders) => orders.iter().len(),
        }
    }

    /// The name of a coordinate, for messages: `epsilon`, `delta`, `epsilon at order 4`.
    #[must_use]
    pub fn coordinate_name(&self, coordinate: usize) -> String {
        match self {
            Self::Basic => if coordinate == 0 { "epsilon" } else { "delta" }.to_owned(),
            Self::Renyi(orders) => match orders.iter().nth(coordinate) {
                Some(order) => format!("epsilon at order {order}"),
                None => "no order".to_owned(),
            },
        }
    }

    /// An amount at a coordinate as a decimal with all its digits.
    #[must_use]
    pub fn display_units(&self, coordinate: usize, units: i128) -> String {
        match (self, coordinate) {
            (Self::Basic, 1) => Delta::from_units(units).to_string(),
            _ => Epsilon::from_units(units).to_string(),
        }
    }

    /// An amount at a coordinate with 4 significant digits, for messages and tables.
    #[must_use]
    pub fn display_short(&self, coordinate: usize, units: i128, rounding: Rounding) -> String {
        if is_beyond_count(units) {
            return format!("over {}", i64::MAX / UNITS);
        }
        short(units, self.decimals(coordinate), rounding)
    }

    /// What there is at a coordinate and what is asked of it, for messages that say that it isn't enough: with 4 significant
    /// digits, and more if it takes them to tell the two apart.
    #[must_use]
    pub fn display_apart(&self, coordinate: usize, there: i128, asked: i128) -> (String, String) {
        if is_beyond_count(asked) {
            let there = self.display_short(coordinate, there, Rounding::Down);
            return (there, self.display_short(coordinate, asked, Rounding::Nearest));
        }
        apart(there, asked, self.decimals(coordinate))
    }

    const fn decimals(&self, coordinate: usize) -> u32 {
        match (self, coordinate) {
            (Self::Basic, 1) => Delta::DECIMALS,
            _ => Epsilon::DECIMALS,
        }
    }

    /// The capacity of a block that guarantees (`epsilon`, `delta`)-DP.
    ///
    /// Renyi: `epsilon - ln(1/delta) / (order - 1)` at each order, rounded down and at least 0 (Mironov 2017,
    /// Proposition 3, the conversion that stays sound when any order may be the one that fits). If so many
    /// orders have capacity that their deltas can add up to more than `delta` (with the default orders, for
    /// an epsilon above ln(1/delta) / 0.75), the lowest of them get none: see [`adaptive_delta`]. A delta of
    /// 0 is an error there.
    pub fn capacity(&self, epsilon: Epsilon, delta: Delta) -> Result<Budget, CompositionError> {
        match self {
            Self::Basic => Budget::new(vec![saturate(epsilon.units()), saturate(delta.units())]),
            Self::Renyi(_) if delta == Delta::ZERO => Err(CompositionError::NoDelta),
            Self::Renyi(orders) => {
                let units = orders.iter().map(|order| renyi_capacity(epsilon, delta, order));
                keep_promise(units.collect(), orders, epsilon, delta)
            }
        }
    }

    /// The capacity of a block with an explicit curve. An order that the curve leaves out gets 0.
    pub fn capacity_curve(&self, curve: &[(Order, Epsilon)]) -> Result<Budget, CompositionError> {
        self.curve(curve, false)
    }

    /// A demand with an explicit curve, which must have an epsilon at every order.
    pub fn demand_curve(&self, curve: &[(Order, Epsilon)]) -> Result<Budget, CompositionError> {
        self.curve(curve, true)
    }

    /// A curve of which the orders that it leaves out get 0, unless it needs all.
    fn curve(&self, curve: &[(Order, Epsilon)], needs_all: bool) -> Result<Budget, CompositionError> {
        let Self::Renyi(orders) = self else {
            return Err(CompositionError::CurveOnBasic);
        };
        for (at, (order, _)) in curve.iter().enumerate() {
            if curve[..at].iter().any(|(earlier, _)| earlier == order) {
                return Err(CompositionError::OrderTwice(*order));
            }
        }
        let given = |order: Order| curve.iter().find(|(given, _)| *given == order);
        let unknown = curve.iter().map(|(order, _)| *order);
        let unknown: Vec<Order> = unknown
            .filter(|order| orders.iter().all(|known| known != *order))
            .collect();
        let missing = orders.iter().filter(|order| needs_all && given(*order).is_none());
        let missing: Vec<Order> = missing.collect();
        if !unknown.is_empty() || !missing.is_empty() {
            return Err(CompositionError::WrongOrders {
                unknown,
                missing,
                orders: orders.clone(),
            });
        }
        let units = orders.iter().map(|order| {
            let epsilon = given(order).map_or(Epsilon::ZERO, |(_, epsilon)| *epsilon);
            saturate(epsilon.units())
        });
        Budget::new(units.collect())
    }
}

/// Sets the lowest orders to 0 until the deltas of the others add up to no more than `delta`. One order alone
/// always keeps the promise.
fn keep_promise(
    mut units: Vec<i64>,
    orders: &Orders,
    epsilon: Epsilon,
    delta: Delta,
) -> Result<Budget, CompositionError> {
    loop {
        let capacity = Budget::new(units.clone())?;
        let mut usable = units.iter_mut().filter(|units| **units > 0);
        match (usable.next(), usable.next()) {
            (Some(lowest), Some(_)) if adaptive_delta(orders, &capacity, epsilon) > delta => *lowest = 0,
            _ => return Ok(capacity),
        }
    }
}

/// The capacity at an order in units of 1e-12, rounded down by more than the error of the floats; 0 where the
/// cost of delta is beyond 128 bits.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "rounded down on purpose"
)]
fn renyi_capacity(epsilon: Epsilon, delta: Delta, order: Order) -> i64 {
    let cost = libm::log(1e18 / delta.units() as f64) / order.less_one();
    // Relative error of a logarithm and two divisions: a few 1e-16; the cost is at most 41.5 / 1e-6.
    let cost_units = (cost * 1e12 * (1.0 + 1e-14)).ceil();
    saturate(epsilon.units().saturating_sub(cost_units as i128)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        text.parse().unwrap()
    }

    #[test]
    fn renyi_capacity_is_the_basic_conversion_rounded_down() {
        // privacy-budget tables for (10, 1e-7) on the default orders, ten decimals.
        let known = [
            "0",
            "0",
            "0",
            "0",
            "1.9409521745",
            "4.6273014497",
            "5.9704760873",
            "6.7763808698",
            "7.697414907",
            "8.9254602899",
            "9.4800614306",
            "9.7441572119",
        ];
        let composition = Composition::Renyi(Orders::default());
        let capacity = composition
            .capacity("10".parse().unwrap(), "1e-7".parse().unwrap())
            .unwrap();
        for (units, known) in capacity.units().iter().zip(known) {
            let known = known.parse::<Epsilon>().unwrap().units();
            assert!((i128::from(*units) - known).abs() <= 50, "{units} {known}");
        }
    }

    #[test]
    fn an_order_so_near_1_that_its_cost_is_beyond_64_bits_has_no_capacity() {
        let composition = Composition::Renyi(Orders::new(vec![order("1.000001"), order("32")]).unwrap());
        let capacity = composition.capacity("1".parse().unwrap(), "1e-18".parse().unwrap());
        assert_eq!(capacity.unwrap().units()[0], 0);
    }

    #[test]
    fn capacity_is_never_rounded_up_next_to_order_1() {
        // With 60 digits.
        for (near, epsilon, delta, exact) in [
            ("1.000005", "3843668.479175", "1e-7", 620_049_348_983_336_042_i64),
            ("1.003527", "271.469303", "0.5", 74_943_309_078_836),
        ] {
            let capacity = renyi_capacity(epsilon.parse().unwrap(), delta.parse().unwrap(), order(near));
            assert!(capacity <= exact, "{near}: {capacity} is more than {exact}");
            assert!(capacity > exact - exact / 10_000_000_000, "{near}: {capacity}");
        }
    }

    #[test]
    fn a_demand_curve_needs_every_order_and_a_capacity_does_not() {
        let composition = Composition::Renyi(Orders::new(vec![order("2"), order("4")]).unwrap());
        let half = "0.5".parse().unwrap();
        assert_eq!(
            composition.capacity_curve(&[(order("4"), half)]).unwrap().units(),
            [0, 500_000_000_000]
        );
        assert!(matches!(
            composition.demand_curve(&[(order("4"), half)]),
            Err(CompositionError::WrongOrders { .. })
        ));
        assert!(matches!(
            composition.capacity_curve(&[(order("3"), half)]),
            Err(CompositionError::WrongOrders { .. })
        ));
        assert_eq!(
            Composition::Basic.demand_curve(&[(order("4"), half)]),
            Err(CompositionError::CurveOnBasic)
        );
    }
}
