//! PrivacyLedgerCheckpoint and PrivacyLedgerCheckpointPiece: the state of a dataset's ledger after one of its entries.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// The latest checkpoint of a dataset's ledger: what all entries up to one have led to. Its name is the dataset's.
#[derive(Clone, Debug, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivacyLedgerCheckpoint",
    plural = "privacyledgercheckpoints",
    namespaced,
    shortname = "plc",
    category = "privatekube",
    derive = "PartialEq",
    selectable = ".spec.dataset",
    doc = "The latest checkpoint of a dataset's ledger: what all entries up to one have led to, so that a start need not \
           replay them all, and that old entries can be removed. The extender replaces it by later ones; nobody else may \
           write or remove it.",
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
        description = "The entry that it stands at."
    ),
    printcolumn(
        name = "Pieces",
        type_ = "integer",
        json_path = ".spec.pieces",
        description = "How many objects hold its content."
    ),
    printcolumn(
        name = "Time",
        type_ = "string",
        json_path = ".spec.time",
        description = "The time of that entry."
    ),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".spec.digest",
        priority = "1",
        description = "The hash of its content."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf || self.sequence > oldSelf.sequence")
        .message("an earlier checkpoint never replaces a later one")
)]
pub struct PrivacyLedgerCheckpointSpec {
    /// The dataset whose ledger it is of, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub dataset: String,
    /// The UID of the dataset's namespace when the writer opened the ledger: the checkpoint is refused in a namespace that was
    /// created again since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub namespace_uid: Option<String>,
    /// The version of the content's format. This release writes and reads 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub version: i64,
    /// The number of the entry that it stands at, which is the last one in its content.
    #[schemars(range(min = 1, max = 9_999_999_999_i64))]
    pub sequence: i64,
    /// The hash of that entry, in hexadecimal.
    #[schemars(length(max = 128))]
    pub hash: String,
    /// The time of that entry, in RFC 3339 with microseconds, for people.
    #[schemars(length(max = 64))]
    pub time: String,
    /// The time of that entry, in microseconds since the Unix epoch.
    #[schemars(range(min = 0))]
    pub time_micros: i64,
    /// The SHA-256 of its content before compression, in hexadecimal. A later entry of the ledger names it.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// The number of its pieces.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pieces: i64,
}

/// A piece of a checkpoint's content. Never changes.
#[derive(Clone, Debug, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivacyLedgerCheckpointPiece",
    plural = "privacyledgercheckpointpieces",
    namespaced,
    shortname = "plcp",
    derive = "PartialEq",
    selectable = ".spec.dataset",
    doc = "A piece of the content of a ledger's checkpoint. The extender creates it once, and removes it when a later \
           checkpoint is published; nobody else may create or remove one.",
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
        description = "The entry that the checkpoint stands at."
    ),
    printcolumn(
        name = "Piece",
        type_ = "integer",
        json_path = ".spec.piece",
        description = "Its number in the checkpoint, from 0."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a piece of a checkpoint never changes"))]
pub struct PrivacyLedgerCheckpointPieceSpec {
    /// The dataset whose ledger it is of, in the same namespace.
    #[schemars(length(min = 1, max = 63))]
    pub dataset: String,
    /// The UID of the dataset's namespace, as in the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub namespace_uid: Option<String>,
    /// The number of the entry that the checkpoint stands at.
    #[schemars(range(min = 1, max = 9_999_999_999_i64))]
    pub sequence: i64,
    /// The checkpoint's digest.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Its number in the checkpoint, from 0.
    #[schemars(range(min = 0, max = 999_999))]
    pub piece: i64,
    /// At most 512 KiB of lines, each the JSON of a part of the state, compressed (zlib) and in Base64.
    #[schemars(length(max = 1_048_576))]
    pub content: String,
}

/// Returns the name of a piece's object. Pieces of two checkpoints at the same entry have different names if their
/// contents differ.
#[must_use]
pub fn checkpoint_piece_name(dataset: &str, sequence: u64, digest: &str, piece: u32) -> String {
    let digest = digest.get(..8).unwrap_or(digest);
    format!("{dataset}-{sequence:010}-{digest}-{piece:06}")
}
