//! Why a text is not a mechanism, or can't be charged.

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
    /// A text that isn't of the form expected.
    #[error(
        "expected {expected} at {found:?}: write a mechanism like gaussian(sigma=2.1) or 3*laplace(scale=10)"
    )]
    Syntax {
        /// What should be there.
        expected: &'static str,
        /// What is there, from that place on.
        found: String,
    },
    /// A name that isn't known.
    #[error("{name:?} is not a known mechanism: use {known}")]
    UnknownMechanism {
        /// What was written.
        name: String,
        /// The known ones, with their parameters.
        known: &'static str,
    },
    /// A parameter that the mechanism doesn't have.
    #[error("{mechanism} has no parameter {parameter:?}: write {accepted}")]
    UnknownParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What was written.
        parameter: String,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that isn't given.
    #[error("{mechanism} needs {parameter}: write {accepted}")]
    MissingParameter {
        /// The mechanism.
        mechanism: &'static str,
        /// What is missing.
        parameter: &'static str,
        /// How the mechanism is written.
        accepted: &'static str,
    },
    /// A parameter that is given again.
    #[error("{parameter} of {mechanism} is given twice")]
    ParameterTwice {
        /// The mechanism.
        mechanism: &'static str,
        /// What is given twice.
        parameter: &'static str,
    },
    /// A parameter with a value that it can't have.
    #[error("{parameter} is {text:?}: it must be {accepted}")]
    BadValue {
        /// The parameter.
        parameter: &'static str,
        /// What was written.
        text: String,
        /// What it may be.
        accepted: &'static str,
    },
    /// An epsilon or delta that isn't one.
    #[error("{parameter}: {problem}")]
    BadAmount {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong with it.
        problem: DecimalError,
    },
    /// A guarantee of nothing.
    #[error("epsilon is {0}: a demand needs an epsilon above 0")]
    NoEpsilon(Epsilon),
    /// A delta that isn't a probability.
    #[error("delta is {0}: it must be between 0 and 1")]
    NoProbability(Delta),
    /// A mechanism without a pure epsilon on a dataset that sums epsilons and deltas.
    #[error(
        "{mechanism} has no epsilon and delta of its own: on a dataset with Basic composition give epsilon and \
         delta, or use a dataset with Renyi composition"
    )]
    NeedsRenyi {
        /// The mechanism.
        mechanism: &'static str,
    },
}
