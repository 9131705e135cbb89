//! The webhook of workloads: objects that carry pod templates, like Jobs and Deployments. It checks a template as its pods
//! will be checked, so that who applies the object is told at once, and refuses our keys where they do nothing.
//!
//! Nothing depends on this webhook: each pod is checked again when it is made. So a template that isn't found here, and a
//! webhook that isn't reached, let nothing run.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
};

use privatekube_api::{LABEL_MANAGED, excerpt, is_like_ours};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Admission, AdmissionRequest, Answer, keys::Keys, pods, refusal::Refusal, warnings};
use crate::json_body::work;

/// The kinds of Kubernetes that carry a pod template, and where. The group is empty for the core.
const BUILT_IN: [(&str, &str, &str); 7] = [
    ("apps", "daemonsets", "spec.template"),
    ("apps", "deployments", "spec.template"),
    ("apps", "replicasets", "spec.template"),
    ("apps", "statefulsets", "spec.template"),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template"),
    ("batch", "jobs", "spec.template"),
    ("", "replicationcontrollers", "spec.template"),
];
/// The most templates of an object that are checked.
const MOST_TEMPLATES: usize = 32;
/// The most keys that a message names, and the most bytes of each.
const MOST_KEYS: usize = 16;
const MOST_KEY: usize = 300;
/// A part of a path that stands for every element of a list, and every value of a map.
const EVERY: &str = "*";

/// Where objects of a resource carry pod templates. Parsed from `GROUP/RESOURCE=PATH`, like
/// `kubeflow.org/pytorchjobs=spec.pytorchReplicaSpecs.*.template`; `*` in a path stands for every element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTemplate {
    group: String,
    resource: String,
    path: Vec<String>,
}

impl FromStr for PodTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let help = || {
            format!(
                "{text:?} is not where pod templates are: write GROUP/RESOURCE=PATH, like \
                 kubeflow.org/pytorchjobs=spec.pytorchReplicaSpecs.*.template"
            )
        };
        let (of, path) = text.split_once('=').ok_or_else(help)?;
        let (group, resource) = of.split_once('/').ok_or_else(help)?;
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if resource.is_empty() || resource.contains('/') || path.iter().any(String::is_empty) {
            return Err(help());
        }
        Ok(Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            path,
        })
    }
}

/// The paths of the pod templates of each resource.
#[derive(Clone, Debug)]
pub struct PodTemplates(BTreeMap<(String, String), Vec<Arc<[String]>>>);

impl PodTemplates {
    /// Those of Kubernetes' own kinds, and `more`.
    #[must_use]
    pub fn new(more: &[PodTemplate]) -> Self {
        let mut paths: BTreeMap<(String, String), Vec<Arc<[String]>>> = BTreeMap::new();
        let mut add = |group: &str, resource: &str, path: Vec<String>| {
            let of = (group.to_owned(), resource.to_owned());
            paths.entry(of).or_default().push(path.into());
        };
        for (group, resource, path) in BUILT_IN {
            add(group, resource, path.split('.').map(str::to_owned).collect());
        }
        for PodTemplate {
            group,
            resource,
            path,
        } in more
        {
            add(group, resource, path.clone());
        }
        Self(paths)
    }
}

/// The resource of a request.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReviewedResource {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resource: String,
}

/// Reviews a workload.
pub(super) async fn review(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let ReviewedResource { group, resource } = &request.resource;
    let Some(paths) = admission.templates.0.get(&(group.clone(), resource.clone())) else {
        // A rule without its flag. The pods are checked all the same.
        return Answer::Allow;
    };
    let Some(object) = &request.object else {
        return Answer::Deny("the request has no object".to_owned());
    };
    let found = match find(object, paths).await {
        Ok(found) => found,
        Err(error) => return Answer::Deny(format!("the object is not understood: {error}")),
    };
    // What isn't changed was checked when it was made, or was made before there was anything to check it. It can be scaled,
    // and its finalizers can be removed, whatever it says.
    if let Some(before) = &request.old_object
        && find(before, paths)
            .await
            .is_ok_and(|before| before.says_the_same(&found))
    {
        return Answer::Allow;
    }
    let mut faults: Vec<Refusal> = found.useless_keys().into_iter().map(Refusal::from).collect();
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let mut told = Vec::new();
    for Template { path, pod, .. } in &found.templates {
        match pods::check(admission, pod, namespace).await {
            Err(refusal) => faults.push(refusal.at(path)),
            Ok(None) => {}
            Ok(Some((requested, _))) => {
                let warnings =
                    warnings::of_pod(&admission.registry, &requested, namespace, request.dry_run).await;
                told.extend(warnings.into_iter().map(|warning| format!("{path}: {warning}")));
            }
        }
    }
    if faults.is_empty() {
        Answer::Allow.with_warnings(told)
    } else {
        Refusal::all(faults).into()
    }
}

/// What an object has of ours, and where.
#[derive(Debug, Default)]
struct Found {
    /// The keys like ours of the object itself and of what is between it and its templates, each with its path.
    useless: BTreeSet<String>,
    templates: Vec<Template>,
}

#[derive(Debug)]
struct Template {
    path: String,
    text: String,
    pod: pods::PodObject,
}

impl Found {
    fn says_the_same(&self, other: &Self) -> bool {
        let texts = |found: &Self| -> Vec<(String, String)> {
            let templates = found.templates.iter();
            templates
                .map(|template| (template.path.clone(), template.text.clone()))
                .collect()
        };
        self.useless == other.useless && texts(self) == texts(other)
    }

