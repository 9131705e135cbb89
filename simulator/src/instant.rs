//! Virtual time. One of the engine's microseconds stands for a tenth of a nanosecond here, so that the reference
//! simulator's ticks (2.1323905 ms) are whole numbers and never drift from its arrivals.

use privatekube_policy::{Span, Time};
use thiserror::Error;

const UNITS_PER_SECOND: f64 = 1e10;
/// About 29 years; below it every unit is exact in a double.
const MOST_SECONDS: f64 = 9e8;

/// Seconds that can't be simulated.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} seconds can't be simulated: accepted is 0 to 900000000")]
pub struct TooLong(pub f64);

fn units(seconds: f64) -> Result<u64, TooLong> {
    if !(0.0..=MOST_SECONDS).contains(&seconds) {
        return Err(TooLong(seconds));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 9e18, which is below 2^63"
    )]
    let units = (seconds * UNITS_PER_SECOND).round() as u64;
    Ok(units)
}

/// The instant so many seconds after the start, to a tenth of a nanosecond.
pub fn time(seconds: f64) -> Result<Time, TooLong> {
    units(seconds).map(Time::from_micros)
}

/// A duration in seconds, to a tenth of a nanosecond.
pub fn span(seconds: f64) -> Result<Span, TooLong> {
    units(seconds).map(Span::from_micros)
}

/// Seconds after the start.
#[must_use]
pub fn seconds(time: Time) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "only an instant after 10 days loses tenths of nanoseconds"
    )]
    let units = time.micros() as f64;
    units / UNITS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back_as_they_were() {
        for text in ["0.000001", "12.345678", "299.999999", "0.0021323905", "47170"] {
            let value: f64 = text.parse().unwrap();
            assert_eq!(seconds(time(value).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e10] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
