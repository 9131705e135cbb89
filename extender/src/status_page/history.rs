//! A claim's history, read from the ledger: the entries in which something happened to it.
//!
//! The view knows when a claim arrived and was decided, and entries are in the order of their times, so the entries are found
//! by halving, and those after them are read one by one, within a bound. One entry is in memory at a time.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use maud::{Markup, html};
use privatekube_api::{Subject, counted};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Store, StoreError};
use privatekube_policy::{ClaimId, Time};
use privatekube_view::{ClaimView, event_of_claim, record_of_claim};
use tokio::time::{Instant, timeout_at};

use super::{
    Shared,
    claims::{ClaimPath, subject},
    layout::{Part, claim_href, page},
    numbers::time,
    unknown,
};

/// How many entries are read at most, and for how long.
const MOST_READ: usize = 300;
const MOST_TIME: Duration = Duration::from_secs(8);
/// How many entries are read after one in which the claim is expected.
const MOST_AFTER: u64 = 60;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What happened, in the order of the ledger.
    happened: Vec<Happened>,
    /// The entries that were looked through, as first and last of each run.
    looked: Vec<(u64, u64)>,
    /// The number of entries that were read.
    read: usize,
    /// Whether a bound was reached.
    is_partial: bool,
    /// Whether an entry leaves out records, so that decisions may be missing.
    has_omitted: bool,
}

#[derive(Debug, PartialEq)]
struct Happened {
    sequence: u64,
    at: Time,
    writer: String,
    what: String,
}

/// Reads a claim's history, for its page.
pub(super) async fn history(
    State(shared): State<Shared>,
    Path((kind, namespace, name, uid)): ClaimPath,
) -> Response {
    let handles = shared.registry.handles();
    let found = subject(&kind, namespace, name, uid).and_then(|subject| {
        let claim = handles.view.claim(&subject.id())?;
        Some((subject, claim))
    });
    let Some((subject, claim)) = found else {
        return unknown("claim");
    };
    let deadline = Instant::now() + MOST_TIME;
    // The semaphore is never closed.
    let Ok(Ok(_one)) = timeout_at(deadline, shared.histories.acquire()).await else {
        let busy = html! { p.notice { "Other histories are being read: try again in a moment." } };
        return (StatusCode::SERVICE_UNAVAILABLE, whole(&subject, &busy)).into_response();
    };
    let dataset = handles.view.dataset(&claim.dataset);
    let last = dataset.and_then(|dataset| dataset.status.ledger_sequence);
    let store = KubernetesStore::new(handles.client.clone(), (*claim.dataset).clone());
    let read = read(&store, &claim, last.unwrap_or(0), deadline).await;
    let text = match read {
        Ok(history) => shown(&history),
        Err(error) => html! { p.notice.bad { "The ledger can't be read: " (error) } },
    };
    whole(&subject, &text).into_response()
}

/// A page with the history, which the script of the claim's page takes out of it.
fn whole(subject: &Subject, history: &Markup) -> Html<String> {
    let title = format!("History of {}/{}", subject.namespace, subject.claim_name());
    let content = html! {
        p.crumbs { a href=(claim_href(subject)) { (subject.namespace) "/" (subject.claim_name()) } }
        h1 { (title) }
        div #loaded { (history) }
    };
    page(Part::Claims, &title, &content)
}

fn shown(history: &History) -> Markup {
    let looked: Vec<String> = history
        .looked
        .iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first} to {last}")
            }
        })
        .collect();
    html! {
        @if history.happened.is_empty() {
            p.empty { "Nothing of it was found in the entries that were read." }
        } @else {
            ol.history {
                @for happened in &history.happened {
                    li {
                        span.muted.small { (time(happened.at)) " entry " (happened.sequence) }
                        p title={ "written by " (happened.writer) } { (happened.what) }
                    }
                }
            }
        }
        p.small.muted {
            "Looked through " (counted(looked.len(), "run of entries", "runs of entries")) ": " (looked.join(", ")) "; "
            (counted(history.read, "entry", "entries")) " read."
            @if history.is_partial { " Not all entries since its arrival were looked through, so uses may be missing." }
            @if history.has_omitted { " Some entries had no room for all their records, so decisions may be missing." }
        }
    }
}

/// Reads entries until a bound is reached.
struct Reader<'a, S> {
    store: &'a S,
    read: usize,
    deadline: Instant,
}

/// Why reading ended.
enum End {
    /// A bound is reached.
    Bound,
    Failed(StoreError),
}

impl<S: Store> Reader<'_, S> {
    async fn entry(&mut self, sequence: u64) -> Result<Option<Entry>, End> {
        if self.read == MOST_READ {
            return Err(End::Bound);
        }
        self.read += 1;
        match timeout_at(self.deadline, self.store.read(sequence)).await {
            Ok(entry) => entry.map_err(End::Failed),
            Err(_) => Err(End::Bound),
        }
    }

    /// The first entry from `first` to `last` that is not before `at`.
    async fn first_at(&mut self, at: Time, mut first: u64, mut last: u64) -> Result<u64, End> {
        while first < last {
            let middle = first + (last - first) / 2;
            match self.entry(middle).await? {
                Some(entry) if entry.time < at => first = middle + 1,
                _ => last = middle,
            }
        }
        Ok(first)
    }
}

/// What the ledger, whose last entry is `last`, has of a claim.
pub(super) async fn read<S: Store>(
    store: &S,
    claim: &ClaimView,
    last: u64,
    deadline: Instant,
) -> Result<History, StoreError> {
    let mut reader = Reader {
        store,
        read: 0,
        deadline,
    };
    let mut history = History::default();
    let ended = look(&mut reader, claim, last, &mut history).await;
    history.read = reader.read;
    let runs = history.looked.len();
    let covers = history.looked.last().is_some_and(|(_, end)| *end == last) && runs == 1;
    history.is_partial = !covers && last > 0;
    match ended {
        Ok(()) | Err(End::Bound) => Ok(history),
        Err(End::Failed(error)) => Err(error),
    }
}

async fn look<S: Store>(
    reader: &mut Reader<'_, S>,
    claim: &ClaimView,
    last: u64,
    history: &mut History,
) -> Result<(), End> {
    let mut next = 1;
    let moments = [claim.arrived(), claim.decided(), claim.changed()];
    for moment in moments.into_iter().flatten() {
        if next > last {
            break;
        }
        let from = reader.first_at(moment, next, last).await?;
        // Entries that follow what was looked through belong to the same run.
        match history.looked.last_mut() {
            Some((_, end)) if from <= *end + 1 => {}
            _ => history.looked.push((from, from)),
        }
        let end = last.min(from.saturating_add(MOST_AFTER));
        for sequence in from.max(next)..=end {
            let Some(entry) = reader.entry(sequence).await? else {
                return Ok(());
            };
            collect(&entry, &claim.id, history);
            if let Some((_, end)) = history.looked.last_mut() {
                *end = sequence;
            }
            next = sequence + 1;
        }
    }
    Ok(())
}

/// Adds what an entry has of a claim.
fn collect(entry: &Entry, claim: &ClaimId, history: &mut History) {
    history.has_omitted |= entry.omitted.is_some();
    let events = entry
        .events
        .iter()
        .filter_map(|event| event_of_claim(event, claim));
    let records = entry
        .records
        .iter()
        .filter_map(|record| record_of_claim(record, claim));
    history
        .happened
        .extend(events.chain(records).map(|what| Happened {
            sequence: entry.sequence,
            at: entry.time,
            writer: entry.writer.clone(),
            what,
        }));
}
