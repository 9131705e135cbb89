//! A managed pod, read once: who it is, how it gets its budget, and how far it has come.
//!
//! Everything that the extender decides about a pod is a function of this value, so that nothing else reads annotations,
//! gates or nodes from the Kubernetes object. What the annotations mean is in [`pod_request`].

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use crate::{
    ANNOTATION_CLAIM, ANNOTATION_DATASET, ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, ANNOTATION_PREFIX,
    ANNOTATION_WOKEN, ClaimRequest, DatasetKey, FieldErrors, GATE, PodRequest, Subject, SubjectKind, excerpt,
    pod_request,
};

/// A pod's namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `namespace/name`.
impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PodKey {
    /// The key of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
        }
    }
}

/// Where a pod's budget comes from. Only the annotations that say so are read: the demand itself was checked at admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetSource {
    /// A demand in the pod's own annotations, for which the extender makes a claim.
    Own {
        /// The claim's subject.
        subject: Subject,
        /// The dataset whose budget it requests.
        dataset: DatasetKey,
    },
    /// Claim objects with these names in the pod's namespace. The pod runs when all of them are granted.
    Claims(Vec<String>),
    /// Annotations (or metadata) from which it can't be told, and why.
    Unreadable(String),
}

impl BudgetSource {
    /// Reads the source of a pod's budget.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name);
        if let Some(claims) = annotation(ANNOTATION_CLAIM) {
            let only = [(ANNOTATION_CLAIM.to_owned(), claims.clone())].into();
            return match pod_request(&only, namespace) {
                Ok(Some(PodRequest::Claims(names))) => Self::Claims(names),
                Ok(_) => Self::Unreadable(format!("annotation {ANNOTATION_CLAIM} names no claim")),
                Err(errors) => Self::Unreadable(errors.to_string()),
            };
        }
        let Some(dataset) = annotation(ANNOTATION_DATASET) else {
            return Self::Unreadable(format!(
                "it has neither annotation {ANNOTATION_DATASET} nor {ANNOTATION_CLAIM}"
            ));
        };
        let dataset = match DatasetKey::parse(dataset, namespace) {
            Ok(dataset) => dataset,
            Err(error) => return Self::Unreadable(format!("annotation {ANNOTATION_DATASET}: {error}")),
        };
        match subject(pod) {
            Some(subject) => Self::Own { subject, dataset },
            None => Self::Unreadable("it has no name or UID".to_owned()),
        }
    }
}

fn subject(pod: &Pod) -> Option<Subject> {
    Some(Subject {
        kind: SubjectKind::Pod,
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
    })
}

/// A managed pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedPod {
    /// Its namespace and name.
    pub key: PodKey,
    /// Its UID.
    pub uid: String,
    /// Where its budget comes from.
    pub source: BudgetSource,
    /// The demand in its own annotations, parsed, or all that is wrong with them; `None` if it has none of its own.
    pub request: Option<Result<Arc<ClaimRequest>, FieldErrors>>,
    /// PrivateKube's annotations as the user wrote them, without the grant and with who made the pod, if they are a valid
    /// demand of its own: its claim object is made of them. Empty for every other pod: nobody reads its annotations, of whatever size.
    pub annotations: BTreeMap<String, String>,
    /// The hash of PrivateKube's annotations, valid or not, by which a change is noticed.
    fingerprint: u64,
    /// The object that controls it, such as a Job.
    pub controller: Option<ObjectReference>,
    /// The service account that it runs as, and the images of its containers, each once. Of a pod that has a node, or no valid
    /// demand of its own, neither is kept: its claim has arrived, or never will.
    pub runs: Option<Box<Runs>>,
    /// The node that it is bound to.
    pub node: Option<String>,
    /// The index of PrivateKube's gate among its scheduling gates; `None` if that was removed.
    pub gate: Option<usize>,
    /// Whether its Binding carried a grant.
    pub has_grant: bool,
    /// Whether the extender has changed it once only to wake the scheduler up.
    pub was_woken: bool,
    /// Whether it is being deleted, and so can't be bound any more, or has succeeded or failed, so that no container of it
    /// runs any more.
    pub is_ending: bool,
}

/// As what a pod runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Its service account.
    pub service_account: Option<String>,
    /// The images of its containers, each once, those of init containers first.
    pub images: Vec<String>,
}

