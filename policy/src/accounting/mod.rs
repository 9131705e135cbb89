//! What Renyi curves prove: conversions to epsilon and delta, and what is left of them when questions depend on answers.
//!
//! For reporting. What a block may spend is decided by [`Composition::capacity`](crate::Composition::capacity) alone.

mod adaptive;
mod conversion;

pub use adaptive::adaptive_delta;
pub use conversion::{Conversion, Proven};

use crate::{Budget, Order, Orders};

/// The orders with their amounts as floats, rounded up; without those that cost more than 64 bits hold.
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
fn finite<'a>(orders: &'a Orders, curve: &'a Budget) -> impl Iterator<Item = (Order, f64)> + 'a {
    orders
        .iter()
        .zip(curve.units())
        .filter(|(_, units)| **units < i64::MAX)
        .map(|(order, units)| (order, *units as f64 / 1e12))
}
