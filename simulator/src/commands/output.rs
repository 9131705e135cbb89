//! Writes to standard output and standard error, and tells a closed pipe from other errors. Commands print
//! nothing by other means.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _, stderr, stdout},
};

use anyhow::Result;
use serde::Serialize;
use thiserror::Error;

/// The reason why standard output can't be written to.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// The reader has closed the pipe, as `head` does. The command ends without a message.
    #[error("standard output is closed")]
    Closed,
    /// Any other error, such as a full disk.
    #[error("can't write to standard output: {0}")]
    Write(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Write(error)
        }
    }
}

/// Writes a text to standard output and flushes it.
pub(crate) fn text(text: &impl Display) -> Result<(), OutputError> {
    bytes(text.to_string().as_bytes())
}

/// Writes bytes to standard output and flushes them.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Writes a value to standard output as one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_string(value)?;
    json.push('\n');
    Ok(text(&json)?)
}

/// Writes a line for people to standard error. An error of that is ignored, since there is nowhere to report
/// it.
pub(crate) fn message(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
