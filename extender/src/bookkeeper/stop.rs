//! A stopped dataset: its ledger can't be read or written. Why, what to do, and when it is opened again.

use std::time::Duration;

use privatekube_api::{DatasetKey, moment};
use privatekube_ledger::{ClockError, CommitError, OpenError, StoreError, VerifyError};
use tokio::time::Instant;

use super::WriterError;

/// The first wait before a stopped dataset's ledger is opened again, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Why a dataset is stopped: the label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// The API server does not answer.
    Unreachable,
    /// The ledger can't be verified.
    Unreadable,
    /// A later version of PrivateKube wrote an entry or the checkpoint, in a format that this one doesn't know.
    Newer,
    /// The API server refuses new entries.
    Unwritable,
    /// Entries that existed are gone.
    Shortened,
    /// A clock is wrong: this machine's, the API server's, or that of the last entry's writer.
    Clock,
    /// What was exported can't be read.
    Export,
    /// The bookkeeper panicked.
    Failed,
}

impl StopCause {
    /// Every cause.
    pub(super) const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Unreadable,
        Self::Newer,
        Self::Unwritable,
        Self::Shortened,
        Self::Clock,
        Self::Export,
        Self::Failed,
    ];

    fn of(error: &WriterError) -> Self {
        match error {
            WriterError::Open(_, open) if matches!(**open, OpenError::Store(StoreError::Unreachable(_))) => {
                Self::Unreachable
            }
            WriterError::Open(_, open)
                if matches!(
                    **open,
                    OpenError::Store(StoreError::Newer { .. }) | OpenError::Verify(VerifyError::Newer { .. })
                ) =>
            {
                Self::Newer
            }
            WriterError::Unreadable(_, _, StoreError::Unreachable(_)) => Self::Unreachable,
            WriterError::Unreadable(_, _, StoreError::Newer { .. }) => Self::Newer,
            WriterError::Commit(_, commit) if matches!(**commit, CommitError::Corrupt { .. }) => {
                Self::Unreadable
            }
            WriterError::Open(..)
            | WriterError::Poisoned(..)
            | WriterError::Overtaken(..)
            | WriterError::OtherNamespace(..)
            | WriterError::Replaced(..)
            | WriterError::Unreadable(..) => Self::Unreadable,
            WriterError::Commit(..) | WriterError::WriteOff(..) => Self::Unwritable,
            WriterError::Clock(..) => Self::Clock,
            WriterError::Failed(..) => Self::Failed,
            WriterError::Export(..) => Self::Export,
            WriterError::Lost(..) | WriterError::Shortened { .. } | WriterError::Witnessed { .. } => {
                Self::Shortened
            }
        }
    }

    /// The label of the metric.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
            Self::Newer => "newer",
            Self::Unwritable => "unwritable",
            Self::Shortened => "shortened",
            Self::Clock => "clock",
            Self::Export => "export",
            Self::Failed => "failed",
        }
    }

    /// What an administrator does about it.
    fn remedy(self, dataset: &DatasetKey, error: &WriterError) -> String {
        let namespace = &dataset.namespace;
        match self {
            Self::Clock => match error {
                WriterError::Clock(_, ClockError::LedgerAhead { .. }, last) => format!(
                    "wait until then, set the API server's clock right, or go on with the ledger's time by the field recovery: \
                     {{acceptTime: {:?}, reason: ...}} of the PrivateDataset",
                    moment(*last)
                ),
                _ => "set the clocks of the extender's node and of the API server's right".to_owned(),
            },
            Self::Shortened => match error {
                WriterError::Shortened { found, .. } => format!(
                    "put the entries of namespace {namespace} back from a backup; or, if they are lost for good, write all \
                     budget off by the field recovery: {{writeOffAfter: {found}, reason: ...}} of the PrivateDataset"
                ),
                WriterError::Witnessed { found, directory, .. } => format!(
                    "put the entries back by `privatekube-extender restore {} --complete`; or, if they are lost for good, write \
                     all budget off by the field recovery: {{writeOffAfter: {found}, reason: ...}} of the PrivateDataset",
                    directory.display()
                ),
                _ => format!("put the entries of namespace {namespace} back from a backup"),
            },
            Self::Export => {
                "mount the volume of --export, or give the extender's user the right to read it".to_owned()
            }
            Self::Unreachable => "it is tried again until the API server answers".to_owned(),
            Self::Unreadable => format!(
                "make the entries in namespace {namespace} what they were: delete an entry that no extender wrote, put back \
                 one that was changed"
            ),
            Self::Newer => {
                "run the later version again; it is of no use to change or delete what it wrote".to_owned()
            }
            Self::Unwritable => format!(
                "let the extender create PrivacyLedgerEntry objects in namespace {namespace}: look for a quota or an \
                 admission policy that refuses them"
            ),
            Self::Failed => {
                "report it with the extender's log; the ledger is read again from time to time".to_owned()
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
                cause.remedy(dataset, error)
            ),
            retry_at: Instant::now() + pause,
            pause,
        }
    }

    /// The stop of a bookkeeper that panicked for the `failures`th time, 1 for the first.
    pub(super) fn after_failures(dataset: &DatasetKey, failures: u32) -> Self {
        let error = WriterError::Failed(dataset.clone());
        let first = Self::new(dataset, &error, None);
        (1..failures.min(16)).fold(first, |before, _| Self::new(dataset, &error, Some(&before)))
    }

    /// Whether this says something else than `before`. By how much a clock is wrong changes all the time.
    pub(super) fn is_news(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| {
            before.cause != self.cause || (self.cause != StopCause::Clock && before.message != self.message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> DatasetKey {
        DatasetKey {
            namespace: "data".into(),
            name: "taxi".into(),
        }
    }

    fn unreadable(error: StoreError) -> Stop {
        Stop::new(&dataset(), &WriterError::Unreadable(dataset(), 3, error), None)
    }

    #[test]
    fn a_server_that_does_not_answer_is_no_ledger_that_was_changed() {
        let unreachable = unreadable(StoreError::Unreachable("timeout".into()));
        assert_eq!(unreachable.cause, StopCause::Unreachable);
        assert!(
            unreachable.message.contains("tried again"),
            "{}",
            unreachable.message
        );
        let changed = unreadable(StoreError::Corrupt("hash".into()));
        assert_eq!(changed.cause, StopCause::Unreadable);
        assert!(changed.is_news(Some(&unreachable)) && !changed.is_news(Some(&changed)));
    }

    #[test]
    fn a_bookkeeper_that_fails_again_rests_for_longer() {
        let pause = |failures| Stop::after_failures(&dataset(), failures).pause;
        assert_eq!(
            (pause(1), pause(2), pause(3)),
            (FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4)
        );
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_stopped_dataset_is_tried_less_and_less_often() {
        let error = WriterError::Lost(dataset(), 3);
        let mut stop = Stop::new(&dataset(), &error, None);
        assert_eq!(stop.pause, FIRST_PAUSE);
        for _ in 0..10 {
            stop = Stop::new(&dataset(), &error, Some(&stop));
        }
        assert_eq!(stop.pause, LONGEST_PAUSE);
    }
}
