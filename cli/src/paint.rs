//! Colours, by which a reader finds the decisive word. Each word says the same without its colour.

use clap::builder::styling::{AnsiColor, Style};

/// Paints words, or leaves them as they are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Paints if `is_on`.
    #[must_use]
    pub(crate) const fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// What is as it is wanted.
    #[must_use]
    pub(crate) fn good(self, text: &str) -> String {
        self.painted(text, AnsiColor::Green.on_default())
    }

    /// What is to be waited for, or looked at.
    #[must_use]
    pub(crate) fn middling(self, text: &str) -> String {
        self.painted(text, AnsiColor::Yellow.on_default())
    }

    /// What is refused or wrong.
    #[must_use]
    pub(crate) fn bad(self, text: &str) -> String {
        self.painted(text, AnsiColor::Red.on_default())
    }

    /// A title.
    #[must_use]
    pub(crate) fn bold(self, text: &str) -> String {
        self.painted(text, Style::new().bold())
    }

    fn painted(self, text: &str, style: Style) -> String {
        if self.is_on {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}
