//! Recency: which of two blocks is the newer one.

use std::cmp::Ordering;

use jiff::Timestamp;
use privatekube_policy::BlockId;

use crate::{Candidate, Dimension};

/// How new a block is: the greater, the newer. Goes by the value of its dataset's time dimension, then by when its object
/// was created, then by its name. A block without one of these is older than any with it. Numbers within texts count as
/// numbers, so that `taxi-9` comes before `taxi-10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recency {
    time: Option<Dimension>,
    created: Option<Timestamp>,
    name: BlockId,
}

impl Recency {
    pub(crate) fn of(block: &Candidate<'_>) -> Self {
        Self {
            time: block.time.cloned(),
            created: block.created.map(|time| time.0),
            name: BlockId::from(block.name),
        }
    }

    /// The block's name.
    pub(crate) const fn name(&self) -> &BlockId {
        &self.name
    }
}

impl Ord for Recency {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = match (&self.time, &other.time) {
            (Some(Dimension::Text(own)), Some(Dimension::Text(others))) => compare_texts(own, others),
            (own, others) => own.cmp(others),
        };
        by_time
            .then_with(|| self.created.cmp(&other.created))
            .then_with(|| compare_texts(self.name.as_str(), other.name.as_str()))
    }
}

impl PartialOrd for Recency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A part of a text, numbers before characters.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// Its digits without leading zeros, and first how many they are: the longer number is the larger one.
    Number(usize, &'a str),
    Character(char),
}

/// Compares texts part by part. Texts that differ only in leading zeros are compared by their characters, so that only
/// equal texts are equal.
fn compare_texts(one: &str, other: &str) -> Ordering {
    parts(one).cmp(parts(other)).then_with(|| one.cmp(other))
}

fn parts(mut text: &str) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if digits.is_empty() {
            let mut characters = text.chars();
            let first = characters.next()?;
            text = characters.as_str();
            return Some(Part::Character(first));
        }
        text = rest;
        let digits = digits.trim_start_matches('0');
        Some(Part::Number(digits.len(), digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_are_compared_as_numbers() {
        let ascending = [
            "",
            "2",
            "10",
            "taxi",
            "taxi-",
            "taxi-01",
            "taxi-1",
            "taxi-2",
            "taxi-9",
            "taxi-10",
            "taxi-10-1",
            "taxi-2026-9-30",
            "taxi-2026-10-01",
            "taxi-99999999999999999999999",
            "taxi-100000000000000000000000",
            "taxi-a",
            "taxi-a1",
            "tb",
            "\u{fc}",
        ];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(compare_texts(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
    }
}
