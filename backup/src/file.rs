//! The form of an export: one JSON object a line.
//!
//! ```text
//! {"export":{"version":2,"time":"2026-11-30T02:00:00.000000Z"}}
//! {"dataset":{"namespace":"data","name":"taxi"}}
//! {"checkpoint":{"sequence":1,"hash":"...","timeMicros":0,"digest":"...","pieces":1}}     if its ledger has one
//! {"piece":"..."}                              the checkpoint's pieces, as they are stored, in base64
//! {"entry":{"sequence":1,...}}                 every entry that there is of its ledger, ascending
//! {"object":{"privateDataset":{...}}}          then its objects, blocks in the order in which they were created
//! {"datasetEnd":{"first":1,"entries":1,"objects":1,"hash":"..."}}
//! {"end":{"datasets":1}}
//! ```
//!
//! Files of version 1 have no checkpoints, and all entries.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use privatekube_api::{DatasetKey, counted, rfc3339};
use privatekube_ledger::{Checkpoint, ContentReader, Entry, Hash, Head, Replay, VerifyError};
use privatekube_policy::Time;
use serde::{Deserialize, Serialize};

use crate::{
    BackupError, FileError,
    chain::{Chain, Pushed},
    directory::{FoundLedger, SegmentLine, find_ledgers},
    ledger::Reading,
    objects::DatasetObject,
};

/// The version of the form that is written. Earlier ones are read.
pub(crate) const VERSION: u64 = 2;
/// The most bytes of a line. An entry has at most 1 MiB, and an object what etcd stores, 1.5 MiB.
pub(crate) const MOST_LINE_BYTES: u64 = 4 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    Export(Header),
    Dataset(Key),
    Checkpoint(CheckpointLine),
    Piece(String),
    Entry(Box<Entry>),
    Object(DatasetObject),
    DatasetEnd(DatasetEnd),
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u64,
    /// When the export began, by the clock of whoever exported.
    pub(crate) time: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A checkpoint: see [`Checkpoint`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckpointLine {
    sequence: u64,
    hash: Hash,
    time_micros: u64,
    digest: Hash,
    pieces: u32,
}

impl From<&Checkpoint> for CheckpointLine {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            sequence: checkpoint.head.sequence,
            hash: checkpoint.head.hash,
            time_micros: checkpoint.head.time.micros(),
            digest: checkpoint.digest,
            pieces: checkpoint.pieces,
        }
    }
}

impl From<CheckpointLine> for Checkpoint {
    fn from(line: CheckpointLine) -> Self {
        Self {
            head: Head {
                sequence: line.sequence,
                hash: line.hash,
                time: Time::from_micros(line.time_micros),
            },
            digest: line.digest,
            pieces: line.pieces,
        }
    }
}

/// The line of a piece of a checkpoint.
pub(crate) fn piece_line(content: &[u8]) -> Line {
    Line::Piece(piece_text(content))
}

/// A piece of a checkpoint as text.
pub(crate) fn piece_text(content: &[u8]) -> String {
    BASE64.encode(content)
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetEnd {
    /// The number of the first entry.
    #[serde(default = "one")]
    pub(crate) first: u64,
    /// How many entries there are.
    pub(crate) entries: u64,
    pub(crate) objects: u64,
    /// The hash of the last entry.
    pub(crate) hash: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) datasets: u64,
}

const fn one() -> u64 {
    1
}

impl std::fmt::Display for DatasetEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            first,
            entries,
            objects,
            hash,
        } = self;
        write!(
            f,
            "{} from entry {first} on, {} and the last entry's hash {hash}",
            counted(*entries, "ledger entry", "ledger entries"),
            counted(*objects, "object", "objects")
        )
    }
}

/// An export that was read once and verified: a file, or an export directory. Keeps where its lines are, and not the lines.
#[derive(Debug)]
pub struct ExportFile {
    /// The file, or the segments of the directory.
    files: Vec<PathBuf>,
    /// Whether the lines are those of segments.
    is_directory: bool,
    /// The file that is open: its place in `files`.
    reader: Option<(usize, BufReader<File>)>,
    time: String,
    datasets: Vec<DatasetPart>,
    notes: Vec<String>,
}

/// Where the lines of a dataset are.
#[derive(Clone, Debug)]
pub struct DatasetPart {
    /// The dataset.
    pub dataset: DatasetKey,
    checkpoint: Option<Checkpoint>,
    /// The places of the checkpoint's pieces.
    pieces: Vec<Place>,
    /// The number of the first entry.
    first: u64,
    /// Of each entry, from the first: its place in the file and its hash.
    entries: Vec<(Place, Hash)>,
    objects: Vec<Place>,
}

