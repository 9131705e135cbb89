//! Checkpoints: the engine's state after an entry, so that a start need not replay the whole ledger and old
//! entries can be removed.
//!
//! The content of a checkpoint is text: one [`StatePart`] as JSON on each line, in the engine's order. Its
//! SHA-256 is the checkpoint's digest. Two engines with the same state have the same text, so whoever has all
//! entries can compute the digest again. The text is cut into pieces of [`PIECE_BYTES`], each compressed by
//! itself (zlib).

use std::{
    fmt,
    io::{Read, Write},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use privatekube_policy::{Engine, Restoring, StateError, StatePart, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{CheckpointStore, CreateError, Hash, Head, Replay, Store, StoreError, entry::count};

/// The size of a piece of a checkpoint's text before it is compressed, in bytes: 512 KiB. The last one may be
/// smaller.
pub const PIECE_BYTES: usize = 512 << 10;

/// The longest line of a checkpoint, in bytes: a reader holds one in memory. A state with a longer part gets no checkpoint.
const MOST_LINE_BYTES: usize = 4 << 20;

/// How often a request is repeated whose outcome is unknown.
const MOST_ATTEMPTS: u32 = 10;

/// A checkpoint: what identifies the state of a ledger after one of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last entry that the state has, whose time the engine's clock has.
    pub head: Head,
    /// The SHA-256 of its text.
    pub digest: Hash,
    /// The number of its pieces, 1 or more.
    pub pieces: u32,
}

/// What an entry says of the checkpoint that its writer published last, so that the chain of hashes covers the
/// checkpoint's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointMark {
    /// The sequence number of the entry that the checkpoint stands at.
    pub sequence: u64,
    /// The checkpoint's digest.
    pub digest: Hash,
}

/// A checkpoint with its content, to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointContent {
    /// What identifies it.
    pub checkpoint: Checkpoint,
    /// Its pieces, compressed.
    pub pieces: Vec<Vec<u8>>,
    /// The size of its text, in bytes.
    pub text_bytes: u64,
}

/// Why there is no checkpoint of a ledger.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The engine is not at the time of the last entry: a checkpoint is made right after an entry was committed, because a
    /// replay has to arrive at the same state.
    #[error("the ledger is not at an entry: commit an entry first")]
    NotAtEntry,
    /// A part can't be written as text, or is longer than any that a reader accepts.
    #[error("the state can't be written: {0}")]
    Encoding(String),
}

/// Why a checkpoint was not published. Nothing else has changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PublishError {
    /// There is a checkpoint at the same entry or a later one: another writer went on.
    #[error("there is a checkpoint at entry {0} or a later one")]
    Superseded(u64),
    /// The store refuses it.
    #[error("the store refuses the checkpoint at entry {sequence}: {reason}")]
    Refused {
        /// The entry that it stands at.
        sequence: u64,
        /// The store's message.
        reason: String,
    },
    /// No clear answer after some attempts.
    #[error("the checkpoint at entry {sequence} may not be published: {reason}")]
    Unknown {
        /// The entry that it stands at.
        sequence: u64,
        /// The last answer.
        reason: String,
    },
}

/// Why the content of a checkpoint can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ContentError {
    /// A piece can't be uncompressed, or has more than [`PIECE_BYTES`].
    #[error("piece {piece}: {problem}")]
    Piece {
        /// The piece, from 0.
        piece: u32,
        /// What is wrong.
        problem: String,
    },
    /// A line is no part of a state.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The parts are no state of an engine.
    #[error(transparent)]
    State(#[from] StateError),
    /// The text is another one than the checkpoint was made of.
    #[error("its text has the digest {found}, and the checkpoint says {expected}: it was changed")]
    Digest {
        /// The checkpoint's digest.
        expected: Hash,
        /// The digest of the text.
        found: Hash,
    },
}

impl CheckpointContent {
    /// The checkpoint of `engine` after the entry `head`, at whose time it is. See
    /// [`Ledger::checkpoint`](crate::Ledger::checkpoint), which makes sure of that.
    pub fn of(engine: &Engine, head: Head) -> Result<Self, CheckpointError> {
        let (mut pieces, mut text, mut digest, mut text_bytes) = (Vec::new(), Vec::new(), Sha256::new(), 0);
        each_line(engine, |line| {
            digest.update(line);
            text_bytes += count(line.len());
            text.extend_from_slice(line);
            while text.len() >= PIECE_BYTES {
                let rest = text.split_off(PIECE_BYTES);
                pieces.push(compressed(&text)?);
                text = rest;
            }
            Ok(())
        })?;
        // The text has its head, so it is never empty.
        if !text.is_empty() {
            pieces.push(compressed(&text)?);
        }
        let count = u32::try_from(pieces.len()).map_err(encoding)?;
        Ok(Self {
            checkpoint: Checkpoint {
                head,
                digest: Hash::from_digest(digest),
                pieces: count,
            },
            pieces,
            text_bytes,
        })
    }

