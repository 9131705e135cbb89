//! Renyi curves, in units of 1e-12, rounded up by more than the floats can be off.
//!
//! Each formula is written so that only terms of one sign are summed: where the textbook form is the logarithm of
//! something just above 1, what is above 1 is summed by itself, so that small costs keep all their digits. The
//! functions are those of `libm`, the same on every platform.

use libm::{exp, expm1, fma, log, log1p, sqrt};

use crate::{Delta, Epsilon, budget::saturate};

/// Relative; of formulas of a few operations.
const MARGIN: f64 = 1e-14;
/// Relative; of sums of many terms, for orders up to 1000. Beyond that it grows as the logarithms summed do.
const SUM_MARGIN: f64 = 1e-12;
/// Beyond it, subsampling is not counted in favour of a mechanism.
const MOST_SUMMED_ORDER: f64 = 32_768.0;
/// Beyond it, a fractional order is interpolated.
const MOST_POINTS: f64 = 50_000.0;

/// `epsilon`, which is above 0 whatever the float says, in units, rounded up; what isn't a number never fits.
#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
fn units(epsilon: f64, margin: f64) -> i64 {
    let units = (epsilon * 1e12 * (1.0 + margin)).ceil();
    if units.is_nan() {
        i64::MAX
    } else {
        (units as i64).max(1)
    }
}

/// 1/`scale` in units, rounded up and no further.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub(super) fn inverse_units(scale: f64) -> i64 {
    let nearest = (1e12 / scale).round();
    if nearest >= 9e15 {
        return units(1.0 / scale, MARGIN);
    }
    // The fused product is exact up to its sign, which is all that is asked.
    let enough = nearest >= 1.0 && fma(nearest, scale, -1e12) >= 0.0;
    nearest as i64 + i64::from(!enough)
}

/// order / (2 sigma^2) (Mironov 2017, Corollary 3).
pub(super) fn gaussian(sigma: f64, order: f64) -> i64 {
    units(gaussian_epsilon(sigma, order), MARGIN)
}

fn gaussian_epsilon(sigma: f64, order: f64) -> f64 {
    // Divided twice, as the square of a large sigma may be infinite.
    order / sigma / sigma / 2.0
}

/// See [`Mechanism::for_guarantee`](super::Mechanism::for_guarantee).
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
pub(super) fn guarantee(epsilon: Epsilon, delta: Delta, order: f64) -> i64 {
    let value = epsilon.units() as f64 / 1e12;
    if delta == Delta::ZERO {
        units(order * value * value / 2.0, MARGIN).min(saturate(epsilon.units()))
    } else {
        let log_term = log(1.25e18 / delta.units() as f64);
        units(order * value * value / (4.0 * log_term), MARGIN)
    }
}

/// ln(p e^((a-1)/b) + (1-p) e^(-a/b)) / (a-1) with p = a/(2a-1) (Mironov 2017, Corollary 2).
pub(super) fn laplace(scale: f64, order: f64) -> i64 {
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

/// `steps` times the Gaussian on a Poisson sample (Mironov, Talwar and Zhang 2019, section 3).
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
pub(super) fn sampled_gaussian(sigma: f64, rate: f64, steps: u64, order: f64) -> i64 {
    let steps = steps as f64;
    // No sample costs more than everybody.
    let whole = units(gaussian_epsilon(sigma, order) * steps, MARGIN);
    if rate >= 1.0 || order > MOST_SUMMED_ORDER {
        return whole;
    }
    let log_moment = if order.fract() == 0.0 {
        log_moment_whole(sigma, rate, order)
    } else {
        log_moment_fractional(sigma, rate, order)
    };
    let margin = SUM_MARGIN * (order / 1000.0).max(1.0);
    units(log_moment / (order - 1.0) * steps, margin).min(whole)
}

/// ln(1 + e^x).
fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 {
        x + log1p(exp(-x))
    } else {
        log1p(exp(x))
    }
}

