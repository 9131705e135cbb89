//! What an export directory bears witness to: the last entry that was exported.

use privatekube_ledger::Hash;

use super::{
    LedgerDirectory,
    line::SegmentLine,
    segment::{each_line, last_entry, of_last_generation, segments},
};
use crate::BackupError;

/// How many segments are looked at for the last entry. A former leader that still writes may have a later one than the segment
/// that begins last, but not for long.
const MOST_SEGMENTS: usize = 64;

/// The last entry of a ledger in an export directory. It was committed before it was exported, so a ledger without it has lost
/// entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The generation that it is of.
    pub generation: u32,
    /// Its number.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl LedgerDirectory {
    /// The last entry of the last generation; none if there is none. Reads the ends of segments alone.
    pub fn witness(&self) -> Result<Option<Witness>, BackupError> {
        let segments = of_last_generation(segments(self.path())?)?;
        let mut last: Option<Witness> = None;
        for segment in segments.iter().rev().take(MOST_SEGMENTS) {
            let Some(SegmentLine::Entry(hash, entry)) = last_entry(&segment.path)? else {
                continue;
            };
            let found = Witness {
                generation: segment.generation,
                sequence: entry.sequence,
                hash,
            };
            if last.is_some_and(|last| last.sequence == found.sequence && last.hash != found.hash) {
                return Err(BackupError::Directory {
                    path: self.path.clone(),
                    problem: format!(
                        "it has two entries {} of generation {}: two ledgers were exported to it",
                        found.sequence, found.generation
                    ),
                });
            }
            if last.is_none_or(|last| last.sequence < found.sequence) {
                last = Some(found);
            }
        }
        Ok(last)
    }

    /// The hash of an entry of the last generation; none if it isn't there. Reads segments from their beginning.
    pub fn hash_of(&self, sequence: u64) -> Result<Option<Hash>, BackupError> {
        let mut found = None;
        for segment in of_last_generation(segments(self.path())?)? {
            if segment.first > sequence {
                break;
            }
            each_line(&segment.path, |line| {
                if let Ok(SegmentLine::Entry(hash, entry)) = line.parsed
                    && entry.sequence == sequence
                {
                    found = Some(hash);
                }
            })?;
        }
        Ok(found)
    }
}
