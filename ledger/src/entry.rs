//! What one round writes.

use privatekube_policy::{DatasetRules, Event, Record, Time};
use serde::{Deserialize, Serialize};

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
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        canonical(self)
    }

    /// The SHA-256 of its [canonical](Self::canonical) form, by which the next entry names it.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.canonical())
    }
}

impl Omitted {
    /// What stands for `records` in an entry; none if there are none.
    #[must_use]
    pub fn of(records: &[Record]) -> Option<Self> {
        (!records.is_empty()).then(|| Self {
            count: records.len() as u64,
            hash: Hash::of(&canonical(&records)),
        })
    }
}

fn canonical(value: &impl Serialize) -> Vec<u8> {
    // Numbers, strings, lists and structs of them can always be written to memory.
    serde_json::to_vec(value).unwrap_or_default()
}

/// How many bytes `value` takes in an entry.
pub(crate) fn size(value: &impl Serialize) -> usize {
    canonical(value).len()
}