/// ln(e^x - 1).
fn log_expm1(x: f64) -> f64 {
    if x > 1.0 {
        x + log1p(-exp(-x))
    } else {
        log(expm1(x))
    }
}

/// ln of the sum of e^`logs`.
fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_finite() {
        most + log(logs.iter().map(|term| exp(term - most)).sum())
    } else {
        most
    }
}

/// ln A for a whole order. A is the mean of e^((k^2-k) / 2 sigma^2) over a binomial k (equation 3.1 there), so A - 1 is
/// that of e^(...) - 1, in which k = 0 and 1 have no part.
fn log_moment_whole(sigma: f64, rate: f64, order: f64) -> f64 {
    let (log_rate, log_rest) = (log(rate), log1p(-rate));
    let mut log_choose = log(order);
    let mut logs = Vec::new();
    let mut k = 2.0;
    while k <= order {
        log_choose += log((order - k + 1.0) / k);
        let exponent = k * (k - 1.0) / sigma / sigma / 2.0;
        logs.push(log_choose + (order - k) * log_rest + k * log_rate + log_expm1(exponent));
        k += 1.0;
    }
    log_one_plus_exp(log_sum(&logs))
}

/// ln A for an order between whole ones.
///
/// A is the mean of (1 + x)^a with x = q (e^(u/s - 1/2s^2) - 1) over a standard normal u. As the mean of x is 0, A - 1 is
/// the mean of (1 + x)^a - 1 - a x, which is never negative. It is summed with equal steps: the integrand is analytic up
/// to pi s from the real line, so with the step used the sum is off by less than e^-100 of it. (The erfc series of
/// section 3.3 there has terms of both signs, which cost the digits of small values, and falls only as a power.)
fn log_moment_fractional(sigma: f64, rate: f64, order: f64) -> f64 {
    const TAIL: f64 = 12.0;
    let step = sigma.min(1.0) / 8.0;
    let end = order / sigma + TAIL;
    let points = (end + TAIL) / step;
    if points.is_nan() || points > MOST_POINTS {
        return log_moment_interpolated(sigma, rate, order);
    }
    let mut logs = Vec::new();
    let mut at = 0.0;
    while at <= points {
        let u = at * step - TAIL;
        let shift = (u - 1.0 / (2.0 * sigma)) / sigma;
        logs.push(log_power_beyond_linear(shift, rate, order) - u * u / 2.0);
        at += 1.0;
    }
    log_one_plus_exp(log_sum(&logs) + log(step / sqrt(2.0 * std::f64::consts::PI)))
}

/// ln((1 + x)^a - 1 - a x) with x = q (e^`shift` - 1).
fn log_power_beyond_linear(shift: f64, rate: f64, order: f64) -> f64 {
    let x = rate * expm1(shift);
    if (x * order).abs() < 0.1 {
        // The binomial series; 0.1^16 is below the last digit.
        let series = (3..=18).rev().fold(1.0, |sum, k| {
            let k = f64::from(k);
            1.0 + sum * x * (order - k + 1.0) / k
        });
        return 2.0 * log(x.abs()) + log(order * (order - 1.0) / 2.0 * series);
    }
    // With l = ln(1 + x) it is (1 + x) (e^((a-1) l) - 1 + (a-1) (e^-l - 1)).
    let power = if shift > 30.0 {
        log(rate) + shift + log1p((1.0 - rate) / rate * exp(-shift))
    } else {
        log1p(x)
    };
    let growth = (order - 1.0) * power;
    if growth > 40.0 {
        power + growth
    } else {
        power + log(expm1(growth) + (order - 1.0) * expm1(-power))
    }
}

/// An upper bound: ln A is convex in the order and 0 at order 1.
fn log_moment_interpolated(sigma: f64, rate: f64, order: f64) -> f64 {
    let below = order.floor();
    let weight = order - below;
    let low = if below > 1.0 {
        log_moment_whole(sigma, rate, below)
    } else {
        0.0
    };
    low * (1.0 - weight) + log_moment_whole(sigma, rate, below + 1.0) * weight
}
