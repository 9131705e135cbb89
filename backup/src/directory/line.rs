//! The lines of a segment.

use privatekube_ledger::{ENTRY_VERSION, Entry, Hash};
use serde::{Deserialize, Serialize, de::IgnoredAny};

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

/// Why a text is no line.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It was torn or changed. Readers pass over it: another copy of the entry counts, or the entry is missing.
    Damaged(String),
    /// It is JSON of a form that this version doesn't know. Nothing may go on without it: it may be the last entry.
    Later(String),
}

impl Unreadable {
    fn later(what: impl std::fmt::Display) -> Self {
        Self::Later(format!(
            "a later version of PrivateKube wrote it, or it was changed: {what}"
        ))
    }
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
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Unreadable> {
        let fields: Fields = serde_json::from_slice(text).map_err(|error| {
            // What was torn isn't JSON any more.
            let is_whole = serde_json::from_slice::<IgnoredAny>(text).is_ok();
            if is_whole {
                Unreadable::later(error)
            } else {
                Unreadable::Damaged(error.to_string())
            }
        })?;
        match fields {
            Fields {
                hash: Some(hash),
                entry: Some(entry),
                ..
            } => {
                if entry.version > ENTRY_VERSION {
                    let (sequence, version) = (entry.sequence, entry.version);
                    return Err(Unreadable::later(format_args!(
                        "entry {sequence} has version {version} of its format"
                    )));
                }
                let found = entry.hash();
                let found = found.map_err(|error| Unreadable::Damaged(error.to_string()))?;
                if found != hash {
                    return Err(Unreadable::Damaged(format!(
                        "entry {} has the hash {found}, and the line says {hash}: it was changed",
                        entry.sequence
                    )));
                }
                Ok(Self::Entry(hash, entry))
            }
            Fields {
                segment: Some(header),
                ..
            } if header.version > VERSION => Err(Unreadable::later(format_args!(
                "the segment has version {} of its form",
                header.version
            ))),
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
            _ => Err(Unreadable::later("it has none of the fields of a line")),
        }
    }
}
