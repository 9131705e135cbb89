//! The delta that a filter over several Renyi orders guarantees.

use super::conversion::{Conversion, delta_units};
use crate::{Budget, Delta, Epsilon, Orders};

/// An upper bound, for `epsilon`, of the delta of everything that can be granted on a block, even if each
/// query depends on the answers to earlier ones.
///
/// A claim is granted while it fits at some order that has any capacity. An adversary may choose that order
/// by the answers to earlier claims, so no single order's delta is a bound. But at the end some order is not
/// exhausted, and each order is a filter by itself until it is exhausted (Feldman and Zrnic 2021): so the sum
/// of their deltas is a bound.
///
/// For a capacity by [`Composition::capacity`](crate::Composition::capacity) it is never above the delta of
/// that: as many of the lowest orders have no capacity as this takes. For a capacity that was given as a
/// curve it may be anything up to 1.
#[must_use]
pub fn adaptive_delta(orders: &Orders, capacity: &Budget, epsilon: Epsilon) -> Delta {
    let one = 10_i128.pow(Delta::DECIMALS);
    let deltas = orders
        .iter()
        .zip(capacity.units())
        .filter(|(_, units)| **units > 0);
    let units = deltas.map(|(order, units)| {
        #[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
        let cost = *units as f64 / 1e12;
        delta_units(Conversion::Improved.log_delta_at(order, cost, epsilon)).units()
    });
    // A delta is at most 1.
    Delta::from_units(units.fold(0, |sum: i128, units| sum.saturating_add(units).min(one)))
}
