//! The inverse: the least noise, or the most steps, with which a mechanism keeps to an epsilon.
//!
//! Epsilon falls as noise grows and grows with the steps, so the parameter is found by halving. Conservative: the very value
//! that is returned was accounted for, as it is written, and its epsilon is at most the target.

use std::fmt::Write as _;

use privatekube_policy::{Conversion, Delta, Epsilon, Mechanism, Orders, Rounding};
use serde::Serialize;

use super::{
    account::{Account, few, renyi, short_delta},
    varied::{Direction, Varied},
};
use crate::output::{Form, Report};

/// The epsilon that may be proven at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The most.
    pub(crate) epsilon: Epsilon,
    /// For this delta.
    pub(crate) delta: Delta,
    /// By this conversion.
    pub(crate) conversion: Conversion,
}

/// A parameter that keeps to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Solution {
    /// The parameter.
    pub(crate) parameter: String,
    /// Its value.
    pub(crate) value: String,
    /// The whole mechanism with it.
    pub(crate) mechanism: String,
    /// The epsilon that it proves.
    pub(crate) epsilon: Epsilon,
}

/// Why no parameter keeps to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SolveError {
    /// The mechanism is wrong.
    Mechanism(String),
    /// Not even the most noise, or a single step, keeps to it. The epsilon that is left then, if it can be counted.
    OutOfReach(Direction, Option<Epsilon>),
    /// Any number of steps keeps to it.
    NoLimit,
}

impl std::fmt::Display for SolveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = |least: &Option<Epsilon>| {
            least.map_or_else(
                || "an epsilon that can't be counted".to_owned(),
                |epsilon| format!("epsilon {}", epsilon.short(Rounding::Up)),
            )
        };
        match self {
            Self::Mechanism(problem) => f.write_str(problem),
            Self::OutOfReach(Direction::Less, epsilon) => write!(
                f,
                "no noise keeps to the target: with as much as can be written, {} is left, from the other terms and from the \
                 largest order, at which delta alone costs ln(1/delta) / (order - 1): take a larger target, more orders \
                 (--orders), or a larger --delta",
                least(epsilon)
            ),
            Self::OutOfReach(Direction::More, epsilon) => write!(
                f,
                "not even one step keeps to the target: it proves {}; take more noise or a larger target",
                least(epsilon)
            ),
            Self::NoLimit => f.write_str(
                "any number of steps keeps to the target that can be written: there is nothing to find",
            ),
        }
    }
}

impl std::error::Error for SolveError {}

/// How many significant digits a noise is found with.
const DIGITS: i32 = 6;
/// The least and the most noise that are tried, as powers of ten.
const LEAST: i32 = -6;
const MOST: i32 = 12;
/// The most steps that are tried.
const MOST_STEPS: u64 = 1 << 40;

/// Finds the least noise, or the most steps, with which the mechanism proves at most the target. `prepare` makes of a parsed
/// mechanism the one that is accounted for.
pub(crate) fn solve(
    varied: &Varied,
    target: &Target,
    orders: &Orders,
    prepare: impl Fn(Mechanism) -> Result<Mechanism, String>,
) -> Result<Solution, SolveError> {
    let epsilon = |value: &str| -> Result<Option<Epsilon>, SolveError> {
        let mechanism: Mechanism = varied
            .with(value)
            .parse()
            .map_err(|error: privatekube_policy::MechanismError| SolveError::Mechanism(error.to_string()))?;
        let mechanism = prepare(mechanism).map_err(SolveError::Mechanism)?;
        let curve = renyi(&mechanism, orders).map_err(|error| SolveError::Mechanism(error.to_string()))?;
        let proven = target.conversion.epsilon(orders, &curve, target.delta);
        Ok(proven.map(|proven| proven.value))
    };
    let keeps =
        |value: &str| epsilon(value).map(|epsilon| epsilon.is_some_and(|value| value <= target.epsilon));
    let value = match varied.direction() {
        Direction::More => most_steps(&keeps)?,
        Direction::Less => least_noise(&keeps)?,
    };
    let edge = match varied.direction() {
        Direction::More => "1".to_owned(),
        Direction::Less => noise(MOST, 0),
    };
    let value = match value {
        Found::Value(value) => value,
        Found::Always => return Err(SolveError::NoLimit),
        Found::Never => return Err(SolveError::OutOfReach(varied.direction(), epsilon(&edge)?)),
    };
    Ok(Solution {
        parameter: varied.parameter().to_owned(),
        mechanism: varied.with(&value),
        // It keeps to the target, so it has an epsilon.
        epsilon: epsilon(&value)?.unwrap_or(target.epsilon),
        value,
    })
}

