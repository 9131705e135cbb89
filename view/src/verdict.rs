//! Whether a pod may run, from what is committed. The scheduler's answer, the metric's label and the log line are functions
//! of this one value.

use std::{fmt, sync::Arc};

use privatekube_api::{BudgetSource, ClaimPhase, DatasetKey};
use privatekube_policy::ClaimId;

use crate::{ClaimView, NotForPods, View};

/// Whether a pod may run.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All its claims are granted, as the view has them.
    Granted(Vec<Arc<ClaimView>>),
    /// A claim of its is not granted (yet, or ever).
    Held {
        /// `namespace/name` of the claim object.
        claim: String,
        /// That claim's phase.
        phase: ClaimPhase,
    },
    /// A claim of its is granted, and no pod may use it.
    NotForPods {
        /// `namespace/name` of the claim object.
        claim: String,
        /// Why.
        why: NotForPods,
    },
    /// A claim of its was not seen yet, or is not in a ledger yet.
    Unknown {
        /// `namespace/name` of the claim object.
        claim: String,
    },
    /// A dataset of its claims is stopped, and why.
    Stopped {
        /// The dataset.
        dataset: DatasetKey,
        /// Why.
        why: String,
    },
    /// Its annotations can't be read, and why.
    Malformed(String),
    /// The ledgers aren't read yet, or a claim of its may be among the objects that are being listed.
    Starting,
}

impl Verdict {
    /// The verdict on a pod in `namespace` whose budget comes from `source`.
    #[must_use]
    pub fn of(source: &BudgetSource, namespace: &str, view: &View) -> Self {
        if !view.is_read() {
            return Self::Starting;
        }
        let stopped = |dataset: &DatasetKey| {
            view.stopped(dataset).map(|why| Self::Stopped {
                dataset: dataset.clone(),
                why: why.to_string(),
            })
        };
        if let BudgetSource::Own { dataset, .. } = source
            && let Some(stopped) = stopped(dataset)
        {
            return stopped;
        }
        let ids: Vec<(String, Option<ClaimId>)> = match source {
            BudgetSource::Unreadable(problem) => return Self::Malformed(problem.clone()),
            BudgetSource::Own { subject, .. } => vec![(subject.claim_name(), Some(subject.id()))],
            BudgetSource::Claims(names) => names
                .iter()
                .map(|name| (name.clone(), view.named(namespace, name)))
                .collect(),
        };
        let mut granted = Vec::with_capacity(ids.len());
        for (name, id) in ids {
            let claim = format!("{namespace}/{name}");
            let Some(seen) = id.and_then(|id| view.claim(&id)) else {
                // Until every object was seen once, an absent claim means nothing.
                return if view.is_complete() {
                    Self::Unknown { claim }
                } else {
                    Self::Starting
                };
            };
            if let Some(stopped) = stopped(&seen.dataset) {
                return stopped;
            }
            match (seen.phase, view.not_for_pods(&seen.id)) {
                (ClaimPhase::Granted | ClaimPhase::Consumed, None) => granted.push(seen),
                (ClaimPhase::Granted | ClaimPhase::Consumed, Some(why)) => {
                    return Self::NotForPods { claim, why };
                }
                (phase, _) => return Self::Held { claim, phase },
            }
        }
        Self::Granted(granted)
    }

    /// The label of the scheduler's metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            // A granted or consumed claim holds nothing back: what is left here was released.
            Self::Held { phase, .. } if phase.is_granted() => "released",
            Self::Held { phase, .. } => phase.lower_case(),
            Self::NotForPods { .. } => "not_for_pods",
            Self::Unknown { .. } => "unknown",
            Self::Stopped { .. } => "stopped",
            Self::Malformed(_) => "malformed",
            Self::Starting => "starting",
        }
    }
}

/// The message for the scheduler. It consists of the same bytes for as long as the claim's phase is the same: the scheduler
/// writes it to the pod's status, and each change of that makes it try the pod again at once.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(_) => f.write_str("privacy budget is granted"),
            Self::Held { claim, phase } => {
                let says = match phase {
                    ClaimPhase::Waiting => "waits for privacy budget",
                    ClaimPhase::Denied => "can never be granted",
                    ClaimPhase::Expired => "waited for privacy budget until its timeout",
                    ClaimPhase::Withdrawn => "was taken back",
                    ClaimPhase::Granted | ClaimPhase::Consumed | ClaimPhase::Released => {
                        "has given its privacy budget back"
                    }
                };
                write!(
                    f,
                    "privacy budget claim {claim} {says} (kubectl describe pbc tells more)"
                )
            }
            Self::NotForPods { claim, why } => {
                let why = match why {
                    NotForPods::IsDeleted => "is being deleted, so that no pod can use it any more",
                    NotForPods::IsUsedByHand => {
                        "is used by hand (spec.consume), so that no pod can use it: give the pod a claim of its own"
                    }
                };
                write!(f, "privacy budget claim {claim} {why}")
            }
            Self::Unknown { claim } => write!(f, "privacy budget claim {claim} does not exist yet"),
            Self::Stopped { dataset, why } => write!(f, "dataset {dataset} is stopped: {why}"),
            Self::Malformed(problem) => write!(f, "the pod can't be given privacy budget: {problem}"),
            Self::Starting => f.write_str("privacy budget ledgers and claims are being read, try again"),
        }
    }
}
