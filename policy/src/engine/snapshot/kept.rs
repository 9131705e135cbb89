//! What a policy keeps of a block or of a claim, as data: lists of integers, by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Units;

/// Lists of integers, by a name that the policy gives each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::engine) struct Kept(BTreeMap<String, Vec<Units>>);

impl Kept {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a list, unless all of it is 0: [`take`](Self::take) reads an absent list as that.
    pub(in crate::engine) fn add(&mut self, name: &str, values: impl IntoIterator<Item = i128>) {
        let values: Vec<Units> = values.into_iter().map(Units::from).collect();
        if values.iter().any(|value| value.get() != 0) {
            self.0.insert(name.to_owned(), values);
        }
    }

    /// Takes a list of `length` values, all 0 if it is absent.
    pub(in crate::engine) fn take(&mut self, name: &str, length: usize) -> Result<Vec<i128>, String> {
        match self.0.remove(name) {
            None => Ok(vec![0; length]),
            Some(values) if values.len() == length => Ok(values.into_iter().map(Units::get).collect()),
            Some(values) => Err(format!(
                "policy.{name} has {} values: it must have {length}",
                values.len()
            )),
        }
    }

    /// Checks that every list was taken.
    pub(in crate::engine) fn end(self) -> Result<(), String> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(format!(
                "policy.{name} is nothing that the dataset's policy keeps"
            )),
        }
    }
}
