//! The subject of a claim: the pod or the claim object that it is made for, and the names derived from it.

use privatekube_policy::ClaimId;

use crate::PrivacyBudgetClaim;

/// What a claim is made for: a pod with a demand of its own, or a claim object that a user wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Which of the two.
    pub kind: SubjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: an object that is made again under the same name is another subject, with another claim.
    pub uid: String,
}

/// The kind of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A pod whose annotations state a demand. The extender makes its claim object.
    Pod,
    /// A claim object that a user wrote.
    Claim,
}

/// How many characters of a pod's UID stand in the name of its claim.
const UID_CHARACTERS: usize = 8;
/// The longest name of a Kubernetes object.
const MOST_CHARACTERS: usize = 253;

impl Subject {
    /// The claim's name in the ledger: `pod/NAMESPACE/NAME/UID` or `claim/NAMESPACE/NAME/UID`.
    #[must_use]
    pub fn id(&self) -> ClaimId {
        let kind = match self.kind {
            SubjectKind::Pod => "pod",
            SubjectKind::Claim => "claim",
        };
        ClaimId::from(format!("{kind}/{}/{}/{}", self.namespace, self.name, self.uid))
    }

    /// The subject of a claim's name in the ledger; `None` if it is not such a name.
    #[must_use]
    pub fn of(id: &ClaimId) -> Option<Self> {
        let mut parts = id.as_str().split('/');
        let kind = match parts.next()? {
            "pod" => SubjectKind::Pod,
            "claim" => SubjectKind::Claim,
            _ => return None,
        };
        let [namespace, name, uid] = [parts.next()?, parts.next()?, parts.next()?].map(str::to_owned);
        parts.next().is_none().then_some(Self {
            kind,
            namespace,
            name,
            uid,
        })
    }

    /// The subject of a claim object: the pod that `spec.pod` names, else the object itself. Admission refuses this field to
    /// everybody but the extender, and it never changes, unlike metadata: an owner reference can be added by whoever may
    /// update the object, and goes when the pod is deleted without its dependents.
    #[must_use]
    pub fn of_object(object: &PrivacyBudgetClaim) -> Option<Self> {
        let namespace = object.metadata.namespace.clone()?;
        if let Some(pod) = &object.spec.pod {
            return Some(Self {
                kind: SubjectKind::Pod,
                namespace,
                name: pod.name.clone(),
                uid: pod.uid.clone(),
            });
        }
        Some(Self {
            kind: SubjectKind::Claim,
            namespace,
            name: object.metadata.name.clone()?,
            uid: object.metadata.uid.clone()?,
        })
    }

    /// The name of the claim object: its own, or for a pod one made of the pod's name and UID.
    #[must_use]
    pub fn claim_name(&self) -> String {
        match self.kind {
            SubjectKind::Claim => self.name.clone(),
            SubjectKind::Pod => inline_claim_name(&self.name, &self.uid),
        }
    }
}

/// The name of the claim object that the extender makes for a pod. At most 253 characters.
fn inline_claim_name(pod: &str, uid: &str) -> String {
    let uid: String = uid.chars().take(UID_CHARACTERS).collect();
    let pod: String = pod.chars().take(MOST_CHARACTERS - UID_CHARACTERS - 1).collect();
    format!("{}-{uid}", pod.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_found_again_by_its_name_in_the_ledger() {
        for kind in [SubjectKind::Pod, SubjectKind::Claim] {
            let subject = Subject {
                kind,
                namespace: "data".into(),
                name: "train".into(),
                uid: "0f-1".into(),
            };
            assert_eq!(Subject::of(&subject.id()), Some(subject));
        }
        for other in ["", "pod/a/b", "node/a/b/c", "pod/a/b/c/d"] {
            assert_eq!(Subject::of(&ClaimId::from(other)), None, "{other}");
        }
    }

    #[test]
    fn whose_claim_an_object_shows_does_not_depend_on_its_metadata() {
        let mut object = serde_json::json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivacyBudgetClaim",
            "metadata": {"namespace": "data", "name": "ghost-aaaaaaaa", "uid": "u"},
            "spec": {"dataset": "taxi"},
        });
        let subject = |object: &serde_json::Value| {
            let object: PrivacyBudgetClaim = serde_json::from_value(object.clone()).unwrap();
            Subject::of_object(&object).unwrap().id().to_string()
        };
        let owner =
            serde_json::json!([{"apiVersion": "v1", "kind": "Pod", "name": "ghost", "uid": "aaaaaaaa-1"}]);
        object["metadata"]["ownerReferences"] = owner;
        assert_eq!(subject(&object), "claim/data/ghost-aaaaaaaa/u");
        object["spec"]["pod"] = serde_json::json!({"name": "ghost", "uid": "aaaaaaaa-1"});
        assert_eq!(subject(&object), "pod/data/ghost/aaaaaaaa-1");
        object["metadata"]["ownerReferences"] = serde_json::json!([]);
        assert_eq!(subject(&object), "pod/data/ghost/aaaaaaaa-1");
    }

    #[test]
    fn the_claim_of_a_pod_made_again_has_another_name_and_fits() {
        assert_eq!(inline_claim_name("train", "0f6a1b2c-3d"), "train-0f6a1b2c");
        let long = inline_claim_name(&"x".repeat(253), "0f6a1b2c-3d");
        assert_eq!(long.len(), 253);
        assert_ne!(
            inline_claim_name("train", "1f6a1b2c"),
            inline_claim_name("train", "0f6a1b2c")
        );
    }
}
