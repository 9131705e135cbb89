//! Extracts a request's body as JSON, whatever its content type says, with a limit on its size. What is wrong with a body
//! comes as a value, so that the handler can answer in its own protocol.

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;

/// How large a body may be: larger than any AdmissionReview, and than a pod with the names of 15,000 nodes.
const MOST_BYTES: usize = 16 << 20;

/// The body, or why it can't be read.
#[derive(Debug)]
pub struct JsonBody<T>(pub Result<T, String>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
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
