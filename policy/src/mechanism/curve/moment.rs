//! The moment of a likelihood ratio: the mean of r^a, computed as the part of it that is above 1.
//!
//! The mean of r = P/Q over Q is 1, so the mean of r^a is 1 more than that of r^a - 1 - a (r - 1), which is
//! never negative. Each outcome's part of it is computed from whichever of P and Q makes the outcome more
//! probable: from Q by `log_part_less`, and from P, where it is divided by r, by `log_part_more`. So no large
//! exponents cancel.

use libm::{exp, expm1, log, log1p};

/// The least relative margin.
const LEAST_MARGIN: f64 = 1e-12;

/// The logarithm of one outcome's part of a moment.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The logarithm.
    pub(super) log: f64,
    /// The sum of the absolute values of its terms, each of which has an error of some units in its last
    /// place.
    pub(super) size: f64,
}

/// The logarithm of a moment, with its error.
pub(super) struct LogMoment {
    /// The logarithm, above 0.
    pub(super) value: f64,
    /// An upper bound of the relative error.
    pub(super) margin: f64,
}

/// ln(1 + `factor` x the sum of e^`parts`).
pub(super) fn log_moment(parts: &[Part], factor: f64) -> LogMoment {
    /// Parts below e^-60 of the largest do not count, however many they are and whatever their error.
    const NEGLIGIBLE: f64 = 60.0;
    /// The error of each size in units of the last place: that of three operations and their arguments.
    const OFF: f64 = 4.0 * f64::EPSILON;
    let most = parts
        .iter()
        .map(|part| part.log)
        .fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut terms, mut size) = (0.0, 0.0, 0.0_f64);
    for part in parts {
        sum += exp(part.log - most);
        if part.log >= most - NEGLIGIBLE {
            terms += 1.0;
            size = size.max(part.size);
        }
    }
    let log_sum = most + log(sum * factor);
    let value = log_one_plus_exp(log_sum);
    // The absolute error of the value is at most that of the logarithm of the sum, and so is the relative
    // one.
    let off = OFF * size + f64::EPSILON * terms;
    LogMoment {
        value,
        margin: LEAST_MARGIN + off / value.max(1.0),
    }
}

/// ln(1 + e^x).
fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 {
        x + log1p(exp(-x))
    } else {
        log1p(exp(x))
    }
}

/// ln(1 - rate + rate e^`loss`): the privacy loss of a mechanism with `loss` on a Poisson sample.
pub(super) fn sampled_loss(loss: f64, rate: f64) -> f64 {
    if loss < 700.0 {
        log1p(rate * expm1(loss))
    } else {
        log(rate) + loss + log1p((1.0 - rate) / rate * exp(-loss))
    }
}

/// The [`Part::size`] of a term that multiplies a [`sampled_loss`] by the order: its own size, and that of
/// `loss` in proportion to how much the sampled loss changes with it.
pub(super) fn sampled_size(loss: f64, sampled: f64, rate: f64, order: f64) -> f64 {
    let slope = (rate * exp(loss - sampled)).min(1.0);
    2.0 * order * (slope * loss.abs() + sampled.abs())
}

/// The logarithm of an outcome's part of the moment less 1, from its privacy loss ln(P/Q), ln P and ln Q.
pub(super) fn log_part(loss: f64, log_p: f64, log_q: f64, order: f64) -> f64 {
    if loss > 0.0 {
        log_p + log_part_more(loss, order)
    } else {
        log_q + log_part_less(loss, order)
    }
}

/// ln((r^a - 1 - a (r - 1)) / r) for r = e^`loss` above 1.
pub(super) fn log_part_more(loss: f64, order: f64) -> f64 {
    let x = expm1(loss);
    if x * order < 0.1 {
        return log_series(x, order) - loss;
    }
    let growth = (order - 1.0) * loss;
    if growth > 40.0 {
        // The terms that are left out are negative.
        growth
    } else {
        log(expm1(growth) + (order - 1.0) * expm1(-loss))
    }
}

/// ln(r^a - 1 - a (r - 1)) for r = e^`loss` up to 1.
pub(super) fn log_part_less(loss: f64, order: f64) -> f64 {
    let x = expm1(loss);
    if -x * order < 0.1 {
        return log_series(x, order);
    }
    log((order - 1.0) * -x + exp(loss) * expm1((order - 1.0) * loss))
}

/// ln((1 + x)^a - 1 - a x) by the binomial series, for |a x| < 0.1: 0.1^16 is below the last digit.
fn log_series(x: f64, order: f64) -> f64 {
    let series = (3..=18).rev().fold(1.0, |sum, k| {
        let k = f64::from(k);
        1.0 + sum * x * (order - k + 1.0) / k
    });
    2.0 * log(x.abs()) + log(order * (order - 1.0) / 2.0 * series)
}
