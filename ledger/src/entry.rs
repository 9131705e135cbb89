//! What one round writes.

use privatekube_policy::{DatasetRules, Event, Record, Time};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Hash;

/// One round of a ledger: what happened, and what followed from it.
///
/// Fields are only ever added, and so that they leave no trace in the JSON of an entry that doesn't use them: the
/// hashes of what is written stay what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its place in the ledger, from 1, without gaps.
    pub sequence: u64,
    /// The [hash](Self::hash) of the entry before it; [`Hash::ORIGIN`] for the first.
    pub previous: Hash,
    /// Who wrote it.
    pub writer: String,
    /// When, by the writer's clock, but never before the entry before it. The engine's clock is advanced to it before
    /// the first event.
    pub time: Time,
    /// The dataset's rules: in the first entry, and in no other. The key `setting` belongs to the stored format.
    #[serde(rename = "setting", default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<DatasetRules>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What was decided, in order: first by the clock, then by each event.
    pub records: Vec<Record>,
    /// What was decided after `records` and has no room in one entry; none, if it is all there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
}

/// Records that an entry has no room for: one event, or one tick of the clock, may decide about any number of claims.
/// They follow from the events, so nothing is lost: whoever replays the ledger gets them and checks them against this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Omitted {
    /// How many there are.
    pub count: u64,
    /// The SHA-256 of their list in the same JSON as an entry's.
    pub hash: Hash,
}

impl Entry {
    /// What is hashed: the entry as compact JSON in UTF-8, an object with these keys in this order: `sequence`,
    /// `previous`, `writer`, `time`, `setting` (first entry only), `events`, `records`, `omitted` (if any). Objects
    /// inside have their keys in the order in which `privatekube-policy` declares the fields; what is optional and
    /// not there has no key; numbers are integers; in strings only `"`, `\` and control characters are escaped
    /// (`\b \f \n \r \t`, else `\u00XX`); there is no space between tokens.
    ///
    /// It's made from the typed value, so that a store may keep the keys in any order it likes.
    pub fn canonical(&self) -> Result<Vec<u8>, EncodingError> {
        encode(self)
    }

    /// The SHA-256 of its [canonical](Self::canonical) form, by which the next entry names it.
    pub fn hash(&self) -> Result<Hash, EncodingError> {
        Ok(Hash::of(&self.canonical()?))
    }
}

impl Omitted {
    /// What stands for `records` in an entry; none if there are none.
    pub fn of(records: &[Record]) -> Result<Option<Self>, EncodingError> {
        if records.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            count: count(records.len()),
            hash: Hash::of(&encode(&records)?),
        }))
    }
}

/// A value that has no JSON. No entry that the engine's types allow is one; but what can't be encoded must not have
/// the hash of nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("it can't be written as JSON: {0}")]
pub struct EncodingError(String);

fn encode(value: &impl Serialize) -> Result<Vec<u8>, EncodingError> {
    serde_json::to_vec(value).map_err(|error| EncodingError(error.to_string()))
}

/// How many bytes `value` takes in an entry.
pub(crate) fn size(value: &impl Serialize) -> Result<usize, EncodingError> {
    encode(value).map(|json| json.len())
}

/// A length as it is stored. No platform of Rust has a `usize` of more than 64 bits, so the cast is exact.
pub(crate) const fn count(length: usize) -> u64 {
    length as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_has_no_json_is_an_error_and_not_empty() {
        let no_json = BTreeMap::from([((1, 2), 3)]);
        let expected = "it can't be written as JSON: key must be a string";
        assert_eq!(encode(&no_json).unwrap_err().to_string(), expected);
        assert!(size(&no_json).is_err());
    }
}
