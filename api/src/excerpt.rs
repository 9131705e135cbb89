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

/// The most characters of a text in a list, such as a column of `kubectl get`: longer ones are told in full by
/// `kubectl describe`.
pub const MOST_LISTED_CHARACTERS: usize = 160;

/// Returns the beginning of `text` for a list: all of it if it is short enough, else whole words and an ellipsis. What follows
/// a line break is left out, too.
#[must_use]
pub fn beginning(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && text.chars().count() <= MOST_LISTED_CHARACTERS {
        return text.to_owned();
    }
    let ellipsis = ELLIPSIS.trim_end();
    let most = MOST_LISTED_CHARACTERS - ellipsis.len();
    let end = line.char_indices().nth(most).map_or(line.len(), |(at, _)| at);
    let is_whole = end == line.len() || line[end..].starts_with(' ');
    // A word that takes more than half of the room is cut.
    let word = line[..end].rfind(' ').filter(|at| !is_whole && *at > end / 2);
    let kept = line[..word.unwrap_or(end)].trim_end_matches([' ', ',', ';', ':']);
    format!("{kept}{ellipsis}")
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
    fn a_list_has_the_beginning_of_a_long_text() {
        let short = "a".repeat(MOST_LISTED_CHARACTERS);
        assert_eq!(beginning(&short), short);
        let words = "block b1 lacks 0.5 and, more; ".repeat(10);
        let cut = beginning(&words);
        assert!(cut.ends_with("and, more; block ..."), "{cut}");
        assert!(beginning(&"two, ".repeat(100)).ends_with("two ..."));
        assert!(cut.chars().count() <= MOST_LISTED_CHARACTERS);
        let one_word = beginning(&"\u{1f600}".repeat(500));
        assert_eq!(one_word.chars().count(), MOST_LISTED_CHARACTERS);
        assert_eq!(beginning("first\nsecond"), "first ...");
        assert_eq!(beginning(""), "");
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
