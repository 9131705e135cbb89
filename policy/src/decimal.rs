//! Exact epsilons and deltas: integers in a fixed unit, parsed from and displayed as decimals. No float is
//! involved: a text that cannot be represented exactly is refused, never rounded.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::short::{Rounding, short};

/// Why a text is not an amount. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecimalError {
    /// Not a decimal at all.
    #[error("{0:?} is not a number: write a decimal like 0.5 or 1e-9")]
    NotANumber(String),
    /// A minus sign.
    #[error("{0:?} is negative: it must be zero or more")]
    Negative(String),
    /// Infinity or not-a-number, as floats spell them.
    #[error("{0:?} is not finite: write a decimal like 0.5 or 1e-9")]
    NotFinite(String),
    /// More decimals than the unit holds.
    #[error("{text:?} has too many digits: at most {decimals} decimals are exact")]
    TooManyDigits {
        /// What was written.
        text: String,
        /// How many decimals the unit holds.
        decimals: u32,
    },
    /// Larger than the integer holds.
    #[error("{text:?} is too large: at most {most}")]
    TooLarge {
        /// What was written.
        text: String,
        /// The largest value accepted.
        most: &'static str,
    },
}

/// The most significant digits of a number; far more than any amount has.
const MOST_DIGITS: usize = 60;

/// `text` in units of 10^-`decimals`, exactly.
fn parse(text: &str, decimals: u32, most: i64, most_text: &'static str) -> Result<i64, DecimalError> {
    let not_a_number = || DecimalError::NotANumber(text.to_owned());
    let trimmed = text.trim();
    let (negative, unsigned) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if ["inf", "infinity", "nan", ".inf", ".nan"].contains(&unsigned.to_ascii_lowercase().as_str()) {
        return Err(DecimalError::NotFinite(text.to_owned()));
    }
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (
            &unsigned[..at],
            unsigned[at + 1..].parse::<i32>().map_err(|_| not_a_number())?,
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return Err(not_a_number());
    }
    let significant: Vec<u8> = digits().skip_while(|digit| *digit == b'0').collect();
    if significant.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(DecimalError::Negative(text.to_owned()));
    }
    let too_large = || DecimalError::TooLarge {
        text: text.to_owned(),
        most: most_text,
    };
    let too_many = || DecimalError::TooManyDigits {
        text: text.to_owned(),
        decimals,
    };
    if significant.len() > MOST_DIGITS {
        return Err(too_many());
    }
    let fraction_digits = i64::try_from(fraction.len()).map_err(|_| too_many())?;
    // The value is `significant` x 10^shift units.
    let shift = i64::from(exponent) - fraction_digits + i64::from(decimals);
    let mut kept = significant.as_slice();
    let mut shift = shift;
    while shift < 0 {
        match kept.split_last() {
            Some((b'0', rest)) => {
                kept = rest;
                shift += 1;
            }
            _ => return Err(too_many()),
        }
    }
    let mut units: i64 = 0;
    for digit in kept.iter().map(|digit| i64::from(digit - b'0')) {
        units = units
            .checked_mul(10)
            .and_then(|units| units.checked_add(digit))
            .ok_or_else(too_large)?;
    }
    for _ in 0..shift {
        units = units.checked_mul(10).ok_or_else(too_large)?;
    }
    if units > most { Err(too_large()) } else { Ok(units) }
}

/// `units` of 10^-`decimals` as the shortest decimal that is exact.
fn write(units: i128, decimals: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let fraction = fraction.trim_end_matches('0');
    let sign = if units < 0 { "-" } else { "" };
    if fraction.is_empty() {
        write!(f, "{sign}{whole}")
    } else {
        write!(f, "{sign}{whole}.{fraction}")
    }
}

