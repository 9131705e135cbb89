//! Virtual time: conversion between seconds and the engine's time. One microsecond of the engine stands for a
//! tenth of a nanosecond here. In that unit the ticks of the simulator released with the OSDI'21 paper
//! (2.1323905 ms) are whole numbers, so they never drift from its arrivals.

use privatekube_policy::{Span, Time};
use thiserror::Error;

const UNITS_PER_SECOND: f64 = 1e10;
/// About 29 years. The count of units stays below 2^63.
const MOST_SECONDS: f64 = 9e8;

/// A number of seconds that can't be simulated: negative, not finite, or more than 29 years.
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

/// Converts seconds since the start to an instant, rounded to a tenth of a nanosecond.
pub fn time(seconds: f64) -> Result<Time, TooLong> {
    units(seconds).map(Time::from_micros)
}

/// Converts seconds to a duration, rounded to a tenth of a nanosecond.
pub fn span(seconds: f64) -> Result<Span, TooLong> {
    units(seconds).map(Span::from_micros)
}

/// Converts an instant to seconds since the start.
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
    fn decimal_seconds_convert_to_time_and_back_unchanged() {
        for text in ["0.000001", "12.345678", "299.999999", "0.0021323905", "47170"] {
            let value: f64 = text.parse().unwrap();
            assert_eq!(seconds(time(value).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn an_invalid_duration_is_refused() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e10] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
