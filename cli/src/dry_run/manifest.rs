//! Reads manifests: what each object would request.

use anyhow::{Context, Result, bail};
use privatekube_api::{
    ClaimRequest, ContainerRestarts, FieldErrors, PodRequest, PrivacyBudgetClaim, PrivacyBudgetClaimSpec,
    are_restarts_free, check_labels, field_names, new_pod_request, restarting_field, restarts_not_stated,
};
use serde_json::Value;

use super::{
    annotations::{annotations, warnings},
    elsewhere,
    retries::{Pods, pods},
    shape,
};

/// Where the kinds of Kubernetes carry a pod template.
const TEMPLATES: [(&str, &str); 7] = [
    ("CronJob", "spec.jobTemplate.spec.template"),
    ("DaemonSet", "spec.template"),
    ("Deployment", "spec.template"),
    ("Job", "spec.template"),
    ("ReplicaSet", "spec.template"),
    ("ReplicationController", "spec.template"),
    ("StatefulSet", "spec.template"),
];
/// How many letters of the name of a field may be wrong.
const MOST_SLIPS: usize = 2;

/// An object of a manifest, as far as it requests budget.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// `Job data/train`.
    pub(super) what: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) requested: Requested,
    /// The pods that it makes, if these are several.
    pub(super) pods: Option<Pods>,
    pub(super) warnings: Vec<String>,
    /// Why it would be refused when it is applied.
    pub(super) faults: Vec<String>,
}

/// What is requested.
#[derive(Debug, Default)]
pub(super) enum Requested {
    /// Nothing: the object is none of ours.
    #[default]
    Nothing,
    /// A demand of its own.
    Own(Box<ClaimRequest>),
    /// Claims with these names.
    Claims(Vec<String>),
}

/// What is in the documents of a file. `namespace` is that of objects that name none.
///
/// # Errors
///
/// A document, or what is in a list, is no object, or requests budget in a pod template of an unknown kind.
pub(super) fn items(documents: Vec<Value>, namespace: &str) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (at, document) in documents.into_iter().enumerate() {
        // A document of comments alone is null.
        if !document.is_null() {
            collect(document, namespace, &mut items).with_context(|| format!("document {}", at + 1))?;
        }
    }
    Ok(items)
}

fn collect(mut document: Value, namespace: &str, items: &mut Vec<Item>) -> Result<()> {
    shape::check(&document, template(&document))?;
    let Some(list) = shape::listed(&mut document)? else {
        items.push(item(document, namespace)?);
        return Ok(());
    };
    for (at, object) in list.into_iter().enumerate() {
        collect(object, namespace, items).with_context(|| format!("items[{at}]"))?;
    }
    Ok(())
}

/// Where an object has a pod template.
fn template(object: &Value) -> Option<&'static str> {
    let kind = object["kind"].as_str()?;
    TEMPLATES
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, path)| *path)
}

fn item(object: Value, namespace: &str) -> Result<Item> {
    let kind = object["kind"].as_str().unwrap_or("object").to_owned();
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or(namespace).to_owned();
    let name = metadata["name"]
        .as_str()
        .or(metadata["generateName"].as_str())
        .unwrap_or("unnamed")
        .to_owned();
    let mut item = Item {
        what: format!("{kind} {namespace}/{name}"),
        pods: pods(&kind, &object["spec"]),
        name,
        namespace,
        ..Item::default()
    };
    if kind == "PrivacyBudgetClaim" {
        claim(object, &mut item);
    } else if kind == "Pod" {
        item.warnings = warnings(metadata, "metadata", None);
        pod(&object, "", &mut item);
    } else if let Some(path) = template(&object).filter(|path| !at(&object, path).is_null()) {
        item.warnings = warnings(metadata, "metadata", Some(path));
        if kind == "CronJob" {
            let job = &object["spec"]["jobTemplate"]["metadata"];
            item.warnings
                .extend(warnings(job, "spec.jobTemplate.metadata", Some(path)));
        }
        let pod_template = at(&object, path);
        let place = format!("{path}.metadata");
        item.warnings
            .extend(warnings(&pod_template["metadata"], &place, None));
        pod(pod_template, &format!("{path}: "), &mut item);
    } else if let Some(path) = elsewhere::template(&object) {
        let kinds: Vec<&str> = TEMPLATES.iter().map(|(kind, _)| *kind).collect();
        let version = object["apiVersion"].as_str().unwrap_or_default();
        bail!(
            "{} of {version} requests budget at {path}, which is no pod template of a kind that is known: what is tried are \
             Pod, {} and PrivacyBudgetClaim. Write its pods as Pods (kind: Pod, with the metadata and spec of {path}), and try those",
            item.what,
            kinds.join(", ")
        );
    } else {
        item.what = format!("{} (not tried: it makes no claim)", item.what);
    }
    Ok(item)
}

