//! Draws stacked bars.

use maud::{Markup, html};

use super::{
    Area, MARGIN, TEXT, all, at, axes, label_at,
    legend::Entry,
    marks::hatch,
    text::{self, Weight},
};
use crate::plot::{figure::Bars, scale::short};

/// Returns the legend's entries: the parts, the lowest first.
pub(super) fn legend(chart: &Bars, figure: &str) -> Vec<Entry> {
    let parts = chart.parts.iter().enumerate();
    parts
        .map(|(part, (label, style))| {
            let (id, style) = (format!("{figure}-legend-{part}"), *style);
            Entry {
                sample: Box::new(move |x, y| {
                    html! {
                        (hatch(style, &id))
                        rect x=(at(x - 14.0)) y=(at(y - 9.0)) width="28" height="18" fill={ "url(#" (id) ")" } {}
                    }
                }),
                label: label.clone(),
            }
        })
        .collect()
}

/// Draws the chart. Returns the drawing and its lower end in pixels.
pub(super) fn draw(chart: &Bars, figure: &str, area: Area) -> (Markup, f64) {
    let sums: Vec<f64> = chart.bars.iter().map(|bar| bar.values.iter().sum()).collect();
    let (grid, area, y) = axes::upward(&chart.y, &sums, area);
    let room = (area.right - area.left) / chart.bars.iter().map(|_| 1.0).sum::<f64>().max(1.0);
    let width = (room * 0.62).min(110.0);
    let mut middle = area.left - room / 2.0;
    let mut lines = 1.0_f64;
    let mut bars = Vec::new();
    for (bar, sum) in chart.bars.iter().zip(&sums) {
        middle += room;
        let (mut below, mut drawn) = (0.0, Vec::new());
        for (part, value) in bar.values.iter().enumerate() {
            let (bottom, top) = (y.place(below), y.place(below + value));
            below += value;
            let number = short(*value);
            let fits = bottom - top > 24.0 && text::width(&number, TEXT, Weight::Regular) < width - 12.0;
            let tooltip = chart.parts.get(part).map_or("", |(label, _)| label.as_str());
            drawn.push(html! {
                rect x=(at(middle - width / 2.0)) y=(at(top)) width=(at(width)) height=(at(bottom - top))
                    fill={ "url(#" (figure) "-" (part) ")" } { title { (bar.label) ", " (tooltip) ": " (number) } }
                @if fits { (on_background(&number, middle, f64::midpoint(bottom, top))) }
            });
        }
        let mut line = area.bottom + 3.0;
        let label = text::lines(&bar.label, TEXT, Weight::Regular, room - 6.0);
        lines = lines.max(label.iter().map(|_| 1.0).sum());
        drawn.push(html! {
            (on_background(&short(*sum), middle, y.place(*sum) - 13.0))
            @for text in &label { ({ line += 21.0; label_at(text, (middle, line), "middle", None) }) }
        });
        bars.push(all(drawn));
    }
    let hatches = chart.parts.iter().enumerate();
    let drawn = html! {
        (grid)
        (all(hatches.map(|(part, (_, style))| hatch(*style, &format!("{figure}-{part}")))))
        (all(bars))
        (axes::base(area))
    };
    (drawn, area.bottom + 21.0 * lines + MARGIN)
}

/// Draws a number on a plain background, so that hatches and grid lines don't cross it.
fn on_background(number: &str, x: f64, y: f64) -> Markup {
    let width = text::width(number, TEXT, Weight::Regular) + 8.0;
    html! {
        rect class="paper" x=(at(x - width / 2.0)) y=(at(y - 9.5)) width=(at(width)) height="19" rx="3" fill="#ffffff" {}
        (label_at(number, (x, y + 6.0), "middle", None))
    }
}
