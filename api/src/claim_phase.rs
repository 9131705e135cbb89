//! The phases of a claim's life, and the words for each: in its status, in Events and in metrics.

use std::fmt;

use privatekube_policy::Phase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A claim's phase: `Waiting -> Granted -> Consumed | Released`, `Waiting -> Denied | Expired | Withdrawn`,
/// and `Consumed -> Released` if what it was consumed for provably never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ClaimPhase {
    /// Not decided yet.
    Waiting,
    /// Its whole budget was allocated; some of it is neither consumed nor released.
    Granted,
    /// Nothing is left allocated, and some of it was consumed.
    Consumed,
    /// Nothing is left allocated, and nothing was consumed.
    Released,
    /// Refused for good.
    Denied,
    /// Waited for its whole timeout.
    Expired,
    /// Withdrawn while it waited.
    Withdrawn,
}

impl ClaimPhase {
    /// Every phase, in the order of a claim's life.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Granted,
        Self::Consumed,
        Self::Released,
        Self::Denied,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// The phase as a status and the label of a metric have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Granted => "Granted",
            Self::Consumed => "Consumed",
            Self::Released => "Released",
            Self::Denied => "Denied",
            Self::Expired => "Expired",
            Self::Withdrawn => "Withdrawn",
        }
    }

    /// The phase within a sentence, in lower case.
    #[must_use]
    pub const fn lower_case(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Consumed => "consumed",
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// The reason of the Kubernetes Event that announces the phase.
    #[must_use]
    pub const fn event_reason(self) -> &'static str {
        match self {
            Self::Waiting => "BudgetWaiting",
            Self::Granted => "BudgetGranted",
            Self::Consumed => "BudgetConsumed",
            Self::Released => "BudgetReleased",
            Self::Denied => "BudgetDenied",
            Self::Expired => "BudgetExpired",
            Self::Withdrawn => "BudgetWithdrawn",
        }
    }

    /// Whether that Event is of type Warning: the claim ended without the budget that its user wanted.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        match self {
            Self::Denied | Self::Expired => true,
            Self::Waiting | Self::Granted | Self::Consumed | Self::Released | Self::Withdrawn => false,
        }
    }

    /// Whether the claim was granted, whatever became of its budget afterwards.
    #[must_use]
    pub const fn is_granted(self) -> bool {
        match self {
            Self::Granted | Self::Consumed | Self::Released => true,
            Self::Waiting | Self::Denied | Self::Expired | Self::Withdrawn => false,
        }
    }

    /// Whether the claim is decided: granted, denied, expired or withdrawn.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        !matches!(self, Self::Waiting)
    }
}

impl From<Phase> for ClaimPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting => Self::Waiting,
            Phase::Granted => Self::Granted,
            Phase::Consumed => Self::Consumed,
            Phase::Released => Self::Released,
            Phase::Denied => Self::Denied,
            Phase::Expired => Self::Expired,
            Phase::Withdrawn => Self::Withdrawn,
        }
    }
}

impl fmt::Display for ClaimPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
