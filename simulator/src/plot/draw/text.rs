//! Measures and breaks texts, in the font of the figures (Noto Sans, SIL Open Font License).

use skrifa::{
    FontRef, MetadataProvider,
    instance::{LocationRef, Size},
};

/// The font families that an SVG names. The alternatives have about the same widths as Noto Sans.
pub(super) const FAMILY: &str = "'Noto Sans', 'Helvetica Neue', Arial, sans-serif";

/// The weight of the font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// Returns the width of a text, in pixels.
pub(super) fn width(text: &str, size: f32, weight: Weight) -> f64 {
    let bytes = match weight {
        Weight::Regular => notosans::REGULAR_TTF,
        Weight::Bold => notosans::BOLD_TTF,
    };
    // A letter that the font lacks counts as one em; without a font, every letter counts as half an em.
    let Ok(font) = FontRef::new(bytes) else {
        return 0.5 * f64::from(size) * text.chars().map(|_| 1.0).sum::<f64>();
    };
    let (glyphs, metrics) = (
        font.charmap(),
        font.glyph_metrics(Size::new(size), LocationRef::default()),
    );
    let widths = text
        .chars()
        .map(|letter| metrics.advance_width(glyphs.map(letter)?));
    widths.map(|width| f64::from(width.unwrap_or(size))).sum()
}

/// Breaks a text into lines of at most `most` pixels, unless a single word is wider.
pub(super) fn lines(text: &str, size: f32, weight: Weight, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A no-break space does not break.
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size, weight) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_the_fonts() {
        let narrow = width("iiii", 16.0, Weight::Regular);
        let wide = width("WWWW", 16.0, Weight::Regular);
        assert!(
            narrow > 8.0 && wide < 80.0 && narrow * 2.0 < wide,
            "{narrow} {wide}"
        );
        assert!(width("WWWW", 16.0, Weight::Bold) > wide);
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        let text = "arrivals until a block is unlocked (N), or the same in mean intervals (T)";
        let lines = lines(text, 16.0, Weight::Regular, 300.0);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), text);
        for line in lines {
            assert!(width(&line, 16.0, Weight::Regular) <= 300.0, "{line}");
        }
    }
}
