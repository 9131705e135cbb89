//! What commands print: one report, as text for people or as JSON or YAML for programs.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::paint::Paint;

/// The option `-o`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputOption {
    /// How the answer is written. Tables have 4 significant digits, json and yaml have all.
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM", global = true)]
    pub(crate) output: Output,
    /// When to use colours. NO_COLOR, set to anything, means never.
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN", global = true)]
    pub(crate) color: Color,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences.
    #[default]
    Text,
    /// As text, with more columns and rows.
    Wide,
    /// JSON, with all digits.
    Json,
    /// YAML, with all digits.
    Yaml,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// How text is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Form {
    /// Whether all columns are shown.
    pub(crate) wide: bool,
    /// The colours.
    pub(crate) paint: Paint,
}

/// The answer of a command.
pub(crate) trait Report: Serialize {
    /// The answer for people. Ends with a line break.
    fn text(&self, form: Form) -> String;
}

impl OutputOption {
    /// How text is made on the standard output.
    #[must_use]
    pub(crate) fn form(self) -> Form {
        let wanted = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) && io::stdout().is_terminal()
            }
        };
        Form {
            wide: self.output == Output::Wide,
            paint: Paint::new(wanted),
        }
    }

    /// The report as it is printed.
    pub(crate) fn written(self, report: &impl Report) -> Result<String> {
        Ok(match self.output {
            Output::Text | Output::Wide => report.text(self.form()),
            Output::Json => serde_json::to_string_pretty(report)? + "\n",
            Output::Yaml => serde_saphyr::to_string(report).context("the answer can't be written as YAML")?,
        })
    }

    /// Prints the report.
    pub(crate) fn print(self, report: &impl Report) -> Result<()> {
        print(&self.written(report)?)
    }
}

/// Writes a text to the standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    Ok(())
}

/// Whether an error is that nobody reads the output any more.
#[must_use]
pub fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
