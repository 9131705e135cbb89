//! The errors of parsing a mechanism and of charging it.

use std::fmt::Display;

use thiserror::Error;

use crate::{DecimalError, Delta, Epsilon};

/// Why a text is not a mechanism, or can't be charged. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MechanismError {
    /// A very long text.
    #[error("the mechanism is {length} characters long: at most {most} are accepted")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// A very long sum.
    #[error(
        "the mechanism is a sum of more than {most}: write equal ones as a multiple, like 3*laplace(scale=10)"
    )]
    TooManyTerms {
        /// How many there may be.
        most: usize,
    },
    /// A text that is not of the expected form.
    #[error(
        "expected {expected} at {found:?}: write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)"
    )]
    Syntax {
        /// What was expected.
        expected: &'static str,
        /// The rest of the text from there on.
        found: String,
    },
    /// An unknown name.
    #[error("{name:?} is not a known mechanism: {}", meant_or_known(*.hint, known))]
    UnknownMechanism {
        /// What was written.
        name: String,
        /// What was most likely meant.
        hint: Option<&'static str>,
        /// The known ones, with their parameters.
        known: &'static str,
    },
    /// Parameters with wrong names, or without any, or that are missing.
    #[error("{mechanism} {}: write {accepted}", listed(faults, ", "))]
    Parameters {
        /// The mechanism.
        mechanism: &'static str,
        /// What is wrong: at least one.
        faults: Vec<ParameterFault>,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// Both a rate of sampling and a batch size.
    #[error(
        "{mechanism} has sample-rate and batch-size: write one of the two, since the other follows from it"
    )]
    RateAndSize {
        /// The mechanism.
        mechanism: &'static str,
    },
    /// A parameter with a value out of its range.
    #[error("{parameter} is {text:?}: it must be {accepted}")]
    BadValue {
        /// The parameter.
        parameter: &'static str,
        /// What was written.
        text: String,
        /// What it may be.
        accepted: String,
    },
    /// An epsilon or delta that cannot be parsed.
    #[error("{parameter}: {problem}")]
    BadAmount {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with it.
        problem: DecimalError,
    },
    /// An epsilon of 0 or less.
    #[error("epsilon is {0}: a demand needs an epsilon above 0")]
    NoEpsilon(Epsilon),
    /// A delta that is not a probability.
    #[error("delta is {0}: it must be between 0 and 1")]
    NoProbability(Delta),
    /// A mechanism without an epsilon and a delta on a dataset with Basic composition.
    #[error(
        "{mechanism} has no epsilon and delta of its own: on a dataset with Basic composition give epsilon and \
         delta, or use a dataset with Renyi composition"
    )]
    NeedsRenyi {
        /// The mechanism.
        mechanism: &'static str,
    },
    /// Several of these.
    #[error("{}", listed(.0, "; "))]
    Several(Vec<Self>),
}

/// What is wrong with the name of a parameter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParameterFault {
    /// The mechanism has no parameter of this name.
    #[error("has no parameter {name:?}{}", meant(*.hint, ""))]
    Unknown {
        /// What was written.
        name: String,
        /// What was most likely meant.
        hint: Option<&'static str>,
    },
    /// A value has no name.
    #[error("takes {text:?} only with a name{}", meant(*.hint, &format!("={text}")))]
    Unnamed {
        /// The value.
        text: String,
        /// The parameter that was most likely meant.
        hint: Option<&'static str>,
    },
    /// A parameter is missing.
    #[error("needs {0}")]
    Missing(&'static str),
    /// A parameter is given twice.
    #[error("has {0} twice")]
    Twice(&'static str),
}

/// The most faults that a message names: the others are counted.
const MOST_LISTED: usize = 8;

fn listed(faults: &[impl Display], separator: &str) -> String {
    let mut texts: Vec<String> = faults.iter().take(MOST_LISTED).map(ToString::to_string).collect();
    if let Some(more) = faults.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
        texts.push(format!("and {more} more"));
    }
    texts.join(separator)
}

fn meant(hint: Option<&str>, value: &str) -> String {
    hint.map_or_else(String::new, |hint| format!(" (did you mean {hint}{value}?)"))
}

fn meant_or_known(hint: Option<&str>, known: &str) -> String {
    hint.map_or_else(|| format!("use {known}"), |hint| format!("did you mean {hint}?"))
}
