//! The reasons that a claim's status gives for its phase.

use std::fmt;

use crate::ClaimPhase;

/// Why a claim is in its phase: the closed set of words in `status.reason` and in the reasons of its
/// conditions. docs/operations.md lists them for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimReason {
    /// Waiting: a block has not enough available budget yet.
    TooLittleUnlocked,
    /// Waiting under policy RoundRobin: its part of what is unlocked does not yet cover its budget.
    Gathering,
    /// Waiting: fewer blocks match than it needs at least.
    TooFewBlocks,
    /// Waiting: with all the blocks that match it takes more of the ledger than a claim may.
    TooManyBlocks,
    /// Waiting: its dataset has neither an object nor a block.
    DatasetUnknown,
    /// Waiting: its dataset's rules can't be used.
    DatasetInvalid,
    /// Waiting: its dataset is stopped, since its ledger can't be read or written.
    DatasetStopped,
    /// Waiting: it is about to be decided.
    Undecided,
    /// Granted: its budget is allocated on all its blocks.
    Granted,
    /// Consumed: its budget is consumed.
    Consumed,
    /// Released: its budget was released without being consumed.
    Released,
    /// Withdrawn: its object or pod was deleted while it waited.
    Withdrawn,
    /// Denied: its budget is larger than what one of its blocks can still grant.
    TooLarge,
    /// Denied: one of its blocks was deleted.
    BlockGone,
    /// Denied under policy FCFS, refusing: it did not fit when it arrived.
    DoesNotFit,
    /// Denied under policy RoundRobin: one of its blocks is unlocked and divided completely, and it lacks
    /// budget there.
    DividedUp,
    /// Denied: its request can't be used on its dataset.
    Invalid,
    /// Denied: its dataset isn't open to its namespace, or doesn't exist.
    NotAllowed,
    /// Denied: its priority is above its dataset's limit.
    PriorityTooHigh,
    /// Denied, and the ledger does not say why.
    Denied,
    /// Expired: it waited for its whole timeout.
    TimedOut,
}

impl ClaimReason {
    /// Every reason, in the order of docs/operations.md.
    pub const ALL: [Self; 21] = [
        Self::TooLittleUnlocked,
        Self::Gathering,
        Self::TooFewBlocks,
        Self::TooManyBlocks,
        Self::DatasetUnknown,
        Self::DatasetInvalid,
        Self::DatasetStopped,
        Self::Undecided,
        Self::Granted,
        Self::Consumed,
        Self::Released,
        Self::Withdrawn,
        Self::TooLarge,
        Self::BlockGone,
        Self::DoesNotFit,
        Self::DividedUp,
        Self::Invalid,
        Self::NotAllowed,
        Self::PriorityTooHigh,
        Self::Denied,
        Self::TimedOut,
    ];

    /// The reason as a status has it, in CamelCase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLittleUnlocked => "TooLittleUnlocked",
            Self::Gathering => "Gathering",
            Self::TooFewBlocks => "TooFewBlocks",
            Self::TooManyBlocks => "TooManyBlocks",
            Self::DatasetUnknown => "DatasetUnknown",
            Self::DatasetInvalid => "DatasetInvalid",
            Self::DatasetStopped => "DatasetStopped",
            Self::Undecided => "Undecided",
            Self::Granted => "Granted",
            Self::Consumed => "Consumed",
            Self::Released => "Released",
            Self::Withdrawn => "Withdrawn",
            Self::TooLarge => "TooLarge",
            Self::BlockGone => "BlockGone",
            Self::DoesNotFit => "DoesNotFit",
            Self::DividedUp => "DividedUp",
            Self::Invalid => "Invalid",
            Self::NotAllowed => "NotAllowed",
            Self::PriorityTooHigh => "PriorityTooHigh",
            Self::Denied => "Denied",
            Self::TimedOut => "TimedOut",
        }
    }

    /// Whether the claim waits because its dataset has no ledger that could be read or written.
    #[must_use]
    pub const fn is_of_dataset(self) -> bool {
        matches!(
            self,
            Self::DatasetUnknown | Self::DatasetInvalid | Self::DatasetStopped
        )
    }

    /// The phase of a claim with this reason.
    #[must_use]
    pub const fn phase(self) -> ClaimPhase {
        match self {
            Self::TooLittleUnlocked
            | Self::Gathering
            | Self::TooFewBlocks
            | Self::TooManyBlocks
            | Self::DatasetUnknown
            | Self::DatasetInvalid
            | Self::DatasetStopped
            | Self::Undecided => ClaimPhase::Waiting,
            Self::Granted => ClaimPhase::Granted,
            Self::Consumed => ClaimPhase::Consumed,
            Self::Released => ClaimPhase::Released,
            Self::Withdrawn => ClaimPhase::Withdrawn,
            Self::TooLarge
            | Self::BlockGone
            | Self::DoesNotFit
            | Self::DividedUp
            | Self::Invalid
            | Self::NotAllowed
            | Self::PriorityTooHigh
            | Self::Denied => ClaimPhase::Denied,
            Self::TimedOut => ClaimPhase::Expired,
        }
    }
}

impl fmt::Display for ClaimReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
