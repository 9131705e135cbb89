//! Mechanisms whose worst pair of output distributions has only two or three privacy losses: pure,
//! exponential and randomized response.

use libm::{expm1, log, log1p};

use super::{
    MARGIN,
    moment::{Part, log_moment, log_part_less, log_part_more},
    units,
};
use crate::{Epsilon, budget::saturate, mechanism::neighbours::Neighbours};

/// A value of the privacy loss ln(P/Q), with the logarithm of its probability: under P if it is above 0, else
/// under Q.
struct Loss {
    loss: f64,
    log_weight: f64,
}

/// The Renyi divergence of these losses in units, rounded up.
fn renyi_units(losses: &[Loss], order: f64) -> i64 {
    let part = |Loss { loss, log_weight }: &Loss| {
        let log_part = if *loss > 0.0 { log_part_more } else { log_part_less };
        Part {
            log: log_weight + log_part(*loss, order),
            size: log_weight.abs() + 2.0 * order * loss.abs(),
        }
    };
    let parts: Vec<Part> = losses.iter().map(part).collect();
    let moment = log_moment(&parts, 1.0);
    units(moment.value / (order - 1.0), moment.margin)
}

/// The most that any epsilon-DP mechanism can cost: a fair answer to a yes-or-no question that is true with
/// probability e^epsilon / (1 + e^epsilon) (Mironov 2017, Proposition 5; Bun and Steinke 2016, Proposition
/// 3.3, says why none costs more).
pub(in crate::mechanism) fn pure(epsilon: Epsilon, order: f64) -> i64 {
    pure_units(value(epsilon), order).min(saturate(epsilon.units()))
}

/// [`pure`] for an epsilon that is a float.
pub(super) fn pure_units(epsilon: f64, order: f64) -> i64 {
    let log_weight = -log1p(libm::exp(-epsilon));
    let losses = [epsilon, -epsilon].map(|loss| Loss { loss, log_weight });
    renyi_units(&losses, order).min(units(epsilon, MARGIN))
}

/// The most that any epsilon-bounded-range mechanism can cost, which the exponential mechanism is: its losses
/// lie between some t - epsilon and t, and the worst is one that takes only these two (Dong, Durfee and
/// Rogers 2020, section 3). The t that maximises it is epsilon - `gap`, by its derivative.
pub(in crate::mechanism) fn exponential(epsilon: Epsilon, order: f64) -> i64 {
    /// Below this epsilon the bound is as good as the exact value, and `gap` would have too few digits.
    const SMALL: f64 = 1e-6;
    let range = value(epsilon);
    // Cesar and Rogers 2021, Lemma 4.
    let bound = units(range * range * order / 8.0, MARGIN).min(saturate(epsilon.units()));
    if range < SMALL {
        return bound;
    }
    let log_ratio = log(-expm1(-order * range)) - log(-expm1(-(order - 1.0) * range));
    let gap = (log1p(1.0 / (order - 1.0)) - log_ratio).clamp(0.0, range);
    let log_share = |part: f64| log(expm1(-part) / expm1(-range));
    let losses = [
        Loss {
            loss: range - gap,
            log_weight: log_share(gap),
        },
        Loss {
            loss: -gap,
            log_weight: log_share(range - gap),
        },
    ];
    renyi_units(&losses, order).min(bound)
}

/// A uniformly drawn answer with probability `noise_probability`, else the true one.
pub(in crate::mechanism) fn randomized_response(
    noise_probability: f64,
    categories: u64,
    neighbours: Neighbours,
    order: f64,
) -> i64 {
    let categories = float(categories);
    let log_truth = log((1.0 - noise_probability) + noise_probability / categories);
    let log_others = log((categories - 1.0) / categories);
    let direction = |more: (f64, f64), less: (f64, f64)| {
        let losses = [more, less].map(|(loss, log_weight)| Loss { loss, log_weight });
        renyi_units(&losses, order)
    };
    let (above, below) = response_losses(noise_probability, categories, neighbours);
    let cost = match neighbours {
        // The answers are the true one of either neighbour, and the others, which are equally probable for
        // both.
        Neighbours::ReplaceOne => direction((above, log_truth), (-below, log_truth)),
        // The larger of both directions.
        Neighbours::ReplaceSpecial => i64::max(
            direction((above, log_truth), (-below, log_others)),
            direction((below, log_others), (-above, log_truth)),
        ),
    };
    cost.min(response_pure(noise_probability, categories, neighbours))
}

/// The pure epsilon of a randomized response.
pub(in crate::mechanism) fn randomized_response_pure(
    noise_probability: f64,
    categories: u64,
    neighbours: Neighbours,
) -> i64 {
    response_pure(noise_probability, float(categories), neighbours)
}

fn response_pure(noise_probability: f64, categories: f64, neighbours: Neighbours) -> i64 {
    let (above, below) = response_losses(noise_probability, categories, neighbours);
    units(above.max(below), 10.0 * MARGIN)
}

/// The largest privacy losses in both directions: the logarithms of how much more, and how much less,
/// probable an answer is for one neighbour than for the other.
fn response_losses(noise_probability: f64, categories: f64, neighbours: Neighbours) -> (f64, f64) {
    let truth = 1.0 - noise_probability;
    match neighbours {
        Neighbours::ReplaceOne => {
            let ratio = truth / noise_probability * categories;
            let loss = if ratio.is_finite() {
                log1p(ratio)
            } else {
                log(truth) - log(noise_probability) + log(categories)
            };
            (loss, loss)
        }
        Neighbours::ReplaceSpecial => (log1p(truth * (categories - 1.0)), -log(noise_probability)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
fn value(epsilon: Epsilon) -> f64 {
    epsilon.units() as f64 / 1e12
}

#[expect(clippy::cast_precision_loss, reason = "the margin is larger")]
fn float(whole: u64) -> f64 {
    whole as f64
}
