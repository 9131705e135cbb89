//! The Gaussian mechanism on a Poisson sample, as in DP-SGD. A whole order costs as many operations as the
//! order, another one up to [`MOST_POINTS`].

use libm::{expm1, log, log1p, sqrt};

use super::{
    MARGIN,
    gaussian::gaussian_epsilon,
    moment::{LogMoment, Part, log_moment, log_part_less, log_part_more, sampled_loss, sampled_size},
    units,
};

/// The largest order at which sampling is counted; beyond it the cost is that without sampling.
const MOST_SUMMED_ORDER: f64 = 32_768.0;
/// The most points of a sum for an order that is not whole; beyond it the moment is interpolated.
const MOST_POINTS: f64 = 50_000.0;

/// `steps` times the Gaussian on a Poisson sample (Mironov, Talwar and Zhang 2019, section 3).
#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
pub(in crate::mechanism) fn sampled_gaussian(sigma: f64, rate: f64, steps: u64, order: f64) -> i64 {
    let steps = steps as f64;
    // A sample costs at most as much as the whole data set.
    let whole = units(gaussian_epsilon(sigma, order) * steps, MARGIN);
    if rate >= 1.0 || order > MOST_SUMMED_ORDER {
        return whole;
    }
    let moment = if order.fract() == 0.0 {
        moment_whole(sigma, rate, order)
    } else {
        moment_fractional(sigma, rate, order)
    };
    units(moment.value / (order - 1.0) * steps, moment.margin).min(whole)
}

/// ln(e^x - 1).
fn log_expm1(x: f64) -> f64 {
    if x > 1.0 {
        x + log1p(-libm::exp(-x))
    } else {
        log(expm1(x))
    }
}

/// A for a whole order: it is the mean of e^((k^2-k) / 2 sigma^2) over a binomial k (equation 3.1 there), so
/// A - 1 is that of e^(...) - 1, in which k = 0 and 1 have no part.
fn moment_whole(sigma: f64, rate: f64, order: f64) -> LogMoment {
    let (log_rate, log_rest) = (log(rate), log1p(-rate));
    let mut choose = LongSum::default();
    choose.add(log(order));
    let mut parts = Vec::new();
    let mut k = 2.0;
    while k <= order {
        choose.add(log((order - k + 1.0) / k));
        let exponent = k * (k - 1.0) / sigma / sigma / 2.0;
        let (rest, rated) = ((order - k) * log_rest, k * log_rate);
        parts.push(Part {
            log: choose.value() + rest + rated + log_expm1(exponent),
            size: choose.size + k - rest - rated + exponent,
        });
        k += 1.0;
    }
    log_moment(&parts, 1.0)
}

/// A compensated sum of many terms of both signs, whose error is no more than that of the terms (Neumaier
/// 1974).
#[derive(Default)]
struct LongSum {
    sum: f64,
    lost: f64,
    /// The sum of the terms' sizes.
    size: f64,
}

impl LongSum {
    fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        let (large, small) = if self.sum.abs() >= term.abs() {
            (self.sum, term)
        } else {
            (term, self.sum)
        };
        self.lost += (large - sum) + small;
        self.sum = sum;
        self.size += term.abs();
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

/// A for an order between whole ones.
///
/// It is the mean of r^a with r = 1 - q + q e^(u/s - 1/2s^2) over a standard normal u, summed as `moment`
/// says, with equal steps: the integrand is analytic up to pi s from the real line, so with the step used the
/// sum is off by less than e^-100 of it. (The erfc series of section 3.3 there has terms of both signs, which
/// cost the digits of small values, and falls only as a power.)
fn moment_fractional(sigma: f64, rate: f64, order: f64) -> LogMoment {
    const TAIL: f64 = 12.0;
    let step = sigma.min(1.0) / 8.0;
    let end = order / sigma + TAIL;
    let points = (end + TAIL) / step;
    if points.is_nan() || points > MOST_POINTS {
        return moment_interpolated(sigma, rate, order);
    }
    let mut parts = Vec::new();
    let mut at = 0.0;
    while at <= points {
        let u = at * step - TAIL;
        let loss = (u - 1.0 / (2.0 * sigma)) / sigma;
        let sampled = sampled_loss(loss, rate);
        let part = if sampled > 0.0 {
            sampled + log_part_more(sampled, order)
        } else {
            log_part_less(sampled, order)
        };
        parts.push(Part {
            log: part - u * u / 2.0,
            size: u * u + sampled_size(loss, sampled, rate, order),
        });
        at += 1.0;
    }
    log_moment(&parts, step / sqrt(2.0 * std::f64::consts::PI))
}

/// An upper bound: ln A is convex in the order and 0 at order 1.
fn moment_interpolated(sigma: f64, rate: f64, order: f64) -> LogMoment {
    let below = order.floor();
    let weight = order - below;
    let high = moment_whole(sigma, rate, below + 1.0);
    if below < 2.0 {
        return LogMoment {
            value: high.value * weight,
            ..high
        };
    }
    let low = moment_whole(sigma, rate, below);
    LogMoment {
        value: low.value * (1.0 - weight) + high.value * weight,
        margin: low.margin.max(high.margin),
    }
}
