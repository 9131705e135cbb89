//! What a part said last, and the error that shows it.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// How many of a log's last lines an error shows.
const SHOWN_LINES: usize = 15;
/// How much of a log's end is read for them.
const READ_BYTES: u64 = 32 * 1024;
/// Longer lines are cut in errors: a part's line can hold a whole configuration.
const SHOWN_CHARACTERS: usize = 400;

/// The last lines of a log, indented; a sentence when there are none.
pub(crate) fn tail(path: &Path) -> String {
    let text = read_end(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "  (the log is empty)".to_owned();
    }
    let first = lines.len().saturating_sub(SHOWN_LINES);
    let shown: Vec<String> = lines
        .iter()
        .skip(first)
        .map(|line| format!("  | {}", line.chars().take(SHOWN_CHARACTERS).collect::<String>()))
        .collect();
    shown.join("\n")
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A part of the cluster failed: which, how, and the end of its log.
#[derive(Debug, Clone)]
pub(crate) struct PartFailure {
    what: String,
    log: PathBuf,
    tail: String,
}

impl PartFailure {
    /// `what` names the part and what happened to it.
    pub(crate) fn new(what: impl Into<String>, log: &Path) -> Self {
        Self {
            what: what.into(),
            log: log.to_owned(),
            tail: tail(log),
        }
    }

    /// Whether the part wanted a port that someone else took.
    pub(crate) fn address_in_use(&self) -> bool {
        self.tail.contains("address already in use") || self.tail.contains("Address already in use")
    }
}

impl fmt::Display for PartFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}; its log {} ends with:\n{}",
            self.what,
            self.log.display(),
            self.tail
        )
    }
}

impl std::error::Error for PartFailure {}
