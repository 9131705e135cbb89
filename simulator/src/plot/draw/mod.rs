//! Draws figures as SVG: the title, below it the legend, which thus covers no data, then the chart. Colours
//! are attributes and elements have classes, so that a page's style sheet can change the colours. Begin
//! reading at [`svg`].

mod axes;
mod bars;
mod legend;
mod lines;
mod marks;
mod text;

use maud::{Markup, PreEscaped, html};

use super::figure::{Chart, Figure};
use text::{FAMILY, Weight};

/// The width of all figures, in pixels.
pub(super) const WIDTH: f64 = 680.0;
const MARGIN: f64 = 14.0;
const PLOT_HEIGHT: f64 = 310.0;
const TITLE: f32 = 20.0;
const TEXT: f32 = 18.0;
const INK: &str = "#1a1a1a";
const FAINT: &str = "#dddddd";

/// The rectangle of the chart, in pixels.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Draws a figure as an SVG document.
#[must_use]
pub fn svg(figure: &Figure) -> String {
    let lines = text::lines(&figure.title, TITLE, Weight::Bold, WIDTH - 2.0 * MARGIN);
    let mut y = MARGIN + 8.0;
    let title = html! {
        @for line in &lines { ({ y += 26.0; label_at(line, (MARGIN, y - 12.0), "start", Some(TITLE)) }) }
    };
    let entries = match &figure.chart {
        Chart::Lines(chart) => lines::legend(chart),
        Chart::Bars(chart) => bars::legend(chart, &figure.name),
    };
    let (legend, bottom) = legend::draw(&entries, y);
    // The label of the vertical axis is above it.
    let top = bottom + 40.0;
    let area = Area {
        left: MARGIN,
        // Half of the last tick's label is beyond the chart.
        right: WIDTH - 2.0 * MARGIN,
        top,
        bottom: top + PLOT_HEIGHT,
    };
    let (chart, height) = match &figure.chart {
        Chart::Lines(chart) => lines::draw(chart, area),
        Chart::Bars(chart) => bars::draw(chart, &figure.name, area),
    };
    let drawn = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (at(height)) } width=(WIDTH) height=(at(height))
            role="img" aria-label=(figure.title) font-family=(FAMILY) font-size=(TEXT) {
            rect class="paper" width=(WIDTH) height=(at(height)) fill="#ffffff" {}
            (title)
            (legend)
            (chart)
        }
    };
    drawn.into_string()
}

/// Formats a coordinate to a tenth of a pixel.
fn at(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Draws a text with its baseline at this place. Titles have a size and are bold. The measured width is
/// stated, so that the text fits if another font replaces Noto Sans.
fn label_at(text: &str, (x, y): (f64, f64), anchor: &str, title: Option<f32>) -> Markup {
    let weight = if title.is_some() {
        Weight::Bold
    } else {
        Weight::Regular
    };
    let width = text::width(text, title.unwrap_or(TEXT), weight);
    html! {
        text class="ink" x=(at(x)) y=(at(y)) text-anchor=(anchor) fill=(INK) font-size=[title]
            font-weight=[title.map(|_| "bold")] textLength=(at(width)) lengthAdjust="spacingAndGlyphs" { (text) }
    }
}

/// Draws a straight line.
fn stroke(class: &str, colour: &str, width: f64, from: (f64, f64), to: (f64, f64)) -> Markup {
    html! {
        line class=(class) x1=(at(from.0)) y1=(at(from.1)) x2=(at(to.0)) y2=(at(to.1)) stroke=(colour) stroke-width=(width) {}
    }
}

/// Joins several drawings.
fn all(parts: impl IntoIterator<Item = Markup>) -> Markup {
    PreEscaped(parts.into_iter().map(PreEscaped::into_string).collect())
}
