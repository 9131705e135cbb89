//! Draws axes: grid lines, ticks and labels.

use maud::{Markup, html};

use super::{
    Area, FAINT, INK, MARGIN, TEXT, WIDTH, all, at, label_at, stroke,
    text::{self, Weight},
};
use crate::plot::{figure::Axis, scale::Scale};

/// Draws the vertical axis with its grid and labels. Returns the drawing, the area left for the chart, and
/// the scale.
pub(super) fn upward(axis: &Axis, numbers: &[f64], area: Area) -> (Markup, Area, Scale) {
    let scale = Scale::new(axis, numbers.iter().copied(), area.bottom, area.top, 6);
    let labels: Vec<String> = scale.ticks.iter().map(|tick| scale.label(*tick)).collect();
    let widest = labels
        .iter()
        .map(|label| text::width(label, TEXT, Weight::Regular))
        .fold(0.0, f64::max);
    let area = Area {
        left: area.left + widest + 10.0,
        ..area
    };
    let grid = scale.ticks.iter().zip(&labels).map(|(tick, label)| {
        let y = scale.place(*tick);
        html! {
            (stroke("grid", FAINT, 1.0, (area.left, y), (area.right, y)))
            (label_at(label, (area.left - 10.0, y + 6.0), "end", None))
        }
    });
    let small = scale.small_ticks.iter().map(|tick| {
        let y = scale.place(*tick);
        stroke("axis", INK, 1.0, (area.left, y), (area.left + 4.0, y))
    });
    let drawn = html! {
        (all(grid))
        (all(small))
        (label_at(&axis.label, (MARGIN, area.top - 16.0), "start", None))
    };
    (drawn, area, scale)
}

/// Draws the horizontal axis. Returns the drawing and its lower end in pixels.
pub(super) fn across(axis: &Axis, scale: &Scale, area: Area) -> (Markup, f64) {
    let (mut ticks, mut taken) = (Vec::new(), f64::NEG_INFINITY);
    for tick in &scale.ticks {
        let x = scale.place(*tick);
        let label = scale.label(*tick);
        let half = text::width(&label, TEXT, Weight::Regular) / 2.0;
        // The last label is kept inside the figure; a label that would touch its neighbour is left out.
        let middle = x.min(WIDTH - half - 2.0);
        let free = middle - half > taken;
        if free {
            taken = middle + half + 6.0;
        }
        ticks.push(html! {
            (stroke("grid", FAINT, 1.0, (x, area.top), (x, area.bottom)))
            (stroke("axis", INK, 1.2, (x, area.bottom), (x, area.bottom + 6.0)))
            @if free { (label_at(&label, (middle, area.bottom + 25.0), "middle", None)) }
        });
    }
    let small = scale.small_ticks.iter().map(|tick| {
        let x = scale.place(*tick);
        stroke("axis", INK, 1.0, (x, area.bottom), (x, area.bottom + 4.0))
    });
    let drawn = html! {
        (all(ticks))
        (all(small))
        (base(area))
    };
    let (label, bottom) = below(&axis.label, area);
    (html! { (drawn) (label) }, bottom)
}

/// Draws the line at the bottom of the chart.
pub(super) fn base(area: Area) -> Markup {
    stroke(
        "axis",
        INK,
        1.2,
        (area.left, area.bottom),
        (area.right, area.bottom),
    )
}

/// Draws an axis label, in several lines if necessary, below the ticks' labels. Returns the drawing and the
/// lower end of the figure.
fn below(label: &str, area: Area) -> (Markup, f64) {
    let middle = f64::midpoint(area.left, area.right);
    let most = 2.0 * (middle - MARGIN).min(WIDTH - MARGIN - middle);
    let mut y = area.bottom + 30.0;
    let lines = text::lines(label, TEXT, Weight::Regular, most);
    let drawn = lines.iter().map(|line| {
        y += 22.0;
        label_at(line, (middle, y), "middle", None)
    });
    let drawn = all(drawn.collect::<Vec<_>>());
    (drawn, y + MARGIN)
}

/// Formats points as an SVG path.
pub(super) fn path(places: &[(f64, f64)]) -> String {
    let places = places.iter().enumerate();
    let steps =
        places.map(|(index, (x, y))| format!("{}{},{}", if index == 0 { 'M' } else { 'L' }, at(*x), at(*y)));
    steps.collect::<Vec<_>>().join(" ")
}
