//! Shards: parts of a sweep for several machines.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One of several parts of about equal cost. `2/4` is the second of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    index: u32,
    count: u32,
}

/// The error for a text that is not a shard.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no shard: accepted is I/N with I from 1 to N, such as 2/4 for the second of four")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let numbers = text.split_once('/');
        let shard = numbers.and_then(|(index, count)| {
            Some(Self {
                index: index.parse().ok()?,
                count: count.parse().ok()?,
            })
        });
        shard
            .filter(|shard| (1..=shard.count).contains(&shard.index))
            .ok_or_else(|| ShardError(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl TryFrom<String> for Shard {
    type Error = ShardError;

    fn try_from(text: String) -> Result<Self, ShardError> {
        text.parse()
    }
}

impl Shard {
    /// Returns the shard's part of file names: `-2-of-4`.
    #[must_use]
    pub fn part(self) -> String {
        format!("-{}-of-{}", self.index, self.count)
    }

    /// Selects this shard's runs by the costs of all runs. Runs are assigned in descending order of cost,
    /// each to the shard with the lowest cost so far. Every run is in exactly one shard, and all machines
    /// compute the same assignment.
    pub(super) fn select(self, costs: &[f64]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|one, other| costs[*other].total_cmp(&costs[*one]));
        let mut loads = vec![0.0_f64; self.count as usize];
        let mut selected = vec![false; costs.len()];
        for run in order {
            let least = (0..loads.len()).min_by(|one, other| loads[*one].total_cmp(&loads[*other]));
            // There is at least one shard.
            let least = least.unwrap_or_default();
            loads[least] += costs[run];
            selected[run] = least + 1 == self.index as usize;
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shards_index_is_from_1_to_their_count() {
        assert_eq!("2/4".parse::<Shard>().unwrap().part(), "-2-of-4");
        for wrong in ["0/4", "5/4", "4", "1/0", "a/b", "1/", "-1/4", "1/4/2", ""] {
            let error = wrong.parse::<Shard>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("I/N"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_run_is_in_one_shard_and_the_shards_cost_the_same(
            costs in proptest::collection::vec(0.01_f64..10.0, 0..200),
            count in 1_u32..8,
        ) {
            let shards: Vec<Vec<bool>> =
                (1..=count).map(|index| Shard { index, count }.select(&costs)).collect();
            for run in 0..costs.len() {
                prop_assert_eq!(shards.iter().filter(|shard| shard[run]).count(), 1);
            }
            let loads = shards.iter().map(|shard| {
                costs.iter().zip(shard).filter(|(_, is_in)| **is_in).map(|(cost, _)| cost).sum::<f64>()
            });
            let loads: Vec<f64> = loads.collect();
            let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
            let most = loads.iter().copied().fold(0.0, f64::max);
            let largest = costs.iter().copied().fold(0.0, f64::max);
            prop_assert!(most - least <= largest + 1e-9);
        }
    }
}
