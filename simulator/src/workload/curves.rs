//! The curves of DPack's microbenchmark (EuroSys'25, section 6.2). There are 620 Renyi curves of seven
//! families of mechanisms. Those that demand between a hundredth of a block and all of it are kept, and are
//! shifted and scaled so that all have the same demand at their best orders, but different best orders.
//!
//! Parameters, ranges and scaling are those of the authors' generator; the mechanisms are those of
//! `privatekube-policy`. One error is corrected: in the authors' generator a missing sign makes best orders
//! more frequent with their distance from the centre.

use std::collections::BTreeMap;

use privatekube_policy::{Budget, Composition, CompositionError, Mechanism, MechanismError, Orders};

use crate::Random;

/// A family of mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    /// A Gaussian.
    Gaussian,
    /// A Gaussian at each node of a tree over a dataset: DP-FTRL.
    DpFtrl,
    /// A Laplace mechanism.
    Laplace,
    /// A Laplace mechanism and a Gaussian.
    LaplaceAndGaussian,
    /// Two Laplace mechanisms.
    TwoLaplace,
    /// Gaussians on samples: DP-SGD.
    SampledGaussian,
    /// Laplace mechanisms on samples.
    SampledLaplace,
}

impl Family {
    /// All families, in the order of [`zoo`].
    pub(super) const ALL: [Self; 7] = [
        Self::Gaussian,
        Self::DpFtrl,
        Self::Laplace,
        Self::LaplaceAndGaussian,
        Self::TwoLaplace,
        Self::SampledGaussian,
        Self::SampledLaplace,
    ];

    /// Returns its place in [`ALL`](Self::ALL).
    #[must_use]
    pub(super) const fn place(self) -> usize {
        self as usize
    }

    /// Returns its name.
    #[must_use]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gaussian => "gaussian",
            Self::DpFtrl => "dp-ftrl",
            Self::Laplace => "laplace",
            Self::LaplaceAndGaussian => "laplace and gaussian",
            Self::TwoLaplace => "two laplace",
            Self::SampledGaussian => "sampled gaussian",
            Self::SampledLaplace => "sampled laplace",
        }
    }
}

/// A Renyi curve over a block's orders.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve {
    /// The family of its mechanism.
    pub(super) family: Family,
    /// The mechanism of the curve before it was shifted and scaled.
    pub(super) mechanism: Mechanism,
    /// Its demand at each order, as a part of the block's capacity there; infinite where the capacity is 0.
    pub(super) shares: Vec<f64>,
}

impl Curve {
    /// Returns the place of the best order, at which it demands the smallest part of the block; of equal ones
    /// the first.
    #[must_use]
    pub(super) fn best_order(&self) -> usize {
        let shares = self.shares.iter().enumerate();
        let best = shares.min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map_or(0, |(at, _)| at)
    }

    /// Returns its share at its best order.
    #[must_use]
    pub(super) fn least(&self) -> f64 {
        self.shares.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Returns the range of its shares over the orders 4, 5, 6 and 8, which matter most.
    fn range(&self, orders: &Orders) -> f64 {
        let middle = orders.iter().zip(&self.shares);
        let middle = middle.filter(|(order, _)| [4.0, 5.0, 6.0, 8.0].contains(&order.value()));
        let (least, most) = middle.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), (_, share)| {
            (least.min(*share), most.max(*share))
        });
        most - least
    }

    /// Returns its demand on a block of `capacity`, rounded up. At an order without capacity the demand is 0,
    /// since no amount fits there.
    pub(super) fn demand(&self, capacity: &Budget) -> Result<Budget, CompositionError> {
        let units = self.shares.iter().zip(capacity.units()).map(|(share, capacity)| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "a part of a capacity; what is beyond 64 bits becomes the most that they hold"
            )]
            let demanded = (share * *capacity as f64).ceil() as i64;
            if *capacity == 0 { 0 } else { demanded }
        });
        Budget::new(units.collect())
    }
}

/// Returns a geometric sequence of `count` numbers from `first` to `last`.
fn geometric(first: f64, last: f64, count: u32) -> impl Iterator<Item = f64> {
    let step = (last / first).ln() / f64::from(count - 1);
    (0..count).map(move |at| first * (step * f64::from(at)).exp())
}

/// Returns the 620 mechanisms as texts.
fn mechanisms() -> Vec<(Family, String)> {
    const SCALES: [f64; 8] = [0.05, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0];
    const SAMPLED_SCALES: [f64; 4] = [0.1, 0.5, 1.0, 2.0];
    /// Reciprocals of the sampling rates.
    const SAMPLING: [u32; 6] = [1000, 100, 20, 10, 5, 2];
    const EPOCHS: [u32; 4] = [1, 10, 100, 200];
    let mut all = Vec::new();
    for sigma in geometric(0.01, 10.0, 100) {
        all.push((Family::Gaussian, format!("gaussian(sigma={sigma})")));
    }
    for sigma in geometric(0.01, 10.0, 10) {
        for records in geometric(1e3, 1e8, 10) {
            let nodes = records.ln().ceil();
            all.push((Family::DpFtrl, format!("{nodes}*gaussian(sigma={sigma})")));
        }
    }
    for scale in geometric(0.01, 10.0, 100) {
        all.push((Family::Laplace, format!("laplace(scale={scale})")));
    }
    for one in SCALES {
        for other in SCALES {
            let laplace = format!("laplace(scale={one})");
            all.push((
                Family::LaplaceAndGaussian,
                format!("{laplace} + gaussian(sigma={other})"),
            ));
            all.push((Family::TwoLaplace, format!("{laplace} + laplace(scale={other})")));
        }
    }
    for epochs in EPOCHS {
        for one_in in SAMPLING {
            for scale in SAMPLED_SCALES {
                let (steps, rate) = (epochs * one_in, 1.0 / f64::from(one_in));
                all.push((
                    Family::SampledGaussian,
                    format!("dp-sgd(noise-multiplier={scale},sample-rate={rate},steps={steps})"),
                ));
                all.push((
                    Family::SampledLaplace,
                    format!("{steps}*subsampled-laplace(scale={scale},sample-rate={rate})"),
                ));
            }
        }
    }
    all
}

