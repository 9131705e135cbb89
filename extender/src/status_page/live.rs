//! Recent decisions, and a stream that tells open pages of new ones.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use maud::html;
use serde_json::json;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use super::{
    Shared,
    decisions::Decision,
    layout::{Part, badge, claim_link, dataset_href, page},
    numbers::time,
};

/// How many streams are open at the same time.
pub(super) const MOST_STREAMS: usize = 32;
/// How many decisions one message of a stream names. It counts the others.
const MOST_NAMED: usize = 5;
/// How long a stream waits for more decisions before it sends a message, so that a burst makes few.
const GATHER: Duration = Duration::from_millis(250);

/// The recent decisions.
pub(super) async fn decisions(State(shared): State<Shared>) -> Response {
    let last = shared.registry.handles().decisions.last();
    let content = html! {
        h1 { "Recent decisions" }
        p.muted { "The last ones since this extender started, the newest first. The page follows them while it is open." }
        div #decisions data-live {
            @if last.is_empty() { p.empty { "Nothing was decided yet." } }
            ol.decisions {
                @for decision in &last {
                    li {
                        span.muted.small { (time(decision.at)) }
                        p {
                            (badge(decision.phase)) " " strong { (claim_link(&decision.subject)) }
                            span.muted { " on " } a href=(dataset_href(&decision.dataset)) { (decision.dataset) }
                        }
                        p.why { (decision.message) }
                    }
                }
            }
        }
    };
    page(Part::Decisions, "Recent decisions", &content).into_response()
}

/// Tells of decisions as they are committed, as server-sent events.
pub(super) async fn stream(State(shared): State<Shared>) -> Response {
    let Ok(place) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages follow decisions\n",
        )
            .into_response();
    };
    let Some(decisions) = shared.registry.handles().decisions.subscribe() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the extender ends\n").into_response();
    };
    let messages = stream::unfold((decisions, place), async |(mut decisions, place)| {
        let message = next(&mut decisions).await?;
        Some((Ok::<_, Infallible>(message), (decisions, place)))
    });
    Sse::new(messages)
        .keep_alive(KeepAlive::default())
        .into_response()
}

/// The next message: what was decided since the last one. `None` once the process ends.
async fn next(decisions: &mut Receiver<Arc<Decision>>) -> Option<Event> {
    let mut named: Vec<Arc<Decision>> = Vec::new();
    let mut count: u64 = 0;
    match decisions.recv().await {
        Ok(decision) => {
            count += 1;
            named.push(decision);
        }
        Err(RecvError::Lagged(missed)) => count += missed,
        Err(RecvError::Closed) => return None,
    }
    tokio::time::sleep(GATHER).await;
    loop {
        match decisions.try_recv() {
            Ok(decision) => {
                count += 1;
                if named.len() < MOST_NAMED {
                    named.push(decision);
                }
            }
            Err(TryRecvError::Lagged(missed)) => count += missed,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    let decided: Vec<_> = named
        .iter()
        .map(|decision| {
            let subject = &decision.subject;
            json!({
                "claim": format!("{}/{}", subject.namespace, subject.claim_name()),
                "dataset": decision.dataset.to_string(),
                "phase": decision.phase.as_str(),
                "reason": decision.reason.as_str(),
            })
        })
        .collect();
    let message = json!({"count": count, "decided": decided});
    Some(Event::default().event("decided").data(message.to_string()))
}
