//! How many records a mechanism on a Poisson sample draws.

use std::fmt;

use super::kind::Number;

/// How many records are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sampling {
    /// Each with this probability, above 0 and at most 1.
    Rate(f64),
    /// So many on average, at least 1: the probability follows from how many records there are.
    BatchSize(u64),
}

impl Sampling {
    /// The probability with which a record is drawn. For a batch size the largest, 1, as if there were no more records than
    /// that: more records make it smaller, and with it the cost.
    pub(super) const fn rate(self) -> f64 {
        match self {
            Self::Rate(rate) => rate,
            Self::BatchSize(_) => 1.0,
        }
    }

    /// The same on so many records: a batch size becomes a probability, rounded up.
    pub(super) fn on_records(self, records: u64) -> Self {
        match self {
            Self::BatchSize(size) if size < records => Self::Rate(fraction(size, records)),
            Self::BatchSize(_) => Self::Rate(1.0),
            rate @ Self::Rate(_) => rate,
        }
    }
}

/// `part` / `whole`, rounded up to a float, for a part above 0 and below the whole.
#[expect(
    clippy::cast_precision_loss,
    reason = "it is told from the value whether the cast is exact"
)]
fn fraction(part: u64, whole: u64) -> f64 {
    /// From here on not every integer is a float.
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    let (mut part, mut whole) = (part, whole);
    while whole > EXACT {
        part = part.div_ceil(2);
        whole /= 2;
    }
    let (part, whole) = (part as f64, whole as f64);
    let rate = part / whole;
    // The fused operation rounds once, so that its sign is that of the exact difference.
    let rate = if rate.mul_add(whole, -part) < 0.0 {
        rate.next_up()
    } else {
        rate
    };
    rate.min(1.0)
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "sample-rate={}", Number(*rate)),
            Self::BatchSize(size) => write!(f, "batch-size={size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(records: u64, size: u64) -> String {
        Sampling::BatchSize(size).on_records(records).to_string()
    }

    #[test]
    fn a_batch_size_becomes_the_rate_on_so_many_records() {
        assert_eq!(on(1024, 256), "sample-rate=0.25");
        assert_eq!(on(25_600, 256), "sample-rate=0.01");
        for few in [10, 3, 0] {
            assert_eq!(on(few, 10), "sample-rate=1");
        }
        assert_eq!(Sampling::Rate(0.5).on_records(7), Sampling::Rate(0.5));
    }

    #[test]
    fn a_rate_is_never_below_the_fraction() {
        for (size, records) in [
            (1, 3),
            (2, 3),
            (256, 25_600),
            (1, u64::MAX),
            (7, 9_007_199_254_740_993),
        ] {
            // A normal float is its mantissa times a power of two.
            let bits = fraction(size, records).to_bits();
            let mantissa = u128::from((bits & ((1 << 52) - 1)) | (1 << 52));
            let shift = 1075 - (bits >> 52);
            assert!(
                mantissa * u128::from(records) >= u128::from(size) << shift,
                "{size}/{records}"
            );
        }
    }
}
