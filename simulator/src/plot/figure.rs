//! What a figure shows, before it is drawn.

use super::style::Style;

/// A figure: its name among the files, what stands above and below it, and what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its files' name, without an ending.
    pub name: String,
    /// What it shows, in a line.
    pub title: String,
    /// How to read it, in a sentence or two.
    pub about: String,
    /// What is drawn.
    pub chart: Chart,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// Numbers against numbers.
    Lines(Lines),
    /// Sums and their parts.
    Bars(Bars),
}

/// Numbers against numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn, the lowest layer first.
    pub series: Vec<Series>,
    /// Where the published points come from, for the legend; none if there are none.
    pub published: Option<String>,
}

/// An axis. It begins at 0, or if it is logarithmic, at a power of ten.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it counts, with the unit.
    pub label: String,
    /// How numbers become places.
    pub kind: AxisKind,
    /// Where it ends at least; it ends after the greatest number anyway.
    pub most: f64,
}

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// In proportion.
    Linear,
    /// By their logarithms.
    Log,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// Its colour, marker and dashes.
    pub style: Style,
    /// How its points are joined.
    pub shape: Shape,
    /// From the left to the right.
    pub points: Vec<Point>,
    /// The same as others published it.
    pub published: Vec<(f64, f64)>,
}

/// How points are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// By straight lines, with a marker on each.
    Line,
    /// By steps, each number true until the next.
    Steps,
    /// There is one number, whatever x is: a line across.
    Level,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Place.
    pub x: f64,
    /// Number; the mean, if there are several.
    pub y: f64,
    /// The least and the greatest number, if there are several.
    pub range: Option<(f64, f64)>,
}

/// Sums and their parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// Upwards.
    pub y: Axis,
    /// The parts, the lowest first.
    pub parts: Vec<(String, Style)>,
    /// From the left to the right.
    pub bars: Vec<Bar>,
}

/// A sum and its parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What stands below it.
    pub label: String,
    /// One number for each part.
    pub values: Vec<f64>,
}

impl Axis {
    /// A linear axis, as long as its numbers need.
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            kind: AxisKind::Linear,
            most: 0.0,
        }
    }

    /// A logarithmic axis.
    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self {
            kind: AxisKind::Log,
            ..Self::linear(label)
        }
    }

    /// The same, but reaching to `most` at least.
    pub(crate) fn to(self, most: f64) -> Self {
        Self { most, ..self }
    }
}

impl Point {
    /// One number.
    pub(crate) const fn new(x: f64, y: f64) -> Self {
        Self { x, y, range: None }
    }

    /// The mean of numbers, and from where to where they go.
    pub(crate) fn of(x: f64, numbers: &[f64]) -> Option<Self> {
        let count = u32::try_from(numbers.len()).ok().filter(|count| *count > 0)?;
        let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self {
            x,
            y: numbers.iter().sum::<f64>() / f64::from(count),
            range: (count > 1).then_some((least, most)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_several_numbers_is_their_mean_and_range() {
        let point = Point::of(7.0, &[2.0, 9.0, 4.0]).unwrap();
        assert_eq!((point.x, point.y, point.range), (7.0, 5.0, Some((2.0, 9.0))));
        assert_eq!(Point::of(7.0, &[2.0]), Some(Point::new(7.0, 2.0)));
        assert_eq!(Point::of(7.0, &[]), None);
    }
}
