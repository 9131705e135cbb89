//! Parts of schemas that several kinds share and that a derive can't express.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};

/// The names of the fields that a type can have, as JSON has them.
#[must_use]
pub fn field_names<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T);
    let properties = schema
        .get("properties")
        .and_then(|properties| properties.as_object());
    properties
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// The standard conditions, one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316,
                    "description": "Which aspect, in CamelCase.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it holds.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that the condition was set for.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When the status last changed.",
                },
                "reason": {
                    "type": "string", "maxLength": 1024,
                    "description": "Why, as one word in CamelCase, for programs.",
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, in words, for people.",
                },
            },
        },
    })
}

/// Any value: the types of the ledger define what it holds.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// A list of any values.
pub(crate) fn list_of_anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "items": {"x-kubernetes-preserve-unknown-fields": true},
    })
}
