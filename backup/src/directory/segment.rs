//! Segments: their names, and how they are read.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::line::{SegmentLine, Unreadable};
use crate::{BackupError, file::MOST_LINE_BYTES};

/// What the names of segments end with.
const EXTENSION: &str = "jsonl";
/// How much is read at first to find the last line of a segment.
const TAIL_BYTES: u64 = 64 << 10;
/// The largest generation, by the digits of its number in a name.
pub(super) const MOST_GENERATION: u32 = 9999;

/// A segment of a ledger's directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(super) generation: u32,
    /// The number of its first entry.
    pub(super) first: u64,
    /// Which one of those of this generation and first entry, from 1.
    copy: u32,
    pub(super) path: PathBuf,
}

/// The name of a segment.
pub(super) fn file_name(generation: u32, first: u64, copy: u32) -> String {
    if copy == 1 {
        format!("{generation:04}-{first:010}.{EXTENSION}")
    } else {
        format!("{generation:04}-{first:010}-{copy}.{EXTENSION}")
    }
}

/// The generation, first entry and copy of a name; none if it is no segment's.
fn parse_name(name: &str) -> Option<(u32, u64, u32)> {
    let name = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let mut parts = name.split('-');
    let generation = parts.next()?.parse().ok()?;
    let first = parts.next()?.parse().ok()?;
    let copy = parts.next().map_or(Some(1), |copy| copy.parse().ok())?;
    let parsed = (generation, first, copy);
    // No second spelling of a name.
    (parts.next().is_none() && file_name(generation, first, copy).strip_suffix(".jsonl") == Some(name))
        .then_some(parsed)
}

/// The segments in a directory, by generation and first entry; none if there is no such directory. A directory in it is
/// none, whatever its name.
pub(super) fn segments(directory: &Path) -> Result<Vec<Segment>, BackupError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some((generation, first, copy)) = name.and_then(parse_name) {
            if entry.file_type().map_err(|error| failed(&path, error))?.is_dir() {
                continue;
            }
            found.push(Segment {
                generation,
                first,
                copy,
                path,
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Those of the last generation that has an entry. A process that ended before it had written the first entry of a generation has
/// begun none: the one before counts.
pub(super) fn of_last_generation(mut segments: Vec<Segment>) -> Result<Vec<Segment>, BackupError> {
    while let Some(last) = segments.pop() {
        if last_entry(&last.path)?.is_some() {
            let generation = last.generation;
            segments.push(last);
            segments.retain(|segment| segment.generation == generation);
            return Ok(segments);
        }
    }
    Ok(segments)
}

/// A segment has a line that a later version wrote.
pub(super) fn too_new(path: &Path, problem: String) -> BackupError {
    BackupError::Directory {
        path: path.to_owned(),
        problem,
    }
}

pub(super) fn failed(path: &Path, error: io::Error) -> BackupError {
    BackupError::Io {
        path: path.to_owned(),
        error,
    }
}

/// A line of a segment, or why it is none.
pub(super) struct ReadLine {
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) parsed: Result<SegmentLine, String>,
}

/// Calls `take` with each line of a segment. A last line without a line break was torn, and is no line. One of a later version is an
/// error.
pub(super) fn each_line(path: &Path, mut take: impl FnMut(ReadLine)) -> Result<(), BackupError> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let mut reader = BufReader::new(file);
    let (mut offset, mut line) = (0, 1);
    let mut text = Vec::new();
    loop {
        text.clear();
        let mut bounded = (&mut reader).take(MOST_LINE_BYTES + 1);
        bounded
            .read_until(b'\n', &mut text)
            .map_err(|error| failed(path, error))?;
        if text.last() != Some(&b'\n') {
            // The end, a torn line, or one that is too long to be one, whose rest is none either.
            if text.len() as u64 <= MOST_LINE_BYTES {
                return Ok(());
            }
            let problem = format!("it has more than {MOST_LINE_BYTES} bytes");
            take(ReadLine {
                offset,
                line,
                parsed: Err(problem),
            });
            return Ok(());
        }
        let length = text.len() as u64;
        let parsed = match SegmentLine::parse(&text) {
            Ok(parsed) => Ok(parsed),
            Err(Unreadable::Damaged(problem)) => Err(problem),
            Err(Unreadable::Later(problem)) => {
                return Err(too_new(path, format!("line {line}: {problem}")));
            }
        };
        take(ReadLine { offset, line, parsed });
        offset += length;
        line += 1;
    }
}

/// The last whole line of a segment that has an entry; none if there is none in its last lines.
pub(super) fn last_entry(path: &Path) -> Result<Option<SegmentLine>, BackupError> {
    let read = |from: u64, until: u64, file: &mut File| -> io::Result<Vec<u8>> {
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.take(until - from).read_to_end(&mut text)?;
        Ok(text)
    };
    let mut file = File::open(path).map_err(|error| failed(path, error))?;
    let length = file.metadata().map_err(|error| failed(path, error))?.len();
    let mut tail = TAIL_BYTES;
    loop {
        let from = length.saturating_sub(tail);
        let text = read(from, length, &mut file).map_err(|error| failed(path, error))?;
        // What comes after the last line break is torn, and what comes before the first one may be the end of a line.
        let begin = match text.iter().position(|byte| *byte == b'\n') {
            _ if from == 0 => 0,
            Some(first) => first + 1,
            None => text.len(),
        };
        let end = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        if begin < end {
            let lines = text[begin..end - 1].rsplit(|byte| *byte == b'\n');
            for line in lines {
                match SegmentLine::parse(line) {
                    Ok(entry @ SegmentLine::Entry(..)) => return Ok(Some(entry)),
                    Err(Unreadable::Later(problem)) => return Err(too_new(path, problem)),
                    Ok(_) | Err(Unreadable::Damaged(_)) => {}
                }
            }
        }
        // The last batch of lines before the end has an entry at its end, so what is far longer than a line has none.
        if from == 0 || tail > MOST_LINE_BYTES * 2 {
            return Ok(None);
        }
        tail *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_generation_first_entry_and_copy_and_no_other_file_is_a_segment() {
        assert_eq!(parse_name(&file_name(1, 1, 1)), Some((1, 1, 1)));
        assert_eq!(parse_name(&file_name(12, 4_711, 3)), Some((12, 4_711, 3)));
        for other in [
            "1-1.jsonl",
            "0001-0000000001",
            "0001-0000000001-1.jsonl",
            "0001-0000000001.jsonl.partial",
            "x.jsonl",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
