//! The webhook of pods: checks what a new pod's annotations request, and adds the gate, resource and label that make
//! the pod wait for its budget.

use std::collections::BTreeMap;

use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, jsonptr::PointerBuf};
use privatekube_api::{
    ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, ENV_GRANT, GATE, GRANT_FILE_NAME, GRANT_FOLDER,
    LABEL_MANAGED, PodRequest, RESOURCE, VOLUME_GRANT, are_restarts_free, check_labels, excerpt,
    most_own_annotation_bytes, new_pod_request, own_annotation_bytes, restarts_not_stated,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{
    Admission, AdmissionRequest, Answer, Attempt,
    keys::Keys,
    parse_object,
    refusal::Refusal,
    requesters,
    resources::{check_claimant, check_request},
    restarts, warnings,
};

/// The scheduler of pods without a scheduler name.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// The most containers of a pod that requests budget. It limits the patch, which has some hundred bytes for each.
const MOST_CONTAINERS: usize = 1000;
/// The most bytes of a name that a message quotes.
const MOST_NAME: usize = 253;

/// The fields of a pod that the webhook reads. A whole [`Pod`](k8s_openapi::api::core::v1::Pod) takes up to fifty times
/// the memory of its text, and the API server calls this webhook before it has validated the pod.
#[derive(Debug, Deserialize)]
pub(super) struct PodObject {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    annotations: Option<BTreeMap<String, String>>,
    labels: Option<Keys>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    node_name: Option<String>,
    pub(super) restart_policy: Option<String>,
    scheduler_name: Option<String>,
    scheduling_gates: Option<Vec<Named>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
    volumes: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    env: Option<Vec<Named>>,
    resources: Option<Resources>,
    pub(super) restart_policy: Option<String>,
    pub(super) restart_policy_rules: Option<Vec<IgnoredAny>>,
    volume_mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    #[serde(default)]
    name: String,
    #[serde(default)]
    mount_path: String,
}

#[derive(Debug, Deserialize)]
struct Resources {
    requests: Option<Amounts>,
    limits: Option<Amounts>,
}

/// How much of each resource a container requests, or may have at most. Only ours is read.
#[derive(Debug, Deserialize)]
struct Amounts {
    #[serde(rename = "privatekube.dev/privacy-budget")]
    budget: Option<Value>,
}

impl Container {
    /// What it says of our resource, in its requests and its limits.
    fn budget(&self) -> [Option<&Value>; 2] {
        let resources = self.resources.as_ref();
        [
            resources.and_then(|resources| resources.requests.as_ref()),
            resources.and_then(|resources| resources.limits.as_ref()),
        ]
        .map(|amounts| amounts?.budget.as_ref())
    }

    /// Whether it requests our resource as the webhook writes it.
    fn requests_budget(&self) -> bool {
        self.budget()
            .iter()
            .all(|budget| budget.is_some_and(|budget| *budget == "1"))
    }
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

/// Reviews a new pod.
pub(super) async fn review(admission: &Admission, request: &AdmissionRequest) -> Answer {
    let Some(object) = &request.object else {
        return Answer::Deny("the request has no object".to_owned());
    };
    let pod: PodObject = match parse_object(object).await {
        Ok(pod) => pod,
        Err(error) => return Answer::Deny(format!("the object is not understood: {error}")),
    };
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let (requested, mut patch) = match check(admission, &pod, namespace).await {
        Ok(Some(checked)) => checked,
        Ok(None) => return Answer::Allow,
        Err(refusal) => return refusal.into(),
    };
    // Whatever the pod says of it: a copy of another pod has that of the other one.
    let user = requesters::user(&request.user_info);
    let annotations = pod.metadata.annotations.as_ref();
    patch.0.extend(requesters::changes(annotations, user));
    let warnings = warnings::of_pod(&admission.registry, &requested, namespace, request.dry_run).await;
    let answer = Answer::Change(patch).with_warnings(warnings);
    let PodRequest::Inline(own) = requested else {
        return answer;
    };
    let attempt = match (request.dry_run, is_gated(&pod)) {
        (true, _) => Attempt::Dry,
        (false, true) => Attempt::Perhaps,
        (false, false) => Attempt::New,
    };
    match admission.count_claim(&own.dataset, namespace, attempt) {
        Ok(()) => answer,
        Err(reached) => Answer::Later(reached),
    }
}

/// Checks a new pod, or the template of pods, in `namespace`. Returns what it requests and the patch that makes it managed; none if
/// it requests nothing. The error is all that is wrong.
pub(super) async fn check(
    admission: &Admission,
    pod: &PodObject,
    namespace: &str,
) -> Result<Option<(PodRequest, Patch)>, Refusal> {
    let registry = &admission.registry;
    let mut faults: Vec<Refusal> = Vec::new();
    let labels = pod.metadata.labels.iter().flat_map(Keys::iter);
    faults.extend(check_labels(labels).err().map(|errors| errors.to_string().into()));
    let empty = BTreeMap::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    let requested = match new_pod_request(annotations, namespace) {
        Ok(Some(requested)) => Some(requested),
        Ok(None) if faults.is_empty() => return Ok(None),
        Ok(None) => return Err(Refusal::all(faults)),
        Err(errors) => {
            faults.push(errors.to_string().into());
            None
        }
    };
    // Claim objects that the pod names need not exist yet: it waits for them, as a pod waits for a volume claim.
    if let Some(PodRequest::Inline(own)) = &requested {
        // Whom the dataset isn't open to is told nothing else about it.
        match check_claimant(registry, own, namespace, "annotation privatekube.dev/").await {
            Ok(()) => faults.extend(
                check_request(registry, own, "annotation privatekube.dev")
                    .await
                    .err(),
            ),
            Err(why) => faults.push(why),
        }
    }
    let claims = match &requested {
        Some(PodRequest::Claims(names)) => names.len(),
        Some(PodRequest::Inline(_)) | None => 1,
    };
    faults.extend(check_annotations(annotations, claims).err().map(Refusal::from));
    let patch = match managed(pod, &admission.schedulers) {
        Ok(patch) => Some(patch),
        Err(why) => {
            faults.extend(why.into_iter().map(Refusal::from));
            None
        }
    };
    if let Some(field) = pod.spec.as_ref().and_then(restarts::restarting_field) {
        if !are_restarts_free(annotations) {
            faults.push(restarts_not_stated(&field).into());
        } else if let (Some(requested), true) = (&requested, faults.is_empty()) {
            faults.extend(
                restarts::check_datasets(registry, requested, namespace, &field)
                    .await
                    .err(),
            );
        }
    }
    match (requested, patch) {
        (Some(requested), Some(patch)) if faults.is_empty() => Ok(Some((requested, patch))),
        _ => Err(Refusal::all(faults)),
    }
}

/// Whether a pod has our gate: the API server sends a pod again if another webhook has changed it since.
fn is_gated(pod: &PodObject) -> bool {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.scheduling_gates.as_deref());
    gates.unwrap_or_default().iter().any(|gate| gate.name == GATE)
}

/// Checks that a pod's own annotations leave room for the grant of so many `claims`.
fn check_annotations(annotations: &BTreeMap<String, String>, claims: usize) -> Result<(), String> {
    let (bytes, most) = (
        own_annotation_bytes(annotations),
        most_own_annotation_bytes(claims),
    );
    if bytes <= most {
        return Ok(());
    }
    Err(format!(
        "metadata.annotations take {bytes} bytes, and the grant is added to them when the pod gets its budget: write at most \
         {most} bytes"
    ))
}

/// The patch that makes a pod managed: it adds the gate, the resource, the label, and the environment variable and the
/// volume of the grant.
fn managed(pod: &PodObject, schedulers: &[String]) -> Result<Patch, Vec<String>> {
    let Some(spec) = &pod.spec else {
        return Err(vec!["the pod has no spec".to_owned()]);
    };
    let mut faults = Vec::new();
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        let node = excerpt(node, MOST_NAME);
        faults.push(format!(
            "spec.nodeName is {node:?}: a pod that asks for privacy budget is placed by the scheduler, so leave it \
             out (nodeSelector or affinity can choose nodes)"
        ));
    }
    let scheduler = spec
        .scheduler_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or(DEFAULT_SCHEDULER);
    if !schedulers.iter().any(|known| known == scheduler) {
        let scheduler = excerpt(scheduler, MOST_NAME);
        faults.push(format!(
            "spec.schedulerName is {scheduler:?}, which does not ask for privacy budget: write one of {}",
            schedulers.join(", ")
        ));
    }
    let [containers, init_containers] =
        [&spec.containers, &spec.init_containers].map(|list| list.as_deref().unwrap_or_default());
    if containers.len() + init_containers.len() > MOST_CONTAINERS {
        faults.push(format!(
            "the pod has {} containers: a pod that asks for privacy budget has at most {MOST_CONTAINERS}",
            containers.len() + init_containers.len()
        ));
    }
    if containers.is_empty() {
        faults.push("the pod has no container".to_owned());
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut patch = Changes::default();
    let gates = spec.scheduling_gates.as_deref();
    if !gates.unwrap_or_default().iter().any(|gate| gate.name == GATE) {
        patch.append(
            &["spec", "schedulingGates"],
            gates.map(<[_]>::len),
            json!({"name": GATE}),
        );
    }
    patch.request_once(containers, init_containers);
    for (list, containers) in [("containers", containers), ("initContainers", init_containers)] {
        for (at, container) in containers.iter().enumerate() {
            patch.grant_variable(list, at, container.env.as_deref());
            patch.grant_mount(list, at, container.volume_mounts.as_deref());
        }
    }
    patch.grant_volume(spec.volumes.as_deref());
    if pod.metadata.labels.is_none() {
        patch.add(&["metadata", "labels"], json!({}));
    }
    patch.add(&["metadata", "labels", LABEL_MANAGED], json!("true"));
    Ok(Patch(patch.0))
}

/// The operations of a patch.
#[derive(Debug, Default)]
struct Changes(Vec<PatchOperation>);

impl Changes {
    /// Adds a value, or replaces an existing one.
    fn add(&mut self, path: &[&str], value: Value) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Removes a value, which exists.
    fn remove(&mut self, path: &[&str]) {
        let path = PointerBuf::from_tokens(path.iter().copied());
        self.0.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// Adds an element at the end of a list of `length` elements. Creates the list if `length` is `None`.
    fn append(&mut self, list: &[&str], length: Option<usize>, value: Value) {
        let Some(length) = length else {
            return self.add(list, json!([value]));
        };
        let at = length.to_string();
        let path: Vec<&str> = list.iter().copied().chain([at.as_str()]).collect();
        self.add(&path, value);
    }

    /// Makes one container request the resource, and no other: a quota on it counts a pod once. It stays where it is, since
    /// another webhook may put a container before the first one, or copy one, and this webhook is called again then.
    fn request_once(&mut self, containers: &[Container], init_containers: &[Container]) {
        let holder = containers
            .iter()
            .position(Container::requests_budget)
            .unwrap_or(0);
        for (list, all) in [("containers", containers), ("initContainers", init_containers)] {
            for (at, container) in all.iter().enumerate() {
                if (list, at) == ("containers", holder) {
                    if !container.requests_budget() {
                        self.request(at, container.resources.as_ref());
                    }
                    continue;
                }
                for (kind, budget) in ["requests", "limits"].into_iter().zip(container.budget()) {
                    if budget.is_some() {
                        self.remove(&["spec", list, &at.to_string(), "resources", kind, RESOURCE]);
                    }
                }
            }
        }
    }

    /// Adds the resource to the requests and limits of a container. The scheduler calls the extender only for pods that request
    /// this resource.
    fn request(&mut self, at: usize, resources: Option<&Resources>) {
        let at = at.to_string();
        let path = ["spec", "containers", &at, "resources"];
        let Some(resources) = resources else {
            let one = json!({RESOURCE: "1"});
            return self.add(&path, json!({"requests": one, "limits": one}));
        };
        for (list, exists) in [
            ("requests", resources.requests.is_some()),
            ("limits", resources.limits.is_some()),
        ] {
            let path = [path.as_slice(), &[list]].concat();
            if exists {
                self.add(&[path.as_slice(), &[RESOURCE]].concat(), json!("1"));
            } else {
                self.add(&path, json!({RESOURCE: "1"}));
            }
        }
    }

    /// Adds an environment variable with the grant to a container, unless it has a variable of that name.
    fn grant_variable(&mut self, list: &str, at: usize, env: Option<&[Named]>) {
        let is_set = |variables: &[Named]| variables.iter().any(|variable| variable.name == ENV_GRANT);
        if env.is_some_and(is_set) {
            return;
        }
        let field = annotation_field(ANNOTATION_GRANT_VARIABLE);
        let variable = json!({"name": ENV_GRANT, "valueFrom": {"fieldRef": field}});
        self.append(
            &["spec", list, &at.to_string(), "env"],
            env.map(<[_]>::len),
            variable,
        );
    }

    /// Adds a volume that has the grant as a file, unless the pod has a volume of that name.
    fn grant_volume(&mut self, volumes: Option<&[Named]>) {
        if volumes.is_some_and(|volumes| volumes.iter().any(|volume| volume.name == VOLUME_GRANT)) {
            return;
        }
        let item = json!({"path": GRANT_FILE_NAME, "fieldRef": annotation_field(ANNOTATION_GRANT)});
        let volume = json!({"name": VOLUME_GRANT, "downwardAPI": {"items": [item]}});
        self.append(&["spec", "volumes"], volumes.map(<[_]>::len), volume);
    }

    /// Mounts that volume in a container, unless it is mounted there already or the folder has another one.
    fn grant_mount(&mut self, list: &str, at: usize, mounts: Option<&[Mount]>) {
        let is_taken = |mount: &Mount| {
            mount.name == VOLUME_GRANT || mount.mount_path.trim_end_matches('/') == GRANT_FOLDER
        };
        if mounts.is_some_and(|mounts| mounts.iter().any(is_taken)) {
            return;
        }
        let mount = json!({"name": VOLUME_GRANT, "mountPath": GRANT_FOLDER, "readOnly": true});
        self.append(
            &["spec", list, &at.to_string(), "volumeMounts"],
            mounts.map(<[_]>::len),
            mount,
        );
    }
}

/// A reference to one of the pod's annotations.
fn annotation_field(annotation: &str) -> Value {
    json!({"apiVersion": "v1", "fieldPath": format!("metadata.annotations['{annotation}']")})
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value) -> Value {
        json!({"metadata": {"name": "train"}, "spec": spec})
    }

    /// The pod as it is after the patch.
    fn managed(pod: &Value, schedulers: &[String]) -> Result<Value, Vec<String>> {
        let patch = super::managed(&serde_json::from_value(pod.clone()).unwrap(), schedulers)?;
        let mut pod = pod.clone();
        json_patch::patch(&mut pod, &patch).unwrap();
        Ok(pod)
    }

    fn schedulers() -> Vec<String> {
        vec![DEFAULT_SCHEDULER.to_owned()]
    }

    #[test]
    fn a_pod_gets_all_that_makes_it_wait() {
        let pod = pod(&json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}],
            "initContainers": [{"name": "i", "env": [{"name": ENV_GRANT, "value": "mine"}]}],
        }));
        let managed = managed(&pod, &schedulers()).unwrap();
        assert_eq!(managed["metadata"]["labels"][LABEL_MANAGED], "true");
        assert_eq!(managed["spec"]["schedulingGates"], json!([{"name": GATE}]));
        let resources = &managed["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], json!({"cpu": "1", RESOURCE: "1"}));
        assert_eq!(resources["limits"], json!({RESOURCE: "1"}));
        let path = format!("metadata.annotations['{ANNOTATION_GRANT_VARIABLE}']");
        let mount = json!([{"name": VOLUME_GRANT, "mountPath": GRANT_FOLDER, "readOnly": true}]);
        for container in [0, 1] {
            let container = &managed["spec"]["containers"][container];
            assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], path);
            assert_eq!(container["volumeMounts"], mount);
        }
        assert_eq!(managed["spec"]["initContainers"][0]["volumeMounts"], mount);
        let item = &managed["spec"]["volumes"][0]["downwardAPI"]["items"][0];
        assert_eq!(item["path"], GRANT_FILE_NAME);
        let path = format!("metadata.annotations['{ANNOTATION_GRANT}']");
        assert_eq!(item["fieldRef"]["fieldPath"], path);
        assert_eq!(
            managed["spec"]["initContainers"][0]["env"],
            json!([{"name": ENV_GRANT, "value": "mine"}])
        );
    }

    #[test]
    fn a_pod_that_is_managed_already_is_not_changed_again() {
        let once = managed(&pod(&json!({"containers": [{"name": "a"}]})), &schedulers()).unwrap();
        assert_eq!(managed(&once, &schedulers()).unwrap(), once);
    }

    #[test]
    fn one_container_requests_the_resource_whatever_other_webhooks_put_before_it() {
        let mut changed = managed(&pod(&json!({"containers": [{"name": "a"}]})), &schedulers()).unwrap();
        let containers = changed["spec"]["containers"].as_array_mut().unwrap();
        // A container comes before the first one, another is a copy of it, a third has an amount of its own.
        let copy = containers[0].clone();
        containers.insert(0, json!({"name": "proxy"}));
        containers.push(copy.clone());
        containers.push(json!({"name": "c", "resources": {"requests": {"cpu": "1", RESOURCE: "7"}}}));
        changed["spec"]["initContainers"] = json!([copy]);
        let again = managed(&changed, &schedulers()).unwrap();
        let spec = &again["spec"];
        let budget = |list: &str, at: usize, kind: &str| spec[list][at]["resources"][kind][RESOURCE].clone();
        assert_eq!(budget("containers", 1, "requests"), "1");
        assert_eq!(budget("containers", 1, "limits"), "1");
        for (list, at) in [
            ("containers", 0),
            ("containers", 2),
            ("containers", 3),
            ("initContainers", 0),
        ] {
            for kind in ["requests", "limits"] {
                assert_eq!(budget(list, at, kind), Value::Null, "{list} {at} {kind}");
            }
        }
        assert_eq!(spec["containers"][3]["resources"]["requests"]["cpu"], "1");
        assert_eq!(managed(&again, &schedulers()).unwrap(), again);
    }

    #[test]
    fn a_volume_and_mounts_of_the_pods_own_stay_as_they_are() {
        let own = json!({
            "containers": [
                {"name": "a", "volumeMounts": [{"name": "other", "mountPath": "/var/run/privatekube/"}]},
                {"name": "b", "volumeMounts": [{"name": VOLUME_GRANT, "mountPath": "/grant"}]},
                {"name": "c", "volumeMounts": [{"name": "other", "mountPath": "/data"}]},
            ],
            "volumes": [{"name": "other"}, {"name": VOLUME_GRANT, "emptyDir": {}}],
        });
        let spec = managed(&pod(&own), &schedulers()).unwrap()["spec"].clone();
        assert_eq!(spec["volumes"], own["volumes"]);
        for container in [0, 1] {
            let mounts = &own["containers"][container]["volumeMounts"];
            assert_eq!(spec["containers"][container]["volumeMounts"], *mounts);
        }
        let mounts = &spec["containers"][2]["volumeMounts"];
        assert_eq!(
            (&mounts[0]["name"], &mounts[1]["name"]),
            (&json!("other"), &json!(VOLUME_GRANT))
        );
    }

    #[test]
    fn annotations_that_leave_no_room_for_the_grant_are_refused_with_the_sizes() {
        let annotations = |bytes: usize| [("k".to_owned(), "v".repeat(bytes - 1))].into();
        let most = most_own_annotation_bytes(1);
        assert!(most > 200_000, "{most}");
        check_annotations(&annotations(most), 1).unwrap();
        check_annotations(&annotations(most), 2).unwrap_err();
        let why = check_annotations(&annotations(262_000), 1).unwrap_err();
        assert!(
            why.contains("take 262000 bytes") && why.contains(&most.to_string()),
            "{why}"
        );
    }

    #[test]
    fn lists_that_are_there_are_extended_and_null_is_as_absent() {
        let managed = managed(
            &json!({
                "metadata": {"labels": {"app": "train"}},
                "spec": {
                    "containers": [{
                        "env": [{"name": "A", "value": "1"}],
                        "resources": {"requests": null, "limits": {"cpu": "1"}},
                    }],
                    "initContainers": null,
                    "schedulingGates": [{"name": "other"}],
                },
            }),
            &schedulers(),
        )
        .unwrap();
        assert_eq!(
            managed["metadata"]["labels"],
            json!({"app": "train", LABEL_MANAGED: "true"})
        );
        assert_eq!(
            managed["spec"]["schedulingGates"],
            json!([{"name": "other"}, {"name": GATE}])
        );
        let container = &managed["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({RESOURCE: "1"}));
        assert_eq!(
            container["resources"]["limits"],
            json!({"cpu": "1", RESOURCE: "1"})
        );
        assert_eq!(container["env"][0]["name"], "A");
        assert_eq!(container["env"][1]["name"], ENV_GRANT);
    }

    #[test]
    fn a_pod_with_more_containers_than_the_patch_may_name_is_refused() {
        let containers = vec![json!({"name": "a"}); MOST_CONTAINERS + 1];
        let refused = managed(&pod(&json!({"containers": containers})), &schedulers());
        assert!(refused.unwrap_err().concat().contains("at most 1000"));
    }

    #[test]
    fn a_preset_node_and_a_scheduler_without_the_extender_are_refused() {
        let placed = managed(
            &pod(&json!({"containers": [{"name": "a"}], "nodeName": "n"})),
            &schedulers(),
        );
        assert!(placed.unwrap_err().concat().contains("spec.nodeName is \"n\""));
        let other = managed(
            &pod(&json!({"containers": [{"name": "a"}], "schedulerName": "other"})),
            &schedulers(),
        );
        assert!(
            other
                .unwrap_err()
                .concat()
                .contains("write one of default-scheduler")
        );
    }
}
