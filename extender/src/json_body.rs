//! Extracts a request's body as JSON, whatever its content type says. What is wrong with a body comes as a value, so that the
//! handler can answer in its own protocol.
//!
//! Large texts are parsed on threads for such work, so that they delay no other request. How many at once is bounded by the
//! listener, which holds 16 MiB of bodies at most.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
};
use privatekube_api::excerpt;
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use crate::listeners::{BodyProblem, MOST_BODY_BYTES};

/// The longest message, in bytes, about what somebody sent: in answers, Events and logs.
pub const MOST_MESSAGE: usize = 1024;

/// The longest text, in bytes, that is parsed by the task that asks for it: it takes about a millisecond.
const MOST_PARSED_IN_PLACE: usize = 64 * 1024;

/// Parses JSON. `bytes` gives the text of `holder`.
pub async fn parse<H, T>(holder: H, bytes: fn(&H) -> &[u8]) -> Result<T, String>
where
    H: Send + 'static,
    T: DeserializeOwned + Send + 'static,
{
    let length = bytes(&holder).len();
    let parse = move || serde_json::from_slice(bytes(&holder)).map_err(|error| error.to_string());
    work(length, parse).await?
}

/// Does what takes as long as parsing `length` bytes. The error says that it couldn't be done to its end.
pub async fn work<T, W>(length: usize, work: W) -> Result<T, String>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if length <= MOST_PARSED_IN_PLACE {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// The body, or why it can't be read, in at most [`MOST_MESSAGE`] bytes.
#[derive(Debug)]
pub struct JsonBody<T>(pub Result<T, String>);

impl<T: DeserializeOwned + Send + 'static, S: Send + Sync> FromRequest<S> for JsonBody<T> {
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
            Ok(bytes) => parse(bytes, |bytes| bytes)
                .await
                .map_err(|error| format!("the request is not understood: {error}")),
        };
        Ok(Self(
            parsed.map_err(|error| excerpt(&error, MOST_MESSAGE).into_owned()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use serde::{Deserialize, Deserializer, de::IgnoredAny};

    use super::*;

    /// The thread that parsed it.
    struct ParsedBy(ThreadId);

    impl<'de> Deserialize<'de> for ParsedBy {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            IgnoredAny::deserialize(deserializer)?;
            Ok(Self(thread::current().id()))
        }
    }

    #[tokio::test]
    async fn only_a_large_text_is_parsed_on_another_thread() {
        let here = thread::current().id();
        for (length, in_place) in [(10, true), (1_000_000, false)] {
            let text = format!("\"{}\"", "x".repeat(length));
            let by: ParsedBy = parse(text, |text| text.as_bytes()).await.unwrap();
            assert_eq!(by.0 == here, in_place, "{length}");
        }
        let wrong = parse::<_, u8>("x".repeat(1_000_000), |text| text.as_bytes()).await;
        assert!(wrong.is_err());
    }
}
