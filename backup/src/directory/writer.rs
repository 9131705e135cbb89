//! Appends to the directory of a ledger.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use privatekube_ledger::{Checkpoint, Entry, Hash};

use super::{
    DEPTH, LedgerDirectory, Witness,
    line::{Deleted, GivenUp, Header, SegmentLine, VERSION},
    segment::{MOST_GENERATION, failed, file_name},
};
use crate::{BackupError, file::piece_text, objects::DatasetObject};

/// How large a segment becomes before another one is begun.
const SEGMENT_BYTES: u64 = 64 << 20;
/// How often a name is tried that somebody else has made.
const MOST_COPIES: u32 = 10_000;

/// A file that is being written.
pub(super) trait Output: Write + Send {
    /// Makes durable what was written.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether the file is still that with this path.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
}

impl Output for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let at = match fs::metadata(path) {
            Ok(at) => at,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let own = self.metadata()?;
        Ok((own.dev(), own.ino()) == (at.dev(), at.ino()))
    }
}

/// Creates a file that doesn't exist. Tests let it fail.
type Create = Arc<dyn Fn(&Path) -> io::Result<Box<dyn Output>> + Send + Sync>;

/// The segment that is being written. Nobody else writes it.
struct Open {
    path: PathBuf,
    file: Box<dyn Output>,
    bytes: u64,
}

/// What is appended together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The entries don't follow those before: earlier ones were removed from the cluster. They follow this checkpoint, or the one
    /// that was written last.
    pub(super) begins: bool,
    pub(super) checkpoint: Option<(Checkpoint, Vec<Vec<u8>>)>,
    pub(super) objects: Vec<DatasetObject>,
    pub(super) deleted_blocks: Vec<String>,
    pub(super) entries: Vec<(Hash, Entry)>,
}

/// Appends the entries of one ledger to its directory.
pub struct DirectoryWriter {
    ledger: LedgerDirectory,
    generation: u32,
    gives_up: Option<GivenUp>,
    /// The last entry that is durable: its number and its hash.
    head: Option<(u64, Hash)>,
    open: Option<Open>,
    segment_bytes: u64,
    create: Create,
}

impl fmt::Debug for DirectoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryWriter")
            .field("ledger", &self.ledger)
            .field("generation", &self.generation)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

impl DirectoryWriter {
    /// Goes on after the last entry that was exported, which the ledger has; from the ledger's beginning if there is none.
    #[must_use]
    pub fn after(ledger: LedgerDirectory, witness: Option<&Witness>) -> Self {
        Self {
            ledger,
            generation: witness.map_or(1, |witness| witness.generation),
            gives_up: None,
            head: witness.map(|witness| (witness.sequence, witness.hash)),
            open: None,
            segment_bytes: SEGMENT_BYTES,
            create: Arc::new(create),
        }
    }

    /// Begins the next generation, from the ledger's beginning: the ledger doesn't have the entry `lost` any more, and goes on
    /// all the same because an administrator said so.
    #[must_use]
    pub fn giving_up(ledger: LedgerDirectory, lost: &Witness) -> Self {
        Self {
            generation: lost.generation.saturating_add(1),
            gives_up: Some(GivenUp {
                sequence: lost.sequence,
                hash: lost.hash,
            }),
            ..Self::after(ledger, None)
        }
    }

    /// Lets segments be smaller, and creates files in another way.
    #[cfg(test)]
    pub(super) fn within(mut self, segment_bytes: u64, create: Create) -> Self {
        (self.segment_bytes, self.create) = (segment_bytes, create);
        self
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn head(&self) -> Option<(u64, Hash)> {
        self.head
    }

    /// Appends a batch and makes it durable. After an error the last entry is the one before, and the next batch begins another
    /// segment: what the failed one left at the end of its segment is never changed.
    pub(super) fn append(&mut self, batch: Batch) -> Result<(), BackupError> {
        let Some((_, first)) = batch.entries.first() else {
            return Ok(());
        };
        let first = first.sequence;
        if !self.is_there()? {
            return Err(self.error(
                "it was replaced or emptied: what is missing in it is exported again, as far as the cluster has it".to_owned(),
            ));
        }
        let mut head = self.head.filter(|_| !batch.begins);
        for (hash, entry) in &batch.entries {
            if let Some((sequence, previous)) = head
                && (entry.sequence, entry.previous) != (sequence + 1, previous)
            {
                return Err(self.error(format!(
                    "entry {} of the ledger doesn't follow entry {sequence} of the export, whose hash is {previous}: the ledger \
                     lost entries",
                    entry.sequence
                )));
            }
            head = Some((entry.sequence, *hash));
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| batch.begins || open.bytes >= self.segment_bytes)
        {
            self.open = None;
        }
        let text = text(batch).map_err(|error| failed(&self.ledger.path, error.into()))?;
        let is_new = self.open.is_none();
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(first)?,
        };
        let written = open.file.write_all(&text).and_then(|()| open.file.sync());
        if let Err(error) = written {
            if is_new {
                // On a full disk each attempt would leave another one. It is this writer's own, and nothing in it counts yet.
                fs::remove_file(&open.path).ok();
            }
            return Err(failed(&open.path, error));
        }
        open.bytes += text.len() as u64;
        self.open = Some(open);
        self.head = head;
        Ok(())
    }

