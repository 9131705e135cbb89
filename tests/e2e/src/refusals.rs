//! Checks that the API server refuses a request, with the right message.

use std::fmt::Debug;

use anyhow::{Result, bail, ensure};

/// The API server's answer to a request that it refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The message.
    pub message: String,
}

impl Refusal {
    /// Returns the refusal in an answer; an error if the request was accepted.
    pub fn of<T: Debug>(answer: Result<T, kube::Error>) -> Result<Self> {
        match answer {
            Ok(accepted) => bail!("this was not refused: {accepted:?}"),
            Err(kube::Error::Api(status)) => Ok(Self {
                code: status.code,
                message: status.message,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns an error unless the message contains all of `parts`.
    pub fn check_message(&self, parts: &[&str]) -> Result<()> {
        match parts.iter().find(|part| !self.message.contains(**part)) {
            Some(part) => bail!("{part:?} is not in the message: {}: {}", self.code, self.message),
            None => Ok(()),
        }
    }
}

/// Checks that a request was refused (status 4xx) with a message that contains all of `parts`.
pub fn refused<T: Debug>(answer: Result<T, kube::Error>, parts: &[&str]) -> Result<Refusal> {
    let refusal = Refusal::of(answer)?;
    ensure!((400..500).contains(&refusal.code), "not a refusal: {refusal:?}");
    refusal.check_message(parts)?;
    Ok(refusal)
}
