//! The form of an export: one JSON object a line.
//!
//! ```text
//! {"export":{"version":1,"time":"2026-11-30T02:00:00.000000Z"}}
//! {"dataset":{"namespace":"data","name":"taxi"}}
//! {"entry":{"sequence":1,...}}                 every entry of its ledger, ascending
//! {"object":{"privateDataset":{...}}}          then its objects, blocks in the order in which they were created
//! {"datasetEnd":{"entries":1,"objects":1,"hash":"..."}}
//! {"end":{"datasets":1}}
//! ```

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use privatekube_api::{DatasetKey, counted};
use privatekube_ledger::{Committed, Entry, Hash, Replay};
use serde::{Deserialize, Serialize};

use crate::{BackupError, FileError, objects::DatasetObject};

/// The version of the form.
pub(crate) const VERSION: u64 = 1;
/// The most bytes of a line. An entry has at most 1 MiB, and an object what etcd stores, 1.5 MiB.
const MOST_LINE_BYTES: u64 = 4 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Line {
    Export(Header),
    Dataset(Key),
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

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatasetEnd {
    pub(crate) entries: u64,
    pub(crate) objects: u64,
    /// The hash of the last entry.
    pub(crate) hash: Hash,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) datasets: u64,
}

impl std::fmt::Display for DatasetEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            entries,
            objects,
            hash,
        } = self;
        write!(
            f,
            "{}, {} and the last entry's hash {hash}",
            counted(*entries, "ledger entry", "ledger entries"),
            counted(*objects, "object", "objects")
        )
    }
}

/// An export that was read once and verified. Keeps where its lines are, and not the lines.
#[derive(Debug)]
pub struct ExportFile {
    path: PathBuf,
    reader: BufReader<File>,
    time: String,
    datasets: Vec<DatasetPart>,
}

/// Where the lines of a dataset are.
#[derive(Clone, Debug)]
pub struct DatasetPart {
    /// The dataset.
    pub dataset: DatasetKey,
    /// Of each entry, from the first: its place in the file and its hash.
    entries: Vec<(Place, Hash)>,
    objects: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    line: u64,
}

impl DatasetPart {
    /// The number of entries, which is that of the last one.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The hash of an entry.
    pub(crate) fn hash(&self, sequence: u64) -> Option<Hash> {
        let at = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.entries.get(at).map(|(_, hash)| *hash)
    }
}

