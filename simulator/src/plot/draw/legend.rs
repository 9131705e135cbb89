//! Draws the legend: entries in rows, as many in each as fit.

use maud::{Markup, html};

use super::{MARGIN, TEXT, WIDTH, all, label_at, text};

const SAMPLE: f64 = 44.0;
const GAP: f64 = 20.0;
const ROW: f64 = 27.0;

/// An entry of the legend: a function that draws its sample, [`SAMPLE`] pixels wide, around a point, and its
/// label.
pub(super) struct Entry {
    pub(super) sample: Box<dyn Fn(f64, f64) -> Markup>,
    pub(super) label: String,
}

/// Draws the legend below `top`. Returns the drawing and its lower end in pixels.
pub(super) fn draw(entries: &[Entry], top: f64) -> (Markup, f64) {
    let (mut x, mut y) = (MARGIN, top + ROW / 2.0);
    let mut drawn = Vec::new();
    for entry in entries {
        let width = SAMPLE + 8.0 + text::width(&entry.label, TEXT, text::Weight::Regular);
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + ROW);
        }
        drawn.push(html! {
            ((entry.sample)(x + SAMPLE / 2.0, y))
            (label_at(&entry.label, (x + SAMPLE + 8.0, y + 6.0), "start", None))
        });
        x += width + GAP;
    }
    (all(drawn), if entries.is_empty() { top } else { y + ROW / 2.0 })
}