impl Runs {
    fn of(pod: &Pod) -> Option<Box<Self>> {
        let spec = pod.spec.as_ref()?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut images: Vec<String> = Vec::new();
        for image in containers.filter_map(|container| container.image.as_deref()) {
            let image = excerpt(image, MOST_IMAGE_BYTES);
            if images.len() < MOST_IMAGES && !images.iter().any(|other| *other == image) {
                images.push(image.into_owned());
            }
        }
        Some(Box::new(Self {
            service_account: spec.service_account_name.clone(),
            images,
        }))
    }
}

/// The most images that are kept of a pod, and the most bytes of each.
const MOST_IMAGES: usize = 64;
const MOST_IMAGE_BYTES: usize = 256;

/// Hashes with a key of this process, so that nobody can write annotations with the hash of others.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl ManagedPod {
    /// Reads a pod. `before` is the pod that was last seen under this name: if it is the same pod with the same
    /// annotations, its request isn't parsed again.
    #[must_use]
    pub fn read(pod: &Pod, before: Option<&Self>) -> Self {
        let key = PodKey::of(pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let all = pod.metadata.annotations.iter().flatten();
        let ours = all.filter(|(name, _)| {
            let is_grant = [ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE].contains(&name.as_str());
            name.starts_with(ANNOTATION_PREFIX) && !is_grant
        });
        let fingerprint = HASHER.hash_one(ours.clone().collect::<Vec<_>>());
        let (source, request, annotations) = match before {
            Some(before) if before.uid == uid && before.fingerprint == fingerprint => (
                before.source.clone(),
                before.request.clone(),
                before.annotations.clone(),
            ),
            _ => {
                let ours = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
                let request = own_request(&ours, &key.namespace);
                let kept = if matches!(request, Some(Ok(_))) {
                    ours
                } else {
                    BTreeMap::new()
                };
                (BudgetSource::of(pod), request, kept)
            }
        };
        let has = |name: &str| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|annotations| annotations.contains_key(name))
        };
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let may_arrive = node_of(pod).is_none() && matches!(request, Some(Ok(_)));
        Self {
            source,
            request,
            annotations,
            fingerprint,
            controller: controller(pod),
            runs: may_arrive.then(|| Runs::of(pod)).flatten(),
            node: node_of(pod).map(str::to_owned),
            gate: gate_of(pod),
            has_grant: has(ANNOTATION_GRANT),
            was_woken: has(ANNOTATION_WOKEN),
            is_ending: pod.metadata.deletion_timestamp.is_some()
                || matches!(phase, Some("Succeeded" | "Failed")),
            key,
            uid,
        }
    }

    /// The subject of its own claim and the dataset that it requests; `None` if it names claims or can't be read.
    #[must_use]
    pub const fn own(&self) -> Option<(&Subject, &DatasetKey)> {
        match &self.source {
            BudgetSource::Own { subject, dataset } => Some((subject, dataset)),
            BudgetSource::Claims(_) | BudgetSource::Unreadable(_) => None,
        }
    }

    /// The claim objects that it names.
    #[must_use]
    pub fn named_claims(&self) -> &[String] {
        match &self.source {
            BudgetSource::Claims(names) => names,
            BudgetSource::Own { .. } | BudgetSource::Unreadable(_) => &[],
        }
    }

    /// Whether it has a node.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.node.is_some()
    }

    /// A reference for Events about it.
    #[must_use]
    pub fn object_ref(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(self.key.namespace.clone()),
            name: Some(self.key.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

fn own_request(
    annotations: &BTreeMap<String, String>,
    namespace: &str,
) -> Option<Result<Arc<ClaimRequest>, FieldErrors>> {
    match pod_request(annotations, namespace) {
        Ok(Some(PodRequest::Inline(request))) => Some(Ok(Arc::new(request))),
        Ok(Some(PodRequest::Claims(_)) | None) => None,
        Err(errors) => Some(Err(errors)),
    }
}

/// A reference to the object that controls a pod.
fn controller(pod: &Pod) -> Option<ObjectReference> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        namespace: pod.metadata.namespace.clone(),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    })
}

/// The node that a pod is bound to.
#[must_use]
pub fn node_of(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    (!node.is_empty()).then_some(node)
}

