//! What budget is for, in the words of whoever asks for it.

use crate::{FieldError, decimal::check_length};

/// The most characters of a purpose.
pub const MOST_PURPOSE_CHARACTERS: usize = 256;

/// Checks a purpose in a field or annotation: a line of text that people read in a list.
pub fn check_purpose(field: &str, purpose: &str) -> Result<(), FieldError> {
    check_length(purpose, MOST_PURPOSE_CHARACTERS, field)?;
    if purpose.trim().is_empty() {
        return Err(FieldError::new(
            field,
            "is empty: say in a line what the budget is for, or leave it out",
        ));
    }
    if purpose.chars().any(char::is_control) {
        return Err(FieldError::new(
            field,
            "has a line break or another control character: say in one line what the budget is for",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_one_line_of_at_most_256_characters() {
        let refused = |purpose: &str| check_purpose("p", purpose).unwrap_err().to_string();
        for right in [
            "weekly report",
            "\u{1f600}",
            &"\u{e9}".repeat(MOST_PURPOSE_CHARACTERS),
        ] {
            check_purpose("p", right).unwrap();
        }
        assert!(refused(&"x".repeat(MOST_PURPOSE_CHARACTERS + 1)).contains("256"));
        assert!(refused(" ").contains("is empty"));
        for wrong in ["two\nlines", "\u{1b}[2J", "a\tb"] {
            assert!(refused(wrong).contains("control character"), "{wrong:?}");
        }
    }
}
