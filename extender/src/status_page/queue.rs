//! The waiting claims of a dataset, in the order in which its policy tries them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use privatekube_api::{ClaimPhase, DatasetKey};
use privatekube_policy::ClaimId;
use privatekube_view::ClaimView;
use serde::Deserialize;
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout},
};

use super::{
    Shared,
    datasets::known,
    layout::{Paged, Part, claim_link, dataset_href, page},
    numbers::{percent, time},
    unknown,
};
use crate::bookkeeper::Question;

/// How long an order is shown before a bookkeeper is asked again.
const MOST_AGE: Duration = Duration::from_secs(1);
/// How long a page waits for the order. Without it, claims are listed by arrival.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many orders are kept.
const MOST_ORDERS: usize = 100;
/// How many claims a dataset's page lists.
const FIRST: usize = 10;

/// The order of a dataset's queue when a bookkeeper was asked last; `None` if its policy has none.
type Order = Arc<Option<Vec<ClaimId>>>;

/// The orders of queues. One bookkeeper is asked at a time.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<DatasetKey, (Instant, Order)>>);

/// Waiting claims, and how they are ordered.
struct Waiting {
    /// Each with its place among those that compete; `None` for one without enough blocks, or outside of the ledger.
    claims: Vec<(Option<usize>, Arc<ClaimView>)>,
    /// What the order is.
    order: &'static str,
}

impl Queues {
    /// The order of a dataset's queue; `None` if its bookkeeper doesn't say.
    async fn order(&self, shared: &Shared, dataset: &DatasetKey) -> Option<Order> {
        let asked = async {
            let mut orders = self.0.lock().await;
            let kept = orders
                .get(dataset)
                .filter(|(asked, _)| asked.elapsed() < MOST_AGE);
            if let Some((_, order)) = kept {
                return Some(Arc::clone(order));
            }
            let (reply, answer) = oneshot::channel();
            shared.registry.ask(dataset, Question::Queue(reply));
            let order = Arc::new(answer.await.ok()?);
            if orders.len() >= MOST_ORDERS {
                orders.clear();
            }
            orders.insert(dataset.clone(), (Instant::now(), Arc::clone(&order)));
            Some(order)
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}

async fn waiting(shared: &Shared, dataset: &DatasetKey) -> Waiting {
    let view = &shared.registry.handles().view;
    let order = shared.queues.order(shared, dataset).await;
    let mut claims = view.claims(|claim| claim.phase == ClaimPhase::Waiting && *claim.dataset == *dataset);
    let places: HashMap<&ClaimId, usize> = match order.as_deref() {
        Some(Some(order)) => order.iter().enumerate().map(|(at, id)| (id, at)).collect(),
        _ => HashMap::new(),
    };
    let place = |claim: &ClaimView| places.get(&claim.id).copied();
    // Those that don't compete come last.
    claims.sort_by_cached_key(|claim| {
        let place = place(claim);
        (place.is_none(), place, claim.arrived(), claim.id.clone())
    });
    let claims = claims.into_iter().map(|claim| (place(&claim), claim)).collect();
    let order = match order.as_deref() {
        Some(Some(_)) => "In the order in which the policy tries them.",
        Some(None) => "The policy has no order: it divides budget among all. Listed by arrival.",
        None => "The dataset's bookkeeper is busy or stopped, so the order isn't known. Listed by arrival.",
    };
    Waiting { claims, order }
}

fn rows(waiting: &[(Option<usize>, Arc<ClaimView>)]) -> Markup {
    html! {
        ol.queue {
            @for (place, claim) in waiting {
                li {
                    span.place { @match place { Some(place) => (place + 1), None => span title="It does not compete yet" { "–" } } }
                    div {
                        p {
                            @match claim.subject() {
                                Some(subject) => strong { (claim_link(&subject)) },
                                None => strong { (claim.id) },
                            }
                            " " span.badge { (claim.reason()) }
                            @if let Some(share) = claim.dominant_share() {
                                span.muted.small { " dominant share " (percent(share)) }
                            }
                            @if let Some(arrived) = claim.arrived() {
                                span.muted.small { " since " (time(arrived)) }
                            }
                        }
                        p.why { (claim.message()) }
                    }
                }
            }
        }
    }
}

/// The first waiting claims of a dataset.
pub(super) async fn first(shared: &Shared, dataset: &DatasetKey) -> Markup {
    let Waiting { mut claims, order } = waiting(shared, dataset).await;
    let all = claims.len();
    claims.truncate(FIRST);
    html! {
        @if claims.is_empty() {
            p.empty { "No claim waits." }
        } @else {
            p.small.muted { (order) @if all > FIRST { " The first " (FIRST) " of " (all) "." } }
            (rows(&claims))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    page: Option<String>,
}

/// All waiting claims of a dataset, in pages.
pub(super) async fn queue(
    State(shared): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let Some((key, _)) = known(&shared.registry.handles().view, &namespace, &name) else {
        return unknown("dataset");
    };
    let Waiting { claims, order } = waiting(&shared, &key).await;
    let paged = Paged::new(asked.page.as_deref(), claims.len());
    let claims = paged.rows(claims);
    let href = format!("{}/queue", dataset_href(&key));
    let content = html! {
        p.crumbs { a href=(dataset_href(&key)) { (key) } }
        h1 { "Queue of " (key) }
        div #queue data-live {
            p.muted { (order) }
            @if claims.is_empty() { p.empty { "No claim waits." } }
            (rows(&claims))
        }
        (paged.links("claims", &href))
    };
    page(Part::Datasets, &format!("Queue of {key}"), &content).into_response()
}