/// A dataset while it is verified.
struct Open {
    part: DatasetPart,
    content: ContentReader,
    /// None until the first entry, which says whether earlier ones were removed.
    chain: Option<Chain>,
}

/// Where a line is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The number of the file, from 0.
    pub(crate) file: usize,
    /// Where in it the line begins.
    pub(crate) offset: u64,
    /// The line's number, from 1.
    pub(crate) line: u64,
}

impl Place {
    /// The first line of the first file.
    const FIRST: Self = Self {
        file: 0,
        offset: 0,
        line: 1,
    };
}

impl DatasetPart {
    const fn new(dataset: DatasetKey) -> Self {
        Self {
            dataset,
            checkpoint: None,
            pieces: Vec::new(),
            first: 1,
            entries: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// The checkpoint that the ledger had when it was exported.
    #[must_use]
    pub const fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The number of the first entry; 1 without entries.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the last entry; 0 without entries.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first - 1 + self.entries.len() as u64
    }

    /// How many entries there are.
    pub(crate) const fn entry_count(&self) -> u64 {
        self.entries.len() as u64
    }

    fn at(&self, sequence: u64) -> Option<&(Place, Hash)> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.entries.get(at)
    }

    /// The hash of an entry.
    pub(crate) fn hash(&self, sequence: u64) -> Option<Hash> {
        self.at(sequence).map(|(_, hash)| *hash)
    }
}

impl Open {
    fn entry(&mut self, place: Place, entry: &Entry) -> Result<(), VerifyError> {
        let chain = match &mut self.chain {
            Some(chain) => chain,
            none => {
                self.part.first = entry.sequence;
                let content = std::mem::take(&mut self.content);
                none.insert(begin(self.part.checkpoint, content, entry.sequence)?)
            }
        };
        if let Pushed::Earlier { after_gap: true } = chain.push(entry)? {
            return Err(VerifyError::Sequence {
                expected: self.part.last() + 1,
                found: entry.sequence,
            });
        }
        // The hash was computed, and so can be.
        let sequence = entry.sequence;
        let hash = entry
            .hash()
            .map_err(|error| VerifyError::Encoding { sequence, error })?;
        self.part.entries.push((place, hash));
        Ok(())
    }

    /// The state after the last entry.
    fn finish(&mut self) -> Result<Replay, VerifyError> {
        match (self.chain.take(), &self.part.checkpoint) {
            (Some(chain), _) => chain.finish(),
            (None, Some(checkpoint)) => Err(VerifyError::NoEntry {
                sequence: checkpoint.head.sequence,
            }),
            (None, None) => Ok(Replay::new()),
        }
    }
}

/// Begins to verify entries from `first` on. The checkpoint's content is verified first.
fn begin(checkpoint: Option<Checkpoint>, content: ContentReader, first: u64) -> Result<Chain, VerifyError> {
    let Some(checkpoint) = checkpoint else {
        return Ok(Chain::whole(None));
    };
    let restored = content.finish(checkpoint).map_err(|error| VerifyError::Content {
        sequence: checkpoint.head.sequence,
        error,
    })?;
    Ok(if first == 1 {
        Chain::whole(Some(checkpoint))
    } else {
        Chain::from_checkpoint(restored)
    })
}

