//! Mechanisms by name, and the budget each one costs.

use std::str::FromStr;

use thiserror::Error;

use crate::{Budget, Composition, Delta, Epsilon};

/// A differentially private mechanism, or a sum or multiple of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {}

/// Why a text is not a mechanism, or can't be charged. Its message says what is accepted.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MechanismError {}

impl FromStr for Mechanism {
    type Err = MechanismError;

    fn from_str(_text: &str) -> Result<Self, MechanismError> {
        unimplemented!()
    }
}

impl Mechanism {
    /// The mechanism that (`epsilon`, `delta`) stands for on a Renyi dataset.
    pub fn for_guarantee(_epsilon: Epsilon, _delta: Delta) -> Result<Self, MechanismError> {
        unimplemented!()
    }

    /// What it costs under `composition`, rounded up.
    pub fn demand(&self, _composition: &Composition) -> Result<Budget, MechanismError> {
        unimplemented!()
    }
}
