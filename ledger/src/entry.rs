//! An entry of the ledger, its canonical form and its hash.

use privatekube_policy::{DatasetRules, Event, Record, Time};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{CheckpointMark, Hash, Requester};

/// The version of the format in which this program writes entries, and the newest one that it reads.
pub const ENTRY_VERSION: u32 = 1;

/// One entry of a ledger: events, and the records that followed from them.
///
/// A later version may add fields, but an entry that doesn't use them must keep the same JSON: otherwise the
/// hashes of entries that are stored would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The version of its format. Version 1 has no key.
    #[serde(default = "first_version", skip_serializing_if = "is_first_version")]
    pub version: u32,
    /// Its number in the ledger, from 1, without gaps.
    pub sequence: u64,
    /// The [hash](Self::hash) of the entry before it; [`Hash::ORIGIN`] for the first.
    pub previous: Hash,
    /// The name of the writer.
    pub writer: String,
    /// The program that the writer is, with its version; none if it didn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The writer's time, never earlier than that of the entry before it. The engine's clock is advanced to
    /// it before the first event.
    pub time: Time,
    /// The dataset's rules: in the first entry only. The key `setting` is part of the stored format.
    #[serde(rename = "setting", default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<DatasetRules>,
    /// The events, in order.
    pub events: Vec<Event>,
    /// The records that followed, in order: first those of the time alone, then those of each event.
    pub records: Vec<Record>,
    /// What stands for the records after `records` that have no room in the entry; none if all have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
    /// The checkpoint that the writer has published since its last entry; none if it hasn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointMark>,
    /// Who asked for the claims that arrive in the entry, in the order in which they arrive, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requesters: Vec<Requester>,
}

/// The count and the hash of the records that an entry has no room for: one event, or one step of the clock,
/// may decide any number of claims. Nothing is lost, since records follow from the events: a replay computes
/// them and compares them with this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Omitted {
    /// How many there are.
    pub count: u64,
    /// The SHA-256 of their list, encoded as in [`Entry::canonical`].
    pub hash: Hash,
}

const fn first_version() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_first_version(version: &u32) -> bool {
    *version == 1
}

impl Entry {
    /// Returns the bytes that are hashed: the entry as compact JSON in UTF-8, an object with these keys in
    /// this order: `version` (unless it is 1), `sequence`, `previous`, `writer`, `program` (if any), `time`, `setting` (first entry only), `events`,
    /// `records`, `omitted` (if any), `checkpoint` (if any), `requesters` (if any). Objects inside have their keys in
    /// the order in which `privatekube-policy` and this crate declare the fields; an optional value that is absent has no
    /// key; numbers are
    /// integers; in strings only `"`, `\` and control characters are escaped (`\b \f \n \r \t`, else
    /// `\u00XX`); there is no space between tokens.
    ///
    /// It is made from the typed value, so a store may keep the keys in any order.
    pub fn canonical(&self) -> Result<Vec<u8>, EncodingError> {
        encode(self)
    }

    /// Returns the SHA-256 of the [canonical](Self::canonical) form. The next entry names it as its
    /// predecessor's.
    pub fn hash(&self) -> Result<Hash, EncodingError> {
        Ok(Hash::of(&self.canonical()?))
    }
}

impl Omitted {
    /// Returns what stands for `records` in an entry; none if there are no records.
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

/// A value that can't be encoded as JSON. None of the engine's types is known to allow one; it is an error
/// all the same, so that such a value can't have the hash of no bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("it can't be written as JSON: {0}")]
pub struct EncodingError(String);

fn encode(value: &impl Serialize) -> Result<Vec<u8>, EncodingError> {
    serde_json::to_vec(value).map_err(|error| EncodingError(error.to_string()))
}

/// Returns how many bytes `value` takes in an entry.
pub(crate) fn size(value: &impl Serialize) -> Result<usize, EncodingError> {
    encode(value).map(|json| json.len())
}

/// Converts a length. No platform of Rust has a `usize` of more than 64 bits, so the cast is exact.
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
