//! The canonical form of an entry, which is hashed: compact JSON with the keys of each object in a fixed order.
//!
//! The API server keeps the keys of objects in alphabetical order, so the order is written down here once more. A key that
//! is not in these tables is an error and not left out.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What a value looks like.
#[derive(Clone, Copy)]
enum Shape {
    /// A text, a number or a truth value.
    Plain,
    List(&'static Shape),
    /// Keys in their order.
    Fields(&'static [(&'static str, Shape)]),
    /// One of several forms: a name alone, or a name with its content.
    OneOf(&'static [(&'static str, Shape)]),
}

use Shape::{Fields, List, OneOf, Plain};

const PLAIN_LIST: Shape = List(&Plain);
const DEMAND: Shape = Fields(&[("blocks", PLAIN_LIST), ("budget", PLAIN_LIST)]);
const DEMANDS: Shape = List(&DEMAND);
const AMOUNT: Shape = OneOf(&[("all", Plain), ("inAll", DEMANDS)]);
const BLOCK: Shape = Fields(&[("block", Plain)]);
const CLAIM: Shape = Fields(&[("claim", Plain)]);

const RULES: Shape = Fields(&[
    (
        "policy",
        OneOf(&[
            ("dpf", Plain),
            ("fcfs", Fields(&[("refusing", Plain)])),
            ("roundRobin", Plain),
            ("dpack", Fields(&[("recomputeAfter", Plain)])),
            ("blend", Fields(&[("fairness", Plain), ("recomputeAfter", Plain)])),
        ]),
    ),
    (
        "unlocking",
        OneOf(&[
            ("arrivals", Plain),
            ("lifetime", Fields(&[("lifetime", Plain), ("tick", Plain)])),
            ("immediate", Plain),
        ]),
    ),
    ("composition", OneOf(&[("basic", Plain), ("renyi", PLAIN_LIST)])),
    ("revision", Plain),
]);

const EVENT: Shape = OneOf(&[
    ("addBlock", Fields(&[("block", Plain), ("capacity", PLAIN_LIST)])),
    ("retireBlock", BLOCK),
    (
        "arrive",
        Fields(&[
            ("claim", Plain),
            ("demands", DEMANDS),
            ("minBlocks", Plain),
            ("timeout", Plain),
            ("priority", Plain),
            ("weight", Plain),
        ]),
    ),
    ("match", Fields(&[("claim", Plain), ("demands", DEMANDS)])),
    ("consume", Fields(&[("claim", Plain), ("amount", AMOUNT)])),
    ("release", Fields(&[("claim", Plain), ("amount", AMOUNT)])),
    ("withdraw", CLAIM),
    ("neverRan", CLAIM),
    (
        "writeOff",
        Fields(&[("after", Plain), ("unknownBlocks", PLAIN_LIST), ("reason", Plain)]),
    ),
    ("forget", Fields(&[("claims", PLAIN_LIST), ("of", Plain)])),
]);

const BLOCK_NUMBERS: &[(&str, Shape)] = &[
    ("block", Plain),
    ("coordinate", Plain),
    ("asked", Plain),
    ("left", Plain),
    ("unlocked", Plain),
];

const DENIAL: Shape = OneOf(&[
    ("tooLarge", Fields(BLOCK_NUMBERS)),
    ("blockRetired", BLOCK),
    ("doesNotFit", Fields(BLOCK_NUMBERS)),
    ("dividedUp", BLOCK),
]);

const CLAIM_AT: Shape = Fields(&[("claim", Plain), ("at", Plain)]);
const CLAIM_ENTIRELY: Shape = Fields(&[("claim", Plain), ("entirely", Plain)]);

const RECORD: Shape = OneOf(&[
    ("blockAdded", BLOCK),
    ("blockRetired", BLOCK),
    ("writtenOff", BLOCK),
    ("unlocked", Fields(&[("blocks", PLAIN_LIST)])),
    ("waits", CLAIM),
    ("granted", CLAIM_AT),
    (
        "denied",
        Fields(&[("claim", Plain), ("reason", DENIAL), ("at", Plain)]),
    ),
    ("expired", CLAIM_AT),
    ("withdrawn", CLAIM),
    ("consumed", CLAIM_ENTIRELY),
    ("released", CLAIM_ENTIRELY),
]);

const REQUESTER: Shape = Fields(&[
    ("claim", Plain),
    ("user", Plain),
    ("serviceAccount", Plain),
    ("owner", Plain),
    ("images", PLAIN_LIST),
    ("mechanism", Plain),
    ("purpose", Plain),
]);

