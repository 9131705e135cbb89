//! Finds the ledgers in an export directory, and in each the entries that lead from the last one back to the first.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use privatekube_api::DatasetKey;
use privatekube_ledger::{Checkpoint, Hash};
use privatekube_policy::Time;

use super::{
    DEPTH, is_component,
    line::{Deleted, SegmentLine},
    segment::{Segment, each_line, failed, of_last_generation, segments},
};
use crate::{
    BackupError,
    file::Place,
    objects::{DatasetObject, name},
};

/// A ledger in an export directory.
#[derive(Debug)]
pub(crate) struct FoundLedger {
    pub(crate) dataset: DatasetKey,
    pub(crate) path: PathBuf,
    /// The time of its last entry.
    pub(crate) last: Time,
    /// The checkpoint with which it can be opened, and the places of its pieces; none if it has entry 1.
    pub(crate) checkpoint: Option<(Checkpoint, Vec<Place>)>,
    /// Its entries, ascending.
    pub(crate) entries: Vec<Place>,
    /// Its objects, in the order in which they were written first.
    pub(crate) objects: Vec<Place>,
    /// What was passed over.
    pub(crate) notes: Vec<String>,
}

/// An entry of a segment.
struct Found {
    sequence: u64,
    previous: Hash,
    time: Time,
    place: Place,
}

/// The ledgers in and below a directory. `files` gets the paths of their segments, which places refer to.
pub(crate) fn find_ledgers(root: &Path, files: &mut Vec<PathBuf>) -> Result<Vec<FoundLedger>, BackupError> {
    let mut directories = Vec::new();
    collect(root, DEPTH, &mut directories)?;
    let mut found = Vec::new();
    for (path, segments) in directories {
        found.extend(read(path, segments, files)?);
    }
    if found.is_empty() {
        return Err(BackupError::Directory {
            path: root.to_owned(),
            problem: "there is no exported ledger in it".to_owned(),
        });
    }
    Ok(found)
}

/// Collects the directories that have segments.
fn collect(path: &Path, depth: usize, into: &mut Vec<(PathBuf, Vec<Segment>)>) -> Result<(), BackupError> {
    let of_path = segments(path)?;
    if !of_path.is_empty() {
        into.push((path.to_owned(), of_path));
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let mut below = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(path, error))? {
        let entry = entry.map_err(|error| failed(path, error))?.path();
        // A file system may have directories of its own there, as lost+found, which not everybody may read.
        let is_named = entry
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_component);
        if is_named && entry.is_dir() {
            below.push(entry);
        }
    }
    below.sort();
    below.iter().try_for_each(|path| collect(path, depth - 1, into))
}

