//! Colours, markers, dashes and hatches of series. The colours are those of Okabe and Ito ("Color Universal
//! Design", 2008), which people with any colour vision can tell apart. Markers, dashes and hatches serve
//! people who see no colours, and prints in grey.

/// The style of a series. Any two of the first eight styles differ in colour, marker and texture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Style {
    /// Colour.
    pub colour: Colour,
    /// The marker at its points.
    pub marker: Marker,
    /// The dashes of its line and the hatch of its bars: a place in [`Style::DASHES`], or the number of a
    /// hatch below [`Style::HATCHES`].
    pub texture: usize,
}

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// Black. A dark page shows it as white.
    Black,
    /// Orange.
    Orange,
    /// Sky blue.
    Sky,
    /// Bluish green.
    Green,
    /// Yellow.
    Yellow,
    /// Blue.
    Blue,
    /// Vermillion.
    Vermillion,
    /// Reddish purple.
    Purple,
}

/// The marker at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Marker {
    /// ●
    Circle,
    /// ■
    Square,
    /// ▲
    Up,
    /// ▼
    Down,
    /// ◆
    Diamond,
    /// ★
    Star,
    /// ✖
    Cross,
    /// ⬟
    Pentagon,
}

impl Colour {
    /// Returns the colour as SVG writes it.
    #[must_use]
    pub const fn hex(self) -> &'static str {
        match self {
            Self::Black => "#000000",
            Self::Orange => "#E69F00",
            Self::Sky => "#56B4E9",
            Self::Green => "#009E73",
            Self::Yellow => "#F0E442",
            Self::Blue => "#0072B2",
            Self::Vermillion => "#D55E00",
            Self::Purple => "#CC79A7",
        }
    }

    /// Returns its name, which is a class in SVG.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Black => "black",
            Self::Orange => "orange",
            Self::Sky => "sky",
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Blue => "blue",
            Self::Vermillion => "vermillion",
            Self::Purple => "purple",
        }
    }
}

/// The styles, in the order of use. Yellow, which is hard to see on white, comes last.
const STYLES: [Style; 8] = {
    use {Colour as C, Marker as M};
    const fn style(colour: Colour, marker: Marker, texture: usize) -> Style {
        Style {
            colour,
            marker,
            texture,
        }
    }
    [
        style(C::Blue, M::Circle, 0),
        style(C::Vermillion, M::Square, 1),
        style(C::Green, M::Up, 2),
        style(C::Purple, M::Down, 3),
        style(C::Orange, M::Star, 4),
        style(C::Black, M::Diamond, 5),
        style(C::Sky, M::Cross, 6),
        style(C::Yellow, M::Pentagon, 7),
    ]
};

/// The preferred style of each policy, so that a policy has the same style in all figures.
const POLICIES: [(&str, usize); 16] = [
    ("dpf", 0),
    ("dpf-n", 0),
    ("dpf-t", 1),
    ("rr", 2),
    ("rr-n", 2),
    ("rr-t", 3),
    ("dpack", 4),
    ("dpack-n", 4),
    ("dpack-t", 4),
    ("fcfs", 5),
    ("fcfs-wait-n", 5),
    ("fcfs-wait-t", 5),
    ("optimum", 2),
    ("blend", 6),
    ("blend-n", 6),
    ("blend-t", 6),
];

impl Style {
    /// Dashes of lines: lengths of strokes and gaps, as SVG writes them.
    pub const DASHES: [&'static str; 8] = ["", "9 4", "2 4", "12 4 2 4", "5 3", "14 6", "9 3 2 3 2 3", "1 3"];

    /// Number of hatches.
    pub const HATCHES: usize = 8;

    /// Returns the style at `place`. The first eight differ in everything, the next 56 in colour or marker.
    pub(crate) const fn nth(place: usize) -> Self {
        let (row, column) = (place / STYLES.len(), place % STYLES.len());
        Self {
            colour: STYLES[column].colour,
            marker: STYLES[(column + row) % STYLES.len()].marker,
            texture: STYLES[(column + row) % STYLES.len()].texture,
        }
    }

    /// Returns the dashes of its line.
    pub(crate) const fn dashes(self) -> &'static str {
        Self::DASHES[self.texture % Self::DASHES.len()]
    }
}

/// Returns a style for each policy of a figure: its preferred style, or the next free one. Of several series
/// of one policy, the last, which is drawn on top, gets the preferred style.
pub(crate) fn styles_of_policies(policies: &[&str]) -> Vec<Style> {
    let mut places: Vec<Option<usize>> = vec![None; policies.len()];
    for (index, policy) in policies.iter().enumerate().rev() {
        let own = POLICIES.iter().find(|(name, _)| name == policy);
        if let Some((_, own)) = own
            && !places.contains(&Some(*own))
        {
            places[index] = Some(*own);
        }
    }
    for index in 0..places.len() {
        if places[index].is_none() {
            // There are more places than policies, so one is free.
            places[index] = (0..=POLICIES.len() + places.len()).find(|place| !places.contains(&Some(*place)));
        }
    }
    places.into_iter().flatten().map(Style::nth).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_first_styles_have_nothing_in_common_and_no_two_are_equal() {
        let styles: Vec<Style> = (0..64).map(Style::nth).collect();
        let first = &styles[..8];
        assert_eq!(
            first
                .iter()
                .map(|style| style.colour)
                .collect::<HashSet<_>>()
                .len(),
            8
        );
        assert_eq!(
            first
                .iter()
                .map(|style| style.marker)
                .collect::<HashSet<_>>()
                .len(),
            8
        );
        assert_eq!(
            first
                .iter()
                .map(|style| style.dashes())
                .collect::<HashSet<_>>()
                .len(),
            8
        );
        let pairs: HashSet<_> = styles.iter().map(|style| (style.colour, style.marker)).collect();
        assert_eq!(pairs.len(), 64);
    }

    #[test]
    fn a_policy_keeps_its_style_and_no_two_share_one() {
        let styles = styles_of_policies(&["fcfs", "dpack", "dpack", "lottery", "dpf-n"]);
        assert_eq!(styles[0].colour, Colour::Black);
        assert_eq!(styles[2].colour, Colour::Orange);
        assert_eq!(styles[4].colour, Colour::Blue);
        assert_eq!(styles.iter().collect::<HashSet<_>>().len(), 5);
    }
}
