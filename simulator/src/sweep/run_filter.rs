//! Filters on runs of a grid, as `--only` takes them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::experiment::Parameters;

/// A filter that matches runs with one of the listed values of a parameter: `mice=75`, `policy=fcfs,dpf-n`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunFilter {
    key: String,
    values: Vec<String>,
}

/// The error for a text that is not a filter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no condition: accepted is KEY=VALUE,..., such as mice=75 or policy=fcfs,dpf-n")]
pub struct RunFilterError(String);

impl FromStr for RunFilter {
    type Err = RunFilterError;

    fn from_str(text: &str) -> Result<Self, RunFilterError> {
        let refused = || RunFilterError(text.to_owned());
        let (key, values) = text.split_once('=').ok_or_else(refused)?;
        let values: Vec<String> = values.split(',').map(str::to_owned).collect();
        if key.is_empty() || values.iter().any(String::is_empty) {
            return Err(refused());
        }
        Ok(Self {
            key: key.to_owned(),
            values,
        })
    }
}

impl fmt::Display for RunFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.values.join(","))
    }
}

impl From<RunFilter> for String {
    fn from(only: RunFilter) -> Self {
        only.to_string()
    }
}

impl TryFrom<String> for RunFilter {
    type Error = RunFilterError;

    fn try_from(text: String) -> Result<Self, RunFilterError> {
        text.parse()
    }
}

impl RunFilter {
    /// Returns the parameter's name.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the listed values.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether the filter matches a run.
    #[must_use]
    pub fn admits(&self, run: &Parameters) -> bool {
        let values = run.values();
        let of_key = values.iter().find(|(key, _)| *key == self.key);
        of_key.is_some_and(|(_, value)| self.values.iter().any(|wanted| is_same(wanted, value)))
    }
}

/// Whether two values are equal; numbers may be written differently.
pub(super) fn is_same(wanted: &str, value: &str) -> bool {
    let numbers = wanted.parse::<f64>().ok().zip(value.parse::<f64>().ok());
    wanted == value || numbers.is_some_and(|(wanted, value)| wanted.total_cmp(&value).is_eq())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    #[test]
    fn a_filter_matches_a_run_by_its_values() {
        let run = Parameters {
            mice: Some(75.0),
            policy: "dpf-n".parse().ok(),
            n: Some(125),
            ..Parameters::of(Experiment::MicroSingle)
        };
        for (only, admits) in [
            ("mice=75", true),
            ("mice=75.0", true),
            ("mice=7", false),
            ("policy=fcfs,dpf-n", true),
            ("policy=dpf", false),
            ("experiment=micro-single", true),
            ("lifetime=125", false),
            ("n=1,125", true),
        ] {
            let condition: RunFilter = only.parse().unwrap();
            assert_eq!(condition.admits(&run), admits, "{only}");
            assert_eq!(condition.to_string(), only);
        }
    }

    #[test]
    fn an_invalid_filter_is_refused() {
        for wrong in ["mice", "=75", "mice=", "mice=75,,50"] {
            let error = wrong.parse::<RunFilter>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("KEY=VALUE"),
                "{error}"
            );
        }
    }
}