/// Reads the last generation of a ledger. None if it has no entry.
fn read(
    path: PathBuf,
    all: Vec<Segment>,
    files: &mut Vec<PathBuf>,
) -> Result<Option<FoundLedger>, BackupError> {
    let mut entries: HashMap<Hash, Found> = HashMap::new();
    let mut checkpoints: Vec<(Checkpoint, Vec<Place>)> = Vec::new();
    let mut objects: BTreeMap<String, (usize, Option<Place>)> = BTreeMap::new();
    let mut dataset = None;
    let mut notes = Vec::new();
    for segment in of_last_generation(all)? {
        let file = files.len();
        files.push(segment.path.clone());
        let mut other = None;
        each_line(&segment.path, |read| {
            let place = Place {
                file,
                offset: read.offset,
                line: read.line,
            };
            match read.parsed {
                Err(problem) => notes.push(format!(
                    "{}, line {} was passed over: {problem}",
                    segment.path.display(),
                    read.line
                )),
                Ok(SegmentLine::Segment(header)) => {
                    let key = DatasetKey {
                        namespace: header.namespace,
                        name: header.dataset,
                    };
                    if *dataset.get_or_insert_with(|| key.clone()) != key {
                        other = Some(key);
                    }
                }
                Ok(SegmentLine::Checkpoint(line)) => checkpoints.push((line.into(), Vec::new())),
                Ok(SegmentLine::Piece(_)) => {
                    if let Some((_, pieces)) = checkpoints.last_mut() {
                        pieces.push(place);
                    }
                }
                Ok(SegmentLine::Object(object)) => {
                    let key = match &object {
                        DatasetObject::PrivateDataset(_) => String::new(),
                        DatasetObject::PrivateDataBlock(block) => name(&**block).to_owned(),
                    };
                    let order = objects.len();
                    objects.entry(key).or_insert((order, None)).1 = Some(place);
                }
                Ok(SegmentLine::Deleted(Deleted::Block(block))) => {
                    if let Some((_, place)) = objects.get_mut(&block) {
                        *place = None;
                    }
                }
                Ok(SegmentLine::Entry(hash, entry)) => {
                    entries.entry(hash).or_insert(Found {
                        sequence: entry.sequence,
                        previous: entry.previous,
                        time: entry.time,
                        place,
                    });
                }
            }
        })?;
        if let Some(other) = other {
            return Err(BackupError::Directory {
                path: segment.path,
                problem: format!("it is of another dataset, {other}"),
            });
        }
    }
    let Some(dataset) = dataset else { return Ok(None) };
    let Some(mut at) = last(&path, &entries)? else {
        return Ok(None);
    };
    let mut chain = Vec::new();
    while let Some(found) = entries.get(&at) {
        chain.push((at, found));
        at = found.previous;
    }
    chain.reverse();
    let (first, last) = (chain[0].1.sequence, chain[chain.len() - 1].1);
    let checkpoint = if first == 1 {
        None
    } else {
        Some(usable(&path, &chain, checkpoints)?)
    };
    let mut objects: Vec<(usize, Place)> = objects
        .into_values()
        .filter_map(|(order, place)| Some((order, place?)))
        .collect();
    objects.sort_unstable_by_key(|(order, _)| *order);
    Ok(Some(FoundLedger {
        dataset,
        path,
        last: last.time,
        checkpoint,
        entries: chain.iter().map(|(_, found)| found.place).collect(),
        objects: objects.into_iter().map(|(_, place)| place).collect(),
        notes,
    }))
}

/// The hash of the last entry.
fn last(path: &Path, entries: &HashMap<Hash, Found>) -> Result<Option<Hash>, BackupError> {
    let Some(last) = entries.values().map(|found| found.sequence).max() else {
        return Ok(None);
    };
    let mut of_last = entries.iter().filter(|(_, found)| found.sequence == last);
    let hash = of_last.next().map(|(hash, _)| *hash);
    if of_last.next().is_some() {
        return Err(BackupError::Directory {
            path: path.to_owned(),
            problem: format!("it has two entries {last}: two ledgers were exported to it"),
        });
    }
    Ok(hash)
}

/// The first checkpoint with which the entries can be opened.
fn usable(
    path: &Path,
    chain: &[(Hash, &Found)],
    checkpoints: Vec<(Checkpoint, Vec<Place>)>,
) -> Result<(Checkpoint, Vec<Place>), BackupError> {
    let first = chain[0].1.sequence;
    let is_in = |checkpoint: &Checkpoint| {
        let at = checkpoint.head.sequence.checked_sub(first)?;
        let (hash, _) = chain.get(usize::try_from(at).ok()?)?;
        Some(*hash == checkpoint.head.hash)
    };
    let mut usable: Vec<_> = checkpoints
        .into_iter()
        .filter(|(checkpoint, pieces)| {
            is_in(checkpoint) == Some(true) && pieces.len() as u64 == u64::from(checkpoint.pieces)
        })
        .collect();
    usable.sort_by_key(|(checkpoint, _)| checkpoint.head.sequence);
    usable.into_iter().next().ok_or_else(|| BackupError::Directory {
        path: path.to_owned(),
        problem: format!(
            "entry {} is missing, and there is no checkpoint with which the ledger could begin at entry {first}",
            first - 1
        ),
    })
}
