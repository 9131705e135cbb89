//! [`Refusal`]: why a webhook refuses an object.

use std::fmt::Display;

use privatekube_kubernetes::plain;

use super::Answer;

/// Why a webhook refuses an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What is wrong with it.
    Denied(String),
    /// What could not be read, so that nothing is known to be wrong: the same object may be accepted a moment later.
    Unavailable(String),
}

impl Refusal {
    /// The API server didn't say what `what` is.
    pub(super) fn unreadable(what: impl Display, error: &kube::Error) -> Self {
        Self::Unavailable(format!("{what} can't be read: {}", plain(error)))
    }

    /// All of some refusals as one. What is wrong with an object is wrong whatever could not be read.
    pub(super) fn all(refusals: Vec<Self>) -> Self {
        let (mut wrong, mut unread) = (Vec::new(), Vec::new());
        for refusal in refusals {
            match refusal {
                Self::Denied(why) => wrong.push(why),
                Self::Unavailable(why) => unread.push(why),
            }
        }
        if wrong.is_empty() && !unread.is_empty() {
            Self::Unavailable(unread.join("; "))
        } else {
            Self::Denied(wrong.join("; "))
        }
    }

    /// The same, with the path of what is refused before it.
    pub(super) fn at(self, path: &str) -> Self {
        match self {
            Self::Denied(why) => Self::Denied(format!("{path}: {why}")),
            Self::Unavailable(why) => Self::Unavailable(format!("{path}: {why}")),
        }
    }
}

impl From<String> for Refusal {
    fn from(wrong: String) -> Self {
        Self::Denied(wrong)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied(why) => Self::Deny(why),
            Refusal::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
