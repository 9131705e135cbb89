//! Whether a pod may run, from what is committed. One value; the scheduler's answer, the metric's label and the log
//! are functions of it.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use privatekube_api::GrantedClaim;
use privatekube_policy::{ClaimId, Phase};

use crate::{
    pods::{Asks, asks_of},
    subject::{Subject, SubjectKind},
    view::View,
};

/// Whether a pod may run.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All its claims are granted.
    Granted(Vec<(ClaimId, GrantedClaim)>),
    /// A claim can't let it run, now or for ever.
    Held {
        /// `namespace/name` of the claim object.
        claim: String,
        /// Where that claim is in its life.
        phase: Phase,
    },
    /// A claim that was not seen, or not committed, yet.
    Unknown {
        /// `namespace/name` of the claim object.
        claim: String,
    },
    /// It asks for the resource, but not in words that mean anything.
    Malformed(String),
    /// Not everything that is committed has been read yet.
    Starting,
}

impl Verdict {
    /// Of a pod.
    pub fn of(pod: &Pod, view: &View) -> Self {
        if !view.is_complete() {
            return Self::Starting;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let ids: Vec<(String, Option<ClaimId>)> = match asks_of(pod) {
            Err(problem) => return Self::Malformed(problem),
            Ok(Asks::Itself(_)) => match subject_of(pod) {
                None => return Self::Malformed("it has no name or UID".to_owned()),
                Some(subject) => vec![(subject.claim_name(), Some(subject.id()))],
            },
            Ok(Asks::ByClaims(names)) => names
                .into_iter()
                .map(|name| (name.clone(), view.named(namespace, &name)))
                .collect(),
        };
        let mut grants = Vec::with_capacity(ids.len());
        for (name, id) in ids {
            let claim = format!("{namespace}/{name}");
            let Some((id, seen)) = id.and_then(|id| view.claim(&id).map(|seen| (id, seen))) else {
                return Self::Unknown { claim };
            };
            match (seen.phase, &seen.grant) {
                (Phase::Granted | Phase::Consumed, Some(grant)) => grants.push((id, grant.clone())),
                (phase, _) => return Self::Held { claim, phase },
            }
        }
        Self::Granted(grants)
    }

    /// The label of the metric.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Held {
                phase: Phase::Waiting,
                ..
            } => "waiting",
            Self::Held {
                phase: Phase::Denied, ..
            } => "denied",
            Self::Held {
                phase: Phase::Expired,
                ..
            } => "expired",
            Self::Held {
                phase: Phase::Withdrawn,
                ..
            } => "withdrawn",
            Self::Held { .. } => "released",
            Self::Unknown { .. } => "unknown",
            Self::Malformed(_) => "malformed",
            Self::Starting => "starting",
        }
    }
}

/// What the scheduler is told. The same bytes as long as the claim's phase is the same: the scheduler writes it to
/// the pod's status, and each change of that makes it try the pod again at once.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(_) => f.write_str("privacy budget is granted"),
            Self::Held { claim, phase } => {
                let says = match phase {
                    Phase::Waiting => "waits for privacy budget",
                    Phase::Denied => "can never be granted",
                    Phase::Expired => "waited for privacy budget until its timeout",
                    Phase::Withdrawn => "was taken back",
                    Phase::Granted | Phase::Consumed | Phase::Released => "has given its privacy budget back",
                };
                write!(
                    f,
                    "privacy budget claim {claim} {says} (kubectl describe pbc tells more)"
                )
            }
            Self::Unknown { claim } => write!(f, "privacy budget claim {claim} does not exist yet"),
            Self::Malformed(problem) => write!(f, "the pod can't be given privacy budget: {problem}"),
            Self::Starting => f.write_str("the privacy budget ledger is being read, try again"),
        }
    }
}

/// The subject that a pod with its own demand is.
pub fn subject_of(pod: &Pod) -> Option<Subject> {
    Some(Subject {
        kind: SubjectKind::Pod,
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
    })
}
