//! The values of a figure as a table, for readers who want the numbers or can't see the picture.

use super::{
    figure::{Bars, Chart, Figure, Lines, Series, Shape},
    runs::distinct,
    scale::short,
};

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Headings of the columns.
    pub head: Vec<String>,
    /// Rows with one text for each column.
    pub rows: Vec<Vec<String>>,
}

impl Figure {
    /// Returns the figure's values as a table.
    #[must_use]
    pub fn values(&self) -> Values {
        match &self.chart {
            Chart::Lines(lines) if lines.series.iter().any(|series| series.shape == Shape::Steps) => {
                steps(lines)
            }
            Chart::Lines(lines) => against(lines),
            Chart::Bars(bars) => parts(bars),
        }
    }
}

/// Makes a row for each place on the horizontal axis and a column for each line.
fn against(lines: &Lines) -> Values {
    let drawn = || lines.series.iter().filter(|series| series.shape != Shape::Level);
    let places = distinct(drawn().flat_map(|series| series.points.iter().map(|point| point.x)));
    let level = |series: &Series| series.points.first().map(|point| short(point.y));
    let rows = places.into_iter().map(|x| {
        let cells = lines.series.iter().map(|series| {
            let there = series
                .points
                .iter()
                .find(|point| (point.x - x).abs() <= 1e-4 * x.abs());
            match series.shape {
                Shape::Level => level(series),
                _ => there.map(|point| short(point.y)),
            }
            .unwrap_or_default()
        });
        std::iter::once(short(x)).chain(cells).collect()
    });
    let head = lines.series.iter().map(|series| series.label.clone());
    Values {
        head: std::iter::once(lines.x.label.clone()).chain(head).collect(),
        rows: rows.collect(),
    }
}

/// Makes a row for each distribution of delays: the part of all tasks that was granted, and the delays within
/// which half, 90%, 99% and all of these were granted.
fn steps(lines: &Lines) -> Values {
    let reached = |series: &Series, part: f64| {
        let all = series.points.last().map_or(0.0, |point| point.y);
        let point = series.points.iter().find(|point| point.y >= all * part - 1e-12);
        point
            .filter(|_| all > 0.0)
            .map(|point| short(point.x))
            .unwrap_or_default()
    };
    let rows = lines.series.iter().map(|series| {
        let all = series.points.last().map_or(0.0, |point| point.y);
        let mut row = vec![series.label.clone(), short(all)];
        row.extend([0.5, 0.9, 0.99, 1.0].map(|part| reached(series, part)));
        row
    });
    Values {
        head: [
            "",
            "granted part of all",
            "half of the granted by (s)",
            "90% by (s)",
            "99% by (s)",
            "all by (s)",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}

/// Makes a row for each bar and a column for each part.
fn parts(bars: &Bars) -> Values {
    let head = bars.parts.iter().map(|(label, _)| label.clone());
    let rows = bars.bars.iter().map(|bar| {
        let values = bar.values.iter().map(|value| short(*value));
        std::iter::once(bar.label.clone()).chain(values).collect()
    });
    Values {
        head: std::iter::once(String::new()).chain(head).collect(),
        rows: rows.collect(),
    }
}