    /// Whether the last entry that is durable is in the directory still. `false` if somebody has put another directory in its place,
    /// as an empty one after a volume was lost: then this goes on after the last entry that is there. Without it, entries would go to
    /// a file that no path leads to any more, or begin in the middle, and the cluster would remove what is exported nowhere.
    pub(super) fn is_there(&mut self) -> Result<bool, BackupError> {
        let Some((head, _)) = self.head else {
            return Ok(true);
        };
        if let Some(open) = &self.open
            && open
                .file
                .is_at(&open.path)
                .map_err(|error| failed(&open.path, error))?
        {
            return Ok(true);
        }
        if !self.ledger.root().is_some_and(Path::is_dir) {
            return Err(self.gone());
        }
        let witness = self.ledger.witness()?;
        if let Some(witness) = &witness
            && witness.generation > self.generation
        {
            return Err(self.error(format!(
                "it has generation {} already: another process has given up entries that this one has exported",
                witness.generation
            )));
        }
        let witness = witness.filter(|witness| witness.generation == self.generation);
        self.open = None;
        if witness.is_some_and(|witness| witness.sequence >= head) {
            return Ok(true);
        }
        self.head = witness.map(|witness| (witness.sequence, witness.hash));
        Ok(false)
    }

    /// Makes a segment that begins with the entry `first`.
    fn begin(&self, first: u64) -> Result<Open, BackupError> {
        if self.generation > MOST_GENERATION {
            return Err(self.error(format!(
                "more than {MOST_GENERATION} generations don't fit: use another directory"
            )));
        }
        self.make_directory()?;
        let header = SegmentLine::Segment(Header {
            version: VERSION,
            namespace: self.ledger.dataset.namespace.clone(),
            dataset: self.ledger.dataset.name.clone(),
            namespace_uid: self.ledger.namespace_uid.clone(),
            generation: self.generation,
            first,
            gives_up: self.gives_up.clone(),
        });
        let mut text = Vec::new();
        for copy in 1..=MOST_COPIES {
            let path = self.ledger.path.join(file_name(self.generation, first, copy));
            let mut file = match (self.create)(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            let written = header.write(&mut text).map_err(io::Error::from);
            let written = written.and_then(|()| file.write_all(&text));
            let written = written.and_then(|()| sync_directory(&self.ledger.path));
            if let Err(error) = written {
                fs::remove_file(&path).ok();
                return Err(failed(&path, error));
            }
            let bytes = text.len() as u64;
            return Ok(Open { path, file, bytes });
        }
        Err(self.error(format!("{MOST_COPIES} segments begin with entry {first}")))
    }

    /// Makes the ledger's directory, durably. The export directory itself is never made: its volume may not be mounted.
    fn make_directory(&self) -> Result<(), BackupError> {
        let path = &self.ledger.path;
        if path.is_dir() {
            return Ok(());
        }
        // The directory of the dataset, that of the namespace, and the export directory.
        let above: Vec<&Path> = path.ancestors().skip(1).take(DEPTH).collect();
        if !above.last().is_some_and(|root| root.is_dir()) {
            return Err(self.gone());
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.and_then(|()| above.iter().try_for_each(|above| sync_directory(above)))
            .map_err(|error| failed(path, error))
    }

    fn gone(&self) -> BackupError {
        self.error("its export directory is gone: mount its volume".to_owned())
    }

    fn error(&self, problem: String) -> BackupError {
        BackupError::Directory {
            path: self.ledger.path.clone(),
            problem,
        }
    }
}

/// The lines of a batch. Its last one is an entry, by which the end of a segment is found.
fn text(batch: Batch) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some((checkpoint, pieces)) = &batch.checkpoint {
        SegmentLine::Checkpoint(checkpoint.into()).write(&mut text)?;
        for piece in pieces {
            SegmentLine::Piece(piece_text(piece)).write(&mut text)?;
        }
    }
    for object in batch.objects {
        SegmentLine::Object(object).write(&mut text)?;
    }
    for block in batch.deleted_blocks {
        SegmentLine::Deleted(Deleted::Block(block)).write(&mut text)?;
    }
    for (hash, entry) in batch.entries {
        SegmentLine::Entry(hash, Box::new(entry)).write(&mut text)?;
    }
    Ok(text)
}

/// Creates a file that doesn't exist. Only its owner reads it: it names people's pods and data.
fn create(path: &Path) -> io::Result<Box<dyn Output>> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(Box::new(file))
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
