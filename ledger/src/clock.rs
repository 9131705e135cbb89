//! How far an entry's time may be ahead of another clock: a pure check, made before a draft begins.
//!
//! An entry's time is its writer's, and the ledger's time never goes back. So one entry that is dated far in the
//! future would unlock all that the clock unlocks, expire all that waits, and stop the ledger's time until then.
//! The check can't be made from the ledger alone: after a long pause, a far later time may be the right one.

use privatekube_policy::{Span, Time};
use thiserror::Error;

/// The latest time that an entry may have: another clock's, and a span more.
///
/// The other clock is one that the writer's can be compared with, for example that of the store's server. Where
/// there is none, the time of the ledger's [head](crate::Ledger::head) bounds what one entry may advance, once
/// the ledger has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockLimit {
    /// What the other clock shows.
    pub reference: Time,
    /// By how much an entry's time may be ahead of that: the clocks' usual difference, and the age of the
    /// reference.
    pub most_ahead: Span,
}

/// Why no entry may be written now. Nothing has changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ClockError {
    /// The writer's clock is too far ahead. Once it is right, the ledger can be written again.
    #[error(
        "the writer's clock is {ahead} ahead of the clock that it is compared with, and at most {most} is accepted"
    )]
    WriterAhead {
        /// By how much.
        ahead: Span,
        /// What is accepted.
        most: Span,
    },
    /// The last entry is dated too far ahead, by a writer whose clock was wrong, or the other clock is behind.
    /// As an entry can't be changed, the ledger can be written once that time has come.
    #[error(
        "the ledger's last entry is dated {ahead} ahead of the clock that it is compared with, and at most {most} is accepted"
    )]
    LedgerAhead {
        /// By how much.
        ahead: Span,
        /// What is accepted.
        most: Span,
    },
}

impl ClockLimit {
    /// Checks the time of the next entry of a ledger: `now`, or that of its last entry, `head`, if that is
    /// later.
    pub fn check(&self, head: Time, now: Time) -> Result<(), ClockError> {
        let most = self.most_ahead;
        if let Some(ahead) = self.beyond(head) {
            return Err(ClockError::LedgerAhead { ahead, most });
        }
        match self.beyond(now) {
            Some(ahead) => Err(ClockError::WriterAhead { ahead, most }),
            None => Ok(()),
        }
    }

    /// By how much a time is ahead of the reference, if that is too much.
    fn beyond(&self, time: Time) -> Option<Span> {
        let ahead = time.micros().checked_sub(self.reference.micros())?;
        (ahead > self.most_ahead.micros()).then_some(Span::from_micros(ahead))
    }
}