    /// Says which keys of ours are where they do nothing.
    fn useless_keys(&self) -> Option<String> {
        if self.useless.is_empty() {
            return None;
        }
        let named: Vec<&str> = self.useless.iter().take(MOST_KEYS).map(String::as_str).collect();
        let paths: Vec<String> = self
            .templates
            .iter()
            .map(|template| format!("{}.metadata.annotations", template.path))
            .collect();
        let place = paths
            .first()
            .map_or("the annotations of the pod template", String::as_str);
        Some(format!(
            "{}: nothing is requested here: pods have the annotations of their template alone, so write it in {place}",
            named.join(", ")
        ))
    }
}

/// Finds the templates of an object at `paths`.
async fn find(object: &Arc<RawValue>, paths: &[Arc<[String]>]) -> Result<Found, String> {
    let (object, paths) = (Arc::clone(object), paths.to_vec());
    work(object.get().len(), move || {
        let mut found = Found::default();
        for path in &paths {
            walk(&object, path, String::new(), &mut found)?;
        }
        Ok(found)
    })
    .await?
}

/// Follows a path through an object, whose parts stay text: a whole parsed object takes many times the memory.
fn walk(node: &RawValue, path: &[String], at: String, found: &mut Found) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Keyed {
        #[serde(default)]
        metadata: Option<OfMetadata>,
    }
    #[derive(Deserialize)]
    struct OfMetadata {
        annotations: Option<Keys>,
        labels: Option<Keys>,
    }
    let said = |error: serde_json::Error| {
        if at.is_empty() {
            error.to_string()
        } else {
            format!("{at}: {error}")
        }
    };
    let text = node.get();
    let Some((next, rest)) = path.split_first() else {
        if found.templates.len() < MOST_TEMPLATES && text.starts_with('{') {
            let pod = serde_json::from_str(text).map_err(said)?;
            found.templates.push(Template {
                path: at,
                text: text.to_owned(),
                pod,
            });
        }
        return Ok(());
    };
    let below = |name: &str| {
        if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    if text.starts_with('[') {
        if next == EVERY {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(said)?;
            for (number, element) in elements.into_iter().enumerate() {
                walk(element, rest, format!("{at}[{number}]"), found)?;
            }
        }
        return Ok(());
    }
    // The path ends where the object has nothing, or something else than the path says.
    if !text.starts_with('{') {
        return Ok(());
    }
    if let Ok(Keyed { metadata: Some(keys) }) = serde_json::from_str(text) {
        for (list, keys) in [("annotations", keys.annotations), ("labels", keys.labels)] {
            let keys = keys.iter().flat_map(Keys::iter);
            // The controllers copy the labels of a template to what they make of it.
            let ours = keys.filter(|key| is_like_ours(key) && *key != LABEL_MANAGED);
            found.useless.extend(ours.map(|key| {
                let key = excerpt(key, MOST_KEY);
                below(&format!("metadata.{list}[{key}]"))
            }));
        }
    }
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(said)?;
    if next == EVERY {
        for (name, value) in fields {
            walk(value, rest, below(&excerpt(&name, MOST_KEY)), found)?;
        }
    } else if let Some(value) = fields.get(next) {
        walk(value, rest, below(next), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn found(object: &Value, path: &str) -> Found {
        let object: Arc<RawValue> = serde_json::value::to_raw_value(object).unwrap().into();
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        find(&object, &[path.into()]).await.unwrap()
    }

    async fn paths(object: &Value, path: &str) -> Vec<String> {
        let found = found(object, path).await;
        found
            .templates
            .into_iter()
            .map(|template| template.path)
            .collect()
    }

    #[tokio::test]
    async fn a_path_leads_through_maps_and_lists() {
        let template = json!({"spec": {"containers": []}});
        let object = json!({"spec": {
            "head": {"template": template},
            "workers": [{"template": template}, {"template": template}, {"other": 1}, 2],
            "roles": {"a": {"template": template}, "b": null},
        }});
        assert_eq!(paths(&object, "spec.head.template").await, ["spec.head.template"]);
        assert_eq!(
            paths(&object, "spec.workers.*.template").await,
            ["spec.workers[0].template", "spec.workers[1].template"]
        );
        assert_eq!(
            paths(&object, "spec.roles.*.template").await,
            ["spec.roles.a.template"]
        );
        for nowhere in ["spec.workers.template", "spec.tail.template", "kind.template"] {
            assert!(paths(&object, nowhere).await.is_empty(), "{nowhere}");
        }
    }

    #[tokio::test]
    async fn keys_between_the_object_and_its_template_are_found_and_those_of_the_template_are_not() {
        let ours = json!({"annotations": {"PrivateKube.dev/dataset": "taxi", "a": "b"}, "labels": {LABEL_MANAGED: "true"}});
        let object = json!({
            "metadata": ours,
            "spec": {"jobTemplate": {"metadata": ours, "spec": {"template": {"metadata": ours}}}},
        });
        let found = found(&object, "spec.jobTemplate.spec.template").await;
        let expected = [
            "metadata.annotations[PrivateKube.dev/dataset]",
            "spec.jobTemplate.metadata.annotations[PrivateKube.dev/dataset]",
        ];
        assert!(found.useless.iter().eq(expected), "{:?}", found.useless);
    }

    #[test]
    fn where_templates_are_is_parsed_or_refused_with_an_example() {
        let parsed: PodTemplate = "ray.io/rayclusters=spec.workerGroupSpecs.*.template"
            .parse()
            .unwrap();
        assert_eq!((parsed.group.as_str(), parsed.path.len()), ("ray.io", 4));
        for wrong in [
            "",
            "a/b",
            "b=spec",
            "a/=spec",
            "a/b=",
            "a/b=spec..template",
            "a/b/c=spec",
        ] {
            let error = wrong.parse::<PodTemplate>().unwrap_err();
            assert!(error.contains("write GROUP/RESOURCE=PATH"), "{error}");
        }
    }
}