macro_rules! amount {
    ($name:ident, $decimals:literal, $most:expr, $most_text:literal, $what:literal) => {
        #[doc = $what]
        ///
        /// Read from a decimal (`0.5`, `1e-9`) without rounding; displayed as the shortest exact decimal.
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(i128);

        impl $name {
            /// How many decimals a unit stands for.
            pub const DECIMALS: u32 = $decimals;
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// An amount of this many units. It may be negative, as what is available at an overdrawn Renyi
            /// order; a parsed amount never is.
            #[must_use]
            pub const fn from_units(units: i128) -> Self {
                Self(units)
            }

            /// The amount in units of 10^-[`DECIMALS`](Self::DECIMALS).
            #[must_use]
            pub const fn units(self) -> i128 {
                self.0
            }

            /// The amount with 4 significant digits, for people: `0.5`, `4.627`, `1e-9`.
            #[must_use]
            pub fn short(self, rounding: Rounding) -> String {
                short(self.0, $decimals, rounding)
            }
        }

        impl FromStr for $name {
            type Err = DecimalError;

            fn from_str(text: &str) -> Result<Self, DecimalError> {
                parse(text, $decimals, $most, $most_text).map(|units| Self(i128::from(units)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(self.0, $decimals as usize, f)
            }
        }
    };
}

amount!(
    Epsilon,
    12,
    9_000_000_000_000_000_000,
    "9000000",
    "An epsilon in units of 1e-12, at most 9 million when parsed."
);
amount!(
    Delta,
    18,
    1_000_000_000_000_000_000,
    "1",
    "A delta in units of 1e-18, at most 1 when parsed."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, units) in [
            ("0.5", 500_000_000_000),
            ("10", 10_000_000_000_000),
            ("1e-12", 1),
            ("5E-1", 500_000_000_000),
            (" +.25", 250_000_000_000),
            ("1.", 1_000_000_000_000),
            ("0.1000000000000000000000", 100_000_000_000),
            ("0", 0),
            ("-0.0", 0),
            ("0e999999999", 0),
        ] {
            assert_eq!(text.parse::<Epsilon>().map(Epsilon::units), Ok(units), "{text}");
        }
        assert_eq!("1e-9".parse::<Delta>().map(Delta::units), Ok(1_000_000_000));
    }

    #[test]
    fn what_is_not_exact_is_refused_and_says_what_is_accepted() {
        for (text, message) in [
            ("", "\"\" is not a number: write a decimal like 0.5 or 1e-9"),
            (
                "much",
                "\"much\" is not a number: write a decimal like 0.5 or 1e-9",
            ),
            (
                "1_000",
                "\"1_000\" is not a number: write a decimal like 0.5 or 1e-9",
            ),
            ("1e", "\"1e\" is not a number: write a decimal like 0.5 or 1e-9"),
            ("-1", "\"-1\" is negative: it must be zero or more"),
            ("inf", "\"inf\" is not finite: write a decimal like 0.5 or 1e-9"),
            (
                "-Infinity",
                "\"-Infinity\" is not finite: write a decimal like 0.5 or 1e-9",
            ),
            ("NaN", "\"NaN\" is not finite: write a decimal like 0.5 or 1e-9"),
            (
                "1e-13",
                "\"1e-13\" has too many digits: at most 12 decimals are exact",
            ),
            (
                "0.1234567890123",
                "\"0.1234567890123\" has too many digits: at most 12 decimals are exact",
            ),
            ("9000000.1", "\"9000000.1\" is too large: at most 9000000"),
            ("1e300", "\"1e300\" is too large: at most 9000000"),
            ("1e2000000000", "\"1e2000000000\" is too large: at most 9000000"),
        ] {
            assert_eq!(
                text.parse::<Epsilon>().map_err(|error| error.to_string()),
                Err(message.to_owned())
            );
        }
        assert!("1.1".parse::<Delta>().is_err());
    }

    #[test]
    fn amounts_are_written_as_they_would_be_read() {
        for text in ["0", "0.5", "12.000000000001", "9000000", "0.0000001"] {
            assert_eq!(
                text.parse::<Epsilon>().map(|epsilon| epsilon.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(Epsilon::from_units(-1_500_000_000_000).to_string(), "-1.5");
    }
}
