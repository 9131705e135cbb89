//! The formulas of Renyi curves: costs in units of 1e-12, rounded up by more than the error of the floats.
//!
//! Each formula is written so that only terms of one sign are summed. Where the textbook form is the
//! logarithm of a number just above 1, the part above 1 is summed by itself, so that small costs keep all
//! their digits. The functions are those of `libm`, which are the same on every platform.

mod finite;
mod gaussian;
mod laplace;
mod moment;
mod sampled_gaussian;
mod sampled_laplace;

pub(super) use finite::{exponential, pure, randomized_response, randomized_response_pure};
pub(super) use gaussian::{gaussian, guarantee, tree_aggregation, zcdp};
pub(super) use laplace::{inverse_units, laplace};
pub(super) use sampled_gaussian::sampled_gaussian;
pub(super) use sampled_laplace::{sampled_laplace, sampled_pure};

/// The relative margin of a formula of a few operations.
const MARGIN: f64 = 1e-14;

/// `epsilon` in units, rounded up, at least 1. What is beyond 64 bits, or not a number, is `i64::MAX`, which
/// never fits a block.
#[expect(clippy::cast_possible_truncation, reason = "it saturates, which rounds up")]
fn units(epsilon: f64, margin: f64) -> i64 {
    let units = (epsilon * 1e12 * (1.0 + margin)).ceil();
    if units.is_nan() {
        i64::MAX
    } else {
        (units as i64).max(1)
    }
}
