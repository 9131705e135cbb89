//! Where commands write: the one place that knows what may become of standard output and standard error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _, stderr, stdout},
};

use anyhow::Result;
use serde::Serialize;
use thiserror::Error;

/// Why nothing more can be written to standard output.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// Whoever read it has gone, such as `head`: no error to tell anybody.
    #[error("standard output is closed")]
    Closed,
    /// A full disk, for example.
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

/// A text for standard output. It is written when this returns.
pub(crate) fn text(text: &impl Display) -> Result<(), OutputError> {
    bytes(text.to_string().as_bytes())
}

/// The same, as bytes.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// A JSON line for standard output.
pub(crate) fn line(value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_string(value)?;
    json.push('\n');
    Ok(text(&json)?)
}

/// A line for people, on standard error. If nobody can read it, there is nobody to tell that.
pub(crate) fn message(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
