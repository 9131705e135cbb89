//! Verifies the entries that there are of a ledger, of which the first ones may have been removed.

use privatekube_ledger::{Checkpoint, CheckpointMark, Committed, Entry, Hash, Replay, VerifyError};

/// Verifies entries in ascending order.
///
/// If there is entry 1, all is replayed, and the state at the published checkpoint's entry has to be the checkpoint's.
/// Otherwise the replay begins with the checkpoint. What decided the entries up to it is gone, but each names the hash of the one
/// before, and the checkpoint names that of its own.
#[derive(Debug)]
pub(crate) struct Chain {
    replay: Replay,
    published: Option<Checkpoint>,
    /// The last entry that isn't replayed, and its hash.
    earlier: Option<(u64, Hash)>,
}

/// What became of an entry.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// Only its hash was verified. With `after_gap`, those before it are no part of the ledger.
    Earlier { after_gap: bool },
    /// It was replayed.
    Replayed(Committed),
}

impl Chain {
    /// A ledger with entry 1, or none at all.
    pub(crate) fn whole(published: Option<Checkpoint>) -> Self {
        Self {
            replay: published.map_or_else(Replay::new, Replay::knowing),
            published,
            earlier: None,
        }
    }

    /// A ledger whose first entries were removed. `replay` begins with its checkpoint.
    pub(crate) const fn from_checkpoint(replay: Replay) -> Self {
        Self {
            replay,
            published: None,
            earlier: None,
        }
    }

    pub(crate) const fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The replay, if it begins with the checkpoint at this entry.
    pub(crate) fn reached(&self, sequence: u64) -> Option<&Replay> {
        (self.base() == Some(sequence)).then_some(&self.replay)
    }

    /// The number of the entry that was pushed last.
    pub(crate) fn last(&self) -> u64 {
        let base = self.base().unwrap_or(0);
        let head = self.replay.head().sequence;
        if head > base {
            return head;
        }
        self.earlier.map_or(0, |(sequence, _)| sequence)
    }

    /// The entry of the checkpoint that the replay begins with.
    fn base(&self) -> Option<u64> {
        self.replay.base().map(|base| base.head.sequence)
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> Result<Pushed, VerifyError> {
        let sequence = entry.sequence;
        if self.base().is_some_and(|base| sequence <= base) {
            return self.push_earlier(entry);
        }
        self.check_reached()?;
        let committed = self.replay.push(entry)?;
        if let Some(published) = self
            .published
            .filter(|published| published.head.sequence == sequence)
        {
            check_state(&self.replay, published.mark(), None)?;
        }
        Ok(Pushed::Replayed(committed))
    }

    fn push_earlier(&mut self, entry: &Entry) -> Result<Pushed, VerifyError> {
        let sequence = entry.sequence;
        let hash = entry
            .hash()
            .map_err(|error| VerifyError::Encoding { sequence, error })?;
        let mut after_gap = false;
        if let Some((before, expected)) = self.earlier {
            if sequence <= before {
                let expected = before + 1;
                return Err(VerifyError::Sequence {
                    expected,
                    found: sequence,
                });
            }
            after_gap = sequence > before + 1;
            if !after_gap && entry.previous != expected {
                return Err(VerifyError::Previous {
                    sequence,
                    expected,
                    found: entry.previous,
                });
            }
        }
        if let Some(base) = self.replay.base().filter(|base| base.head.sequence == sequence)
            && base.head.hash != hash
        {
            return Err(VerifyError::OtherEntry {
                sequence,
                expected: base.head.hash,
                found: hash,
            });
        }
        self.earlier = Some((sequence, hash));
        Ok(Pushed::Earlier { after_gap })
    }

    /// Whether the entry that the checkpoint stands at was pushed.
    pub(crate) fn check_reached(&self) -> Result<(), VerifyError> {
        let reached = self.earlier.map(|(sequence, _)| sequence);
        match self.base() {
            Some(sequence) if reached != Some(sequence) => Err(VerifyError::NoEntry { sequence }),
            _ => Ok(()),
        }
    }

    /// The state after the last entry, whose amounts add up.
    pub(crate) fn finish(self) -> Result<Replay, VerifyError> {
        self.check_reached()?;
        if let Some(published) = self
            .published
            .filter(|published| !self.replay.has(Some(published)))
        {
            let sequence = published.head.sequence;
            return Err(VerifyError::NoEntry { sequence });
        }
        self.replay.check()?;
        Ok(self.replay)
    }
}

/// Compares the state of a replay with that of a checkpoint at its last entry. `by` is the entry that names the checkpoint.
pub fn check_state(replay: &Replay, marked: CheckpointMark, by: Option<u64>) -> Result<(), VerifyError> {
    let Some(engine) = replay.engine() else {
        return Ok(());
    };
    match CheckpointMark::of(engine, replay.head()) {
        Ok(follows) if follows == marked => Ok(()),
        Ok(follows) => Err(VerifyError::State {
            marked,
            by,
            found: follows.digest,
        }),
        // A state that can't be written is no checkpoint's.
        Err(_) => Err(VerifyError::State {
            marked,
            by,
            found: Hash::ORIGIN,
        }),
    }
}
