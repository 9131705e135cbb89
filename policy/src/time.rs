//! Instants and durations, in whole microseconds. Callers give them to the engine, which reads no clock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An instant: microseconds since the Unix epoch, or since a simulation's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// The instant this many microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds after the start.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// This instant plus `span`; the last instant, 584,000 years after the start, if that is beyond it. A
    /// timeout or a step at the last instant never happens.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

/// A duration in microseconds, written like `90s`, `1h30m` or `720h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(u64);

/// Why a text is not a duration. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpanError {
    /// Not numbers with units.
    #[error("{0:?} is not a duration: write numbers with units ms, s, m, h or d, like 90s or 1h30m")]
    NotADuration(String),
    /// More microseconds than 63 bits hold.
    #[error("{0:?} is too long a duration: write at most 106751991d")]
    TooLong(String),
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

impl Span {
    /// A span of this many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A span of this many seconds; the longest span, 584,000 years, if that is beyond it.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Its length in microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let not_a_duration = || SpanError::NotADuration(text.to_owned());
        let too_long = || SpanError::TooLong(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(not_a_duration());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let (_, micros) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(not_a_duration)?;
            if number.is_empty() {
                return Err(not_a_duration());
            }
            let number: u64 = number.parse().map_err(|_| too_long())?;
            total = number
                .checked_mul(*micros)
                .and_then(|add| total.checked_add(add))
                .ok_or_else(too_long)?;
            rest = tail;
        }
        // Kubernetes keeps integers of 63 bits: a larger one comes back from it as a float, and its entry's hash would not
        // be that of its content any more.
        if i64::try_from(total).is_err() {
            return Err(too_long());
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, micros) in UNITS.iter().rev().filter(|(unit, _)| *unit != "ms") {
            if rest >= *micros {
                write!(f, "{}{unit}", rest / micros)?;
                rest %= micros;
            }
        }
        // Fractions of a millisecond are not written: no user gives or needs them.
        if rest >= 1_000 {
            write!(f, "{}ms", rest / 1_000)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, micros, shown) in [
            ("90s", 90_000_000, "1m30s"),
            ("1h30m", 5_400_000_000, "1h30m"),
            ("720h", 2_592_000_000_000, "30d"),
            ("250ms", 250_000, "250ms"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.micros(), span.to_string().as_str()), (micros, shown));
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "10", "h", "1.5h", "-1s", "1x", "inf", "10s!"] {
            assert_eq!(
                text.parse::<Span>(),
                Err(SpanError::NotADuration(text.to_owned())),
                "{text}"
            );
        }
        assert!(matches!(
            "999999999999999999d".parse::<Span>(),
            Err(SpanError::TooLong(_))
        ));
    }
}
