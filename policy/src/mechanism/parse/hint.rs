//! What a user most likely meant by a name that isn't known.

/// The most slips that a hint takes for one.
const MOST_SLIPS: usize = 2;
/// The longest name that is compared: no known one is nearly as long, and a comparison costs as much as the name is long.
const MOST_BYTES: usize = 64;
/// The fewest characters of a beginning that is taken for its whole name.
const LEAST_BEGINNING: usize = 3;

/// The known name that `written` is most likely a slip of: in other letters or with other dashes, with a letter wrong, or only
/// its beginning.
pub(super) fn nearest(written: &str, known: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    if written.len() > MOST_BYTES {
        return None;
    }
    let folded: String = written
        .chars()
        .map(|letter| match letter {
            '_' | ' ' => '-',
            other => other.to_ascii_lowercase(),
        })
        .collect();
    let slips = |known: &str| strsim::osa_distance(&folded, known);
    // Of a short name, another one is a few slips away.
    let is_near = |known: &&str| slips(known) <= MOST_SLIPS.min(known.len() / 3);
    let begins = |known: &&str| folded.len() >= LEAST_BEGINNING && known.starts_with(&folded);
    known
        .into_iter()
        .filter(|known| *known == folded || is_near(known) || begins(known))
        .min_by_key(|known| slips(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen_and_another_name_is_not() {
        let known = ["gaussian", "dp-sgd", "laplace", "xi"];
        for (written, meant) in [
            ("Gaussian", Some("gaussian")),
            ("dp_sgd", Some("dp-sgd")),
            ("DPSGD", Some("dp-sgd")),
            ("gauss", Some("gaussian")),
            ("lapalce", Some("laplace")),
            ("Xi", Some("xi")),
            ("ab", None),
            ("sparse-vector", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
        assert_eq!(nearest(&"g".repeat(1000), known), None);
    }
}
