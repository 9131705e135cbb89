//! Draws markers and hatches.

use std::f64::consts::PI;

use maud::{Markup, html};

use super::at;
use crate::plot::style::{Colour, Marker, Style};

/// Whether a marker shows our value or a published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Our value.
    Solid,
    /// A published value.
    Hollow,
}

/// Draws a marker around a point. `tooltip` is shown when the pointer is over it.
pub(super) fn marker(style: Style, fill: Fill, (x, y): (f64, f64), tooltip: Option<&str>) -> Markup {
    let colour = style.colour;
    let (hex, none) = (colour.hex(), "none");
    let (inside, outside, width, radius, class) = match fill {
        Fill::Solid => (hex, "#ffffff", "1", 5.0, format!("{} solid", colour.name())),
        Fill::Hollow => (none, hex, "1.8", 8.0, format!("{} hollow", colour.name())),
    };
    let tooltip = html! { @if let Some(tooltip) = tooltip { title { (tooltip) } } };
    html! {
        @if style.marker == Marker::Circle {
            circle class=(class) cx=(at(x)) cy=(at(y)) r=(at(radius)) fill=(inside) stroke=(outside) stroke-width=(width) { (tooltip) }
        } @else {
            polygon class=(class) points=(outline(style.marker, x, y, radius)) fill=(inside) stroke=(outside)
                stroke-width=(width) stroke-linejoin="round" { (tooltip) }
        }
    }
}

/// Returns the corners of a marker as SVG writes them. Each shape has about the area of a circle of that
/// radius.
fn outline(marker: Marker, x: f64, y: f64, radius: f64) -> String {
    // Number of corners; distance of the corners from the centre, relative to the radius; distance of every
    // second corner, relative to the others; and rotation in turns.
    let (corners, size, waist, turn) = match marker {
        Marker::Circle => (24, 1.0, 1.0, 0.0),
        Marker::Square => (4, 1.3, 1.0, 0.125),
        Marker::Up => (3, 1.45, 1.0, 0.75),
        Marker::Down => (3, 1.45, 1.0, 0.25),
        Marker::Diamond => (4, 1.35, 1.0, 0.0),
        Marker::Star => (10, 1.5, 0.45, 0.75),
        Marker::Cross => (8, 1.5, 0.45, 0.125),
        Marker::Pentagon => (5, 1.2, 1.0, 0.75),
    };
    let mut points = Vec::new();
    for corner in 0..corners {
        let angle = 2.0 * PI * (f64::from(corner) / f64::from(corners) + turn);
        let out = radius * size * if corner % 2 == 1 { waist } else { 1.0 };
        points.push(format!(
            "{},{}",
            at(x + out * angle.cos()),
            at(y + out * angle.sin())
        ));
    }
    points.join(" ")
}

/// Defines a hatch: white strokes on the style's colour (black ones on yellow).
pub(super) fn hatch(style: Style, id: &str) -> Markup {
    let strokes = match style.texture % Style::HATCHES {
        0 => "",
        1 => "M0,8 L8,0 M-1,1 L1,-1 M7,9 L9,7",
        2 => "M4,3 L4,5 M3,4 L5,4",
        3 => "M0,0 L8,8 M7,-1 L9,1 M-1,7 L1,9",
        4 => "M0,4 L8,4",
        5 => "M4,0 L4,8",
        6 => "M0,4 L8,4 M4,0 L4,8",
        _ => "M0,0 L8,8 M0,8 L8,0",
    };
    html! {
        pattern id=(id) width="8" height="8" patternUnits="userSpaceOnUse" {
            rect class={ (style.colour.name()) " area" } width="8" height="8" fill=(style.colour.hex()) {}
            path d=(strokes) fill="none" stroke=(if style.colour == Colour::Yellow { "#000000" } else { "#ffffff" }) stroke-width="1.6" {}
        }
    }
}
