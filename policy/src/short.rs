//! Amounts with few digits, as people read them in tables and messages. What is decided, stored or computed with is exact.

/// How many significant digits an amount has that people read.
const DIGITS: usize = 4;
/// An amount below 10^-4 is written with an exponent.
const LEAST_PLAIN: usize = 4;
/// More digits than any amount has.
const MOST_DIGITS: usize = 40;

/// Which way an amount is rounded that is shown with few digits. What may be spent rounds down and what is spent or missing
/// rounds up, so that nobody who goes by what is shown asks for too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the lower one.
    Down,
    /// To the nearest one, and half way up.
    Nearest,
    /// To the higher one.
    Up,
}

/// `units` of 10^-`decimals` with 4 significant digits: `0.5`, `4.627`, `1e-9`. Digits before the point are all shown.
pub(crate) fn short(units: i128, decimals: u32, rounding: Rounding) -> String {
    with_digits(units, decimals, DIGITS, rounding)
}

/// Two amounts of 10^-`decimals` with 4 significant digits, and with more if the last one stands for more than they differ by.
/// The first one is rounded down, so that it never looks like more than it is beside the second one.
pub(crate) fn apart(least: i128, other: i128, decimals: u32) -> (String, String) {
    let difference = least.abs_diff(other);
    let largest = least.unsigned_abs().max(other.unsigned_abs());
    let is_fine = |digits: &usize| difference == 0 || step(largest, decimals as usize, *digits) <= difference;
    let digits = (DIGITS..MOST_DIGITS).find(is_fine).unwrap_or(MOST_DIGITS);
    (
        with_digits(least, decimals, digits, Rounding::Down),
        with_digits(other, decimals, digits, Rounding::Nearest),
    )
}

/// How many units the last digit stands for of `units` with so many digits, and with all before the point.
fn step(units: u128, decimals: usize, digits: usize) -> u128 {
    let length = length(units);
    let kept = digits.max(length.saturating_sub(decimals));
    10_u128.pow(u32::try_from(length.saturating_sub(kept)).unwrap_or_default())
}

fn with_digits(units: i128, decimals: u32, digits: usize, rounding: Rounding) -> String {
    let (sign, exact) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let decimals = decimals as usize;
    let step = step(exact, decimals, digits);
    let (quotient, rest) = (exact / step, exact % step);
    let is_away_from_zero = match rounding {
        Rounding::Down => units < 0,
        Rounding::Up => units > 0,
        Rounding::Nearest => rest >= step - rest,
    };
    let rounded = (quotient + u128::from(rest > 0 && is_away_from_zero)) * step;
    format!("{sign}{}", written(rounded, decimals))
}

fn length(units: u128) -> usize {
    units.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn written(units: u128, decimals: usize) -> String {
    let length = length(units);
    let with_fraction = |whole: &str, fraction: &str| match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    };
    if units > 0 && length + LEAST_PLAIN <= decimals {
        let digits = units.to_string();
        let (whole, fraction) = digits.split_at(1);
        return format!("{}e-{}", with_fraction(whole, fraction), decimals + 1 - length);
    }
    let digits = format!("{units:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    with_fraction(whole, fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delta, Epsilon};

    fn units(text: &str) -> i128 {
        text.parse::<Epsilon>().unwrap().units()
    }

    #[test]
    fn amounts_have_four_digits() {
        for (text, [down, nearest, up]) in [
            ("0", ["0"; 3]),
            ("10", ["10"; 3]),
            ("0.5", ["0.5"; 3]),
            ("4.627301449703", ["4.627", "4.627", "4.628"]),
            ("9.99996", ["9.999", "10", "10"]),
            ("0.00123456", ["0.001234", "0.001235", "0.001235"]),
            ("123456.789", ["123456", "123457", "123457"]),
            ("9000000", ["9000000"; 3]),
            ("0.0001", ["0.0001"; 3]),
            ("0.00009999", ["9.999e-5"; 3]),
            ("0.000099999", ["9.999e-5", "0.0001", "0.0001"]),
            ("1e-12", ["1e-12"; 3]),
        ] {
            let shown =
                [Rounding::Down, Rounding::Nearest, Rounding::Up].map(|way| short(units(text), 12, way));
            assert_eq!(shown, [down, nearest, up], "{text}");
        }
        for (text, shown) in [("1e-7", "1e-7"), ("0.000000123456", "1.235e-7"), ("1", "1")] {
            let delta = text.parse::<Delta>().unwrap();
            assert_eq!(short(delta.units(), 18, Rounding::Nearest), shown);
        }
        assert_eq!(short(-units("1.00001"), 12, Rounding::Down), "-1.001");
        assert_eq!(short(-units("1.00001"), 12, Rounding::Up), "-1");
        assert_eq!(short(i128::MAX, 12, Rounding::Nearest).len(), 27);
        assert_eq!(short(i128::MIN, 12, Rounding::Nearest).len(), 28);
    }

    #[test]
    fn what_differs_looks_different() {
        for (least, other, shown) in [
            ("0.5", "1.5", ("0.5", "1.5")),
            ("4.627301", "5.000001", ("4.627", "5")),
            ("0.99999999", "1", ("0.99999999", "1")),
            ("9.9994", "10", ("9.9994", "10")),
            ("4.627301449703", "4.63", ("4.627", "4.63")),
            ("1", "1.00000001", ("1", "1.00000001")),
            ("1.23450001", "1.23450002", ("1.23450001", "1.23450002")),
            ("9.9999999", "10.0000001", ("9.9999999", "10.0000001")),
            ("2", "2", ("2", "2")),
        ] {
            let (least, other) = apart(units(least), units(other), 12);
            assert_eq!((&*least, &*other), shown);
        }
    }
}
