//! Renders SVG to PNG with the font that the figures were measured with, which is in the binary, so that the
//! picture is the same on every machine.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb},
};
use thiserror::Error;

/// Pixels of the PNG for each pixel of the SVG: enough for print at the width of a column.
pub const SCALE: f32 = 2.0;

/// The reason why a PNG can't be made.
#[derive(Debug, Error)]
pub enum PngError {
    /// The SVG is invalid.
    #[error("the SVG can't be read: {0}")]
    Svg(#[from] resvg::usvg::Error),
    /// The SVG has no area.
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

/// The fonts of the figures: Noto Sans, regular and bold.
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

/// Renders an SVG as a PNG, [`SCALE`] times as large.
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
