//! Amounts of budget: in the ledger integers, one for each coordinate; in statuses and grants decimals.

use serde_json::Value;

use crate::json::list;

/// The decimals of an epsilon in its unit of 1e-12.
pub(crate) const EPSILON_DECIMALS: usize = 12;
/// The decimals of a delta in its unit of 1e-18.
pub(crate) const DELTA_DECIMALS: usize = 18;

/// An amount from which on a demand only says that it is more than can be counted.
pub(crate) const BEYOND_COUNT: i128 = i64::MAX as i128;

/// The integers of a budget in an entry.
pub(crate) fn units(value: &Value) -> Option<Vec<i128>> {
    let numbers = value
        .as_array()?
        .iter()
        .map(|number| number.as_i64().map(i128::from));
    numbers.collect()
}

/// A decimal like -0.5 or 1e-9 in units of `decimals` places; none if it is no decimal or has more places.
pub(crate) fn decimal(text: &str, decimals: usize) -> Option<i128> {
    let (text, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, -1),
        None => (text, 1),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let places = i32::try_from(decimals).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    let number: i128 = digits.parse().ok()?;
    let power = 10_i128.checked_pow(places.unsigned_abs())?;
    if places >= 0 {
        return Some(sign * number.checked_mul(power)?);
    }
    (number % power == 0).then_some(sign * (number / power))
}

/// The amounts of a status or a grant, one for each coordinate. An epsilon that is null, because it can't be counted, is
/// none.
pub(crate) fn shown(value: &Value, is_renyi: bool) -> Option<Vec<Option<i128>>> {
    if is_renyi {
        let points = value["renyi"]
            .as_array()?
            .iter()
            .map(|point| match &point["epsilon"] {
                Value::Null => Some(None),
                epsilon => decimal(epsilon.as_str()?, EPSILON_DECIMALS).map(Some),
            });
        return points.collect();
    }
    let epsilon = decimal(value["epsilon"].as_str()?, EPSILON_DECIMALS)?;
    let delta = decimal(value["delta"].as_str()?, DELTA_DECIMALS)?;
    Some(vec![Some(epsilon), Some(delta)])
}

/// The orders of a status' curve.
pub(crate) fn shown_orders(value: &Value) -> Vec<&str> {
    let points = list(value, &["renyi"]).iter();
    points
        .map(|point| point["order"].as_str().unwrap_or_default())
        .collect()
}

/// `a` and, at each coordinate, `sign` times `b`.
pub(crate) fn add(a: &mut [i128], b: &[i128], sign: i128) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += sign * b;
    }
}

/// Whether any amount is not 0.
pub(crate) fn is_something(amounts: &[i128]) -> bool {
    amounts.iter().any(|amount| *amount != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, units) in [
            ("0", Some(0)),
            ("1", Some(1_000_000_000_000)),
            ("-0.000000000001", Some(-1)),
            ("12.5", Some(12_500_000_000_000)),
            ("1e-9", Some(1000)),
            ("0.0000000000001", None),
            ("9223372.036854775807", Some(i64::MAX.into())),
            ("", None),
            ("x", None),
            ("1.2.3", None),
        ] {
            assert_eq!(decimal(text, EPSILON_DECIMALS), units, "{text}");
        }
    }
}
