//! Errors in what a user wrote, each with its field.

use std::fmt;

use thiserror::Error;

/// A field or annotation with a value that is not accepted. The problem quotes the value and says what is
/// accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field's path (`spec.budget.epsilon`) or the annotation's key.
    pub field: String,
    /// The value, what is wrong with it and what is accepted.
    pub problem: String,
}

impl FieldError {
    /// Makes the error of `problem` at `field`.
    pub fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }
}

/// All errors of an object, at least one, so that a user can correct them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Returns `value` if there are no errors, else the errors.
    pub(crate) fn unless_empty<T>(errors: Vec<FieldError>, value: Option<T>) -> Result<T, Self> {
        match (errors.is_empty(), value) {
            (true, Some(value)) => Ok(value),
            _ => Err(Self(errors)),
        }
    }

    /// Returns each error.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &FieldError> {
        self.0.iter()
    }
}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}
