//! The figures of the papers, from the tables that sweeps leave: which figures there are and what each shows
//! ([`sections`]), how they are drawn ([`svg`], [`png`]), and the page that has them all. Nothing here runs anything.

mod comparison;
mod draw;
mod figure;
mod figures;
mod page;
mod png;
mod published;
mod runs;
mod scale;
mod style;
#[cfg(test)]
mod tests;
mod values;
mod write;

pub use comparison::{ComparedValue, compare};
pub use draw::svg;
pub use figure::{Axis, AxisKind, Bar, Bars, Chart, Figure, Lines, Point, Series, Shape};
pub use figures::{MissingFigure, Section, sections};
pub use page::Page;
pub use png::{Fonts, PngError, SCALE, png};
pub use published::{PublishedValue, Quantity, Source, published};
pub use runs::Runs;
pub use style::{Colour, Marker, Style};
pub use values::Values;
pub use write::{PAGE, PlotError, WrittenFigures, write};
