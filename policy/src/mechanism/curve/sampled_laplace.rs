//! The Laplace mechanism on a Poisson sample.

use std::f64::consts::LN_2;

use libm::log;

use super::{
    MARGIN,
    finite::pure_units,
    laplace::laplace,
    moment::{Part, log_moment, log_part, sampled_loss, sampled_size},
    units,
};

/// Beyond it, only what holds for every pure mechanism is counted in favour of this one.
const MOST_PANELS: f64 = 2000.0;

/// Gauss and Legendre's nodes on (-1, 1) with their weights; each stands for its negative, too.
const NODES: [(f64, f64); 5] = [
    (0.973_906_528_517_171_7, 0.066_671_344_308_688_14),
    (0.865_063_366_688_984_5, 0.149_451_349_150_580_6),
    (0.679_409_568_299_024_4, 0.219_086_362_515_982),
    (0.433_395_394_129_247_2, 0.269_266_719_309_996_4),
    (0.148_874_338_981_631_2, 0.295_524_224_714_752_9),
];

/// The pure epsilon of a mechanism with the pure epsilon 1/`scale` on a Poisson sample: ln(1 + q (e^(1/b) -
/// 1)).
pub(in crate::mechanism) fn sampled_pure(scale: f64, rate: f64) -> i64 {
    units(sampled_loss(1.0 / scale, rate), 10.0 * MARGIN).min(units(1.0 / scale, MARGIN))
}

/// The larger of the divergences of (1-q) Laplace(0) + q Laplace(1) from Laplace(0) and back (a record
/// removed and added; Zhu, Dong and Wang 2022, Theorem 11, with Laplace(1) and Laplace(0) as the dominating
/// pair).
pub(in crate::mechanism) fn sampled_laplace(scale: f64, rate: f64, order: f64) -> i64 {
    let unsampled = laplace(scale, order);
    if rate >= 1.0 {
        return unsampled;
    }
    let bound = unsampled.min(pure_units(sampled_loss(1.0 / scale, rate), order));
    // e^(a loss) turns by e at most over half a panel.
    let panels = (order.max(2.0) / scale).ceil().max(1.0);
    if panels.is_nan() || panels > MOST_PANELS {
        return bound;
    }
    let outcomes = outcomes(1.0 / scale, panels);
    let divergence = |removed: bool| {
        let part = |(loss, log_without): &(f64, f64)| {
            let sampled = sampled_loss(*loss, rate);
            let log_with = log_without + sampled;
            let log = if removed {
                log_part(sampled, log_with, *log_without, order)
            } else {
                log_part(-sampled, *log_without, log_with, order)
            };
            Part {
                log,
                size: sampled_size(*loss, sampled, rate, order) + log_without.abs(),
            }
        };
        let parts: Vec<Part> = outcomes.iter().map(part).collect();
        let moment = log_moment(&parts, 1.0);
        units(moment.value / (order - 1.0), moment.margin)
    };
    divergence(true).max(divergence(false)).min(bound)
}

/// The privacy loss of Laplace(1) against Laplace(0) with ln of its probability under Laplace(0): 1/2 at
/// -`edge`, e^-`edge` / 2 at `edge`, and a density of e^(-`edge`/2 - loss/2) / 4 between them.
fn outcomes(edge: f64, panels: f64) -> Vec<(f64, f64)> {
    let mut outcomes = vec![(-edge, -LN_2), (edge, -edge - LN_2)];
    let half = edge / panels;
    let mut middle = half - edge;
    while middle < edge {
        for (node, weight) in NODES {
            for loss in [middle - node * half, middle + node * half] {
                outcomes.push((loss, log(weight * half / 4.0) - edge / 2.0 - loss / 2.0));
            }
        }
        middle += 2.0 * half;
    }
    outcomes
}
