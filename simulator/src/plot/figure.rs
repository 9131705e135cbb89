//! The content of a figure, independent of how it is drawn.

use super::style::Style;

/// A figure: its file name, its texts, and its chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of its files, without extension.
    pub name: String,
    /// Its title.
    pub title: String,
    /// How to read it, in a sentence or two.
    pub about: String,
    /// The chart.
    pub chart: Chart,
}

/// The chart.
#[derive(Clone, Debug, PartialEq)]
pub enum Chart {
    /// Lines in a plane.
    Lines(Lines),
    /// Stacked bars.
    Bars(Bars),
}

/// Lines in a plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, the lowest layer first.
    pub series: Vec<Series>,
    /// The legend's text for published points, if there are any.
    pub published: Option<String>,
}

/// An axis. A linear axis begins at 0, a logarithmic one at a power of ten.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its quantity and unit.
    pub label: String,
    /// Linear or logarithmic.
    pub kind: AxisKind,
    /// The least end of the axis. It extends further if numbers are larger.
    pub most: f64,
}

/// Linear or logarithmic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// Linear.
    Linear,
    /// Logarithmic.
    Log,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// Its colour, marker and dashes.
    pub style: Style,
    /// How its points are connected.
    pub shape: Shape,
    /// From left to right.
    pub points: Vec<Point>,
    /// Published points of the same quantity.
    pub published: Vec<(f64, f64)>,
}

/// How points are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// By straight lines, with a marker at each point.
    Line,
    /// By steps: each value holds until the next point.
    Steps,
    /// One value for all x: a horizontal line.
    Level,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The value on the horizontal axis.
    pub x: f64,
    /// The value on the vertical axis; the mean, if there are several.
    pub y: f64,
    /// The least and the greatest value, if there are several.
    pub range: Option<(f64, f64)>,
}

/// Stacked bars.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// The vertical axis.
    pub y: Axis,
    /// Names and styles of the parts, the lowest first.
    pub parts: Vec<(String, Style)>,
    /// From left to right.
    pub bars: Vec<Bar>,
}

/// One stacked bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its label.
    pub label: String,
    /// One value for each part.
    pub values: Vec<f64>,
}

impl Axis {
    /// Returns a linear axis that fits its numbers.
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            kind: AxisKind::Linear,
            most: 0.0,
        }
    }

    /// Returns a logarithmic axis that fits its numbers.
    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self {
            kind: AxisKind::Log,
            ..Self::linear(label)
        }
    }

    /// Extends the axis to `most` at least.
    pub(crate) fn to(self, most: f64) -> Self {
        Self { most, ..self }
    }
}

impl Point {
    /// Returns a point with one value.
    pub(crate) const fn new(x: f64, y: f64) -> Self {
        Self { x, y, range: None }
    }

    /// Returns a point at the mean of `numbers`, with their range; `None` if there are none.
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
