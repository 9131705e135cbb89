//! Tests the SVGs and PNGs.

use resvg::{tiny_skia::Pixmap, usvg::roxmltree::Document};

use super::all;
use crate::plot::{Chart, Figure, Fonts, Runs, SCALE, png, published, sections, svg};

fn figures() -> Vec<Figure> {
    let tables = all();
    let sections = sections(&Runs::new(&tables), &published());
    sections.into_iter().flat_map(|section| section.figures).collect()
}

/// Returns the number in an attribute.
fn number(node: &resvg::usvg::roxmltree::Node<'_, '_>, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

#[test]
fn every_svg_is_well_formed_and_inside_its_area() {
    for figure in figures() {
        let svg = svg(&figure);
        let document =
            Document::parse(&svg).unwrap_or_else(|error| panic!("{}: {error}\n{svg}", figure.name));
        let root = document.root_element();
        let (width, height) = (number(&root, "width"), number(&root, "height"));
        assert_eq!(root.attribute("aria-label"), Some(figure.title.as_str()));
        for text in root.descendants().filter(|node| node.has_tag_name("text")) {
            let (x, y, wide) = (
                number(&text, "x"),
                number(&text, "y"),
                number(&text, "textLength"),
            );
            let left = match text.attribute("text-anchor") {
                Some("start") => x,
                Some("middle") => x - wide / 2.0,
                _ => x - wide,
            };
            assert!(
                left >= 0.0 && left + wide <= width && (0.0..=height).contains(&y),
                "{}: {:?} at {x}, {y}",
                figure.name,
                text.text()
            );
        }
        for bar in root.descendants().filter(|node| node.has_tag_name("rect")) {
            assert!(
                number(&bar, "width") >= 0.0 && number(&bar, "height") >= 0.0,
                "{}",
                figure.name
            );
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", figure.name);
    }
}

#[test]
fn every_series_is_in_the_legend() {
    for figure in figures() {
        let svg = svg(&figure);
        let document = Document::parse(&svg).unwrap();
        let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
        let labels: Vec<&String> = match &figure.chart {
            Chart::Lines(lines) => lines.series.iter().map(|series| &series.label).collect(),
            Chart::Bars(bars) => bars.parts.iter().map(|(label, _)| label).collect(),
        };
        for label in labels {
            assert!(
                texts.contains(&label.as_str()),
                "{}: {label} is not in {texts:?}",
                figure.name
            );
        }
    }
}

#[test]
fn a_png_is_the_svg_twice_as_large() {
    let fonts = Fonts::default();
    let figures = figures();
    // A figure with lines, one with steps, and one with bars.
    for name in [
        "micro-multi-basic-granted",
        "micro-multi-basic-delay",
        "micro-multi-basic-classes",
    ] {
        let figure = figures.iter().find(|figure| figure.name == name).unwrap();
        let svg = svg(figure);
        let document = Document::parse(&svg).unwrap();
        let picture = Pixmap::decode_png(&png(&svg, &fonts).unwrap()).unwrap();
        let root = document.root_element();
        for (pixels, attribute) in [(picture.width(), "width"), (picture.height(), "height")] {
            let expected = number(&root, attribute) * f64::from(SCALE);
            assert!(
                (f64::from(pixels) - expected).abs() <= 1.0,
                "{name}: {attribute} is {pixels}"
            );
        }
        // Most of the picture is white, and the title is drawn, so the font was found.
        let white = picture
            .pixels()
            .iter()
            .filter(|pixel| pixel.red() == 255 && pixel.blue() == 255);
        let part = 100 * white.count() / picture.pixels().len();
        assert!((50..99).contains(&part), "{name}: {part}% of the paper is white");
        let title = picture.pixels()[..picture.width() as usize * 70].iter();
        assert!(
            title.filter(|pixel| pixel.red() < 60).count() > 500,
            "{name} has no title"
        );
    }
}

#[test]
fn an_invalid_svg_makes_no_png() {
    let error = png("<svg", &Fonts::default()).unwrap_err().to_string();
    assert!(error.starts_with("the SVG can't be read"), "{error}");
}
