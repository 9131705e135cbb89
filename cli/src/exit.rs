//! The exit codes, which scripts may rely on. docs/kubectl-privacy.md lists them.

use std::process::ExitCode;

/// How a command ended that did what it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    /// Done; or granted, verified: what was asked about is so.
    #[default]
    Done,
    /// What was asked about isn't so yet: a claim waits, or would wait.
    Waits,
    /// What was asked about is refused for good: a claim is, or would be, denied.
    Refused,
    /// Something is not as it has to be: a ledger, a status or a sum is wrong.
    Wrong,
    /// The ledger may not be read, so that only statuses were told.
    NotAllowed,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Waits => 3,
            Self::Refused => 4,
            Self::Wrong => 5,
            Self::NotAllowed => 6,
        }
    }

    /// The one that a script has to know of first, of two.
    #[must_use]
    pub(crate) const fn or(self, other: Self) -> Self {
        if self.code() >= other.code() { self } else { other }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
