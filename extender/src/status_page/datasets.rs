//! The pages of datasets and blocks.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use privatekube_api::{Amounts, ClaimPhase, DatasetKey, counted, excerpt, is_label_name};
use privatekube_policy::Composition;
use privatekube_view::{BlockView, BudgetParts, DatasetView, View};
use serde::Deserialize;

use super::{
    Shared, fairness,
    layout::{Paged, Part, ROWS, bar, dataset_href, digits_link, encoded, legend, page},
    numbers::{Digits, amount, percent},
    queue, unknown,
};

/// The longest name of a block that is looked for.
const MOST_SEARCHED: usize = 253;

/// What a list is asked.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    page: Option<String>,
    digits: Option<String>,
    sort: Option<String>,
    name: Option<String>,
}

impl Asked {
    fn digits(&self) -> Digits {
        match self.digits.as_deref() {
            Some("all") => Digits::All,
            _ => Digits::Few,
        }
    }
}

/// A dataset that there is, by the parts of an address.
pub(super) fn known(view: &View, namespace: &str, name: &str) -> Option<(DatasetKey, Arc<DatasetView>)> {
    if !is_label_name(namespace) || !is_label_name(name) {
        return None;
    }
    let key = DatasetKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let dataset = view.dataset(&key)?;
    Some((key, dataset))
}

/// The mean of the parts of blocks that have budgets, and how many these are.
fn mean(blocks: &[Arc<BlockView>]) -> (BudgetParts, usize) {
    let all: Vec<BudgetParts> = blocks.iter().filter_map(|block| block.parts()).collect();
    #[expect(clippy::cast_precision_loss, reason = "drawn for people")]
    let number = all.len().max(1) as f64;
    let of = |part: fn(&BudgetParts) -> f64| all.iter().map(part).sum::<f64>() / number;
    let mean = BudgetParts {
        locked: of(|parts| parts.locked),
        available: of(|parts| parts.available),
        allocated: of(|parts| parts.allocated),
        consumed: of(|parts| parts.consumed),
    };
    (mean, all.len())
}

/// All datasets.
pub(super) async fn all(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let view = &shared.registry.handles().view;
    let mut datasets = view.datasets();
    datasets.sort_by(|(one, _), (other, _)| one.cmp(other));
    let paged = Paged::new(asked.page.as_deref(), datasets.len());
    let datasets = paged.rows(datasets);
    let content = html! {
        h1 { "Datasets" }
        @if !view.is_complete() {
            p.notice role="status" { "The ledgers are being read: not everything is here yet." }
        }
        (legend())
        div #datasets data-live {
            @if datasets.is_empty() {
                p.empty { "There is no dataset yet. Apply a PrivateDataset, and it is here." }
            }
            ul.cards {
                @for (key, dataset) in &datasets {
                    li.card { (card(view, key, dataset)) }
                }
            }
        }
        (paged.links("datasets", "/"))
    };
    page(Part::Datasets, "Datasets", &content).into_response()
}

fn card(view: &View, key: &DatasetKey, dataset: &DatasetView) -> Markup {
    let (mean, blocks) = mean(&view.blocks_of(key));
    html! {
        h2 { a href=(dataset_href(key)) { span.namespace { (key.namespace) "/" } (key.name) } }
        (trouble(view, key, dataset))
        (bar(&mean))
        p.small.muted { "mean of " (counted(blocks, "block", "blocks")) }
        dl.facts { (facts(dataset)) }
    }
}

fn facts(dataset: &DatasetView) -> Markup {
    let status = &dataset.status;
    html! {
        div { dt { "Blocks" } dd { (status.blocks.unwrap_or(0)) } }
        div { dt { "Waiting" } dd { (status.waiting.unwrap_or(0)) } }
        div { dt { "Granted" } dd { (status.granted.unwrap_or(0)) } }
        div { dt { "Ledger entries" } dd { (status.ledger_sequence.unwrap_or(0)) } }
        div { dt { "Composition" } dd {
            @match &dataset.composition {
                Some(Composition::Basic) => "Basic",
                Some(Composition::Renyi(_)) => "Renyi",
                None => "no ledger yet",
            }
        } }
    }
}

/// Why a dataset isn't as it should be.
fn trouble(view: &View, key: &DatasetKey, dataset: &DatasetView) -> Markup {
    let stopped = view.stopped(key);
    let unready = dataset
        .status
        .conditions
        .iter()
        .find(|condition| condition.status != "True");
    html! {
        @if let Some(why) = stopped {
            p.notice.bad role="alert" { strong { "Stopped. " } (why) }
        } @else if let Some(condition) = unready {
            p.notice role="status" { strong { (condition.reason) ". " } (condition.message) }
        }
    }
}

