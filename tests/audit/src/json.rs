//! Short ways to read JSON values. What is missing or of another type reads as nothing.

use serde_json::Value;

/// The text at a path of keys.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The number at a path of keys.
pub(crate) fn number(value: &Value, path: &[&str]) -> Option<u64> {
    at(value, path).as_u64()
}

/// The list at a path of keys.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The value at a path of keys; null if there is none.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| &value[*key])
}

/// The one variant of an enum: its name, and what belongs to it.
pub(crate) fn variant(value: &Value) -> Option<(&str, &Value)> {
    match value {
        Value::String(name) => Some((name, &Value::Null)),
        Value::Object(fields) if fields.len() == 1 => {
            fields.iter().next().map(|(name, value)| (name.as_str(), value))
        }
        _ => None,
    }
}
