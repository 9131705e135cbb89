//! PrivacyLedgerEntry: one entry of a dataset's ledger.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of a dataset's ledger: events, and the decisions that followed. Never changes.
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
    doc = "One entry of a dataset's ledger: events, the decisions that followed, and the hash of the entry before. The \
           extender creates it once, and it never changes; nobody else may create or remove one. The entries are the \
           record of what is granted and consumed: all statuses follow from them.",
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
        name = "Writer",
        type_ = "string",
        json_path = ".spec.writer",
        description = "Who wrote it."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Time",
        type_ = "string",
        json_path = ".spec.time",
        priority = "1",
        description = "When it was written, to the microsecond."
    ),
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
    /// The UID of the dataset's namespace when the writer opened the ledger: the entry is refused in a namespace that was
    /// created again since. It is not part of the hash, so that a ledger can be put back in another cluster without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub namespace_uid: Option<String>,
    /// The version of the entry's format; 1 without it. Whoever knows only earlier ones must not read the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 1, max = 1_000_000))]
    pub version: Option<i64>,
    /// The entry's number in the ledger, from 1, without gaps. The object's name ends in it.
    #[schemars(range(min = 1, max = 9_999_999_999_i64))]
    pub sequence: i64,
    /// The hash of the entry before, in hexadecimal; zeros for the first.
    #[schemars(length(max = 128))]
    pub previous: String,
    /// The hash of this entry, in hexadecimal, over all fields but hash, dataset and time.
    #[schemars(length(max = 128))]
    pub hash: String,
    /// The name of the extender that wrote it.
    #[schemars(length(max = 253))]
    pub writer: String,
    /// The program that wrote it, with its version. Example: privatekube 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub program: Option<String>,
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
    /// The events, in order: blocks that were added or retired, claims that arrived, consumed, released or
    /// withdrew.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::list_of_anything")]
    pub events: Vec<Value>,
    /// The decisions, in order: budget that was unlocked, claims that were granted, denied or expired.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::list_of_anything")]
    pub records: Vec<Value>,
    /// The number of decisions that had no room in records, and their hash. They follow from the events, and
    /// a replay of the ledger compares them with the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::anything")]
    pub omitted: Option<Value>,
    /// The checkpoint that the writer has published since its last entry: the entry that it stands at, and the hash of its
    /// content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::anything")]
    pub checkpoint: Option<Value>,
    /// Who asked for the claims that arrive in it: the user who made the claim or its pod, the pod's service account, owner
    /// and images, the mechanism and the purpose, as far as they are known. Nothing is decided by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::list_of_anything")]
    pub requesters: Vec<Value>,
}

/// Returns the name of an entry's object. A name can be created once, so whoever creates it is the writer.
#[must_use]
pub fn entry_name(dataset: &str, sequence: u64) -> String {
    format!("{dataset}-{sequence:010}")
}
