//! Rounds demands so that a trace file can hold them: JSON numbers keep 15 digits of any decimal.

use privatekube_policy::{Budget, CompositionError};

const MOST_DIGITS: u32 = 15;

/// Rounds `demand` up to 15 digits at each order. Only demands far above any block's capacity have more.
pub(super) fn writable(demand: &Budget) -> Result<Budget, CompositionError> {
    let units = demand.units().iter();
    Budget::new(units.map(|units| round_up(*units)).collect())
}

fn round_up(units: i64) -> i64 {
    let digits = units.checked_ilog10().map_or(1, |log| log + 1);
    let step = 10_i64.pow(digits.saturating_sub(MOST_DIGITS));
    match units % step {
        0 => units,
        // Saturated at 2^63 - 1 units, which no block's capacity comes near: the demand is denied either way.
        rest => units.saturating_add(step - rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_15_digits_are_rounded_up() {
        for (units, rounded) in [
            (0, 0),
            (7, 7),
            (123_456_789_012_345, 123_456_789_012_345),
            (1_234_567_890_123_451, 1_234_567_890_123_460),
            (31_096_896_479_720_924, 31_096_896_479_721_000),
            (999_999_999_999_999_999, 1_000_000_000_000_000_000),
            (i64::MAX, i64::MAX),
        ] {
            assert_eq!(round_up(units), rounded);
        }
    }
}