pub(crate) enum Found {
    Value(String),
    /// Every value keeps to it.
    Always,
    /// No value does.
    Never,
}

/// The most steps that keep to it.
pub(crate) fn most_steps<E>(keeps: &impl Fn(&str) -> Result<bool, E>) -> Result<Found, E> {
    let keeps = |steps: u64| keeps(&steps.to_string());
    if !keeps(1)? {
        return Ok(Found::Never);
    }
    let mut good = 1_u64;
    loop {
        if good == MOST_STEPS {
            return Ok(Found::Always);
        }
        if !keeps(good * 2)? {
            break;
        }
        good *= 2;
    }
    let mut bad = good * 2;
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if keeps(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Found::Value(good.to_string()))
}

/// The least noise that keeps to it, with [`DIGITS`] digits. Noises with so many digits are numbered in ascending order.
pub(crate) fn least_noise<E>(keeps: &impl Fn(&str) -> Result<bool, E>) -> Result<Found, E> {
    let in_decade = 9 * 10_i64.pow(DIGITS.unsigned_abs() - 1);
    let (mut bad, mut good) = (0_i64, i64::from(MOST - LEAST) * in_decade);
    let text = |number: i64| {
        let decade = i32::try_from(number / in_decade).unwrap_or_default();
        noise(LEAST + decade, number % in_decade)
    };
    if !keeps(&text(good))? {
        return Ok(Found::Never);
    }
    if keeps(&text(bad))? {
        return Ok(Found::Value(text(bad)));
    }
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if keeps(&text(middle))? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Found::Value(text(good)))
}

