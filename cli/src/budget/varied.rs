//! A mechanism of which one parameter varies.

use std::fmt;

use privatekube_policy::Mechanism;

/// The text of a mechanism around the value of one parameter, which may stand in it several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Varied {
    /// The texts before, between and after the values.
    parts: Vec<String>,
    /// The parameter.
    parameter: String,
}

/// Whether a mechanism costs more or less when a parameter grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Noise: more of it costs less.
    Less,
    /// Steps: more of them cost more.
    More,
}

/// Why a parameter of a mechanism can't vary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VariedError {
    /// No term takes it.
    Nowhere {
        /// The parameter.
        parameter: String,
        /// The mechanism.
        mechanism: String,
    },
    /// Several terms take it, and none says that it is meant.
    Several {
        /// The parameter.
        parameter: String,
        /// How many.
        count: usize,
    },
}

impl fmt::Display for VariedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere { parameter, mechanism } => write!(
                f,
                "no term of {mechanism:?} takes {parameter}: sigma is one of gaussian, scale of laplace and \
                 subsampled-laplace, noise-multiplier and steps of dp-sgd and tree-aggregation"
            ),
            Self::Several { parameter, count } => write!(
                f,
                "{count} terms take {parameter}: write {parameter}=? in those that are to have the same one"
            ),
        }
    }
}

impl std::error::Error for VariedError {}

/// The mechanisms that take each parameter.
const TAKE: [(&str, &[&str]); 4] = [
    ("sigma", &["gaussian"]),
    ("scale", &["laplace", "subsampled-laplace"]),
    ("noise-multiplier", &["dp-sgd", "tree-aggregation"]),
    ("steps", &["dp-sgd", "tree-aggregation"]),
];

impl Varied {
    /// The mechanism with `parameter` to vary: where it is `?`, else in the only term that takes it, whether the term names it
    /// or not.
    pub(crate) fn parse(mechanism: &str, parameter: &str) -> Result<Self, VariedError> {
        let values = values(mechanism, parameter);
        let marked: Vec<_> = values
            .iter()
            .filter(|(begin, end)| mechanism[*begin..*end].trim() == "?")
            .copied()
            .collect();
        let open = missing(mechanism, parameter);
        let places = match (marked.len(), values.len() + open.len()) {
            (1.., _) => marked,
            (0, 0) => {
                return Err(VariedError::Nowhere {
                    parameter: parameter.to_owned(),
                    mechanism: mechanism.to_owned(),
                });
            }
            (0, 1) if open.is_empty() => values,
            (0, 1) => {
                let (at, name) = (open[0].0, format!("{parameter}="));
                let separator = if open[0].1 { "" } else { "," };
                let before = format!("{}{name}", &mechanism[..at]);
                let after = format!("{separator}{}", &mechanism[at..]);
                return Ok(Self {
                    parts: vec![before, after],
                    parameter: parameter.to_owned(),
                });
            }
            (0, count) => {
                return Err(VariedError::Several {
                    parameter: parameter.to_owned(),
                    count,
                });
            }
        };
        let mut parts = Vec::new();
        let mut from = 0;
        for (begin, end) in places {
            parts.push(mechanism[from..begin].to_owned());
            from = end;
        }
        parts.push(mechanism[from..].to_owned());
        Ok(Self {
            parts,
            parameter: parameter.to_owned(),
        })
    }

    /// The mechanism's text with this value.
    #[must_use]
    pub(crate) fn with(&self, value: &str) -> String {
        self.parts.join(value)
    }

    /// The parameter that varies.
    #[must_use]
    pub(crate) fn parameter(&self) -> &str {
        &self.parameter
    }

    /// Whether the mechanism costs more or less when the parameter grows.
    #[must_use]
    pub(crate) fn direction(&self) -> Direction {
        if self.parameter == "steps" {
            Direction::More
        } else {
            Direction::Less
        }
    }

    /// Those parameters of a valid mechanism that can vary, in the order of [`Parameter`](super::Parameter).
    #[must_use]
    pub(crate) fn all(mechanism: &Mechanism) -> Vec<Self> {
        let text = mechanism.to_string();
        let names = TAKE.iter().map(|(parameter, _)| *parameter);
        let varied = names.filter_map(|parameter| Self::parse(&text, parameter).ok());
        varied.collect()
    }

    /// The value that a mechanism's text has, if it has one only.
    #[must_use]
    pub(crate) fn value_in(&self, text: &str) -> Option<String> {
        match values(text, &self.parameter).as_slice() {
            [(begin, end)] => Some(text[*begin..*end].trim().to_owned()),
            _ => None,
        }
    }
}

/// Where the values of a parameter are: the places after each `parameter=`, up to the next comma or bracket.
fn values(text: &str, parameter: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(parameter) {
        let before = text[..at].trim_end();
        let after = &text[at + parameter.len()..];
        let Some(value) = after.trim_start().strip_prefix('=') else {
            continue;
        };
        if before.ends_with(['(', ',']) {
            let begin = text.len() - value.len();
            let length = value.find([',', ')']).unwrap_or(value.len());
            found.push((begin, begin + length));
        }
    }
    found
}

/// Where a parameter can be added: after the opening bracket of each term that takes it and doesn't name it, and whether
/// the brackets are empty.
fn missing(text: &str, parameter: &str) -> Vec<(usize, bool)> {
    let takes = TAKE
        .iter()
        .find(|(name, _)| *name == parameter)
        .map_or(&[][..], |(_, takes)| takes);
    let mut found = Vec::new();
    for (open, _) in text.match_indices('(') {
        let name = text[..open].trim_end();
        let begin = name
            .rfind(|letter: char| !(letter.is_ascii_alphabetic() || letter == '-'))
            .map_or(0, |at| at + 1);
        let inside = text[open + 1..].split(')').next().unwrap_or_default();
        if takes.contains(&&name[begin..]) && values(&format!("({inside})"), parameter).is_empty() {
            found.push((open + 1, inside.trim().is_empty()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_marked_or_added() {
        for (text, parameter, with) in [
            ("gaussian(sigma=2)", "sigma", "gaussian(sigma=X)"),
            ("gaussian( sigma = 2 )", "sigma", "gaussian( sigma =X)"),
            ("gaussian()", "sigma", "gaussian(sigma=X)"),
            (
                "dp-sgd(sample-rate=0.1,steps=5)",
                "noise-multiplier",
                "dp-sgd(noise-multiplier=X,sample-rate=0.1,steps=5)",
            ),
            (
                "2*dp-sgd(noise-multiplier=1,sample-rate=0.1,steps=5) + laplace(scale=1)",
                "steps",
                "2*dp-sgd(noise-multiplier=1,sample-rate=0.1,steps=X) + laplace(scale=1)",
            ),
            (
                "gaussian(sigma=?)+gaussian(sigma=3)+gaussian(sigma=?)",
                "sigma",
                "gaussian(sigma=X)+gaussian(sigma=3)+gaussian(sigma=X)",
            ),
        ] {
            let varied = Varied::parse(text, parameter).unwrap();
            assert_eq!(varied.with("X"), with, "{text}");
        }
    }

    #[test]
    fn a_parameter_that_nothing_takes_or_several_terms_take_is_refused() {
        let error = Varied::parse("laplace(scale=1)", "sigma").unwrap_err();
        assert!(error.to_string().contains("no term"), "{error}");
        let error = Varied::parse("gaussian(sigma=1) + 2*gaussian()", "sigma").unwrap_err();
        assert!(error.to_string().starts_with("2 terms take sigma"), "{error}");
    }
}