/// The fields of an entry in their order, and the fields of the object's spec that have them.
const ENTRY: &[(&str, &str, Shape)] = &[
    ("sequence", "sequence", Plain),
    ("previous", "previous", Plain),
    ("writer", "writer", Plain),
    ("program", "program", Plain),
    ("time", "timeMicros", Plain),
    ("setting", "setting", RULES),
    ("events", "events", List(&EVENT)),
    ("records", "records", List(&RECORD)),
    ("omitted", "omitted", Fields(&[("count", Plain), ("hash", Plain)])),
    (
        "checkpoint",
        "checkpoint",
        Fields(&[("sequence", Plain), ("digest", Plain)]),
    ),
    ("requesters", "requesters", List(&REQUESTER)),
];

/// What a hash in hexadecimal is before the first entry.
pub(crate) const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The SHA-256 of an entry, from its object's spec; an error says which part has an unknown form.
pub(crate) fn hash(spec: &Value) -> Result<String, String> {
    // Version 1 of the format is not stated.
    if !spec["version"].is_null() {
        return Err(format!("version: {} of the format is unknown", spec["version"]));
    }
    let mut text = String::from("{");
    for (name, field, shape) in ENTRY {
        // An entry without events has the list all the same; the other fields are left out.
        let empty = Value::Array(Vec::new());
        let value = match (&spec[*field], *name) {
            (Value::Null, "events" | "records") => &empty,
            (Value::Null, _) => continue,
            (value, _) => value,
        };
        separate(&mut text);
        key(&mut text, name);
        write(&mut text, value, *shape).map_err(|problem| format!("{field}: {problem}"))?;
    }
    text.push('}');
    Ok(HEXLOWER.encode(&Sha256::digest(text.as_bytes())))
}

fn write(text: &mut String, value: &Value, shape: Shape) -> Result<(), String> {
    match (shape, value) {
        (Plain, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
            // serde_json escapes what the canonical form escapes, and nothing else.
            let _ = write!(text, "{value}");
            Ok(())
        }
        (List(of), Value::Array(values)) => {
            text.push('[');
            for value in values {
                separate(text);
                write(text, value, *of)?;
            }
            text.push(']');
            Ok(())
        }
        (Fields(fields), Value::Object(given)) => write_fields(text, given, fields),
        (OneOf(forms), Value::String(name)) if forms.iter().any(|(form, _)| form == name) => {
            let _ = write!(text, "{value}");
            Ok(())
        }
        (OneOf(forms), Value::Object(given)) if given.len() == 1 => write_fields(text, given, forms),
        _ => Err(format!("{value} has an unknown form")),
    }
}

fn write_fields(
    text: &mut String,
    given: &Map<String, Value>,
    fields: &[(&str, Shape)],
) -> Result<(), String> {
    text.push('{');
    let mut written = 0;
    for (name, shape) in fields {
        if let Some(value) = given.get(*name) {
            separate(text);
            key(text, name);
            write(text, value, *shape).map_err(|problem| format!("{name}: {problem}"))?;
            written += 1;
        }
    }
    text.push('}');
    if written == given.len() {
        return Ok(());
    }
    let known = |name: &str| fields.iter().any(|(field, _)| *field == name);
    let unknown: Vec<&String> = given.keys().filter(|name| !known(name)).collect();
    Err(format!("{unknown:?} is unknown"))
}

fn key(text: &mut String, name: &str) {
    let _ = write!(text, "\"{name}\":");
}

/// A comma, unless nothing comes before in this list or object.
fn separate(text: &mut String) {
    if !text.ends_with(['{', '[']) {
        text.push(',');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_have_the_order_of_the_tables_and_unknown_ones_are_refused() {
        let mut text = String::new();
        let arrival = json!({"arrive": {
            "weight": 2, "minBlocks": 1, "demands": [{"budget": [1, 2], "blocks": ["a{", "b\"\n\u{1}é"]}], "claim": "c",
        }});
        write(&mut text, &arrival, EVENT).unwrap();
        let expected = "{\"arrive\":{\"claim\":\"c\",\"demands\":[{\"blocks\":[\"a{\",\"b\\\"\\n\\u0001é\"],\
                        \"budget\":[1,2]}],\"minBlocks\":1,\"weight\":2}}";
        assert_eq!(text, expected);
        for unknown in [
            json!({"withdraw": {"claim": "c", "why": "x"}}),
            json!({"vanish": {"claim": "c"}}),
            json!({"withdraw": {"claim": null}}),
            json!("grow"),
        ] {
            assert!(write(&mut String::new(), &unknown, EVENT).is_err(), "{unknown}");
        }
    }
}