impl ExportFile {
    /// Reads a file, or an export directory, and verifies all of it. Of a directory, also one of its directories can be read: that of
    /// a namespace, a dataset or a ledger.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let mut export = Self {
            files: Vec::new(),
            is_directory: path.is_dir(),
            reader: None,
            time: String::new(),
            datasets: Vec::new(),
            notes: Vec::new(),
        };
        if export.is_directory {
            export.verify_directory(path)?;
        } else {
            export.files.push(path.to_owned());
            export.verify()?;
        }
        Ok(export)
    }

    /// What of a directory was passed over, and why. Nothing of a file is.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Verifies the ledgers in a directory. Of the ledgers of one dataset, which its namespace had one after the other, the one
    /// whose last entry is the latest counts.
    fn verify_directory(&mut self, path: &Path) -> Result<(), BackupError> {
        let mut found = find_ledgers(path, &mut self.files)?;
        found.sort_by(|one, other| {
            let of = |ledger: &FoundLedger| (ledger.dataset.clone(), std::cmp::Reverse(ledger.last));
            of(one).cmp(&of(other))
        });
        self.time = rfc3339(found.iter().map(|ledger| ledger.last).max().unwrap_or_default());
        for ledger in found {
            if self.datasets.iter().any(|part| part.dataset == ledger.dataset) {
                self.notes.push(format!(
                    "{} was passed over: it is of an earlier namespace {}, in which the dataset had another ledger",
                    ledger.path.display(),
                    ledger.dataset.namespace
                ));
                continue;
            }
            self.notes.extend(ledger.notes);
            let mut open = Open {
                part: DatasetPart::new(ledger.dataset),
                content: ContentReader::new(),
                chain: None,
            };
            if let Some((checkpoint, pieces)) = ledger.checkpoint {
                open.part.checkpoint = Some(checkpoint);
                for place in pieces {
                    let content = self.piece(place)?;
                    open.content.push(&content).map_err(|error| {
                        let sequence = checkpoint.head.sequence;
                        self.error(place, FileError::Checkpoint { sequence, error })
                    })?;
                    open.part.pieces.push(place);
                }
            }
            let mut last = Place::FIRST;
            for place in ledger.entries {
                let (Some(Line::Entry(entry)), _) = self.read_at(place)? else {
                    return Err(self.changed(place));
                };
                let pushed = open.entry(place, &entry);
                pushed.map_err(|error| self.error(place, FileError::from(error)))?;
                last = place;
            }
            let finished = open.finish();
            finished.map_err(|error| self.error(last, FileError::from(error)))?;
            for place in ledger.objects {
                match self.read_at(place)? {
                    (Some(Line::Object(object)), _) if object.is_of(&open.part.dataset) => {
                        open.part.objects.push(place);
                    }
                    _ => return Err(self.error(place, FileError::Stranger(open.part.dataset))),
                }
            }
            self.datasets.push(open.part);
        }
        Ok(())
    }

    /// The datasets in it.
    #[must_use]
    pub fn datasets(&self) -> &[DatasetPart] {
        &self.datasets
    }

    /// When it was made, by the clock of whoever exported.
    #[must_use]
    pub fn time(&self) -> &str {
        &self.time
    }

    fn verify(&mut self) -> Result<(), BackupError> {
        let mut place = Place::FIRST;
        let (first, mut next) = self.read_at(place)?;
        match first {
            Some(Line::Export(header)) if (1..=VERSION).contains(&header.version) => {
                self.time = header.time;
            }
            Some(Line::Export(header)) => {
                return Err(self.error(place, FileError::Version(header.version, VERSION)));
            }
            Some(_) => {
                return Err(self.error(
                    place,
                    FileError::OutOfPlace("an export begins with a line `export`"),
                ));
            }
            None => return Err(self.error(place, FileError::CutOff)),
        }
        let mut open: Option<Open> = None;
        loop {
            place = next;
            let (line, after) = self.read_at(place)?;
            next = after;
            let out_of_place = |why| Err(self.error(place, FileError::OutOfPlace(why)));
            let unverified = |error| self.error(place, FileError::from(error));
            match (line, &mut open) {
                (None, _) => return Err(self.error(place, FileError::CutOff)),
                (Some(Line::Dataset(key)), None) => {
                    let dataset = DatasetKey {
                        namespace: key.namespace,
                        name: key.name,
                    };
                    if self.datasets.iter().any(|part| part.dataset == dataset) {
                        return out_of_place("the dataset is in the export twice");
                    }
                    open = Some(Open {
                        part: DatasetPart::new(dataset),
                        content: ContentReader::new(),
                        chain: None,
                    });
                }
                (Some(Line::Checkpoint(line)), Some(open)) => {
                    if open.part.checkpoint.is_some() || open.chain.is_some() {
                        return out_of_place("the checkpoint is out of place");
                    }
                    open.part.checkpoint = Some(line.into());
                }
                (Some(Line::Piece(text)), Some(open)) => {
                    let Some(checkpoint) = open.part.checkpoint.filter(|_| open.chain.is_none()) else {
                        return out_of_place("the piece of a checkpoint is out of place");
                    };
                    let content = piece(&text).map_err(|error| self.error(place, error))?;
                    open.content.push(&content).map_err(|error| {
                        let sequence = checkpoint.head.sequence;
                        self.error(place, FileError::Checkpoint { sequence, error })
                    })?;
                    open.part.pieces.push(place);
                }
                (Some(Line::Entry(entry)), Some(open)) => {
                    if !open.part.objects.is_empty() {
                        return out_of_place("an entry comes after an object");
                    }
                    open.entry(place, &entry).map_err(unverified)?;
                }
                (Some(Line::Object(object)), Some(Open { part, .. })) => {
                    if !object.is_of(&part.dataset) {
                        let error = FileError::Stranger(part.dataset.clone());
                        return Err(self.error(place, error));
                    }
                    part.objects.push(place);
                }
                (Some(Line::DatasetEnd(says)), Some(dataset)) => {
                    let replay = dataset.finish().map_err(unverified)?;
                    let has = DatasetEnd {
                        first: dataset.part.first,
                        entries: dataset.part.entry_count(),
                        objects: dataset.part.objects.len() as u64,
                        hash: replay.head().hash,
                    };
                    if says != has {
                        let (says, has) = (says.to_string(), has.to_string());
                        return Err(self.error(place, FileError::Sum { says, has }));
                    }
                    self.datasets.extend(open.take().map(|open| open.part));
                }
                (Some(Line::End(says)), None) => {
                    let has = self.datasets.len() as u64;
                    if says.datasets != has {
                        let (says, has) = (counted(says.datasets, "dataset", "datasets"), format!("{has}"));
                        return Err(self.error(place, FileError::Sum { says, has }));
                    }
                    if self.read_at(next)?.0.is_some() {
                        return Err(self.error(next, FileError::OutOfPlace("a line comes after the end")));
                    }
                    return Ok(());
                }
                (Some(_), _) => return out_of_place("the line is out of place"),
            }
        }
    }

    /// The state after the last entry of a dataset: from its checkpoint, if it has one.
    pub fn state(&mut self, part: &DatasetPart) -> Result<Replay, BackupError> {
        self.state_at(part, part.last())
    }

    /// The state after an entry of a dataset that can be replayed.
    pub(crate) fn state_at(&mut self, part: &DatasetPart, last: u64) -> Result<Replay, BackupError> {
        let checkpoint = part
            .checkpoint
            .filter(|checkpoint| checkpoint.head.sequence <= last);
        let mut replay = match checkpoint {
            None => Replay::new(),
            Some(checkpoint) => self.restored(part, checkpoint)?,
        };
        for sequence in replay.head().sequence + 1..=last {
            let entry = self.entry(part, sequence)?;
            let place = self.place(part, sequence)?;
            let verified = replay.push(&entry);
            verified.map_err(|error| self.error(place, FileError::Verify(Box::new(error))))?;
        }
        Ok(replay)
    }

    /// A replay that begins with the checkpoint of a dataset.
    fn restored(&mut self, part: &DatasetPart, checkpoint: Checkpoint) -> Result<Replay, BackupError> {
        let mut content = ContentReader::new();
        let mut place = Place::FIRST;
        let sequence = checkpoint.head.sequence;
        for number in 0..part.pieces.len() {
            place = part.pieces[number];
            let read = content.push(&self.piece(place)?);
            read.map_err(|error| self.error(place, FileError::Checkpoint { sequence, error }))?;
        }
        let restored = content.finish(checkpoint);
        restored.map_err(|error| self.error(place, FileError::Checkpoint { sequence, error }))
    }

    /// The pieces of the checkpoint of a dataset.
    pub(crate) fn pieces(&mut self, part: &DatasetPart) -> Result<Vec<Vec<u8>>, BackupError> {
        part.pieces.iter().map(|place| self.piece(*place)).collect()
    }

    fn piece(&mut self, place: Place) -> Result<Vec<u8>, BackupError> {
        match self.read_at(place)? {
            (Some(Line::Piece(text)), _) => piece(&text).map_err(|error| self.error(place, error)),
            _ => Err(self.changed(place)),
        }
    }

    /// Verifies the ledger of a dataset again. `each` gets what [`read_verified`](crate::read_verified) gives of a cluster's.
    /// Returns the state after the last entry.
    pub fn replay_each(
        &mut self,
        part: &DatasetPart,
        mut each: impl FnMut(Reading<'_>) -> Result<(), BackupError>,
    ) -> Result<Replay, BackupError> {
        let mut chain = Chain::whole(part.checkpoint);
        if let Some(checkpoint) = part.checkpoint {
            each(Reading::Checkpoint(&checkpoint, &self.pieces(part)?))?;
            if part.first > 1 {
                chain = Chain::from_checkpoint(self.restored(part, checkpoint)?);
            }
        }
        for sequence in part.first..=part.last() {
            let entry = self.entry(part, sequence)?;
            let place = self.place(part, sequence)?;
            let pushed = chain.push(&entry);
            match pushed.map_err(|error| self.error(place, FileError::Verify(Box::new(error))))? {
                Pushed::Earlier { .. } => {
                    each(Reading::Earlier(&entry))?;
                    if let Some(replay) = chain.reached(sequence) {
                        each(Reading::Base(replay))?;
                    }
                }
                Pushed::Replayed(committed) => each(Reading::Entry(&entry, &committed, chain.replay()))?,
            }
        }
        let place = Place::FIRST;
        let finished = chain.finish();
        finished.map_err(|error| self.error(place, FileError::Verify(Box::new(error))))
    }

    /// Reads an entry.
    pub fn entry(&mut self, part: &DatasetPart, sequence: u64) -> Result<Entry, BackupError> {
        let place = self.place(part, sequence)?;
        match self.read_at(place)? {
            (Some(Line::Entry(entry)), _) => Ok(*entry),
            _ => Err(self.changed(place)),
        }
    }

    /// Reads the objects of a dataset, one at a time.
    pub fn objects(
        &mut self,
        part: &DatasetPart,
    ) -> impl Iterator<Item = Result<DatasetObject, BackupError>> {
        let places = part.objects.clone();
        places.into_iter().map(|place| match self.read_at(place)? {
            (Some(Line::Object(object)), _) => Ok(object),
            _ => Err(self.changed(place)),
        })
    }

    fn place(&self, part: &DatasetPart, sequence: u64) -> Result<Place, BackupError> {
        part.at(sequence).map(|(place, _)| *place).ok_or_else(|| {
            let place = Place::FIRST;
            self.error(place, FileError::OutOfPlace("the export lacks an entry"))
        })
    }

    /// Reads the line at `place`, and returns the place after it; no line at the end of the file.
    fn read_at(&mut self, place: Place) -> Result<(Option<Line>, Place), BackupError> {
        let mut text = Vec::new();
        self.open_file(place.file)?;
        let path = || self.files[place.file].clone();
        let Some((_, reader)) = &mut self.reader else {
            return Err(self.changed(place));
        };
        let seek = |reader: &mut BufReader<File>| -> std::io::Result<()> {
            // A relative seek within the buffer reads nothing again.
            let here = reader.stream_position()?;
            match i64::try_from(place.offset).ok().zip(i64::try_from(here).ok()) {
                Some((offset, here)) => reader.seek_relative(offset - here),
                None => reader.seek(SeekFrom::Start(place.offset)).map(drop),
            }
        };
        let read = seek(reader).and_then(|()| {
            let mut bounded = reader.take(MOST_LINE_BYTES + 1);
            bounded.read_until(b'\n', &mut text)
        });
        read.map_err(|error| BackupError::Io { path: path(), error })?;
        if text.len() as u64 > MOST_LINE_BYTES {
            return Err(self.error(place, FileError::TooLong(MOST_LINE_BYTES)));
        }
        let next = Place {
            offset: place.offset + text.len() as u64,
            line: place.line + 1,
            ..place
        };
        if text.is_empty() {
            return Ok((None, next));
        }
        if self.is_directory {
            let line = match SegmentLine::parse(&text) {
                Ok(SegmentLine::Entry(_, entry)) => Line::Entry(entry),
                Ok(SegmentLine::Piece(piece)) => Line::Piece(piece),
                Ok(SegmentLine::Object(object)) => Line::Object(object),
                _ => return Err(self.changed(place)),
            };
            return Ok((Some(line), next));
        }
        let line = serde_json::from_slice(&text);
        let line = line.map_err(|error| self.error(place, FileError::Malformed(error)))?;
        Ok((Some(line), next))
    }

    /// Opens one of the files, unless it is open.
    fn open_file(&mut self, file: usize) -> Result<(), BackupError> {
        if self.reader.as_ref().is_some_and(|(open, _)| *open == file) {
            return Ok(());
        }
        let path = &self.files[file];
        let opened = File::open(path).map_err(|error| BackupError::Io {
            path: path.clone(),
            error,
        })?;
        self.reader = Some((file, BufReader::new(opened)));
        Ok(())
    }

    fn changed(&self, place: Place) -> BackupError {
        let error = FileError::OutOfPlace("the file was changed while it was read");
        self.error(place, error)
    }

    fn error(&self, place: Place, error: FileError) -> BackupError {
        BackupError::File {
            path: self.files[place.file].clone(),
            line: place.line,
            error,
        }
    }
}

/// The content of a piece of a checkpoint.
fn piece(text: &str) -> Result<Vec<u8>, FileError> {
    BASE64
        .decode(text.as_bytes())
        .map_err(|error| FileError::Piece(error.to_string()))
}
