//! Floats of the old system as exact integers, rounded to the safe side.

use privatekube_policy::{Delta, Epsilon};
use serde_json::Value;

/// Which way an amount is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What there is.
    Down,
    /// What was used.
    Up,
}

/// A number of JSON in units of 10^-`decimals`; `None` if it is no number, negative, or beyond what counts. The digits are
/// those that were written, so nothing is lost that a float would lose.
pub(super) fn units(number: &Value, decimals: u32, side: Side) -> Option<i128> {
    let text = match number {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 36 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let shift = exponent + i32::try_from(decimals).ok()? - i32::try_from(fraction.len()).ok()?;
    let power = |exponent: i32| 10_i128.checked_pow(exponent.unsigned_abs());
    if shift >= 0 {
        return value.checked_mul(power(shift)?);
    }
    // So small that nothing of it is left of the point.
    let Some(divisor) = power(shift) else {
        return Some(i128::from(value > 0 && side == Side::Up));
    };
    let rest = value % divisor;
    Some(value / divisor + i128::from(rest > 0 && side == Side::Up))
}

pub(super) fn epsilon(number: &Value, side: Side) -> Option<i128> {
    units(number, Epsilon::DECIMALS, side)
}

pub(super) fn delta(number: &Value, side: Side) -> Option<i128> {
    units(number, Delta::DECIMALS, side)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_rounded_to_the_safe_side() {
        for (number, down, up) in [
            (json!(5), 5_000_000_000_000, 5_000_000_000_000),
            (json!(0.1), 100_000_000_000, 100_000_000_000),
            (json!(1e-13), 0, 1),
            (json!(0.123_456_789_012_5), 123_456_789_012, 123_456_789_013),
            (json!(1e-60), 0, 1),
            (json!("2.5"), 2_500_000_000_000, 2_500_000_000_000),
        ] {
            assert_eq!(epsilon(&number, Side::Down), Some(down), "{number}");
            assert_eq!(epsilon(&number, Side::Up), Some(up), "{number}");
        }
        for wrong in [json!(-1), json!(null), json!("x"), json!(1e300)] {
            assert_eq!(epsilon(&wrong, Side::Up), None, "{wrong}");
        }
    }
}
