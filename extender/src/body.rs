//! A request's body, read as JSON whatever its content type says, with a limit, and with an error that can be told.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;

/// Larger than any pod with the names of 15,000 nodes, or any AdmissionReview.
const MOST_BYTES: usize = 16 << 20;

/// What was sent, or why it can't be read.
#[derive(Debug)]
pub struct Body<T>(pub Result<T, String>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let bytes: Result<Bytes, _> = to_bytes(request.into_body(), MOST_BYTES).await;
        Ok(Self(match bytes {
            Err(error) => Err(format!("the request can't be read: {error}")),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| format!("the request is not understood: {error}")),
        }))
    }
}
