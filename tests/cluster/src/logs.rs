//! The last lines of a part's log, and [`PartFailure`], the error that shows them.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// The number of a log's last lines that an error shows.
const SHOWN_LINES: usize = 15;
/// The length of a log's end that is read for them.
const READ_BYTES: u64 = 32 * 1024;
/// Errors cut longer lines, since a line can hold a part's whole configuration.
const SHOWN_CHARACTERS: usize = 400;

/// The last lines of a log, indented, or `(the log is empty)`.
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

/// The failure of a part, with the end of its log.
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

    /// Whether the part failed because another process uses its port.
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
