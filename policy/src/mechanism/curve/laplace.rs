//! The Laplace mechanism.

use libm::{exp, expm1, fma, log, log1p};

use super::{MARGIN, units};

/// 1/`scale` in units, rounded up exactly.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub(in crate::mechanism) fn inverse_units(scale: f64) -> i64 {
    let nearest = (1e12 / scale).round();
    if nearest >= 9e15 {
        return units(1.0 / scale, MARGIN);
    }
    // The sign of the fused product is exact, and only the sign is needed.
    let enough = nearest >= 1.0 && fma(nearest, scale, -1e12) >= 0.0;
    nearest as i64 + i64::from(!enough)
}

/// ln(p e^((a-1)/b) + (1-p) e^(-a/b)) / (a-1) with p = a/(2a-1) (Mironov 2017, Corollary 2).
pub(in crate::mechanism) fn laplace(scale: f64, order: f64) -> i64 {
    let (up, down) = ((order - 1.0) / scale, order / scale);
    let (weight_up, weight_down) = (order / (2.0 * order - 1.0), (order - 1.0) / (2.0 * order - 1.0));
    let log_moment = if up > 1.0 {
        up + log(weight_up) + log1p(weight_down / weight_up * exp(-up - down))
    } else {
        // The weights sum to 1 and the exponents' mean is 0: both can be taken away.
        log1p(weight_up * exp_beyond_linear(up) + weight_down * exp_beyond_linear(-down))
    };
    units(log_moment / (order - 1.0), 10.0 * MARGIN).min(units(1.0 / scale, MARGIN))
}

/// e^y - 1 - y.
fn exp_beyond_linear(y: f64) -> f64 {
    if y.abs() > 0.5 {
        return expm1(y) - y;
    }
    // 0.5^17 / 17! is below the last digit.
    let series = (3..=17).rev().fold(1.0, |sum, k| 1.0 + sum * y / f64::from(k));
    y * y / 2.0 * series
}
