//! Summaries of many numbers.

use privatekube_policy::Time;
use serde::Serialize;

use crate::seconds;

/// The distribution of some numbers. The p-quantile is the smallest number that at least a fraction p of them
/// does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many numbers there are.
    pub count: usize,
    /// The mean.
    pub average: f64,
    /// The smallest.
    pub min: f64,
    /// The 10th percentile.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Summarizes numbers; `None` if there are none.
    pub(super) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let quantile = |percent: usize| {
            let place = (numbers.len() * percent).div_ceil(100).max(1);
            numbers.get(place - 1).copied().unwrap_or(max)
        };
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^32 tasks")]
        let count = numbers.len() as f64;
        Some(Self {
            count: numbers.len(),
            average: numbers.iter().sum::<f64>() / count,
            min,
            p10: quantile(10),
            p50: quantile(50),
            p90: quantile(90),
            max,
        })
    }
}

/// From `earlier` to `later`, in seconds. The caller has compared them, so that nothing saturates.
pub(super) fn difference(later: Time, earlier: Time) -> f64 {
    seconds(Time::from_micros(later.micros().saturating_sub(earlier.micros())))
}
