//! Whole numbers, which may be written with an exponent, as programs write large ones: `1e6`, `1.5e+3`.

/// What a whole number may be.
pub(super) const WHOLE: &str = "a whole number from 1 to 18446744073709551615, like 10000 or 1e6";

/// How many bytes at the beginning of `text` are a number: digits, a fraction and an exponent.
pub(super) fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = text[from..].bytes();
        from + rest.take_while(u8::is_ascii_digit).count()
    };
    let mut end = digits(0);
    if end == 0 {
        return 0;
    }
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let signed = end + 1 + usize::from(text[end + 1..].starts_with(['+', '-']));
        // Else it is the first letter of a name.
        if digits(signed) > signed {
            end = digits(signed);
        }
    }
    end
}

/// Reads a whole number; `None` of anything else, and of what 64 bits don't hold.
pub(super) fn whole(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let after = after.trim_end_matches('0');
    let is_number = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if before.is_empty() || !is_number(before) || !is_number(after) {
        return None;
    }
    let digits = format!("{before}{after}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // The number is `digits` x 10^shift.
    let shift = exponent.checked_sub(i64::try_from(after.len()).ok()?)?;
    let kept = if shift < 0 {
        let dropped = usize::try_from(shift.unsigned_abs()).ok()?;
        let (kept, dropped) = digits.split_at(digits.len().checked_sub(dropped)?);
        dropped.bytes().all(|digit| digit == b'0').then_some(kept)?
    } else {
        digits
    };
    let power = 10_u64.checked_pow(u32::try_from(shift.max(0)).ok()?)?;
    kept.parse::<u64>().ok()?.checked_mul(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_have_an_exponent() {
        for (text, value) in [
            ("0", Some(0)),
            ("0e999999", Some(0)),
            ("10000", Some(10_000)),
            ("1e6", Some(1_000_000)),
            ("1e+06", Some(1_000_000)),
            ("1.50E3", Some(1500)),
            ("1500e-2", Some(15)),
            ("2.0", Some(2)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("1e20", None),
            ("1e99999999999999999999", None),
            ("1.5", None),
            ("15e-1", None),
            ("1e-400", None),
            ("", None),
            (".5e1", None),
            ("+1", None),
            ("-1", None),
            ("1_000", None),
            ("1e", None),
            ("ten", None),
        ] {
            assert_eq!(whole(text), value, "{text}");
        }
    }

    #[test]
    fn a_number_ends_where_a_name_begins() {
        for (text, length) in [
            ("3*laplace", 1),
            ("3e0*laplace", 3),
            ("3exponential(", 1),
            ("1.5e+3 *", 6),
            ("laplace", 0),
        ] {
            assert_eq!(number_length(text), length, "{text}");
        }
    }
}
