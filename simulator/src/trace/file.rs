//! The JSON format of traces as serde types, and the errors of reading and writing them.

use std::{collections::BTreeMap, fmt};

use privatekube_policy::Revision;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor, value},
    ser::SerializeTuple,
};
use serde_json::{Number, error::Category};
use thiserror::Error;

use crate::PolicySettingsError;

/// The reason why a file is not a valid trace. The message names the place, the value and what is accepted,
/// but not the file.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The text is not JSON, or not an object with the required keys.
    #[error(transparent)]
    Json(serde_json::Error),
    /// The policy settings are invalid.
    #[error(transparent)]
    PolicySettings(#[from] PolicySettingsError),
    /// A value has the wrong type.
    #[error("{place}: {error}")]
    Format {
        /// The key of the value.
        place: String,
        /// What is wrong, with line and column.
        error: serde_json::Error,
    },
    /// A value of the right type is invalid.
    #[error("{place}: {what}")]
    Value {
        /// The key of the value.
        place: String,
        /// The value and what is accepted.
        what: String,
    },
    /// The trace can't be written.
    #[error("writing: {0}")]
    Write(#[from] std::io::Error),
}

impl TraceError {
    /// Adds the place in the document to errors of format; for other errors, line and column say it all.
    pub(super) fn from_json(error: serde_path_to_error::Error<serde_json::Error>) -> Self {
        let is_whole = error.path().iter().next().is_none();
        let place = error.path().to_string();
        let error = error.into_inner();
        if is_whole || error.classify() != Category::Data {
            return Self::Json(error);
        }
        Self::Format { place, error }
    }

    pub(super) fn value(place: impl Into<String>, what: impl fmt::Display) -> Self {
        Self::Value {
            place: place.into(),
            what: what.to_string(),
        }
    }
}

/// A trace that must be a JSON object. (A derived `Deserialize` would also accept an array of all values.)
#[derive(Debug)]
pub(super) struct TraceObject(pub(super) File);

impl<'de> Deserialize<'de> for TraceObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TraceObjectVisitor)
    }
}

struct TraceObjectVisitor;

impl<'de> Visitor<'de> for TraceObjectVisitor {
    type Value = TraceObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object: a trace, with at least policy, composition, block, blocks, end and tasks")
    }

    fn visit_map<A: MapAccess<'de>>(self, keys: A) -> Result<TraceObject, A::Error> {
        File::deserialize(value::MapAccessDeserializer::new(keys)).map(TraceObject)
    }
}

/// The columns of a task that is an array, by the names that files give them.
pub(super) const TASK_COLUMNS: [&str; 5] = ["arrival", "first_block", "last_block", "epsilon", "granted_at"];

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    pub(super) policy: String,
    pub(super) composition: CompositionField,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) orders: Option<Vec<Number>>,
    #[serde(default)]
    pub(super) n: Option<u32>,
    #[serde(default)]
    pub(super) lifetime: Option<f64>,
    #[serde(default)]
    pub(super) tick: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recompute_after: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fairness: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<Revision>,
    pub(super) block: Block,
    pub(super) blocks: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block_arrivals: Option<Vec<f64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task_delta: Option<Number>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) demands: BTreeMap<String, Vec<Number>>,
    #[serde(default)]
    pub(super) timeout: Option<f64>,
    pub(super) end: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) task_columns: Vec<String>,
    pub(super) tasks: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CompositionField {
    EpsilonDelta,
    Renyi,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epsilon: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) curve: Option<Vec<Number>>,
}

/// The field `demand`: a task's demand on each of its blocks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a demand must be an epsilon, a name in `demands`, or a mechanism"
)]
pub(super) enum DemandField {
    Epsilon(Number),
    Named(String),
}

/// The blocks that a task requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Blocks {
    /// All blocks from the first to the last.
    Range(u32, u32),
    /// The listed blocks.
    List(Vec<u32>),
}

/// One task.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub(super) arrival: f64,
    pub(super) blocks: Blocks,
    pub(super) demand: DemandField,
    pub(super) granted: Option<f64>,
    pub(super) weight: u32,
    pub(super) class: usize,
}

#[derive(Deserialize)]
#[serde(
    expecting = "a row of 5 values: arrival, first block, last block, demand, and (may be left out) when it is granted"
)]
struct Columns(f64, u32, u32, DemandField, #[serde(default)] Option<f64>);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Named {
    arrival: f64,
    blocks: Vec<u32>,
    demand: DemandField,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    class: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted_at: Option<f64>,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(class: &usize) -> bool {
    *class == 0
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task: [arrival, first block, last block, demand, granted at], or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut columns: A) -> Result<Row, A::Error> {
        let Columns(arrival, first, last, demand, granted) =
            Columns::deserialize(value::SeqAccessDeserializer::new(&mut columns))?;
        if columns.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(6, &self));
        }
        Ok(Row {
            arrival,
            blocks: Blocks::Range(first, last),
            demand,
            granted,
            weight: 1,
            class: 0,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, named: A) -> Result<Row, A::Error> {
        let named = Named::deserialize(value::MapAccessDeserializer::new(named))?;
        Ok(Row {
            arrival: named.arrival,
            blocks: Blocks::List(named.blocks),
            demand: named.demand,
            granted: named.granted_at,
            weight: named.weight,
            class: named.class,
        })
    }
}

impl Blocks {
    /// Turns a list of blocks without gaps into a range.
    pub(super) fn of(list: &[u32]) -> Self {
        if let (Some(first), Some(last)) = (list.first(), list.last())
            && list.iter().copied().eq(*first..=*last)
        {
            return Self::Range(*first, *last);
        }
        Self::List(list.to_vec())
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.blocks {
            Blocks::Range(first, last) if self.weight == 1 && self.class == 0 => {
                let mut columns = serializer.serialize_tuple(5)?;
                columns.serialize_element(&self.arrival)?;
                columns.serialize_element(&first)?;
                columns.serialize_element(&last)?;
                columns.serialize_element(&self.demand)?;
                columns.serialize_element(&self.granted)?;
                columns.end()
            }
            _ => Named {
                arrival: self.arrival,
                blocks: match &self.blocks {
                    Blocks::Range(first, last) => (*first..=*last).collect(),
                    Blocks::List(list) => list.clone(),
                },
                demand: self.demand.clone(),
                weight: self.weight,
                class: self.class,
                granted_at: self.granted,
            }
            .serialize(serializer),
        }
    }
}
