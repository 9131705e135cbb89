//! Watches: a stream of JSON lines, one for each event, from the store's history.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{sync::watch::Receiver, time::Instant};

use crate::{
    answer::{Refusal, metadata_only},
    request::{Request, Target},
    selector::Selector,
    server::{FakeApiServer, State},
};

/// Marks the bookmark after the objects that existed when the watch began.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// How long a watch lasts whose client states no time.
const LONGEST: Duration = Duration::from_secs(3600);

/// One client's watch.
struct Watch {
    server: FakeApiServer,
    /// Whose it is.
    client: String,
    changes: Receiver<()>,
    target: Target,
    selector: Selector,
    metadata_only: bool,
    bookmarks: bool,
    position: Position,
    ends: Instant,
    /// [`State::watches_ended`] when it began.
    ended: usize,
}

#[derive(Clone, Copy)]
enum Position {
    /// Before the objects that exist. `bookmark`: to be followed by one that says so.
    Start {
        bookmark: bool,
    },
    /// After this resource version.
    After(u64),
    End,
}

/// What a watch does next.
enum Step {
    Send(String),
    Wait,
    Close,
}

/// Begins a watch.
pub(crate) fn begin(server: &FakeApiServer, request: &Request) -> Result<Response, Refusal> {
    if request.target.name.is_some() {
        return Err(Refusal::new(
            405,
            "watches of single objects are not served: use a field selector",
        ));
    }
    let bookmark = request.is_set("sendInitialEvents");
    let position = match request.number("resourceVersion")? {
        Some(version) if version > 0 && !bookmark => Position::After(version),
        _ => Position::Start { bookmark },
    };
    let lasts = request
        .number("timeoutSeconds")?
        .map_or(LONGEST, Duration::from_secs);
    let watch = Watch {
        server: server.clone(),
        client: request.client.clone(),
        changes: server.watchable(),
        target: request.target.clone(),
        selector: Selector::of(request)?,
        metadata_only: request.metadata_only,
        bookmarks: request.is_set("allowWatchBookmarks"),
        position,
        ends: Instant::now() + lasts,
        ended: server.read(|state| state.watches_ended),
    };
    let lines = stream::unfold(watch, |mut watch| async {
        let lines = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(lines)), watch))
    });
    Ok((
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(lines),
    )
        .into_response())
}

impl Watch {
    /// The next lines, or None at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.changes.mark_unchanged();
            let server = self.server.clone();
            match server.read(|state| self.step(state)) {
                Step::Send(lines) => return Some(lines),
                Step::Close => return None,
                Step::Wait => {}
            }
            if tokio::time::timeout_at(self.ends, self.changes.changed())
                .await
                .is_err()
            {
                let Position::After(version) = std::mem::replace(&mut self.position, Position::End) else {
                    return None;
                };
                return self.bookmarks.then(|| self.bookmark(version, &json!({})));
            }
        }
    }

    fn step(&mut self, state: &State) -> Step {
        if state.watches_ended != self.ended {
            return Step::Close;
        }
        let is_paused = state.watches_paused || state.watches_paused_of.contains(&self.client);
        // What exists is the most recent, as in a list.
        let is_list = matches!(self.position, Position::Start { bookmark: true });
        if is_paused && !is_list && !matches!(self.position, Position::End) {
            return Step::Wait;
        }
        let store = &state.store;
        let mut lines = String::new();
        match self.position {
            Position::End => return Step::Close,
            Position::Start { bookmark } => {
                for (_, object) in store.select(&self.target, &self.selector) {
                    lines += &self.line("ADDED", object);
                }
                if bookmark {
                    lines += &self.bookmark(store.version(), &json!({INITIAL_EVENTS_END: "true"}));
                }
            }
            // The store went back. As a real API server, this one waits until it has come that far again, and delivers
            // nothing of what happens until then.
            Position::After(version) if version > store.version() => return Step::Wait,
            Position::After(version) if store.is_expired(version) => {
                self.position = Position::End;
                let gone = Refusal::new(410, format!("too old resource version: {version}"));
                return Step::Send(line("ERROR", &gone.status()));
            }
            Position::After(version) => {
                for (change, object) in store.events_after(version, &self.target, &self.selector) {
                    lines += &self.line(change, &object);
                }
            }
        }
        self.position = Position::After(store.version());
        if lines.is_empty() {
            Step::Wait
        } else {
            Step::Send(lines)
        }
    }

    fn line(&self, change: &str, object: &Value) -> String {
        if self.metadata_only {
            line(change, &metadata_only(object))
        } else {
            line(change, object)
        }
    }

    fn bookmark(&self, version: u64, annotations: &Value) -> String {
        let object = json!({
            "apiVersion": self.target.api_version,
            // Clients read its metadata only.
            "kind": self.target.resource,
            "metadata": {"resourceVersion": version.to_string(), "annotations": annotations},
        });
        line("BOOKMARK", &object)
    }
}

fn line(change: &str, object: &Value) -> String {
    let mut line = json!({"type": change, "object": object}).to_string();
    line.push('\n');
    line
}
