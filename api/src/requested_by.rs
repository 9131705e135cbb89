//! The user who made an object, as an annotation keeps them.

/// The most characters of a user in [`ANNOTATION_REQUESTED_BY`](crate::ANNOTATION_REQUESTED_BY). An admission policy in
/// `manifests/` computes the same value.
const MOST_CHARACTERS: usize = 256;
const ELLIPSIS: &str = "...";

/// The value of [`ANNOTATION_REQUESTED_BY`](crate::ANNOTATION_REQUESTED_BY) for a user: the whole name, or the beginning of
/// a long one.
#[must_use]
pub fn requested_by(user: &str) -> String {
    if user.chars().count() <= MOST_CHARACTERS {
        return user.to_owned();
    }
    let kept = user.chars().take(MOST_CHARACTERS - ELLIPSIS.len());
    kept.chain(ELLIPSIS.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_by_characters() {
        assert_eq!(requested_by("alice"), "alice");
        let most = "\u{1f600}".repeat(256);
        assert_eq!(requested_by(&most), most);
        let long = requested_by(&"\u{1f600}".repeat(257));
        assert_eq!(long, format!("{}...", "\u{1f600}".repeat(253)));
    }
}