/// The noise with this number in a decade that begins with a power of ten, as the shortest decimal.
fn noise(power: i32, number: i64) -> String {
    let digits = (10_i64.pow(DIGITS.unsigned_abs() - 1) + number).to_string();
    let digits = digits.trim_end_matches('0');
    let (first, rest) = digits.split_at(1);
    let length = i32::try_from(rest.len()).unwrap_or_default();
    if (0..9).contains(&power) {
        let whole = usize::try_from(power).unwrap_or_default();
        if length <= power {
            return format!("{digits:0<width$}", width = whole + 1);
        }
        let (whole, fraction) = digits.split_at(whole + 1);
        return format!("{whole}.{fraction}");
    }
    if (-4..0).contains(&power) {
        let zeros = usize::try_from(-power - 1).unwrap_or_default();
        return format!("0.{}{digits}", "0".repeat(zeros));
    }
    if rest.is_empty() {
        format!("{first}e{power}")
    } else {
        format!("{first}.{rest}e{power}")
    }
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Solved {
    parameter: String,
    value: String,
    target_epsilon: String,
    conversion: &'static str,
    /// The epsilon of the answer by this conversion: at most the target.
    epsilon: String,
    account: Account,
}

impl Solved {
    pub(super) fn new(solution: Solution, target: &Target, account: Account) -> Self {
        Self {
            parameter: solution.parameter,
            value: solution.value,
            target_epsilon: target.epsilon.to_string(),
            conversion: match target.conversion {
                Conversion::Basic => "classical",
                Conversion::Improved => "improved",
            },
            epsilon: solution.epsilon.to_string(),
            account,
        }
    }
}

impl Report for Solved {
    fn text(&self, form: Form) -> String {
        let mut text = String::new();
        let what = if self.parameter == "steps" {
            "most"
        } else {
            "least"
        };
        let _ = writeln!(
            text,
            "{}: the {what} that proves at most epsilon {} for delta {} ({} conversion); it proves {}\n",
            form.paint.bold(&format!("{}={}", self.parameter, self.value)),
            self.target_epsilon,
            short_delta(&self.account.delta),
            self.conversion,
            few(Some(&self.epsilon))
        );
        text.push_str(&self.account.text(form));
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(mechanism: &str, parameter: &str, epsilon: &str, delta: &str) -> Result<Solution, SolveError> {
        let target = Target {
            epsilon: epsilon.parse().unwrap(),
            delta: delta.parse().unwrap(),
            conversion: Conversion::Improved,
        };
        let varied = Varied::parse(mechanism, parameter).unwrap();
        solve(&varied, &target, &Orders::default(), Ok)
    }

    #[test]
    fn noises_are_written_short_and_in_order() {
        for (power, number, text) in [
            (0, 0, "1"),
            (0, 123_450, "2.2345"),
            (2, 0, "100"),
            (2, 23_456, "123.456"),
            (5, 1, "100001"),
            (8, 1, "100001000"),
            (-1, 50_000, "0.15"),
            (-4, 0, "0.0001"),
            (-6, 20_000, "1.2e-6"),
            (12, 0, "1e12"),
        ] {
            assert_eq!(noise(power, number), text);
        }
    }

    #[test]
    fn known_solutions() {
        // dp-sgd(noise-multiplier=1.1,...) proves 3.113942413649.
        let text = "dp-sgd(sample-rate=0.01,steps=1000)";
        let solution = found(text, "noise-multiplier", "3.113942413649", "1e-9").unwrap();
        assert_eq!(solution.value, "1.1");
        let text = "dp-sgd(noise-multiplier=1.1,sample-rate=0.01)";
        assert_eq!(
            found(text, "steps", "3.113942413649", "1e-9").unwrap().value,
            "1000"
        );
    }

    #[test]
    fn a_target_out_of_reach_says_so() {
        let error = found("gaussian()", "sigma", "0.1", "1e-9").unwrap_err();
        assert!(error.to_string().starts_with("no noise keeps"), "{error}");
        let text = "dp-sgd(noise-multiplier=0.1,sample-rate=1)";
        let error = found(text, "steps", "0.5", "1e-9").unwrap_err();
        assert!(error.to_string().starts_with("not even one step"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// What is found keeps to the target, and the next value in the wrong direction doesn't.
        #[test]
        fn what_is_found_keeps_to_the_target_and_is_the_last_that_does(
            form in 0..4_usize,
            target in 300_000_000_000_i128..20_000_000_000_000,
            exponent in 5..12,
        ) {
            let (mechanism, parameter) = [
                ("gaussian()", "sigma"),
                ("2*laplace()", "scale"),
                ("dp-sgd(sample-rate=0.02,steps=500)", "noise-multiplier"),
                ("dp-sgd(noise-multiplier=2,sample-rate=0.02)", "steps"),
            ][form];
            let target = Target {
                epsilon: Epsilon::from_units(target),
                delta: format!("1e-{exponent}").parse().unwrap(),
                conversion: Conversion::Improved,
            };
            let varied = Varied::parse(mechanism, parameter).unwrap();
            let orders = Orders::default();
            let epsilon = |value: &str| {
                let mechanism: Mechanism = varied.with(value).parse().unwrap();
                target.conversion.epsilon(&orders, &renyi(&mechanism, &orders).unwrap(), target.delta).unwrap().value
            };
            match solve(&varied, &target, &orders, Ok) {
                Ok(solution) => {
                    prop_assert!(epsilon(&solution.value) <= target.epsilon);
                    prop_assert_eq!(solution.epsilon, epsilon(&solution.value));
                    let value: f64 = solution.value.parse().unwrap();
                    let next = match varied.direction() {
                        Direction::More => (value + 1.0).to_string(),
                        Direction::Less => (value * 0.999_98).to_string(),
                    };
                    prop_assert!(epsilon(&next) > target.epsilon, "{} {next}", solution.value);
                }
                Err(SolveError::OutOfReach(Direction::Less, least)) => prop_assert!(least.unwrap() > target.epsilon),
                Err(SolveError::OutOfReach(Direction::More, _)) => prop_assert!(epsilon("1") > target.epsilon),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