/// Returns all 620 curves, with shares of a block of `capacity`.
pub(super) fn zoo(orders: &Orders, capacity: &Budget) -> Result<Vec<Curve>, MechanismError> {
    let composition = Composition::Renyi(orders.clone());
    let curve = |(family, text): (Family, String)| {
        let mechanism: Mechanism = text.parse()?;
        let demand = mechanism.demand(&composition)?;
        let shares = demand.units().iter().zip(capacity.units());
        #[expect(clippy::cast_precision_loss, reason = "shares are compared as floats")]
        let shares = shares.map(|(demanded, capacity)| match capacity {
            0 => f64::INFINITY,
            capacity => *demanded as f64 / *capacity as f64,
        });
        Ok(Curve {
            family,
            shares: shares.collect(),
            mechanism,
        })
    };
    mechanisms().into_iter().map(curve).collect()
}

/// Keeps the curves that demand more than a hundredth of a block at their best order, and less than all of
/// it.
#[must_use]
pub(super) fn in_range(mut curves: Vec<Curve>) -> Vec<Curve> {
    curves.retain(|curve| curve.least() > 0.01 && curve.least() < 1.0);
    curves
}

/// The shape that curves are transformed to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Share of each curve at its best order.
    pub(super) least: f64,
    /// Mean range of the shares over the orders 4 to 8.
    pub(super) range_average: f64,
    /// Standard deviation of that range.
    pub(super) range_deviation: f64,
}

/// Shifts and scales curves to `shape`, separately for each best order. Drops curves whose share at the best
/// order is then not above 1e-10 and below 1, and a curve that is the only one with its best order.
#[must_use]
pub(super) fn shaped(curves: &[Curve], orders: &Orders, shape: Shape) -> Vec<Curve> {
    let mut groups: BTreeMap<usize, Vec<&Curve>> = BTreeMap::new();
    for curve in curves {
        groups.entry(curve.best_order()).or_default().push(curve);
    }
    let mut shaped = Vec::new();
    for group in groups.values().filter(|group| group.len() > 1) {
        let ranges: Vec<f64> = group.iter().map(|curve| curve.range(orders)).collect();
        let (average, deviation) = average_and_deviation(&ranges);
        for (curve, range) in group.iter().zip(&ranges) {
            let wanted = shape.range_average + shape.range_deviation * (range - average) / deviation;
            let shares = curve.shares.iter();
            let bent = |share: &f64| shape.least + wanted / range * (share - curve.least());
            // Infinite shares stay infinite.
            let shares = shares.map(|share| if share.is_finite() { bent(share) } else { *share });
            let curve = Curve {
                shares: shares.collect(),
                ..(*curve).clone()
            };
            if (1e-10..1.0).contains(&curve.least()) {
                shaped.push(curve);
            }
        }
    }
    shaped
}

/// Returns the mean and the standard deviation of a sample of two or more.
fn average_and_deviation(values: &[f64]) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let count = values.len() as f64;
    let average = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - average).powi(2));
    (average, (squares.sum::<f64>() / (count - 1.0)).sqrt())
}

/// Draws curves whose best orders follow a discrete Gaussian over the orders' places. Curves with the same
/// best order have equal probabilities.
#[derive(Debug)]
pub(super) struct Picker<'a> {
    /// The curves, each with the cumulative weight up to it.
    curves: Vec<(f64, &'a Curve)>,
}

impl<'a> Picker<'a> {
    /// Makes a picker of best orders around the place `centre` with the standard deviation `spread`; with 0,
    /// all are at `centre`.
    #[must_use]
    pub(super) fn new(curves: &'a [Curve], centre: usize, spread: f64) -> Self {
        let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
        for curve in curves {
            *counts.entry(curve.best_order()).or_default() += 1;
        }
        let mut total = 0.0;
        let weighed = curves.iter().filter_map(|curve| {
            let best = curve.best_order();
            let weight = around(best.abs_diff(centre), spread) / f64::from(*counts.get(&best)?);
            total += weight;
            (weight > 0.0).then_some((total, curve))
        });
        Self {
            curves: weighed.collect(),
        }
    }

    /// Draws a curve; `None` if there are none.
    pub(super) fn pick(&self, random: &mut Random) -> Option<&'a Curve> {
        let (total, last) = self.curves.last()?;
        let drawn = random.random() * total;
        let at = self.curves.partition_point(|(up_to, _)| *up_to <= drawn);
        self.curves.get(at).map_or(Some(*last), |(_, curve)| Some(*curve))
    }
}

/// Returns the weight, up to a factor, of a whole number at this distance from the centre of a discrete
/// Gaussian.
pub(super) fn around(distance: usize, spread: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "tens at most")]
    let distance = distance as f64;
    if distance == 0.0 {
        1.0
    } else if spread > 0.0 {
        (-distance * distance / (2.0 * spread * spread)).exp()
    } else {
        0.0
    }
}
