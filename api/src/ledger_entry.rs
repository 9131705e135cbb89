//! PrivacyLedgerEntry: one round of a dataset's ledger.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One round of a dataset's ledger: what happened and what was decided. Never changes.
#[derive(Clone, Debug, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivacyLedgerEntry",
    plural = "privacyledgerentries",
    namespaced,
    shortname = "ple",
    category = "privatekube",
    derive = "PartialEq",
    selectable = ".spec.dataset",
    doc = "One round of a dataset's ledger: what happened, what was decided, and the hash of the round before. It is \
           created once by the extender and never changes; nobody else makes or removes one. What is spent is what the \
           entries say.",
    printcolumn(
        name = "Dataset",
        type_ = "string",
        json_path = ".spec.dataset",
        description = "The dataset."
    ),
    printcolumn(
        name = "Sequence",
        type_ = "integer",
        json_path = ".spec.sequence",
        description = "Its number."
    ),
    printcolumn(
        name = "Time",
        type_ = "string",
        json_path = ".spec.time",
        description = "When it was written."
    ),
    printcolumn(
        name = "Writer",
        type_ = "string",
        json_path = ".spec.writer",
        description = "Who wrote it."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Hash",
        type_ = "string",
        json_path = ".spec.hash",
        priority = "1",
        description = "The hash that the next entry names."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a ledger entry never changes"))]
pub struct PrivacyLedgerEntrySpec {
    /// The dataset whose ledger it is in, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub dataset: String,
    /// Its number in the ledger, from 1, without a gap. The object's name ends in it.
    #[schemars(range(min = 1, max = 9_999_999_999_i64))]
    pub sequence: i64,
    /// The hash of the entry before, in hexadecimal; zeros for the first.
    #[schemars(length(max = 128))]
    pub previous: String,
    /// The hash of this entry, in hexadecimal, over everything here but itself and time.
    #[schemars(length(max = 128))]
    pub hash: String,
    /// The extender that wrote it.
    #[schemars(length(max = 253))]
    pub writer: String,
    /// When it was written, in RFC 3339 with microseconds, for people. Example: 2026-11-21T12:00:00.000000Z.
    #[schemars(length(max = 64))]
    pub time: String,
    /// When it was written, in microseconds since the Unix epoch. Never less than in the entry before.
    #[schemars(range(min = 0))]
    pub time_micros: i64,
    /// The dataset's rules, in the first entry only: policy, unlocking and composition.
    #[serde(rename = "setting", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::anything")]
    pub rules: Option<Value>,
    /// What happened in this round, in order: blocks that came and went, claims that arrived, consumed or released.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::list_of_anything")]
    pub events: Vec<Value>,
    /// What was decided in this round, in order: budget that was unlocked, claims that were granted, denied or expired.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::list_of_anything")]
    pub records: Vec<Value>,
    /// How many decisions of this round had no room in records, and their hash. They follow from the events, and
    /// whoever replays the ledger checks them against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::anything")]
    pub omitted: Option<Value>,
}

/// The name of an entry: whoever creates it is the writer, because a name can be created once.
#[must_use]
pub fn entry_name(dataset: &str, sequence: u64) -> String {
    format!("{dataset}-{sequence:010}")
}
