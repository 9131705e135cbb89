//! The lines of a segment.

use privatekube_ledger::{Entry, Hash};
use serde::{Deserialize, Serialize};

use crate::{file::CheckpointLine, objects::DatasetObject};

/// The version of the form that is written.
pub(super) const VERSION: u64 = 1;

/// The first line of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    pub(super) version: u64,
    pub(super) namespace: String,
    pub(super) dataset: String,
    pub(super) namespace_uid: String,
    pub(super) generation: u32,
    /// The number of its first entry.
    pub(super) first: u64,
    /// The last entry of the generation before, which the ledger has lost; none of the first generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gives_up: Option<GivenUp>,
}

/// An entry that a ledger has lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GivenUp {
    pub(super) sequence: u64,
    pub(super) hash: Hash,
}

/// An object that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Deleted {
    /// A block of this name.
    Block(String),
}

/// A line.
#[derive(Debug)]
pub(crate) enum SegmentLine {
    Segment(Header),
    Checkpoint(CheckpointLine),
    Piece(String),
    Object(DatasetObject),
    Deleted(Deleted),
    Entry(Hash, Box<Entry>),
}

/// Its form: the fields of one kind of line.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Box<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<Header>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    piece: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<DatasetObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted: Option<Deleted>,
}

impl SegmentLine {
    /// Appends its text, with the line break.
    pub(super) fn write(self, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let mut fields = Fields::default();
        match self {
            Self::Segment(header) => fields.segment = Some(header),
            Self::Checkpoint(checkpoint) => fields.checkpoint = Some(checkpoint),
            Self::Piece(piece) => fields.piece = Some(piece),
            Self::Object(object) => fields.object = Some(object),
            Self::Deleted(deleted) => fields.deleted = Some(deleted),
            Self::Entry(hash, entry) => (fields.hash, fields.entry) = (Some(hash), Some(entry)),
        }
        serde_json::to_writer(&mut *text, &fields)?;
        text.push(b'\n');
        Ok(())
    }

    /// Parses a line, with or without its line break. An entry has to have the hash that the line states.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let fields: Fields = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match fields {
            Fields {
                hash: Some(hash),
                entry: Some(entry),
                ..
            } => {
                let found = entry.hash().map_err(|error| error.to_string())?;
                if found != hash {
                    return Err(format!(
                        "entry {} has the hash {found}, and the line says {hash}: it was changed",
                        entry.sequence
                    ));
                }
                Ok(Self::Entry(hash, entry))
            }
            Fields {
                segment: Some(header),
                ..
            } => Ok(Self::Segment(header)),
            Fields {
                checkpoint: Some(checkpoint),
                ..
            } => Ok(Self::Checkpoint(checkpoint)),
            Fields {
                piece: Some(piece), ..
            } => Ok(Self::Piece(piece)),
            Fields {
                object: Some(object), ..
            } => Ok(Self::Object(object)),
            Fields {
                deleted: Some(deleted),
                ..
            } => Ok(Self::Deleted(deleted)),
            _ => Err("it is no line of an export directory".to_owned()),
        }
    }
}