fn gate_of(pod: &Pod) -> Option<usize> {
    let gates = pod.spec.as_ref()?.scheduling_gates.as_ref()?;
    gates.iter().position(|gate| gate.name == GATE)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(annotations: &Value, spec: &Value, before: Option<&ManagedPod>) -> ManagedPod {
        let object = json!({
            "metadata": {"namespace": "data", "name": "train", "uid": "u1", "annotations": annotations},
            "spec": spec,
        });
        ManagedPod::read(&serde_json::from_value(object).unwrap(), before)
    }

    fn own() -> Value {
        json!({"privatekube.dev/dataset": "taxi", "privatekube.dev/epsilon": "1", "privatekube.dev/delta": "0"})
    }

    #[test]
    fn a_pod_with_a_demand_of_its_own_has_a_subject_a_dataset_and_a_request() {
        let pod = read(&own(), &json!({"containers": []}), None);
        let (subject, dataset) = pod.own().unwrap();
        assert_eq!(subject.claim_name(), "train-u1");
        assert_eq!(dataset.to_string(), "data/taxi");
        assert!(matches!(&pod.request, Some(Ok(_))));
        assert!(!pod.is_bound() && pod.gate.is_none() && !pod.has_grant);
    }

    #[test]
    fn a_pod_that_names_claims_has_no_request_of_its_own() {
        let pod = read(
            &json!({"privatekube.dev/claim": "a,b"}),
            &json!({"containers": []}),
            None,
        );
        assert_eq!(pod.named_claims(), ["a", "b"]);
        assert!(pod.own().is_none() && pod.request.is_none());
    }

    #[test]
    fn a_pod_whose_annotations_are_wrong_says_how() {
        let none = read(&json!({}), &json!({"containers": []}), None);
        assert!(matches!(&none.source, BudgetSource::Unreadable(why) if why.contains("neither")));
        let mut wrong = own();
        wrong["privatekube.dev/epsilon"] = json!("much");
        let wrong = read(&wrong, &json!({"containers": []}), None);
        let Some(Err(errors)) = &wrong.request else {
            panic!("{wrong:?}")
        };
        assert!(errors.to_string().contains("\"much\""), "{errors}");
    }

    #[test]
    fn only_the_annotations_of_a_valid_demand_are_kept() {
        let kept = |annotations: &Value| {
            let pod = read(annotations, &json!({"containers": []}), None);
            pod.annotations.len()
        };
        let mut large = own();
        assert_eq!(kept(&large), 3);
        large["privatekube.dev/other"] = json!("x".repeat(200_000));
        let first = read(&large, &json!({"containers": []}), None);
        assert!(first.annotations.is_empty() && matches!(first.request, Some(Err(_))));
        assert_eq!(kept(&json!({"privatekube.dev/claim": "a"})), 0);
        // A change is noticed all the same.
        let right = read(&own(), &json!({"containers": []}), Some(&first));
        assert!(matches!(right.request, Some(Ok(_))));
    }

    #[test]
    fn what_a_pod_runs_is_kept_until_it_has_a_node() {
        let spec = json!({
            "serviceAccountName": "trainer",
            "initContainers": [{"name": "i", "image": "fetch:1"}],
            "containers": [{"name": "a", "image": "train:1"}, {"name": "b", "image": "fetch:1"}, {"name": "c"}],
        });
        let mut annotations = own();
        annotations["privatekube.dev/requested-by"] = json!("alice");
        annotations["privatekube.dev/purpose"] = json!("a report");
        let pod = read(&annotations, &spec, None);
        let runs = pod.runs.as_deref().unwrap();
        assert_eq!(runs.service_account.as_deref(), Some("trainer"));
        assert_eq!(runs.images, ["fetch:1", "train:1"]);
        assert_eq!(pod.annotations["privatekube.dev/requested-by"], "alice");
        let mut bound = spec;
        bound["nodeName"] = json!("n1");
        assert_eq!(read(&annotations, &bound, None).runs, None);
        assert_eq!(
            read(
                &json!({"privatekube.dev/claim": "a"}),
                &json!({"containers": []}),
                None
            )
            .runs,
            None
        );
    }

    #[test]
    fn the_request_of_an_unchanged_pod_is_not_parsed_again() {
        let first = read(&own(), &json!({"containers": []}), None);
        let bound = json!({"containers": [], "nodeName": "n1", "schedulingGates": [{"name": "other"}, {"name": GATE}]});
        let second = read(&own(), &bound, Some(&first));
        let request = |pod: &ManagedPod| Arc::clone(pod.request.as_ref().unwrap().as_ref().unwrap());
        assert!(Arc::ptr_eq(&request(&first), &request(&second)));
        assert_eq!((second.node.as_deref(), second.gate), (Some("n1"), Some(1)));
    }
}
