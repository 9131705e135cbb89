//! Axes: the range of an axis, its ticks and their labels, and the conversion from numbers to places in
//! pixels. Also formats numbers for tables.

use super::figure::{Axis, AxisKind};

/// An axis with its range and its place in the figure.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    kind: AxisKind,
    least: f64,
    most: f64,
    /// The places of `least` and `most`, in pixels.
    from: f64,
    to: f64,
    /// Ticks with a grid line and a label.
    pub(super) ticks: Vec<f64>,
    /// Small ticks without a label.
    pub(super) small_ticks: Vec<f64>,
}

impl Scale {
    /// Makes an axis for `numbers`, from the place `from` to the place `to`, with about `count` ticks.
    pub(super) fn new(
        axis: &Axis,
        numbers: impl Iterator<Item = f64>,
        from: f64,
        to: f64,
        count: u32,
    ) -> Self {
        let numbers = numbers.filter(|number| number.is_finite());
        match axis.kind {
            AxisKind::Linear => {
                let most = numbers.fold(axis.most, f64::max);
                Self::linear(if most > 0.0 { most } else { 1.0 }, from, to, count)
            }
            AxisKind::Log => {
                let positive = numbers.filter(|number| *number > 0.0);
                let (least, most) = positive.fold((f64::INFINITY, axis.most), |(least, most), number| {
                    (least.min(number), most.max(number))
                });
                let (least, most) = if least.is_finite() {
                    (least, most)
                } else {
                    (1.0, 10.0)
                };
                Self::log(least, most, from, to)
            }
        }
    }

    fn linear(most: f64, from: f64, to: f64, count: u32) -> Self {
        let step = nice_step(most / f64::from(count.max(1)));
        // A number up to a hundredth of a step beyond a tick needs no further tick.
        let steps = (most / step - 0.01).ceil().max(1.0);
        let ticks = (0..=100).map(f64::from).take_while(|tick| *tick <= steps);
        Self {
            kind: AxisKind::Linear,
            least: 0.0,
            most: steps * step,
            from,
            to,
            ticks: ticks.map(|tick| tick * step).collect(),
            small_ticks: Vec::new(),
        }
    }

    fn log(least: f64, most: f64, from: f64, to: f64) -> Self {
        let first = least.log10().floor();
        // The axis ends at 1, 2 or 5 times a power of ten, since the next power of ten is often far.
        let power = 10f64.powf(most.log10().floor());
        let ends = [1.0, 2.0, 5.0, 10.0].map(|part| part * power);
        let most = ends
            .into_iter()
            .find(|end| *end >= most * 0.999)
            .unwrap_or(most)
            .max(10f64.powf(first + 1.0));
        let powers = (0..=40)
            .map(|power| 10f64.powf(first + f64::from(power)))
            .take_while(|tick| *tick <= most * 1.001);
        let ticks: Vec<f64> = powers.collect();
        let small = ticks
            .iter()
            .flat_map(|tick| (2..10).map(move |part| tick * f64::from(part)));
        Self {
            kind: AxisKind::Log,
            least: 10f64.powf(first),
            most,
            from,
            to,
            small_ticks: small.filter(|tick| *tick <= most * 1.001).collect(),
            ticks,
        }
    }

    /// Returns the place of a number, in pixels.
    pub(super) fn place(&self, number: f64) -> f64 {
        let part = match self.kind {
            AxisKind::Linear => number / self.most,
            // Numbers below a logarithmic axis are drawn at its beginning.
            AxisKind::Log if number <= self.least => 0.0,
            AxisKind::Log => (number / self.least).ln() / (self.most / self.least).ln(),
        };
        self.from + part * (self.to - self.from)
    }

    /// Returns the label of a tick.
    pub(super) fn label(&self, tick: f64) -> String {
        let step = match self.kind {
            AxisKind::Linear => self.ticks.get(1).copied().unwrap_or(1.0),
            AxisKind::Log => tick,
        };
        // As many decimal places as the step has.
        let places = (0..6_u8).find(|places| {
            let shifted = step * 10f64.powi((*places).into());
            (shifted - shifted.round()).abs() < 1e-6 * shifted
        });
        number(tick, places.unwrap_or(6).into())
    }
}