/// A dataset with its blocks.
pub(super) async fn one(
    State(shared): State<Shared>,
    Path((namespace, name)): Path<(String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let view = &shared.registry.handles().view;
    let Some((key, dataset)) = known(view, &namespace, &name) else {
        return unknown("dataset");
    };
    let all = view.named_blocks_of(&key);
    let views: Vec<Arc<BlockView>> = all.iter().map(|(_, block)| Arc::clone(block)).collect();
    let (mean, with_budget) = mean(&views);
    let searched = asked
        .name
        .as_deref()
        .map(|name| excerpt(name.trim(), MOST_SEARCHED).into_owned());
    let searched = searched.filter(|name| !name.is_empty());
    let found = all
        .into_iter()
        .filter(|(name, _)| searched.as_ref().is_none_or(|part| name.contains(part.as_str())));
    let mut blocks: Vec<(String, Arc<BlockView>)> = found.collect();
    let by_left = asked.sort.as_deref() == Some("left");
    if by_left {
        let left = |block: &BlockView| {
            block
                .parts()
                .map_or(f64::MAX, |parts| parts.locked + parts.available)
        };
        blocks.sort_by(|one, other| {
            left(&one.1)
                .total_cmp(&left(&other.1))
                .then_with(|| one.0.cmp(&other.0))
        });
    } else {
        blocks.sort_by(|one, other| one.0.cmp(&other.0));
    }
    let mut href = dataset_href(&key);
    let mut asks = Vec::new();
    if let Some(name) = &searched {
        asks.push(format!("name={}", encoded(name)));
    }
    if by_left {
        asks.push("sort=left".to_owned());
    }
    if !asks.is_empty() {
        href = format!("{href}?{}", asks.join("&"));
    }
    let paged = Paged::new(asked.page.as_deref(), blocks.len());
    let digits = asked.digits();
    let blocks = paged.rows(blocks);
    let first = queue::first(&shared, &key).await;
    let title = key.to_string();
    let content = html! {
        h1 { span.namespace { (key.namespace) "/" } (key.name) }
        (trouble(view, &key, &dataset))
        div #overview data-live {
            (bar(&mean))
            p.small.muted { "mean of " (counted(with_budget, "block", "blocks")) }
            dl.facts { (facts(&dataset)) }
        }
        (legend())
        p.commands.small { "Kubernetes: " code { "kubectl get pds " (key.name) " -n " (key.namespace) } }
        section aria-labelledby="waiting" {
            h2 #waiting { "Waiting" }
            div #queue data-live { (first) }
            p {
                a href={ (dataset_href(&key)) "/queue" } { "The whole queue" }
                " · " a href={ "/what-if?dataset=" (encoded(&title)) } { "Try a demand" }
                " · " a href={ (dataset_href(&key)) "/fairness" } { "Fairness over time" }
            }
        }
        section aria-labelledby="blocks-title" {
            h2 #blocks-title { "Blocks" }
            form.filter method="get" action=(dataset_href(&key)) role="search" {
                label { "Name has " input type="search" name="name" maxlength="253" value=[searched.as_deref()]; }
                label {
                    "Order "
                    select name="sort" {
                        option value="name" selected[!by_left] { "by name" }
                        option value="left" selected[by_left] { "least left first" }
                    }
                }
                button { "Show" }
            }
            div #blocks data-live { (block_table(&key, &blocks, digits)) }
            (paged.links("blocks", &href))
            (digits_link(&href, digits))
        }
        (fairness::section(&shared.fairness, &key))
    };
    page(Part::Datasets, &title, &content).into_response()
}

