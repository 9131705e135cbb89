//! The mean of r^a for a likelihood ratio r, as the sum of what is above 1.
//!
//! The mean of r = P/Q over Q is 1, so the mean of r^a is 1 more than that of r^a - 1 - a (r - 1), which is never
//! negative. Each outcome's part of it is taken from whichever of P and Q makes it more probable: from Q it is
//! `log_part_less`, and from P, where it is divided by r, `log_part_more`. So no large exponents cancel.

use libm::{exp, expm1, log, log1p};

/// ln(1 + e^x).
pub(super) fn log_one_plus_exp(x: f64) -> f64 {
    if x > 0.0 {
        x + log1p(exp(-x))
    } else {
        log1p(exp(x))
    }
}

/// ln of the sum of e^`logs`.
pub(super) fn log_sum(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_finite() {
        most + log(logs.iter().map(|term| exp(term - most)).sum())
    } else {
        most
    }
}

/// ln(1 - rate + rate e^`loss`): the loss of a mechanism with `loss` that sees only a sample.
pub(super) fn sampled_loss(loss: f64, rate: f64) -> f64 {
    if loss < 700.0 {
        log1p(rate * expm1(loss))
    } else {
        log(rate) + loss + log1p((1.0 - rate) / rate * exp(-loss))
    }
}

/// ln of an outcome's part of the moment less 1, given its privacy loss ln(P/Q), ln P and ln Q.
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
        // What is left out is taken away.
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