/// Returns the smallest number of the form 1, 2, 2.5 or 5 times a power of ten that is at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let nice = [1.0, 2.0, 2.5, 5.0].into_iter().map(|part| part * power);
    nice.into_iter()
        .find(|nice| *nice >= step * 0.999)
        .unwrap_or(10.0 * power)
}

/// Formats a number with `places` decimal places and separated thousands.
pub(super) fn number(number: f64, places: usize) -> String {
    let text = format!("{number:.places$}");
    let (whole, rest) = text
        .find('.')
        .map_or((text.as_str(), ""), |point| text.split_at(point));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::from(&whole[..whole.len() - digits.len()]);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Formats a number with as many decimal places as it needs, at most three.
pub(super) fn short(value: f64) -> String {
    let places = (0..3_u8).find(|places| {
        let shifted = value * 10f64.powi((*places).into());
        (shifted - shifted.round()).abs() < 1e-6
    });
    number(value, places.unwrap_or(3).into())
}

/// Formats a number with three significant digits, or with all digits before the decimal point if there are
/// more.
pub(super) fn rounded(value: f64) -> String {
    let first = if value == 0.0 {
        0.0
    } else {
        value.abs().log10().floor()
    };
    let step = 10f64.powf((first - 2.0).min(0.0));
    // Numbers below 1e-6 get nine places.
    let places = (0..9_u8).find(|places| step * 10f64.powi((*places).into()) > 0.99);
    let text = number(value, places.unwrap_or(9).into());
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, most: f64) -> Vec<String> {
        let scale = Scale::new(axis, [1.0, most].into_iter(), 0.0, 100.0, 6);
        scale.ticks.iter().map(|tick| scale.label(*tick)).collect()
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_after_its_numbers() {
        assert_eq!(
            labels(&Axis::linear(""), 2863.0),
            ["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]
        );
        assert_eq!(
            labels(&Axis::linear(""), 1.0),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels(&Axis::linear("").to(300.0), 2.0).last().unwrap(), "300");
        let scale = Scale::new(&Axis::linear(""), [70.0].into_iter(), 50.0, 150.0, 7);
        assert!((scale.place(0.0) - 50.0).abs() < 1e-9);
        assert!((scale.place(35.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_ticks_of_a_logarithmic_axis_are_powers_of_ten() {
        assert_eq!(
            labels(&Axis::log(""), 10_000.0),
            ["1", "10", "100", "1,000", "10,000"]
        );
        let scale = Scale::new(&Axis::log(""), [0.5, 47_170.0].into_iter(), 0.0, 100.0, 6);
        let ticks: Vec<String> = scale.ticks.iter().map(|tick| scale.label(*tick)).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100", "1,000", "10,000"]);
        assert!(scale.place(47_170.0) < 100.0 && scale.place(0.0).abs() < 1e-9);
    }

    #[test]
    fn an_axis_without_numbers_has_ticks() {
        assert_eq!(
            Scale::new(&Axis::linear(""), [].into_iter(), 0.0, 1.0, 5)
                .ticks
                .len(),
            6
        );
        assert_eq!(
            Scale::new(&Axis::log(""), [0.0].into_iter(), 0.0, 1.0, 5)
                .ticks
                .len(),
            2
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(-1234.5, 1), "-1,234.5");
        assert_eq!(number(12.0, 0), "12");
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(1.0 / 3.0), "0.333");
        assert_eq!(short(51_363.0), "51,363");
        assert_eq!(rounded(0.004_264_781), "0.00426");
        assert_eq!(rounded(29.296_875), "29.3");
        assert_eq!(rounded(781.25), "781");
        assert_eq!(rounded(10.0), "10");
        assert_eq!(rounded(0.0), "0");
    }
}
