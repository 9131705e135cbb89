//! How wide a text is, in the font that figures are drawn with (Noto Sans, SIL Open Font License).

use skrifa::{
    FontRef, MetadataProvider,
    instance::{LocationRef, Size},
};

/// What an SVG asks for. Where Noto Sans is not there, what is has about the same widths.
pub(super) const FAMILY: &str = "'Noto Sans', 'Helvetica Neue', Arial, sans-serif";

/// Which of the two cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// The width of a text, in pixels.
pub(super) fn width(text: &str, size: f32, weight: Weight) -> f64 {
    let bytes = match weight {
        Weight::Regular => notosans::REGULAR_TTF,
        Weight::Bold => notosans::BOLD_TTF,
    };
    // An em for whatever is not in the font, and half of one if there is no font.
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

/// The text in lines, none wider than `most` unless a single word is.
pub(super) fn lines(text: &str, size: f32, weight: Weight, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // A no-break space is one.
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
