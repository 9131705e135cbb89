//! Published values: points of the paper's figures, and totals of the released simulator. They are in
//! `published.csv`. The column `error` there is the uncertainty of a value, since most values were read off
//! pictures.

use std::fmt;

use serde::Deserialize;

use crate::experiment::CompositionKind;

/// A published value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PublishedValue {
    /// The experiment's name.
    pub experiment: String,
    /// The composition.
    pub composition: CompositionKind,
    /// The quantity.
    pub quantity: Quantity,
    /// The policy's short name.
    pub policy: String,
    /// N; for unlocking over time, the lifetime in mean intervals between two arrivals.
    pub n: Option<u32>,
    /// Percentage of mice among the tasks.
    pub mice: Option<f64>,
    /// The value.
    pub value: f64,
    /// The uncertainty of the value.
    pub error: f64,
    /// The source.
    pub source: Source,
}

/// The quantity of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Number of granted tasks.
    Granted,
    /// The part of all tasks that was granted.
    GrantedPart,
    /// Mean delay of granted tasks, in seconds.
    DelayAverage,
    /// 99th percentile of that delay, in seconds.
    #[serde(rename = "delay-p99")]
    DelayP99,
}

/// The source of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The paper ("Privacy Budget Scheduling", OSDI'21): read off its figures 12a, 12b, 18b, 19a and 19b.
    Paper,
    /// The plots stored in the notebooks of the paper's artifact (github.com/columbia/PrivateKube,
    /// evaluation/microbenchmark), read off.
    Notebook,
    /// The artifact's simulator, run with the parameters and the seed (3345) of its release scripts. Its
    /// percentiles are approximate and in whole seconds.
    Release,
}

impl Source {
    /// Returns the heading of its column in tables.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Paper => "paper's figure (read off)",
            Self::Notebook => "artifact's plot (read off)",
            Self::Release => "artifact's simulator",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Granted => "granted tasks",
            Self::GrantedPart => "granted part of all tasks",
            Self::DelayAverage => "average delay (s)",
            Self::DelayP99 => "99th percentile of the delay (s)",
        })
    }
}

/// Returns all published values.
#[must_use]
pub fn published() -> Vec<PublishedValue> {
    let table = csv::Reader::from_reader(include_str!("published.csv").as_bytes());
    // A test checks that every row is valid, so none is dropped here.
    table.into_deserialize().filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_is_valid_and_distinct() {
        let rows = include_str!("published.csv").lines().count() - 1;
        let published = published();
        assert_eq!(published.len(), rows);
        let keys: HashSet<String> = published
            .iter()
            .map(|row| {
                let PublishedValue {
                    experiment,
                    composition,
                    quantity,
                    policy,
                    n,
                    mice,
                    source,
                    ..
                } = row;
                format!("{experiment} {composition:?} {quantity} {policy} {n:?} {mice:?} {source:?}")
            })
            .collect();
        assert_eq!(keys.len(), rows);
    }

    #[test]
    fn well_known_values_are_there() {
        let granted = |policy: &str, n, source| {
            let published = published();
            let known = published.iter().find(|row| {
                row.experiment == "micro-multi"
                    && row.composition == CompositionKind::Basic
                    && row.quantity == Quantity::Granted
                    && (row.policy.as_str(), row.n, row.source) == (policy, n, source)
                    && row.mice == Some(75.0)
            });
            known.map(|row| (row.value, row.error))
        };
        assert_eq!(granted("dpf-n", Some(175), Source::Release), Some((2356.0, 0.0)));
        assert_eq!(
            granted("dpf-n", Some(175), Source::Notebook),
            Some((2359.0, 47.0))
        );
        assert_eq!(granted("fcfs", None, Source::Release), Some((1146.0, 0.0)));
        assert_eq!(granted("rr-n", Some(1), Source::Notebook), None);
    }
}
