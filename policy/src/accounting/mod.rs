//! Conversions of Renyi curves to epsilon and delta, and the delta that a block guarantees when queries
//! depend on earlier answers.
//!
//! They are for reporting, but that [`Composition::capacity`](crate::Composition::capacity) checks capacities
//! with [`adaptive_delta`].

mod adaptive;
mod conversion;

pub use adaptive::adaptive_delta;
pub use conversion::{Conversion, Proven};

use crate::{Budget, Order, Orders};

/// The orders with their amounts as floats, without those that cost more than 64 bits hold.
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
fn finite<'a>(orders: &'a Orders, curve: &'a Budget) -> impl Iterator<Item = (Order, f64)> + 'a {
    orders
        .iter()
        .zip(curve.units())
        .filter(|(_, units)| **units < i64::MAX)
        .map(|(order, units)| (order, *units as f64 / 1e12))
}