/// What is at a path of fields.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, part| &value[part])
}

/// What a pod, or a template of pods, requests.
fn pod(pod: &Value, place: &str, item: &mut Item) {
    let annotations = annotations(&pod["metadata"]);
    let mut fault = |errors: FieldErrors| item.faults.push(format!("{place}{errors}"));
    let labels = pod["metadata"]["labels"].as_object();
    let keys = labels.into_iter().flat_map(|labels| labels.keys());
    if let Err(errors) = check_labels(keys.map(String::as_str)) {
        fault(errors);
    }
    match new_pod_request(&annotations, &item.namespace) {
        Ok(Some(PodRequest::Inline(request))) => item.requested = Requested::Own(Box::new(request)),
        Ok(Some(PodRequest::Claims(names))) => item.requested = Requested::Claims(names),
        Ok(None) => return,
        Err(errors) => fault(errors),
    }
    let containers = ["containers", "initContainers"].into_iter().flat_map(|list| {
        let containers = pod["spec"][list].as_array().into_iter().flatten().enumerate();
        containers.map(move |(at, container)| ContainerRestarts {
            path: format!("spec.{list}[{at}]"),
            policy: container["restartPolicy"].as_str(),
            has_rules: container["restartPolicyRules"]
                .as_array()
                .is_some_and(|rules| !rules.is_empty()),
        })
    });
    let restarting = restarting_field(pod["spec"]["restartPolicy"].as_str(), containers);
    match restarting {
        Some(field) if !are_restarts_free(&annotations) => {
            item.faults.push(format!("{place}{}", restarts_not_stated(&field)));
        }
        Some(field) => item.warnings.push(format!(
            "{place}{field}: containers start again without paying again, since the pod states that this is free"
        )),
        None => {}
    }
}

fn claim(object: Value, item: &mut Item) {
    item.warnings = unknown_fields(&object["spec"]);
    let object: Result<PrivacyBudgetClaim, _> = serde_json::from_value(object);
    match object {
        Ok(mut object) => {
            object.metadata.namespace = Some(item.namespace.clone());
            match object.new_request() {
                Ok(request) => item.requested = Requested::Own(Box::new(request)),
                Err(errors) => item.faults.push(errors.to_string()),
            }
        }
        Err(error) => item.faults.push(error.to_string()),
    }
}

