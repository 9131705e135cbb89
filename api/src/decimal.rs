//! Exact numbers and durations in the fields of a resource.

use std::{borrow::Cow, fmt, str::FromStr};

use privatekube_policy::{Delta, Epsilon, Order, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::FieldError;

/// An exact number: an integer, or a decimal in quotes. A float is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// Written without quotes.
    Integer(i64),
    /// Written in quotes.
    Text(String),
}

/// The longest decimal and the longest duration that are accepted.
const MOST_DECIMAL_CHARACTERS: usize = 64;
const MOST_DURATION_CHARACTERS: usize = 32;

impl Decimal {
    /// Keeps `text` as it was written, but for a negative sign (zero may have one), which a resource doesn't
    /// accept: then `number` is written in its place.
    pub(crate) fn as_written(text: &str, number: impl Into<Self>) -> Self {
        let text = text.trim();
        if text.starts_with('-') {
            number.into()
        } else {
            text.into()
        }
    }

    /// Parses the number as an epsilon. `field` is its path, for errors.
    pub fn epsilon(&self, field: &str) -> Result<Epsilon, FieldError> {
        self.parse(field)
    }

    /// Parses the number as a delta. `field` is its path, for errors.
    pub fn delta(&self, field: &str) -> Result<Delta, FieldError> {
        self.parse(field)
    }

    /// Parses the number as a Renyi order. `field` is its path, for errors.
    pub fn order(&self, field: &str) -> Result<Order, FieldError> {
        self.parse(field)
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&self, field: &str) -> Result<T, FieldError> {
        let text = self.to_string();
        check_length(&text, MOST_DECIMAL_CHARACTERS, field)?;
        text.parse().map_err(|problem| FieldError::new(field, problem))
    }
}

/// Refuses a text with more than `most` characters, not counting blanks around it.
pub(crate) fn check_length(text: &str, most: usize, field: &str) -> Result<(), FieldError> {
    match text.trim().chars().count() {
        characters if characters > most => Err(FieldError::new(
            field,
            format_args!("has {characters} characters: at most {most} are accepted"),
        )),
        _ => Ok(()),
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Decimal {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Epsilon> for Decimal {
    fn from(epsilon: Epsilon) -> Self {
        Self::Text(epsilon.to_string())
    }
}

impl From<Delta> for Decimal {
    fn from(delta: Delta) -> Self {
        Self::Text(delta.to_string())
    }
}

impl From<Order> for Decimal {
    fn from(order: Order) -> Self {
        Self::Text(order.to_string())
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor)
    }
}

struct DecimalVisitor;

impl de::Visitor<'_> for DecimalVisitor {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, or a decimal in quotes (a float isn't exact)")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
        Ok(Decimal::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Decimal, E> {
        // Larger than any amount may be: it is kept as text, so that the refusal quotes its digits.
        Ok(i64::try_from(number).map_or_else(|_| Decimal::Text(number.to_string()), Decimal::Integer))
    }

    fn visit_str<E>(self, text: &str) -> Result<Decimal, E> {
        Ok(Decimal::Text(text.to_owned()))
    }
}

impl JsonSchema for Decimal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": MOST_DECIMAL_CHARACTERS,
            "x-kubernetes-validations": [{
                "rule": "type(self) == int ? self >= 0 : self.matches('^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$')",
                "message": "write an integer, or a decimal in quotes, zero or more, like 10, \"0.5\" or \"1e-9\"",
            }],
        })
    }
}

/// A duration in a field of a resource, like `90s` or `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// Parses the duration, which must be above zero. `field` is its path, for errors.
    pub fn span(&self, field: &str) -> Result<Span, FieldError> {
        parse_span(&self.0, field)
    }
}

/// Parses a duration above zero. `field` is its path, for errors.
pub(crate) fn parse_span(text: &str, field: &str) -> Result<Span, FieldError> {
    check_length(text, MOST_DURATION_CHARACTERS, field)?;
    match text.parse::<Span>() {
        Err(problem) => Err(FieldError::new(field, problem)),
        Ok(span) if span.micros() == 0 => Err(FieldError::new(
            field,
            format_args!("{text:?} is no time at all: write a longer duration, like 90s or 1h30m"),
        )),
        Ok(span) => Ok(span),
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": MOST_DURATION_CHARACTERS,
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]+(ms|s|m|h|d))+$')",
                "message": "write numbers with units ms, s, m, h or d, like 90s or 1h30m",
            }],
        })
    }
}
