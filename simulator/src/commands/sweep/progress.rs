//! Shows the progress of a sweep: a bar on a terminal, otherwise a line every ten seconds.

use std::{
    cell::Cell,
    io::{IsTerminal as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use privatekube_simulator::sweep::Progress;

use super::super::output;

/// Time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{bar:30} {pos} of {len} runs, {elapsed} elapsed, {msg}";

/// The progress display, on standard error.
pub(super) struct Bar {
    /// The bar, hidden where there is no terminal.
    bar: ProgressBar,
    last_line: Cell<Option<Instant>>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = if stderr().is_terminal() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        Self {
            bar,
            last_line: Cell::new(None),
        }
    }

    pub(super) fn show(&self, progress: &Progress<'_>) {
        let left = progress.left.map_or_else(
            || "time left unknown yet".to_owned(),
            |left| format!("{} left", HumanDuration(left)),
        );
        if self.bar.is_hidden() {
            if self.last_line.get().is_none_or(|last| last.elapsed() >= PAUSE) {
                self.last_line.set(Some(Instant::now()));
                output::message(&format!(
                    "sweep: {} of {} runs, {left}",
                    progress.made, progress.all
                ));
            }
            return;
        }
        self.bar.set_length(progress.all as u64);
        self.bar.set_position(progress.made as u64);
        self.bar.set_message(left);
    }

    pub(super) fn finish(&self, message: &str) {
        self.bar.finish_and_clear();
        output::message(&format!("sweep: {message}"));
    }
}
