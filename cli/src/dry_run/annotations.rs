//! What admission can't see in a manifest: keys that were meant for PrivateKube and aren't its own, or are where they do
//! nothing.

use std::collections::BTreeMap;

use privatekube_api::{
    ANNOTATION_DELTA, ANNOTATION_EPSILON, ANNOTATION_MECHANISM, ANNOTATION_PREFIX, LABEL_MANAGED,
    USER_ANNOTATIONS, is_like_ours,
};
use serde_json::Value;

/// How many letters of a whole key may be wrong.
const MOST_SLIPS: usize = 4;

/// The annotations of metadata. Values that are no text are left out: the API server refuses them.
pub(super) fn annotations(metadata: &Value) -> BTreeMap<String, String> {
    let annotations = metadata["annotations"].as_object();
    let pairs = annotations.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// What is wrong with the keys of metadata at `path`, which is that of pods (`is_template`), or of what has a pod template at
/// `template`.
pub(super) fn warnings(metadata: &Value, path: &str, template: Option<&str>) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["annotations", "labels"] {
        let entries = metadata[list].as_object();
        for (key, value) in entries.into_iter().flatten() {
            let place = format!("{path}.{list}[{key}]");
            let ours = is_like_ours(key);
            if list == "annotations" && ours && !value.is_string() {
                warnings.push(format!(
                    "{place} is {value}, and an annotation is text: write it in quotes"
                ));
            }
            match (ours, template) {
                (true, Some(template)) if key != LABEL_MANAGED => warnings.push(format!(
                    "{place} requests nothing: pods have the annotations of their template alone, so write it in \
                     {template}.metadata.annotations"
                )),
                (true, None) if list == "labels" && key != LABEL_MANAGED => warnings.push(format!(
                    "{place} is a label, and labels request no budget: write it in {path}.annotations"
                )),
                (true, _) => {}
                (false, _) => warnings.extend(meant(key).map(|meant| {
                    format!("{place} is not PrivateKube's and requests nothing: did you mean {meant}?")
                })),
            }
        }
    }
    warnings
}

/// The annotation of ours that a key is most likely meant to be, which admission takes for somebody else's.
fn meant(key: &str) -> Option<&'static str> {
    let folded = key.to_ascii_lowercase();
    let prefix = ANNOTATION_PREFIX.trim_end_matches('/');
    let (domain, name) = folded.split_once('/').unwrap_or(("", &folded));
    let bare = |known: &&str| known.split('/').next_back() == Some(name);
    let named = USER_ANNOTATIONS.into_iter().find(|known| bare(known));
    // A bare word that only we use, or one of our names below a domain that is almost ours.
    if domain.is_empty() {
        let is_own_word = [ANNOTATION_EPSILON, ANNOTATION_DELTA, ANNOTATION_MECHANISM];
        return named.filter(|known| is_own_word.contains(known));
    }
    let is_near = strsim::levenshtein(domain, prefix) <= MOST_SLIPS || domain.contains("privatekube");
    if let Some(named) = named.filter(|_| is_near) {
        return Some(named);
    }
    let near = USER_ANNOTATIONS
        .into_iter()
        .min_by_key(|known| strsim::levenshtein(&folded, known))?;
    (is_near && strsim::levenshtein(&folded, near) <= MOST_SLIPS).then_some(near)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_were_meant_for_us_are_named() {
        for (key, known) in [
            ("privatekub.dev/epsilon", Some("privatekube.dev/epsilon")),
            ("privatekube.io/max-blocks", Some("privatekube.dev/max-blocks")),
            ("private-kube.dev/datset", Some("privatekube.dev/dataset")),
            ("epsilon", Some("privatekube.dev/epsilon")),
            ("dataset", None),
            ("example.com/epsilon", None),
            ("app.kubernetes.io/name", None),
        ] {
            assert_eq!(meant(key), known, "{key}");
        }
    }

    #[test]
    fn keys_where_they_do_nothing_are_named_with_their_place() {
        let metadata = json!({
            "annotations": {"privatekube.dev/dataset": "taxi"},
            "labels": {"privatekub.dev/epsilon": "1", "app": "x"},
        });
        let told = warnings(&metadata, "metadata", Some("spec.template"));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].ends_with("write it in spec.template.metadata.annotations"));
        let told = warnings(
            &json!({"annotations": {"privatekube.dev/epsilon": 1}}),
            "metadata",
            None,
        );
        assert_eq!(
            told,
            [
                "metadata.annotations[privatekube.dev/epsilon] is 1, and an annotation is text: write it in quotes"
            ]
        );
    }
}
