//! What of a document is no object, and would be taken for one that requests nothing.

use anyhow::{Result, bail};
use serde_json::Value;

/// Fails unless a document has the shape of an object of Kubernetes, as far as `template`, where its pod template is, and
/// what may request budget.
pub(super) fn check(object: &Value, template: Option<&str>) -> Result<()> {
    if !object.is_object() {
        bail!("it is {}, and no object", told(object));
    }
    match &object["kind"] {
        Value::String(kind) if !kind.is_empty() => {}
        Value::Null => bail!("it has no kind"),
        other => bail!("kind is {}, and has to be text", told(other)),
    }
    metadata(object, "metadata")?;
    let (mut value, mut path) = (object, String::new());
    for part in template.into_iter().flat_map(|path| path.split('.')) {
        value = &value[part];
        path = if path.is_empty() {
            part.to_owned()
        } else {
            format!("{path}.{part}")
        };
        mapping(value, &path)?;
        metadata(value, &format!("{path}.metadata"))?;
    }
    Ok(())
}

/// The objects in a list, which is what has `items`; `None` of what is no list.
pub(super) fn listed(object: &mut Value) -> Result<Option<Vec<Value>>> {
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if !is_list || object["items"].is_null() {
        return Ok(None);
    }
    match object["items"].take() {
        Value::Array(items) => Ok(Some(items)),
        other => bail!("items is {}, and has to be a list", told(&other)),
    }
}

/// Checks the metadata of a value, which is at `path`.
fn metadata(of: &Value, path: &str) -> Result<()> {
    let metadata = &of["metadata"];
    mapping(metadata, path)?;
    for list in ["annotations", "labels"] {
        mapping(&metadata[list], &format!("{path}.{list}"))?;
    }
    Ok(())
}

fn mapping(value: &Value, path: &str) -> Result<()> {
    if !value.is_object() && !value.is_null() {
        bail!("{path} is {}, and has to be an object", told(value));
    }
    Ok(())
}

/// A value in a message, which stays short.
fn told(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("the text {:?}", privatekube_api::beginning(text)),
        other => other.to_string(),
    }
}
