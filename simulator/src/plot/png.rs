//! SVG to PNG, with the font that the figures were measured with: the same picture on every machine.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb},
};
use thiserror::Error;

/// Pixels of a PNG for each of the SVG's: enough for print at the width of a column.
pub const SCALE: f32 = 2.0;

/// Why there is no PNG.
#[derive(Debug, Error)]
pub enum PngError {
    /// The SVG can't be read.
    #[error("the SVG can't be read: {0}")]
    Svg(#[from] resvg::usvg::Error),
    /// It has no area.
    #[error("a picture of {width} x {height} pixels can't be drawn")]
    Size {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// The picture can't be encoded.
    #[error("the picture can't be encoded: {0}")]
    Encoding(String),
}

/// The fonts that figures are drawn with.
#[derive(Clone, Debug)]
pub struct Fonts(Arc<fontdb::Database>);

impl Default for Fonts {
    fn default() -> Self {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(notosans::REGULAR_TTF.to_vec());
        fonts.load_font_data(notosans::BOLD_TTF.to_vec());
        Self(Arc::new(fonts))
    }
}

/// The SVG as a PNG, [`SCALE`] times as large.
pub fn png(svg: &str, fonts: &Fonts) -> Result<Vec<u8>, PngError> {
    let options = Options {
        fontdb: Arc::clone(&fonts.0),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let (width, height) = size.map_or((0, 0), |size| (size.width(), size.height()));
    let mut pixels = Pixmap::new(width, height).ok_or(PngError::Size { width, height })?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| PngError::Encoding(error.to_string()))
}
