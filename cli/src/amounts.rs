//! Amounts of budget as JSON and in tables.

use privatekube_policy::{Composition, Rounding, is_beyond_count};
use serde::Serialize;

/// An amount at one coordinate. `None` is more than can be counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Amount {
    /// `epsilon`, `delta`, or `epsilon at order 4`.
    pub(crate) coordinate: String,
    /// The amount with all its digits.
    pub(crate) amount: Option<String>,
}

/// The amounts at all coordinates.
pub(crate) fn amounts(composition: &Composition, units: &[i128]) -> Vec<Amount> {
    let each = units.iter().enumerate().map(|(at, units)| Amount {
        coordinate: composition.coordinate_name(at),
        amount: exact(composition, at, *units),
    });
    each.collect()
}

/// An amount with all its digits; `None` if it is more than can be counted.
pub(crate) fn exact(composition: &Composition, at: usize, units: i128) -> Option<String> {
    (!is_beyond_count(units)).then(|| composition.display_units(at, units))
}

/// An amount for a table. What is there is rounded down, what is asked or missing up.
pub(crate) fn few(composition: &Composition, at: usize, units: i128, rounding: Rounding) -> String {
    composition.display_short(at, units, rounding)
}

/// The name of a coordinate in a table, where the column says that it is one.
pub(crate) fn short_name(composition: &Composition, at: usize) -> String {
    match composition {
        Composition::Basic => composition.coordinate_name(at),
        Composition::Renyi(orders) => orders
            .iter()
            .nth(at)
            .map(|order| order.to_string())
            .unwrap_or_default(),
    }
}

/// The title of a column of coordinates.
pub(crate) const fn title(composition: &Composition) -> &'static str {
    match composition {
        Composition::Basic => "OF",
        Composition::Renyi(_) => ">ORDER",
    }
}

/// A part from 0 to 1 as a percentage. What rounds to nothing has no sign.
pub(crate) fn percent(part: f64) -> String {
    let text = format!("{:.2}%", part * 100.0);
    if text == "-0.00%" {
        "0.00%".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_of_nothing_has_no_sign() {
        let texts = [-0.0, -0.000_01, 0.0, 0.123_456, -0.5].map(percent);
        assert_eq!(texts, ["0.00%", "0.00%", "0.00%", "12.35%", "-50.00%"]);
    }
}
