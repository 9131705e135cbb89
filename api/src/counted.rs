//! Counts with their nouns, for messages.

use std::fmt::Display;

/// A count with its noun, or whatever follows it: `1 block`, `2 blocks`.
#[must_use]
pub fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let blocks = [0_u64, 1, 2].map(|count| counted(count, "block", "blocks"));
        assert_eq!(blocks, ["0 blocks", "1 block", "2 blocks"]);
        assert_eq!(counted(1_usize, "entry", "entries"), "1 entry");
    }
}
