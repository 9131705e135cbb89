//! Dimensions: the attributes of a block that selectors read.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use cel::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The value of a block's dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dimension {
    /// An integer.
    Number(i64),
    /// A string.
    Text(String),
}

/// A block's dimensions by name.
pub type Dimensions = BTreeMap<String, Dimension>;

impl JsonSchema for Dimension {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Dimension".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 253,
        })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&Dimension> for Value {
    fn from(dimension: &Dimension) -> Self {
        match dimension {
            Dimension::Number(number) => Self::Int(*number),
            Dimension::Text(text) => Self::String(Arc::new(text.clone())),
        }
    }
}
