//! Cuts what users wrote, so that messages and log lines have a bounded length.

use std::borrow::Cow;

/// Between the parts of a text that is cut.
const ELLIPSIS: &str = " ... ";

/// Returns `text` if it has at most `most` bytes, else its beginning and its end, in at most `most` bytes together. The end
/// stays because messages say there what is accepted.
#[must_use]
pub fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let room = most.saturating_sub(ELLIPSIS.len());
    let boundary = |at: &usize| text.is_char_boundary(*at);
    let begin = (0..=room - room / 3).rev().find(boundary).unwrap_or(0);
    let end = (text.len() - room / 3..text.len())
        .find(boundary)
        .unwrap_or(text.len());
    Cow::Owned(format!("{}{ELLIPSIS}{}", &text[..begin], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_as_it_is() {
        assert_eq!(excerpt("taxi", 4), "taxi");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(excerpt("0123456789abcdefghij", 14), "012345 ... hij");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "\u{1f600}".repeat(100);
        for most in 0..50 {
            let cut = excerpt(&text, most);
            assert!(cut.len() <= most.max(ELLIPSIS.len()), "{most}: {cut}");
        }
    }
}
