//! The subject of a claim: the pod or the claim object that it is made for, and the names derived from it.

use kube::ResourceExt;
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

    /// The subject of a claim object: the pod that owns it, if the object has the name that [`Self::claim_name`] gives the
    /// pod's claim, else the object itself. Only the extender may create an object of that name (admission refuses it to
    /// others); any other object that a pod owns is a user's.
    #[must_use]
    pub fn of_object(object: &PrivacyBudgetClaim) -> Option<Self> {
        let namespace = object.metadata.namespace.clone()?;
        let name = object.metadata.name.clone()?;
        let owners = object
            .owner_references()
            .iter()
            .filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
        let mut pods = owners.map(|owner| Self {
            kind: SubjectKind::Pod,
            namespace: namespace.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        });
        if let Some(pod) = pods.find(|pod| pod.claim_name() == name) {
            return Some(pod);
        }
        let uid = object.metadata.uid.clone()?;
        Some(Self {
            kind: SubjectKind::Claim,
            namespace: namespace.clone(),
            name,
            uid,
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
