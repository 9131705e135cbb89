//! The errors of parsing a mechanism and of charging it.

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
    #[error("{name:?} is not a known mechanism: use {known}")]
    UnknownMechanism {
        /// What was written.
        name: String,
        /// The known ones, with their parameters.
        known: &'static str,
    },
    /// A parameter that the mechanism does not have.
    #[error("{mechanism} has no parameter {parameter:?}: write {accepted}")]
    UnknownParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What was written.
        parameter: String,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that is missing.
    #[error("{mechanism} needs {parameter}: write {accepted}")]
    MissingParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What is missing.
        parameter: &'static str,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that is given twice.
    #[error("{parameter} of {mechanism} is given twice")]
    ParameterTwice {
        /// The mechanism.
        mechanism: &'static str,
        /// What is given twice.
        parameter: &'static str,
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
        accepted: &'static str,
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
}
