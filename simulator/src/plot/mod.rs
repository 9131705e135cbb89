//! Draws the figures of the papers from the tables that sweeps write. `figures` chooses the data of each
//! figure ([`sections`]), `draw` and `png` draw it ([`svg`], [`png()`]), and `page` writes the page with all
//! figures. No run is made here. Begin reading at [`write()`], then [`Figure`].

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