    /// Publishes the checkpoint: first its pieces, then itself. It is durable when this returns `Ok`, and
    /// entries before the one that it stands at may be [removed](remove_entries).
    pub async fn publish(&self, store: &impl CheckpointStore) -> Result<(), PublishError> {
        for (number, content) in (0..).zip(&self.pieces) {
            self.repeat(store, || store.create_piece(&self.checkpoint, number, content))
                .await?;
        }
        self.repeat(store, || store.publish(&self.checkpoint)).await
    }

    /// Repeats a request until its outcome is known.
    async fn repeat<F: Future<Output = Result<(), CreateError>>>(
        &self,
        store: &impl CheckpointStore,
        request: impl Fn() -> F,
    ) -> Result<(), PublishError> {
        let sequence = self.checkpoint.head.sequence;
        let mut attempt = 0;
        loop {
            match request().await {
                Ok(()) => return Ok(()),
                Err(CreateError::Exists) => {
                    // An earlier attempt may have published this very checkpoint.
                    return match store.checkpoint().await {
                        Ok(Some(published)) if published == self.checkpoint => Ok(()),
                        Ok(_) => Err(PublishError::Superseded(sequence)),
                        Err(error) => Err(PublishError::Unknown {
                            sequence,
                            reason: error.to_string(),
                        }),
                    };
                }
                Err(CreateError::Refused(reason)) => return Err(PublishError::Refused { sequence, reason }),
                Err(CreateError::Unknown(reason)) if attempt >= MOST_ATTEMPTS => {
                    return Err(PublishError::Unknown { sequence, reason });
                }
                Err(CreateError::Unknown(_)) => {
                    attempt += 1;
                    store.pause(attempt).await;
                }
            }
        }
    }
}

impl Checkpoint {
    /// What the next entry says of it.
    #[must_use]
    pub const fn mark(&self) -> CheckpointMark {
        CheckpointMark {
            sequence: self.head.sequence,
            digest: self.digest,
        }
    }

    /// Reads its content and restores the engine. Returns `None` if a piece is gone, because a later checkpoint was
    /// published.
    pub(crate) async fn restore(
        &self,
        store: &impl Store,
    ) -> Result<Result<Option<Engine>, ContentError>, StoreError> {
        let mut reader = ContentReader::new();
        for piece in 0..self.pieces {
            let Some(content) = store.read_piece(self, piece).await? else {
                return Ok(Ok(None));
            };
            if let Err(error) = reader.push(&content) {
                return Ok(Err(error));
            }
        }
        Ok(reader.engine(self.digest).map(Some))
    }
}

impl CheckpointMark {
    /// What an entry says of a checkpoint of `engine` after the entry `head`, at whose time it is: whoever has all
    /// entries computes a checkpoint's digest again by this.
    pub fn of(engine: &Engine, head: Head) -> Result<Self, CheckpointError> {
        let mut digest = Sha256::new();
        each_line(engine, |line| {
            digest.update(line);
            Ok(())
        })?;
        Ok(Self {
            sequence: head.sequence,
            digest: Hash::from_digest(digest),
        })
    }
}

/// Restores the state of a checkpoint from its pieces, of which one is in memory at a time.
#[derive(Debug)]
pub struct ContentReader {
    restored: Restoring,
    digest: Sha256,
    pieces: u32,
    /// The beginning of a line whose end is in a later piece.
    line: Vec<u8>,
    lines: u64,
}

impl Default for ContentReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentReader {
    /// A reader before the first piece.
    #[must_use]
    pub fn new() -> Self {
        Self {
            restored: Restoring::new(),
            digest: Sha256::new(),
            pieces: 0,
            line: Vec::new(),
            lines: 0,
        }
    }

    /// Reads the next piece.
    pub fn push(&mut self, content: &[u8]) -> Result<(), ContentError> {
        let piece = self.pieces;
        let text = uncompressed(content).map_err(|problem| ContentError::Piece { piece, problem })?;
        self.pieces = piece.saturating_add(1);
        self.digest.update(&text);
        let mut rest = text.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = rest.split_at(end);
            if self.line.is_empty() {
                self.part(head)?;
            } else {
                self.line.extend_from_slice(head);
                let line = std::mem::take(&mut self.line);
                self.part(&line)?;
            }
            rest = &tail[1..];
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > MOST_LINE_BYTES {
            let problem = format!("it has more than {MOST_LINE_BYTES} bytes");
            return Err(self.wrong_line(problem));
        }
        Ok(())
    }

