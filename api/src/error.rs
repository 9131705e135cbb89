//! Errors in what a user wrote, each with its field.

use std::fmt;

use thiserror::Error;

use crate::excerpt;

/// The longest text of one error, and of all errors of an object, in bytes.
const MOST_TEXT: usize = 1024;
/// The longest field, in bytes. The longest that is accepted is a name with its prefix, in a path.
const MOST_FIELD: usize = 400;

/// A field or annotation with a value that is not accepted. The problem quotes the value and says what is
/// accepted. Both are cut if they are very long.
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
            field: excerpt(&field.into(), MOST_FIELD).into_owned(),
            problem: excerpt(&problem.to_string(), MOST_TEXT).into_owned(),
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

    /// These errors and one more.
    pub(crate) fn and(mut self, error: FieldError) -> Self {
        self.0.push(error);
        self
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

/// The errors, of which those are counted only that would make the text longer than [`MOST_TEXT`].
impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut length = 0;
        for (at, error) in self.0.iter().enumerate() {
            let text = error.to_string();
            length += text.len();
            if at > 0 && length > MOST_TEXT {
                return write!(f, "; and {} more", self.0.len() - at);
            }
            write!(
                f,
                "{}{}",
                if at == 0 { "" } else { "; " },
                excerpt(&text, MOST_TEXT)
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}
