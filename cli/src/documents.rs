//! Reads files of YAML documents or JSON, within bounds of size.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use serde_saphyr::{Error, budget::BudgetBreach};

/// How long a file may be. It is read as a whole, and something like /dev/zero never ends.
const MOST_BYTES: u64 = 16 << 20;

/// The documents of a file; of the standard input if it is `-`.
pub(crate) fn documents(file: &Path) -> Result<Vec<Value>> {
    if file.as_os_str() == "-" {
        return read(io::stdin().lock(), MOST_BYTES)
            .and_then(|text| parse(&text))
            .context("the standard input");
    }
    File::open(file)
        .map_err(anyhow::Error::from)
        .and_then(|opened| read(opened, MOST_BYTES))
        .and_then(|text| parse(&text))
        .with_context(|| file.display().to_string())
}

fn read(from: impl Read, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        bail!(
            "it is longer than {} MiB, the most that is read of one file: split it",
            most >> 20
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!(
            "it is no text: the byte at {} is not UTF-8",
            error.utf8_error().valid_up_to()
        )
    })
}

/// Reads a text of YAML documents, or JSON.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>> {
    serde_saphyr::from_multiple(text).map_err(|error| match exceeded(&error) {
        Some(why) => anyhow::anyhow!(why),
        None => anyhow::Error::new(error).context("it is not understood as YAML or JSON"),
    })
}

/// What a text has too much of, if that is the error. The parser calls its limits a budget, which is another thing here.
fn exceeded(error: &Error) -> Option<String> {
    let (breach, line) = match error {
        Error::WithSnippet { error, .. } => return exceeded(error),
        Error::Budget { breach, location } => (breach, location.line()),
        _ => return None,
    };
    let what = match breach {
        BudgetBreach::Documents { .. } => "it has too many documents: split it",
        BudgetBreach::Depth { .. } | BudgetBreach::InclusionDepth { .. } => "it is nested too deep",
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => "it has too many values: split it",
        BudgetBreach::ScalarBytes { .. } | BudgetBreach::InputBytes { .. } => "it is too long: split it",
        BudgetBreach::SequenceUnbalanced => "a list or an object ends that never began",
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::MergeKeys { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => {
            "it has too many anchors, aliases or merge keys: write out what they stand for"
        }
        _ => "it is larger than what is read: split it",
    };
    Some(format!("{what} (at line {line})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_read_to_its_end() {
        let error = read(io::repeat(b'a'), 2 << 20).unwrap_err().to_string();
        assert!(error.starts_with("it is longer than 2 MiB"), "{error}");
        assert_eq!(read(&b"abcd"[..], 4).unwrap(), "abcd");
        let error = read(&b"ab\xff"[..], 4).unwrap_err().to_string();
        assert_eq!(error, "it is no text: the byte at 2 is not UTF-8");
    }

    #[test]
    fn limits_are_told_in_words() {
        let many = parse(&"--- 1\n".repeat(5000)).unwrap_err();
        let deep = parse(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap_err();
        let values = parse(&format!("[{}]", "1,".repeat(300_000))).unwrap_err();
        let aliases = parse(&format!("a: &a 1\nb: [{}]", "*a,".repeat(2000))).unwrap_err();
        for (error, said) in [
            (many, "it has too many documents: split it (at line "),
            (deep, "it is nested too deep (at line "),
            (values, "it has too many values: split it (at line "),
            (aliases, "it has too many anchors, aliases or merge keys"),
        ] {
            let error = format!("{error:#}");
            assert!(error.starts_with(said) && !error.contains("budget"), "{error}");
        }
        let malformed = format!("{:#}", parse("a: [").unwrap_err());
        assert!(
            malformed.starts_with("it is not understood as YAML or JSON"),
            "{malformed}"
        );
    }
}
