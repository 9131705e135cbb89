//! Numbers for people: 4 significant digits, and all of them where somebody wants them.

use maud::{Markup, html};
use privatekube_api::rfc3339;
use privatekube_policy::Time;

/// How many significant digits a number is shown with.
const SIGNIFICANT: usize = 4;
/// Numbers below 1 with more zeros after the point than this are shown with an exponent.
const MOST_ZEROS: usize = 4;

/// Whether numbers are shown with all their digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Digits {
    /// With 4 significant digits.
    #[default]
    Few,
    /// With all.
    All,
}

/// A decimal amount, as a status has it. All its digits are its value, and its title.
pub(super) fn amount(decimal: &str, digits: Digits) -> Markup {
    let few = short(decimal);
    if digits == Digits::All || few == decimal {
        return html! { data value=(decimal) { (decimal) } };
    }
    html! { data value=(decimal) title=(decimal) { (few) } }
}

/// A decimal with 4 significant digits, rounded to the nearest. A text that is no decimal stays as it is.
pub(super) fn short(decimal: &str) -> String {
    let (sign, number) = decimal
        .strip_prefix('-')
        .map_or(("", decimal), |rest| ("-", rest));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_decimal = !whole.is_empty()
        && [whole, fraction]
            .iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_decimal {
        return decimal.to_owned();
    }
    let mut digits: Vec<u8> = [whole, fraction]
        .concat()
        .bytes()
        .map(|byte| byte - b'0')
        .collect();
    let mut point = whole.len();
    let Some(first) = digits.iter().position(|digit| *digit != 0) else {
        return "0".to_owned();
    };
    // Integers keep all their digits before the point.
    let last = (first + SIGNIFICANT).max(point);
    if last < digits.len() {
        let rounds_up = digits[last] >= 5;
        digits.truncate(last);
        if rounds_up && add_one(&mut digits) {
            digits.insert(0, 1);
            point += 1;
        }
    }
    let first = digits.iter().position(|digit| *digit != 0).unwrap_or(0);
    let text = |digits: &[u8]| -> String { digits.iter().map(|digit| char::from(b'0' + digit)).collect() };
    if first > point + MOST_ZEROS - 1 {
        let significant = text(&digits[first..]);
        let (head, tail) = significant.split_at(1);
        let tail = tail.trim_end_matches('0');
        let dot = if tail.is_empty() { "" } else { "." };
        return format!("{sign}{head}{dot}{tail}e-{}", first + 1 - point);
    }
    let whole = text(&digits[first.min(point.saturating_sub(1))..point]);
    let fraction = text(&digits[point..]);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}")
}

/// Adds 1 to the last digit; says whether a digit has to go before the first.
fn add_one(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        *digit += 1;
        if *digit < 10 {
            return false;
        }
        *digit = 0;
    }
    true
}

/// A part of a whole, in percent.
pub(super) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent > 0.0 && percent < 0.01 {
        return "below 0.01%".to_owned();
    }
    let mut text = short(&format!("{percent:.6}"));
    text.push('%');
    text
}

/// A time, to the second; all of it is its title.
pub(super) fn time(at: Time) -> Markup {
    let all = rfc3339(at);
    let second = all.split_once('.').map_or(all.as_str(), |(second, _)| second);
    let second = second.replace('T', " ");
    html! { time datetime=(all) title=(all) { (second.trim_end_matches('Z')) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_4_significant_digits_and_the_nearest_value() {
        for (decimal, shown) in [
            ("5.973049999", "5.973"),
            ("0.99996", "1"),
            ("99999.5", "100000"),
            ("123456.789", "123457"),
            ("0.000000001", "1e-9"),
            ("0.00001234567", "1.235e-5"),
            ("0.0001234567", "0.0001235"),
            ("0.100000", "0.1"),
            ("10", "10"),
            ("0.000", "0"),
            ("-0.123456", "-0.1235"),
            ("9.99996", "10"),
            ("1.5", "1.5"),
            ("over 9", "over 9"),
            ("", ""),
        ] {
            assert_eq!(short(decimal), shown, "{decimal}");
        }
    }

    #[test]
    fn all_digits_are_at_hand() {
        let few = amount("5.973049999", Digits::Few).into_string();
        assert_eq!(
            few,
            r#"<data value="5.973049999" title="5.973049999">5.973</data>"#
        );
        let all = amount("5.973049999", Digits::All).into_string();
        assert_eq!(all, r#"<data value="5.973049999">5.973049999</data>"#);
        assert_eq!(percent(0.123_456), "12.35%");
        assert_eq!(percent(0.000_001), "below 0.01%");
    }
}