/// The fields of a claim's spec that the API server would leave out.
fn unknown_fields(spec: &Value) -> Vec<String> {
    let known = field_names::<PrivacyBudgetClaimSpec>();
    let given = spec.as_object().into_iter().flat_map(|spec| spec.keys());
    let unknown = given.filter(|name| !known.contains(name));
    let warnings = unknown.map(|name| {
        let slips = |known: &&String| strsim::levenshtein(name, known);
        let near = known
            .iter()
            .min_by_key(slips)
            .filter(|near| slips(near) <= MOST_SLIPS);
        let meant = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
        format!("spec.{name} is no field of a claim, and the API server leaves it out{meant}")
    });
    warnings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::parse;

    const MANIFEST: &str = r#"
apiVersion: batch/v1
kind: Job
metadata:
  name: train
  annotations: {privatekube.dev/dataset: taxi}
spec:
  template:
    metadata:
      annotations:
        privatekube.dev/dataset: taxi
        privatekube.dev/epsilon: "0.5"
        privatekube.dev/delta: "1e-9"
        privatekube.dev/max-blocks: "2"
        privatekub.dev/timeout: 1h
    spec: {restartPolicy: Never, containers: [{name: main, image: x}]}
---
# nothing
---
apiVersion: privatekube.dev/v1alpha1
kind: PrivacyBudgetClaim
metadata: {name: report, namespace: other}
spec: {dataset: data/taxi, selectr: "x", budget: {mechanism: gaussian(sigma=20)}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
- {apiVersion: v1, kind: Pod, metadata: {name: p, annotations: {privatekube.dev/claim: report}}, spec: {containers: []}}
"#;

    #[test]
    fn each_object_says_what_it_requests_and_what_is_wrong() {
        let items = items(parse(MANIFEST).unwrap(), "data").unwrap();
        let what: Vec<&str> = items.iter().map(|item| item.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "Job data/train",
                "PrivacyBudgetClaim other/report",
                "ConfigMap data/c (not tried: it makes no claim)",
                "Pod data/p"
            ]
        );
        assert!(matches!(items[0].requested, Requested::Own(_)));
        assert_eq!(items[0].warnings.len(), 2, "{:?}", items[0].warnings);
        assert!(items[0].warnings[1].ends_with("did you mean privatekube.dev/timeout?"));
        assert!(items[0].faults.is_empty(), "{:?}", items[0].faults);
        assert_eq!(
            items[1].warnings,
            ["spec.selectr is no field of a claim, and the API server leaves it out: did you mean selector?"]
        );
        assert!(items[1].faults[0].contains("doesn't say on which blocks"));
        assert!(matches!(&items[3].requested, Requested::Claims(names) if *names == ["report"]));
        assert!(items[3].faults[0].contains("spec.restartPolicy is \"Always\", the default"));
    }

    #[test]
    fn templates_of_unknown_kinds_are_an_error_that_says_what_is_known() {
        const ASKS: &str = "metadata: {annotations: {privatekube.dev/dataset: taxi}}";
        for (text, place) in [
            (
                format!("{{apiVersion: argoproj.io/v1, kind: Rollout, spec: {{template: {{{ASKS}}}}}}}"),
                "spec.template",
            ),
            (
                format!(
                    "{{apiVersion: argoproj.io/v1, kind: Workflow, spec: {{templates: [{{}}, {{{ASKS}}}]}}}}"
                ),
                "spec.templates[1]",
            ),
            (
                // Another group's Job.
                format!(
                    "{{apiVersion: batch.volcano.sh/v1, kind: Job, spec: {{tasks: [{{template: {{{ASKS}}}}}]}}}}"
                ),
                "spec.tasks[0].template",
            ),
        ] {
            let error = items(parse(&text).unwrap(), "data").unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.contains(&format!("requests budget at {place}, which")),
                "{error}"
            );
            assert!(
                error.contains("Pod, CronJob, DaemonSet, Deployment, Job, ReplicaSet, ReplicationController, StatefulSet and"),
                "{error}"
            );
        }
        let without = "{apiVersion: argoproj.io/v1, kind: Rollout, spec: {template: {metadata: {annotations: {a: b}}}}}";
        let [item] = &items(parse(without).unwrap(), "data").unwrap()[..] else {
            panic!("one object");
        };
        assert!(
            item.what.ends_with("(not tried: it makes no claim)"),
            "{}",
            item.what
        );
    }

    #[test]
    fn what_is_no_object_is_an_error_that_names_the_document() {
        for (text, said) in [
            (
                "just text",
                "document 1: it is the text \"just text\", and no object",
            ),
            ("{kind: Pod}\n---\n[]", "document 2: it is a list, and no object"),
            ("a: 1", "document 1: it has no kind"),
            ("kind: 7", "document 1: kind is 7, and has to be text"),
            (
                "{kind: Pod, metadata: 7}",
                "document 1: metadata is 7, and has to be an object",
            ),
            (
                "{kind: Pod, metadata: {annotations: [a]}}",
                "document 1: metadata.annotations is a list, and has to be an object",
            ),
            (
                "{kind: Job, spec: {template: {metadata: true}}}",
                "document 1: spec.template.metadata is true, and has to be an object",
            ),
            (
                "{kind: CronJob, spec: 7}",
                "document 1: spec is 7, and has to be an object",
            ),
            (
                "{kind: List, items: 7}",
                "document 1: items is 7, and has to be a list",
            ),
            (
                "{kind: List, items: [{kind: Pod}, 7]}",
                "document 1: items[1]: it is 7, and no object",
            ),
        ] {
            let error = items(parse(text).unwrap(), "data").unwrap_err();
            assert_eq!(format!("{error:#}"), said);
        }
        let empty = items(
            parse("---\n# nothing\n---\n{kind: List, items: []}").unwrap(),
            "data",
        );
        assert!(empty.unwrap().is_empty());
    }
}