    fn part(&mut self, line: &[u8]) -> Result<(), ContentError> {
        let part: StatePart =
            serde_json::from_slice(line).map_err(|error| self.wrong_line(error.to_string()))?;
        self.lines += 1;
        Ok(self.restored.push(part)?)
    }

    fn wrong_line(&self, problem: String) -> ContentError {
        let line = self.lines + 1;
        ContentError::Line { line, problem }
    }

    /// Returns a replay that goes on after the checkpoint's entry, once all pieces were read. Whether the ledger has
    /// that entry, with the hash that the checkpoint names, is for the caller to check.
    pub fn finish(self, checkpoint: Checkpoint) -> Result<Replay, ContentError> {
        let engine = self.engine(checkpoint.digest)?;
        Ok(Replay::at(checkpoint, engine))
    }

    fn engine(self, expected: Hash) -> Result<Engine, ContentError> {
        if !self.line.is_empty() {
            return Err(self.wrong_line("it has no end".to_owned()));
        }
        let found = Hash::from_digest(self.digest);
        if found != expected {
            return Err(ContentError::Digest { expected, found });
        }
        Ok(self.restored.finish()?)
    }
}

/// Which entries are removed that a checkpoint covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Only those that are older.
    pub before: Time,
    /// Only those up to this number: later ones are not exported yet.
    pub up_to: u64,
    /// At most so many.
    pub most: usize,
}

impl Removal {
    /// The entries that are older, at most so many.
    #[must_use]
    pub const fn older_than(before: Time, most: usize) -> Self {
        let up_to = u64::MAX;
        Self { before, up_to, most }
    }
}

/// Removes entries before the one that the published `checkpoint` stands at, from the first on, within the limits of
/// `removal`. Returns how many were removed.
///
/// The entry that the checkpoint stands at stays: it vouches for the checkpoint, and the ledger never seems
/// empty. Nothing is removed unless the checkpoint can be restored from the store, since it is all that is left then:
/// that costs the time and memory of a second engine, once there is anything to remove.
pub async fn remove_entries(
    store: &impl CheckpointStore,
    checkpoint: &Checkpoint,
    removal: Removal,
) -> Result<usize, StoreError> {
    let Removal { before, up_to, most } = removal;
    let mut removed = 0;
    loop {
        let first = store.read_first().await?;
        let mut is_done = first.is_empty();
        for entry in first {
            let sequence = entry.sequence;
            let is_kept = sequence >= checkpoint.head.sequence || sequence > up_to || entry.time >= before;
            if removed == most || is_kept {
                is_done = true;
                break;
            }
            if removed == 0 {
                check_restores(store, checkpoint).await?;
            }
            store.remove(entry.sequence).await?;
            removed += 1;
        }
        if is_done {
            return Ok(removed);
        }
    }
}

/// Checks that a checkpoint can be restored from the store.
async fn check_restores(store: &impl Store, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let sequence = checkpoint.head.sequence;
    match checkpoint.restore(store).await? {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(StoreError::Unreachable(format!(
            "the checkpoint at entry {sequence} lacks a piece"
        ))),
        Err(error) => Err(StoreError::Corrupt(format!(
            "the checkpoint at entry {sequence} can't be restored: {error}"
        ))),
    }
}

/// Calls `take` with each line of the text of `engine`'s state, the line break included.
fn each_line(
    engine: &Engine,
    mut take: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let mut line = Vec::new();
    for part in engine.parts() {
        line.clear();
        serde_json::to_writer(&mut line, &part).map_err(encoding)?;
        if line.len() > MOST_LINE_BYTES {
            let bytes = line.len();
            return Err(encoding(format!(
                "a part has {bytes} bytes: it must have at most {MOST_LINE_BYTES}"
            )));
        }
        line.push(b'\n');
        take(&line)?;
    }
    Ok(())
}

fn compressed(text: &[u8]) -> Result<Vec<u8>, CheckpointError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).map_err(encoding)?;
    encoder.finish().map_err(encoding)
}

fn encoding(problem: impl fmt::Display) -> CheckpointError {
    CheckpointError::Encoding(problem.to_string())
}

fn uncompressed(content: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let most = PIECE_BYTES as u64;
    let read = ZlibDecoder::new(content).take(most + 1).read_to_end(&mut text);
    read.map_err(|error| format!("it can't be uncompressed: {error}"))?;
    if text.len() > PIECE_BYTES {
        return Err(format!("it has more than {PIECE_BYTES} bytes"));
    }
    Ok(text)
}
