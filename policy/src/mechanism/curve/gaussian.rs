//! The Gaussian mechanism, and those with the same kind of curve: linear in the order.

use libm::log;

use super::{MARGIN, finite::pure, units};
use crate::{Delta, Epsilon};

/// order / (2 sigma^2) (Mironov 2017, Corollary 3).
pub(in crate::mechanism) fn gaussian(sigma: f64, order: f64) -> i64 {
    units(gaussian_epsilon(sigma, order), MARGIN)
}

pub(super) fn gaussian_epsilon(sigma: f64, order: f64) -> f64 {
    // Divided twice, since the square of a large sigma may be infinite.
    order / sigma / sigma / 2.0
}

/// A leaf of a binary tree of noisy sums over `steps` steps is in at most as many complete nodes as `steps`
/// has binary digits: ceil(log2(steps + 1)) Gaussians (Kairouz et al. 2021, Theorem 4.1).
pub(in crate::mechanism) fn tree_aggregation(noise_multiplier: f64, steps: u64, order: f64) -> i64 {
    let nodes = u64::BITS - steps.leading_zeros();
    units(
        gaussian_epsilon(noise_multiplier, order) * f64::from(nodes),
        MARGIN,
    )
}

/// xi + rho x order, the definition (Bun and Steinke 2016, Definition 1.1).
pub(in crate::mechanism) fn zcdp(rho: f64, xi: f64, order: f64) -> i64 {
    units(xi + rho * order, MARGIN)
}

/// See [`Mechanism::for_guarantee`](crate::Mechanism::for_guarantee).
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
pub(in crate::mechanism) fn guarantee(epsilon: Epsilon, delta: Delta, order: f64) -> i64 {
    if delta == Delta::ZERO {
        return pure(epsilon, order);
    }
    let value = epsilon.units() as f64 / 1e12;
    let log_term = log(1.25e18 / delta.units() as f64);
    units(order * value * value / (4.0 * log_term), MARGIN)
}
