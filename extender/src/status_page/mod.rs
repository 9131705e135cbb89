//! The status page: what the view says, for people, before they have dashboards. Read-only.
//!
//! Pages are made on the server from the view, a claim's history from the ledger, and the order of a queue and the answers to
//! what-if questions by the dataset's bookkeeper. Each has a bound in size and time, and what costs a bookkeeper time is asked
//! one at a time, so that no reader can slow decisions.
//!
//! [`protection`] says who may read it; [`live`] tells open pages of decisions.

mod claims;
mod datasets;
mod decisions;
mod fairness;
mod history;
mod layout;
mod live;
mod numbers;
mod protection;
mod queue;
#[cfg(test)]
mod tests;
mod what_if;

use std::sync::Arc;

use axum::{
    Router,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

pub use self::{decisions::Decisions, fairness::FairnessOverTime, protection::parse_address};
use self::{live::MOST_STREAMS, queue::Queues};
use crate::{listeners::Limits, registry::Registry};

/// What the pages are made of.
#[derive(Debug)]
struct StatusPage {
    registry: Arc<Registry>,
    fairness: Arc<FairnessOverTime>,
    queues: Queues,
    /// One demand is tried at a time.
    trials: Semaphore,
    /// One history is read at a time: each reads entries of up to 1 MiB.
    histories: Semaphore,
    /// Open streams of decisions.
    streams: Arc<Semaphore>,
}

type Shared = Arc<StatusPage>;

/// What the port of the page accepts: few people read it, by requests without bodies.
pub fn limits() -> Limits {
    Limits {
        connections: 64,
        body_bytes: 4 << 10,
        bodies_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// The status page.
pub fn router(registry: Arc<Registry>, fairness: Arc<FairnessOverTime>) -> Router {
    let page = StatusPage {
        registry,
        fairness,
        queues: Queues::default(),
        trials: Semaphore::new(1),
        histories: Semaphore::new(1),
        streams: Arc::new(Semaphore::new(MOST_STREAMS)),
    };
    Router::new()
        .route("/", get(datasets::all))
        .route("/datasets/{namespace}/{name}", get(datasets::one))
        .route(
            "/datasets/{namespace}/{name}/blocks/{block}",
            get(datasets::block),
        )
        .route("/datasets/{namespace}/{name}/queue", get(queue::queue))
        .route("/datasets/{namespace}/{name}/fairness", get(fairness::fairness))
        .route("/claims", get(claims::all))
        .route("/claims/{kind}/{namespace}/{name}/{uid}", get(claims::one))
        .route(
            "/claims/{kind}/{namespace}/{name}/{uid}/history",
            get(history::history),
        )
        .route("/decisions", get(live::decisions))
        .route("/decisions/stream", get(live::stream))
        .route("/what-if", get(what_if::what_if))
        .route("/style.css", get(layout::style))
        .route("/script.js", get(layout::script))
        .route("/icon.svg", get(layout::icon))
        .route("/favicon.ico", get(layout::icon))
        .fallback(not_found)
        .layer(middleware::from_fn(protection::protect))
        .with_state(Arc::new(page))
}

async fn not_found() -> Response {
    layout::problem(StatusCode::NOT_FOUND, "Nothing here", "There is no such page.").into_response()
}

/// The answer where a name is not one of a dataset, block or claim that there is.
fn unknown(what: &str) -> Response {
    let text = format!(
        "There is no such {what} in the view of this extender. It may have been deleted, or is being read."
    );
    layout::problem(StatusCode::NOT_FOUND, &format!("Unknown {what}"), &text)
}
