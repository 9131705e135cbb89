//! Extracts a request's body as JSON, whatever its content type says. What is wrong with a body comes as a value, so that the
//! handler can answer in its own protocol.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use privatekube_api::excerpt;
use serde::de::DeserializeOwned;

use crate::listeners::{BodyProblem, MOST_BODY_BYTES};

/// The longest message, in bytes, about what somebody sent: in answers, Events and logs.
pub const MOST_MESSAGE: usize = 1024;

/// The body, or why it can't be read, in at most [`MOST_MESSAGE`] bytes.
#[derive(Debug)]
pub struct JsonBody<T>(pub Result<T, String>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, Self::Rejection> {
        // The listener has read the body already, within its limits.
        if let Some(problem) = request.extensions_mut().remove::<BodyProblem>() {
            return Ok(Self(
                Err(excerpt(&problem.to_string(), MOST_MESSAGE).into_owned()),
            ));
        }
        let parsed = match to_bytes(request.into_body(), MOST_BODY_BYTES).await {
            Err(error) => Err(format!("the request can't be read: {error}")),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("the request is not understood: {error}")),
        };
        Ok(Self(
            parsed.map_err(|error| excerpt(&error, MOST_MESSAGE).into_owned()),
        ))
    }
}
