//! Pod templates of kinds that aren't Kubernetes' own: what makes pods of them is unknown, so they are told and not guessed.

use privatekube_api::is_like_ours;
use serde_json::Value;

/// Where below `spec` something has an annotation or a label of ours, as a template of pods has; `None` if nothing has.
pub(super) fn template(object: &Value) -> Option<String> {
    asks(&object["spec"], "spec")
}

fn asks(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let metadata = &value["metadata"];
            let lists = ["annotations", "labels"].into_iter();
            let mut keys =
                lists.flat_map(|list| metadata[list].as_object().into_iter().flat_map(|map| map.keys()));
            if keys.any(|key| is_like_ours(key)) {
                return Some(path.to_owned());
            }
            let mut inside = fields.iter();
            inside.find_map(|(name, inside)| asks(inside, &format!("{path}.{name}")))
        }
        Value::Array(items) => {
            let mut inside = items.iter().enumerate();
            inside.find_map(|(at, inside)| asks(inside, &format!("{path}[{at}]")))
        }
        _ => None,
    }
}