fn block_table(key: &DatasetKey, blocks: &[(String, Arc<BlockView>)], digits: Digits) -> Markup {
    debug_assert!(blocks.len() <= ROWS, "one page");
    let of = |amounts: &Option<Amounts>| {
        let epsilon = amounts.as_ref().map(|amounts| amounts.epsilon.as_str());
        epsilon.map_or_else(|| html! { "–" }, |epsilon| amount(epsilon, digits))
    };
    html! {
        @if blocks.is_empty() {
            p.empty { "No block." }
        } @else {
            table.cards-on-phone {
                caption.visually-hidden { "Blocks with their epsilons by state" }
                thead { tr {
                    th scope="col" { "Block" }
                    th scope="col" { "Budget" }
                    @for state in ["Total", "Locked", "Available", "Allocated", "Consumed"] {
                        th.number scope="col" { (state) " ε" }
                    }
                } }
                tbody {
                    @for (name, block) in blocks {
                        @let status = block.status();
                        tr {
                            th scope="row" {
                                a href={ (dataset_href(key)) "/blocks/" (encoded(name)) } { (name) }
                                @if let Some(order) = &status.order {
                                    span.muted.small { " order " (order) }
                                }
                                @if let Some(problem) = block.problem() { p.problem { (problem) } }
                            }
                            td.bar-cell { @if let Some(parts) = block.parts() { (bar(&parts)) } }
                            @for (label, amounts) in [
                                ("Total", &status.total),
                                ("Locked", &status.locked),
                                ("Available", &status.available),
                                ("Allocated", &status.allocated),
                                ("Consumed", &status.consumed),
                            ] {
                                td.number data-label=(label) { (of(amounts)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A block with its budget at each coordinate.
pub(super) async fn block(
    State(shared): State<Shared>,
    Path((namespace, name, block)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let view = &shared.registry.handles().view;
    let Some((key, _)) = known(view, &namespace, &name) else {
        return unknown("dataset");
    };
    let Some(found) = view.block(&(key.clone(), block.clone())) else {
        return unknown("block");
    };
    let status = found.status();
    let digits = asked.digits();
    let href = format!("{}/blocks/{}", dataset_href(&key), encoded(&block));
    let amounts = [
        ("Total", &status.total),
        ("Locked", &status.locked),
        ("Available", &status.available),
        ("Allocated", &status.allocated),
        ("Consumed", &status.consumed),
    ];
    let rows: Vec<(String, Vec<Option<&str>>)> = coordinates(&amounts);
    let content = html! {
        p.crumbs { a href=(dataset_href(&key)) { (key) } }
        h1 { (block) }
        @if let Some(problem) = found.problem() { p.notice.bad { (problem) } }
        div #block data-live {
            @if let Some(parts) = found.parts() {
                (bar(&parts))
                p { (percent(parts.consumed)) " consumed, " (percent(parts.locked + parts.available)) " neither consumed nor granted"
                    @if let Some(order) = &status.order { ", at order " (order) }
                    "." }
            }
            (legend())
            div.scroll role="region" aria-label="Budget at each coordinate" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Coordinate" }
                        @for (state, _) in &amounts { th.number scope="col" { (state) } }
                    } }
                    tbody {
                        @for (coordinate, units) in &rows {
                            tr {
                                th scope="row" { (coordinate) }
                                @for units in units {
                                    td.number { @match units { Some(units) => (amount(units, digits)), None => "–" } }
                                }
                            }
                        }
                    }
                }
            }
            dl.facts {
                div { dt { "Claims that arrived" } dd { (status.arrivals.unwrap_or(0)) } }
                div { dt { "True at ledger entry" } dd { (status.ledger_sequence.unwrap_or(0)) } }
                @for (dimension, value) in &found.dimensions { div { dt { (dimension) } dd { (value) } } }
            }
        }
        (digits_link(&href, digits))
        p.commands.small { "Kubernetes: " code { "kubectl get pb " (block) " -n " (key.namespace) } }
    };
    page(Part::Datasets, &block, &content).into_response()
}

/// The amounts of each state by coordinate: epsilon and delta, or each Renyi order.
fn coordinates<'a>(states: &[(&str, &'a Option<Amounts>)]) -> Vec<(String, Vec<Option<&'a str>>)> {
    let first = states.first().and_then(|(_, amounts)| amounts.as_ref());
    let Some(first) = first else {
        return Vec::new();
    };
    let of = |get: &dyn Fn(&'a Amounts) -> Option<&'a str>| -> Vec<Option<&'a str>> {
        states
            .iter()
            .map(|(_, amounts)| amounts.as_ref().and_then(get))
            .collect()
    };
    match &first.renyi {
        Some(orders) => orders
            .iter()
            .enumerate()
            .map(|(at, order)| {
                let amounts = of(&move |amounts: &'a Amounts| {
                    let orders = amounts.renyi.as_ref()?;
                    orders.get(at).and_then(|amount| amount.epsilon.as_deref())
                });
                (format!("epsilon at order {}", order.order), amounts)
            })
            .collect(),
        None => vec![
            (
                "epsilon".to_owned(),
                of(&|amounts| Some(amounts.epsilon.as_str())),
            ),
            ("delta".to_owned(), of(&|amounts| amounts.delta.as_deref())),
        ],
    }
}

/// The phases by which claims are listed.
pub(super) fn phase_named(name: &str) -> Option<ClaimPhase> {
    ClaimPhase::ALL.into_iter().find(|phase| phase.as_str() == name)
}
