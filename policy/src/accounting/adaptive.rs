//! What a filter over several orders promises.

use super::conversion::{Conversion, delta_units};
use crate::{Budget, Delta, Epsilon, Orders};

/// The most that the delta of everything granted on a block can become for `epsilon`, whatever is asked after whatever
/// was answered.
///
/// A claim is granted while it fits at some order that has any budget. Whoever asks may choose that order by what
/// earlier claims answered, so that no single order's delta bounds what happens. But at the end some order still holds,
/// and until an order is exhausted it is a filter by itself (Feldman and Zrnic 2021): the sum of their deltas is a bound.
///
/// With [`Composition::capacity`](crate::Composition::capacity) it never lies above the delta that the capacity was
/// made for: as many of the lowest orders go without budget as that takes. For a capacity that was given as a curve it
/// may lie anywhere.
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
    Delta::from_units(units.fold(0, |sum: i128, units| sum.saturating_add(units).min(one)))
}
