//! The pages of claims.

use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use privatekube_api::{
    ClaimPhase, DatasetKey, GrantedBudget, Subject, SubjectKind, counted, is_label_name, is_object_name,
};
use privatekube_view::{ClaimView, View};
use serde::Deserialize;

use super::{
    Shared,
    datasets::phase_named,
    layout::{Paged, Part, badge, claim_href, claim_link, dataset_href, digits_link, encoded, page},
    numbers::{Digits, amount, percent, time},
    unknown,
};

/// How many block names of a demand are listed.
const MOST_BLOCKS: usize = 100;
/// The longest UID.
const MOST_UID: usize = 128;

/// Which claims are listed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    page: Option<String>,
    dataset: Option<String>,
    namespace: Option<String>,
    phase: Option<String>,
    digits: Option<String>,
}

/// All claims that are asked for, the latest first.
pub(super) async fn all(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    let view = &shared.registry.handles().view;
    let given = |text: &Option<String>| {
        text.as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let (dataset, namespace, phase) = (
        given(&asked.dataset),
        given(&asked.namespace),
        given(&asked.phase),
    );
    let key = dataset.as_ref().map(|text| DatasetKey::parse(text, "default"));
    let wrong = match (&key, &namespace, &phase) {
        (Some(Err(problem)), _, _) => Some(format!("dataset: {problem}")),
        (_, Some(namespace), _) if !is_label_name(namespace) => {
            Some("namespace: write the name of a namespace".to_owned())
        }
        (_, _, Some(phase)) if phase_named(phase).is_none() => {
            Some("phase: choose one of the list".to_owned())
        }
        _ => None,
    };
    let key = key.and_then(Result::ok);
    let wanted = phase.as_deref().and_then(phase_named);
    let mut claims = if wrong.is_some() {
        Vec::new()
    } else {
        view.claims(|claim| {
            key.as_ref().is_none_or(|key| *claim.dataset == *key)
                && wanted.is_none_or(|phase| claim.phase == phase)
                && namespace.as_ref().is_none_or(|namespace| is_in(claim, namespace))
        })
    };
    claims.sort_by_cached_key(|claim| {
        (
            std::cmp::Reverse(claim.changed().or(claim.arrived())),
            claim.id.clone(),
        )
    });
    let paged = Paged::new(asked.page.as_deref(), claims.len());
    let claims = paged.rows(claims);
    let asks: Vec<String> = [
        ("dataset", &dataset),
        ("namespace", &namespace),
        ("phase", &phase),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}={}", encoded(value.as_ref()?))))
    .collect();
    let href = if asks.is_empty() {
        "/claims".to_owned()
    } else {
        format!("/claims?{}", asks.join("&"))
    };
    let content = html! {
        h1 { "Claims" }
        form.filter method="get" action="/claims" role="search" {
            label { "Dataset " input name="dataset" placeholder="namespace/name" maxlength="127" value=[dataset.as_deref()]; }
            label { "Namespace " input name="namespace" maxlength="63" value=[namespace.as_deref()]; }
            label {
                "Phase "
                select name="phase" {
                    option value="" { "any" }
                    @for each in ClaimPhase::ALL {
                        option value=(each) selected[wanted == Some(each)] { (each) }
                    }
                }
            }
            button { "Show" }
        }
        @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
        div #claims data-live {
            @if claims.is_empty() {
                p.empty { "No such claim." }
            } @else {
                table.cards-on-phone {
                    caption.visually-hidden { "Claims, the latest first" }
                    thead { tr {
                        th scope="col" { "Claim" }
                        th scope="col" { "Phase" }
                        th scope="col" { "Dataset" }
                        th.number scope="col" { "Dominant share" }
                        th scope="col" { "Since" }
                        th scope="col" { "Why" }
                    } }
                    tbody { @for claim in &claims { (row(claim)) } }
                }
            }
        }
        (paged.links("claims", &href))
        p.small.muted { "A claim that has ended leaves this list with its object; the ledger keeps it." }
    };
    page(Part::Claims, "Claims", &content).into_response()
}

/// Whether a claim is of a namespace.
fn is_in(claim: &ClaimView, namespace: &str) -> bool {
    claim.id.as_str().split('/').nth(1) == Some(namespace)
}

fn row(claim: &ClaimView) -> Markup {
    html! {
        tr {
            th scope="row" {
                @match claim.subject() {
                    Some(subject) => (claim_link(&subject)),
                    None => (claim.id),
                }
            }
            td data-label="Phase" { (badge(claim.phase)) }
            td data-label="Dataset" { a href=(dataset_href(&claim.dataset)) { (claim.dataset) } }
            td.number data-label="Dominant share" {
                @match claim.dominant_share() { Some(share) => (percent(share)), None => "–" }
            }
            td data-label="Since" {
                @match claim.changed().or(claim.arrived()) { Some(at) => (time(at)), None => "–" }
            }
            td.why data-label="Why" { (claim.message()) }
        }
    }
}