impl ExportFile {
    /// Reads a file and verifies all of it.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(|error| BackupError::Io {
            path: path.to_owned(),
            error,
        })?;
        let mut export = Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            time: String::new(),
            datasets: Vec::new(),
        };
        export.verify()?;
        Ok(export)
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
        let mut place = Place { offset: 0, line: 1 };
        let (first, mut next) = self.read_at(place)?;
        match first {
            Some(Line::Export(header)) if header.version == VERSION => self.time = header.time,
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
        let mut open: Option<(DatasetPart, Replay)> = None;
        loop {
            place = next;
            let (line, after) = self.read_at(place)?;
            next = after;
            let out_of_place = |why| Err(self.error(place, FileError::OutOfPlace(why)));
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
                    let part = DatasetPart {
                        dataset,
                        entries: Vec::new(),
                        objects: Vec::new(),
                    };
                    open = Some((part, Replay::new()));
                }
                (Some(Line::Entry(entry)), Some((part, replay))) => {
                    if !part.objects.is_empty() {
                        return out_of_place("an entry comes after an object");
                    }
                    let verified = replay.push(&entry);
                    verified.map_err(|error| self.error(place, FileError::Verify(Box::new(error))))?;
                    part.entries.push((place, replay.head().hash));
                }
                (Some(Line::Object(object)), Some((part, _))) => {
                    if !object.is_of(&part.dataset) {
                        let error = FileError::Stranger(part.dataset.clone());
                        return Err(self.error(place, error));
                    }
                    part.objects.push(place);
                }
                (Some(Line::DatasetEnd(says)), Some((part, replay))) => {
                    replay
                        .check()
                        .map_err(|error| self.error(place, FileError::Verify(Box::new(error))))?;
                    let has = DatasetEnd {
                        entries: part.entry_count(),
                        objects: part.objects.len() as u64,
                        hash: replay.head().hash,
                    };
                    if says != has {
                        let (says, has) = (says.to_string(), has.to_string());
                        return Err(self.error(place, FileError::Sum { says, has }));
                    }
                    self.datasets.extend(open.take().map(|(part, _)| part));
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

    /// Replays the ledger of a dataset: the state after its last entry.
    pub(crate) fn replay(&mut self, part: &DatasetPart) -> Result<Replay, BackupError> {
        self.replay_each(part, |_, _, _| Ok(()))
    }

    /// Replays the ledger of a dataset. `each` gets every entry with its records and the state after it. Returns the state
    /// after the last one.
    pub fn replay_each(
        &mut self,
        part: &DatasetPart,
        mut each: impl FnMut(Entry, &Committed, &Replay) -> Result<(), BackupError>,
    ) -> Result<Replay, BackupError> {
        let mut replay = Replay::new();
        for sequence in 1..=part.entry_count() {
            let entry = self.entry(part, sequence)?;
            let place = self.place(part, sequence)?;
            let verified = replay.push(&entry);
            let committed =
                verified.map_err(|error| self.error(place, FileError::Verify(Box::new(error))))?;
            each(entry, &committed, &replay)?;
        }
        Ok(replay)
    }

    /// Reads an entry.
    pub(crate) fn entry(&mut self, part: &DatasetPart, sequence: u64) -> Result<Entry, BackupError> {
        let place = self.place(part, sequence)?;
        match self.read_at(place)? {
            (Some(Line::Entry(entry)), _) => Ok(*entry),
            _ => Err(self.error(
                place,
                FileError::OutOfPlace("the file was changed while it was read"),
            )),
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
            _ => Err(self.error(
                place,
                FileError::OutOfPlace("the file was changed while it was read"),
            )),
        })
    }

    fn place(&self, part: &DatasetPart, sequence: u64) -> Result<Place, BackupError> {
        let at = sequence.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        let found = at.and_then(|at| part.entries.get(at)).map(|(place, _)| *place);
        found.ok_or_else(|| {
            let place = Place { offset: 0, line: 1 };
            self.error(place, FileError::OutOfPlace("the export lacks an entry"))
        })
    }

    /// Reads the line at `place`, and returns the place after it; no line at the end of the file.
    fn read_at(&mut self, place: Place) -> Result<(Option<Line>, Place), BackupError> {
        let mut text = Vec::new();
        let seek = |reader: &mut BufReader<File>| -> std::io::Result<()> {
            // A relative seek within the buffer reads nothing again.
            let here = reader.stream_position()?;
            match i64::try_from(place.offset).ok().zip(i64::try_from(here).ok()) {
                Some((offset, here)) => reader.seek_relative(offset - here),
                None => reader.seek(SeekFrom::Start(place.offset)).map(drop),
            }
        };
        let read = seek(&mut self.reader).and_then(|()| {
            let mut bounded = (&mut self.reader).take(MOST_LINE_BYTES + 1);
            bounded.read_until(b'\n', &mut text)
        });
        read.map_err(|error| BackupError::Io {
            path: self.path.clone(),
            error,
        })?;
        if text.len() as u64 > MOST_LINE_BYTES {
            return Err(self.error(place, FileError::TooLong(MOST_LINE_BYTES)));
        }
        let next = Place {
            offset: place.offset + text.len() as u64,
            line: place.line + 1,
        };
        if text.is_empty() {
            return Ok((None, next));
        }
        let line = serde_json::from_slice(&text);
        let line = line.map_err(|error| self.error(place, FileError::Malformed(error)))?;
        Ok((Some(line), next))
    }

    fn error(&self, place: Place, error: FileError) -> BackupError {
        BackupError::File {
            path: self.path.clone(),
            line: place.line,
            error,
        }
    }
}
