//! Draws charts of lines.

use maud::{Markup, html};

use super::{
    Area, all, at, axes,
    legend::Entry,
    marks::{Fill, marker},
};
use crate::plot::{
    figure::{Lines, Point, Series, Shape},
    scale::{Scale, short},
    style::Style,
};

/// Pixels between two markers on a line of steps.
const MARKERS_APART: f64 = 90.0;
/// Pixels between the end of a horizontal line and its marker.
const LEVEL_MARKER: f64 = 24.0;

/// Returns the legend's entries.
pub(super) fn legend(chart: &Lines) -> Vec<Entry> {
    let mut entries: Vec<Entry> = chart
        .series
        .iter()
        .map(|series| {
            let style = series.style;
            Entry {
                sample: Box::new(move |x, y| {
                    let places = [(x - 22.0, y), (x + 22.0, y)];
                    html! {
                        (line(style, &places))
                        (marker(style, Fill::Solid, (x, y), None))
                    }
                }),
                label: series.label.clone(),
            }
        })
        .collect();
    // The legend explains hollow markers with that of the first series that has any.
    let first = chart.series.iter().find(|series| !series.published.is_empty());
    if let (Some(published), Some(first)) = (&chart.published, first) {
        let style = first.style;
        entries.push(Entry {
            sample: Box::new(move |x, y| marker(style, Fill::Hollow, (x, y), None)),
            label: published.clone(),
        });
    }
    entries
}

/// Draws the chart. Returns the drawing and its lower end in pixels.
pub(super) fn draw(chart: &Lines, area: Area) -> (Markup, f64) {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let published = || chart.series.iter().flat_map(|series| &series.published);
    let upward: Vec<f64> = points()
        .flat_map(|point| [point.y, point.range.map_or(point.y, |(_, most)| most)])
        .chain(published().map(|(_, y)| *y))
        .collect();
    let (grid, area, y) = axes::upward(&chart.y, &upward, area);
    let lines = chart.series.iter().filter(|series| series.shape != Shape::Level);
    let across = lines.flat_map(|series| {
        let points = series.points.iter().map(|point| point.x);
        points.chain(series.published.iter().map(|(x, _)| *x))
    });
    let x = Scale::new(&chart.x, across, area.left, area.right, 7);
    let (axis, bottom) = axes::across(&chart.x, &x, area);
    let painters = || {
        chart
            .series
            .iter()
            .enumerate()
            .map(|(place, series)| SeriesPainter {
                series,
                place,
                count: chart.series.len(),
                x: &x,
                y: &y,
                area,
            })
    };
    let drawn = html! {
        (grid)
        (axis)
        (all(painters().map(|painter| painter.lines())))
        (all(painters().map(|painter| painter.markers())))
    };
    (drawn, bottom)
}

/// Draws one series.
struct SeriesPainter<'a> {
    series: &'a Series,
    /// The place of the series among `count` series.
    place: usize,
    count: usize,
    x: &'a Scale,
    y: &'a Scale,
    area: Area,
}

impl SeriesPainter<'_> {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.place(x), self.y.place(y))
    }

    fn lines(&self) -> Markup {
        let Series { style, points, .. } = self.series;
        let places = match self.series.shape {
            Shape::Level => points.first().map_or_else(Vec::new, |point| {
                let y = self.y.place(point.y);
                vec![(self.area.left, y), (self.area.right, y)]
            }),
            Shape::Line => points.iter().map(|point| self.at(point.x, point.y)).collect(),
            Shape::Steps => self.steps(),
        };
        let ranges = points.iter().filter_map(|point| Some((point, point.range?)));
        let level = self.series.shape == Shape::Level;
        html! {
            (line(*style, &places))
            @if !level {
                (all(ranges.map(|(point, range)| self.range(point, range))))
            }
        }
    }

    /// Draws a range bar from the least to the greatest value.
    fn range(&self, point: &Point, (least, most): (f64, f64)) -> Markup {
        let ((x, low), (_, high)) = (self.at(point.x, least), self.at(point.x, most));
        let d = format!(
            "{} {} {}",
            axes::path(&[(x, low), (x, high)]),
            axes::path(&[(x - 5.0, low), (x + 5.0, low)]),
            axes::path(&[(x - 5.0, high), (x + 5.0, high)])
        );
        let colour = self.series.style.colour;
        html! { path class={ (colour.name()) " line" } d=(d) fill="none" stroke=(colour.hex()) stroke-width="1.5" {} }
    }

    /// Returns the corners of a line of steps from x = 0 to the end of the axis. Corners less than half a
    /// pixel apart are merged.
    fn steps(&self) -> Vec<(f64, f64)> {
        let mut places: Vec<(f64, f64)> = vec![self.at(0.0, 0.0)];
        let mut last = self.y.place(0.0);
        for point in &self.series.points {
            let (x, y) = self.at(point.x, point.y);
            match places.last_mut() {
                Some(end) if x - end.0 < 0.5 => end.1 = y,
                _ => places.extend([(x, last), (x, y)]),
            }
            last = y;
        }
        places.push((self.area.right, last));
        places
    }

    fn markers(&self) -> Markup {
        let Series {
            style,
            label,
            points,
            published,
            shape,
        } = self.series;
        // A horizontal line has its markers at its end, where other lines have few.
        let place = |x, y| match shape {
            Shape::Level => (self.area.right - LEVEL_MARKER, self.y.place(y)),
            Shape::Line | Shape::Steps => self.at(x, y),
        };
        let solid = |point: &Point| {
            let tooltip = format!("{label}: {} at {}", short(point.y), short(point.x));
            marker(*style, Fill::Solid, place(point.x, point.y), Some(&tooltip))
        };
        let hollow = |(x, y): &(f64, f64)| {
            let tooltip = format!("{label}, published: {} at {}", short(*y), short(*x));
            marker(*style, Fill::Hollow, place(*x, *y), Some(&tooltip))
        };
        html! {
            (all(published.iter().map(hollow)))
            @match shape {
                Shape::Line | Shape::Level => { (all(points.iter().map(solid))) },
                Shape::Steps => { (all(self.spaced().into_iter().map(|place| marker(*style, Fill::Solid, place, None)))) },
            }
        }
    }

    /// Returns the places of markers on a line of steps. Each series has different places, so that lines on
    /// top of each other can be told apart.
    fn spaced(&self) -> Vec<(f64, f64)> {
        let steps = self.steps();
        #[expect(clippy::cast_precision_loss, reason = "there are few series")]
        let part = (self.place as f64 + 0.5) / self.count as f64;
        let apart = (0..).map(|place| self.area.left + MARKERS_APART * (f64::from(place) + part));
        apart
            .take_while(|x| *x < self.area.right)
            .filter_map(|x| {
                let before = steps.iter().take_while(|(step, _)| *step <= x).last();
                before.map(|(_, y)| (x, *y))
            })
            .collect()
    }
}

fn line(style: Style, places: &[(f64, f64)]) -> Markup {
    let dashes = Some(style.dashes()).filter(|dashes| !dashes.is_empty());
    html! {
        path class={ (style.colour.name()) " line" } d=(axes::path(places)) fill="none" stroke=(style.colour.hex())
            stroke-width=(at(2.4)) stroke-linejoin="round" stroke-dasharray=[dashes] {}
    }
}
