//! A dataset's status: how many blocks and claims it has, and whether its ledger has its object's rules.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use privatekube_api::{
    ClaimPhase, FieldErrors, PolicyName, PrivateDataset, PrivateDatasetStatus, beginning, conditions,
};
use privatekube_policy::DatasetRules;

use super::condition;
use crate::objects::DatasetObjects;

/// A dataset's status. `sequence`: the ledger's last entry, if it has a ledger; `written_off_after`: the
/// entry after which its budget was written off last; `count`: how many claims are in a phase.
/// `now` dates the condition of an object without a creation time.
pub(crate) fn dataset_status(
    objects: &DatasetObjects,
    ready: &Readiness,
    sequence: Option<u64>,
    written_off_after: Option<u64>,
    count: impl Fn(ClaimPhase) -> u64,
    now: v1::Time,
) -> PrivateDatasetStatus {
    let object = objects.dataset();
    let granted = [ClaimPhase::Granted, ClaimPhase::Consumed, ClaimPhase::Released];
    let since = object.and_then(|object| object.metadata.creation_timestamp.clone());
    let message = ready.message();
    PrivateDatasetStatus {
        summary: Some(beginning(&message)),
        conditions: vec![condition(
            conditions::READY,
            ready.is_true(),
            ready.reason(),
            &message,
            since.unwrap_or(now),
        )],
        ledger_sequence: sequence,
        blocks: Some(objects.block_count() as u64),
        waiting: Some(count(ClaimPhase::Waiting)),
        granted: Some(granted.map(count).iter().sum()),
        written_off_after,
        // Whoever creates blocks writes it.
        last_block: None,
    }
}

/// Whether a dataset's object agrees with its ledger: the dataset's condition `Ready`.
pub(crate) enum Readiness {
    /// The ledger has the object's rules.
    InLedger,
    /// The ledger began with other rules, this policy among them, and keeps them.
    RulesDiffer(PolicyName),
    /// No ledger can begin with the object's rules.
    NeverBegun(FieldErrors),
    /// A field that can't be used, and isn't. The ledger goes on.
    Invalid(FieldErrors),
    /// The ledger can't be read or written, and why.
    Stopped(String),
}

impl Readiness {
    /// Compares a dataset's object with the rules of its ledger, `None` if it has none yet.
    pub(crate) fn of(object: Option<&PrivateDataset>, committed: Option<&DatasetRules>) -> Self {
        let Some(spec) = object.map(|object| &object.spec) else {
            return Self::InLedger;
        };
        // All that is wrong, whatever is wrong with the rules.
        let all = |first| spec.check().err().unwrap_or(first);
        match (spec.rules(), committed) {
            (Err(problem), None) => Self::NeverBegun(all(problem)),
            (Err(problem), Some(_)) => Self::Invalid(all(problem)),
            (Ok(stated), Some(committed)) if !stated.agrees_with(committed) => {
                Self::RulesDiffer(committed.policy.into())
            }
            (Ok(_), _) => spec.check().err().map_or(Self::InLedger, Self::Invalid),
        }
    }

    pub(crate) const fn is_true(&self) -> bool {
        matches!(self, Self::InLedger)
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::InLedger => "InLedger",
            Self::RulesDiffer(_) => "RulesDiffer",
            Self::NeverBegun(_) | Self::Invalid(_) => "Invalid",
            Self::Stopped(_) => "Stopped",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::InLedger => "its ledger is open".to_owned(),
            Self::RulesDiffer(policy) => format!(
                "its ledger began with other rules, policy {} among them, which stay in force; make another dataset for \
                 these",
                policy.as_str()
            ),
            Self::NeverBegun(problem) => {
                format!("{problem}; nothing is granted: make another dataset, with rules that can be used")
            }
            Self::Stopped(why) => why.clone(),
            Self::Invalid(problem) => {
                format!("{problem}; that is not used, and what its ledger began with stays in force")
            }
        }
    }
}
