//! A stopped dataset: its ledger can't be read or written. Why, what to do, and when it is opened again.

use std::time::Duration;

use privatekube_api::DatasetKey;
use tokio::time::Instant;

use super::WriterError;

/// The first wait before a stopped dataset's ledger is opened again, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Why a dataset is stopped: the label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// The ledger can't be read, or not be verified.
    Unreadable,
    /// The API server refuses new entries.
    Unwritable,
    /// Entries that existed are gone.
    Shortened,
    /// A clock is wrong: this machine's, the API server's, or that of the last entry's writer.
    Clock,
}

impl StopCause {
    /// Every cause.
    pub(super) const ALL: [Self; 4] = [Self::Unreadable, Self::Unwritable, Self::Shortened, Self::Clock];

    fn of(error: &WriterError) -> Self {
        match error {
            WriterError::Open(..)
            | WriterError::Poisoned(..)
            | WriterError::Replaced(..)
            | WriterError::Unreadable(..) => Self::Unreadable,
            WriterError::Commit(..) => Self::Unwritable,
            WriterError::Clock(..) => Self::Clock,
            WriterError::Lost(..) | WriterError::Shortened { .. } => Self::Shortened,
        }
    }

    /// The label of the metric.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unwritable => "unwritable",
            Self::Shortened => "shortened",
            Self::Clock => "clock",
        }
    }

    /// What an administrator does about it.
    fn remedy(self, dataset: &DatasetKey) -> String {
        let namespace = &dataset.namespace;
        match self {
            Self::Unreadable => format!(
                "make the entries in namespace {namespace} what they were: delete an entry that no extender wrote, put back \
                 one that was changed"
            ),
            Self::Unwritable => format!(
                "let the extender create PrivacyLedgerEntry objects in namespace {namespace}: look for a quota or an \
                 admission policy that refuses them"
            ),
            Self::Clock => "set the clocks of the extender's node and of the API server's right".to_owned(),
            Self::Shortened => {
                format!("put the entries of namespace {namespace} back from a backup")
            }
        }
    }
}

/// A dataset that is stopped.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) cause: StopCause,
    /// Why, and what to do.
    pub(super) message: String,
    /// When the ledger is opened again.
    pub(super) retry_at: Instant,
    pause: Duration,
}

impl Stop {
    /// A dataset that is stopped because of `error`. `before`: that it was stopped already, and an attempt failed.
    pub(super) fn new(dataset: &DatasetKey, error: &WriterError, before: Option<&Self>) -> Self {
        let cause = StopCause::of(error);
        let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Self {
            cause,
            message: format!(
                "{error}; nothing is granted or consumed until that is mended: {} (docs/operations.md)",
                cause.remedy(dataset)
            ),
            retry_at: Instant::now() + pause,
            pause,
        }
    }
}
