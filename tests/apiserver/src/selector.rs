//! Label and field selectors of lists and watches.

use serde_json::Value;

use crate::{answer::Refusal, request::Request};

/// A conjunction of requirements on an object's labels and fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector(Vec<(Attribute, Requirement)>);

#[derive(Clone, Debug)]
enum Attribute {
    Label(String),
    /// A JSON pointer.
    Field(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// The selectors of a list or watch.
    pub(crate) fn of(request: &Request) -> Result<Self, Refusal> {
        let mut all = Vec::new();
        for term in terms(request.parameter("labelSelector").unwrap_or_default()) {
            let (label, requirement) = parse(term)?;
            all.push((Attribute::Label(label), requirement));
        }
        for term in terms(request.parameter("fieldSelector").unwrap_or_default()) {
            let (field, requirement) = parse(term)?;
            if !matches!(requirement, Requirement::In(_) | Requirement::NotIn(_)) {
                return Err(Refusal::new(400, format!("{term} is no field selector")));
            }
            let pointer = format!("/{}", field.replace('.', "/"));
            all.push((Attribute::Field(pointer), requirement));
        }
        Ok(Self(all))
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(attribute, requirement)| {
            let value = match attribute {
                Attribute::Label(label) => object["metadata"]["labels"].get(label).map(text),
                // A field that is absent has its empty value.
                Attribute::Field(pointer) => Some(object.pointer(pointer).map(text).unwrap_or_default()),
            };
            match requirement {
                Requirement::In(values) => value.is_some_and(|value| values.contains(&value)),
                Requirement::NotIn(values) => value.is_none_or(|value| !values.contains(&value)),
                Requirement::Exists => value.is_some(),
                Requirement::Absent => value.is_none(),
            }
        })
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Divides a selector at its commas, except those inside parentheses.
fn terms(selector: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let divided = selector.split(move |character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    });
    divided.map(str::trim).filter(|term| !term.is_empty())
}

fn parse(term: &str) -> Result<(String, Requirement), Refusal> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let (name, requirement) = if let Some((name, value)) = term.split_once("!=") {
        (name, Requirement::NotIn(one(value)))
    } else if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (name, Requirement::In(one(value)))
    } else if let Some(list) = term.strip_suffix(')') {
        let (head, list) = list
            .split_once('(')
            .ok_or_else(|| Refusal::new(400, format!("{term} is no selector")))?;
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        match head.trim().rsplit_once(' ') {
            Some((name, "in")) => (name, Requirement::In(values)),
            Some((name, "notin")) => (name, Requirement::NotIn(values)),
            _ => return Err(Refusal::new(400, format!("{term} is no selector"))),
        }
    } else if let Some(name) = term.strip_prefix('!') {
        (name, Requirement::Absent)
    } else {
        (term, Requirement::Exists)
    };
    Ok((name.trim().to_owned(), requirement))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str) -> bool {
        let all = terms(selector).map(|term| {
            let (label, requirement) = parse(term).unwrap();
            (Attribute::Label(label), requirement)
        });
        let labels = json!({"metadata": {"labels": {"a": "1", "example.org/b": "2"}}});
        Selector(all.collect()).matches(&labels)
    }

    #[test]
    fn each_operator_of_label_selectors_is_understood() {
        for selector in [
            "",
            "a=1",
            "a==1",
            "a!=2",
            "missing!=1",
            "a in (0, 1),example.org/b=2",
            "a notin (2,3)",
            "missing notin (2,3)",
            "a",
            "!missing",
        ] {
            assert!(matches(selector), "{selector}");
        }
        for selector in [
            "a=2",
            "a!=1",
            "missing=",
            "a in (2,3)",
            "a notin (1)",
            "missing",
            "!a",
        ] {
            assert!(!matches(selector), "{selector}");
        }
    }
}