/// The subject of an address, if its parts can be those of one.
pub(super) fn subject(kind: &str, namespace: String, name: String, uid: String) -> Option<Subject> {
    let kind = match kind {
        "pod" => SubjectKind::Pod,
        "claim" => SubjectKind::Claim,
        _ => return None,
    };
    let is_uid = !uid.is_empty() && uid.len() <= MOST_UID && !uid.contains('/');
    (is_label_name(&namespace) && is_object_name(&name) && is_uid).then_some(Subject {
        kind,
        namespace,
        name,
        uid,
    })
}

/// The parts of a claim's address.
pub(super) type ClaimPath = Path<(String, String, String, String)>;

/// A claim.
pub(super) async fn one(
    State(shared): State<Shared>,
    Path((kind, namespace, name, uid)): ClaimPath,
    Query(asked): Query<Asked>,
) -> Response {
    let view: &View = &shared.registry.handles().view;
    let found = subject(&kind, namespace, name, uid).and_then(|subject| {
        let claim = view.claim(&subject.id())?;
        Some((subject, claim))
    });
    let Some((subject, claim)) = found else {
        return unknown("claim");
    };
    let digits = match asked.digits.as_deref() {
        Some("all") => Digits::All,
        _ => Digits::Few,
    };
    let href = claim_href(&subject);
    let title = format!("{}/{}", subject.namespace, subject.claim_name());
    let content = html! {
        p.crumbs { a href="/claims" { "Claims" } " · " a href=(dataset_href(&claim.dataset)) { (claim.dataset) } }
        h1 { span.namespace { (subject.namespace) "/" } (subject.claim_name()) }
        div #claim data-live {
            p.lead { (badge(claim.phase)) " " (claim.message()) }
            dl.facts {
                div { dt { "Reason" } dd { (claim.reason()) } }
                @if let Some(share) = claim.dominant_share() { div { dt { "Dominant share" } dd { (percent(share)) } } }
                @if let Some(weight) = claim.status().weight { div { dt { "Weight" } dd { (weight) } } }
                @if let Some(at) = claim.arrived() { div { dt { "Arrived" } dd { (time(at)) } } }
                @if let Some(at) = claim.decided() { div { dt { "Decided" } dd { (time(at)) } } }
            }
        }
        section aria-labelledby="demands" {
            h2 #demands { "What it demands" }
            @if !claim.is_in_ledger() { p.empty { "It is not in the ledger." } }
            @for (budget, blocks) in claim.demands() { (demand(&claim, &budget, &blocks, digits)) }
            (digits_link(&href, digits))
        }
        section aria-labelledby="history-title" {
            h2 #history-title { "History" }
            div #history data-load={ (href) "/history" } {
                p { a href={ (href) "/history" } { "Read its history from the ledger" } }
            }
        }
        p.commands.small {
            "Kubernetes: " code { "kubectl get pbc " (subject.claim_name()) " -n " (subject.namespace) " -o yaml" }
            @if subject.kind == SubjectKind::Pod {
                " " code { "kubectl describe pod " (subject.name) " -n " (subject.namespace) }
            }
        }
    };
    page(Part::Claims, &title, &content).into_response()
}

fn demand(claim: &ClaimView, budget: &GrantedBudget, blocks: &[&str], digits: Digits) -> Markup {
    html! {
        p {
            @match budget {
                GrantedBudget::Guarantee { epsilon, delta } => {
                    strong { "ε " (amount(epsilon, digits)) ", δ " (amount(delta, digits)) }
                }
                GrantedBudget::Curve { .. } => strong { "A Renyi curve" },
            }
            " on each of " (counted(blocks.len(), "block", "blocks"))
        }
        @if let GrantedBudget::Curve { renyi } = budget {
            div.scroll role="region" aria-label="Demand at each Renyi order" tabindex="0" {
                table.compact {
                    tbody {
                        tr { th scope="row" { "Order" } @for point in renyi { td.number { (point.order) } } }
                        tr { th scope="row" { "ε" } @for point in renyi { td.number {
                            @match &point.epsilon { Some(epsilon) => (amount(epsilon, digits)), None => "unknown" }
                        } } }
                    }
                }
            }
        }
        ul.inline aria-label="Blocks" {
            @for block in blocks.iter().take(MOST_BLOCKS) {
                li { a href={ (dataset_href(&claim.dataset)) "/blocks/" (encoded(block)) } { (block) } }
            }
            @if blocks.len() > MOST_BLOCKS { li { "and " (blocks.len() - MOST_BLOCKS) " more" } }
        }
    }
}
