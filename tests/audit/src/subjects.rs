//! Compares the pods and claim objects that budget is for with the ledgers: no pod runs without consumption, none is
//! forgotten, and whatever waits has a reason to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    amounts::{add, is_something, shown as shown_amounts},
    book::{Book, Claim, Phase},
    json::{list, text},
    objects::{Objects, is_going, name, namespace, shown, uid},
    report::{FindingKind, Findings},
};

const GRANT: &str = "privatekube.dev/grant";
const REQUESTED_BY: &str = "privatekube.dev/requested-by";
const PURPOSE: &str = "privatekube.dev/purpose";
/// Names and texts up to these bytes are kept whole in the ledger.
const MOST_NAME_BYTES: usize = 256;
const MOST_TEXT_BYTES: usize = 1024;

/// How a pod requests budget.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// By a demand of its own on a dataset.
    Own(&'a str),
    /// By claim objects, comma separated.
    Claims(&'a str),
}

/// How a pod requests budget; none if it doesn't.
pub(crate) fn requesting(pod: &Value) -> Option<Request<'_>> {
    let annotation = |name: &str| pod["metadata"]["annotations"][name].as_str();
    let claims = annotation("privatekube.dev/claim").map(Request::Claims);
    claims.or_else(|| annotation("privatekube.dev/dataset").map(Request::Own))
}

/// The name in the ledger of the claim that a claim object shows.
pub(crate) fn claim_id(object: &Value) -> String {
    let pod = &object["spec"]["pod"];
    if pod.is_null() {
        return format!("claim/{}/{}/{}", namespace(object), name(object), uid(object));
    }
    format!(
        "pod/{}/{}/{}",
        namespace(object),
        text(pod, &["name"]),
        text(pod, &["uid"])
    )
}

/// The dataset of a claim object, namespace/name.
pub(crate) fn dataset_of_claim(object: &Value) -> String {
    qualified(namespace(object), text(object, &["spec", "dataset"]))
}

fn qualified(own: &str, dataset: &str) -> String {
    if dataset.contains('/') {
        dataset.to_owned()
    } else {
        format!("{own}/{dataset}")
    }
}

pub(crate) fn check(objects: &Objects, books: &BTreeMap<String, Book>, findings: &mut Findings) {
    let mut existing = BTreeSet::new();
    // The claim objects that show the claim of a pod.
    let mut shown_for = BTreeSet::new();
    for claim in &objects.claims {
        if claim["spec"]["pod"].is_null() {
            let id = claim_id(claim);
            let purpose = claim["spec"]["purpose"].as_str();
            check_requester(claim, &id, purpose, books.get(&dataset_of_claim(claim)), findings);
            existing.insert(id);
        } else {
            shown_for.insert(claim_id(claim));
        }
    }
    for pod in &objects.pods {
        existing.insert(pod_id(pod));
        match requesting(pod) {
            Some(Request::Own(dataset)) => {
                let dataset = qualified(namespace(pod), dataset);
                let is_shown = shown_for.contains(&pod_id(pod));
                check_own(pod, &dataset, books.get(&dataset), is_shown, findings);
            }
            Some(Request::Claims(names)) => check_named(pod, names, objects, books, findings),
            None => {}
        }
    }
    for (dataset, book) in books {
        for (id, claim) in &book.claims {
            check_claim(dataset, book, id, claim, existing.contains(id), findings);
        }
    }
}

fn pod_id(pod: &Value) -> String {
    format!("pod/{}/{}/{}", namespace(pod), name(pod), uid(pod))
}

/// Whether a pod may still get a node, or run.
fn is_open(pod: &Value) -> bool {
    !is_going(pod) && !matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Checks a pod with a demand of its own.
fn check_own(pod: &Value, dataset: &str, book: Option<&Book>, is_shown: bool, findings: &mut Findings) {
    let id = pod_id(pod);
    let purpose = pod["metadata"]["annotations"][PURPOSE].as_str();
    check_requester(pod, &id, purpose, book, findings);
    let claim = book.and_then(|book| book.claims.get(&id));
    let has_node = pod["spec"]["nodeName"].is_string();
    if !is_shown && !is_going(pod) {
        findings.add(
            FindingKind::Behind,
            &shown(pod),
            "no claim object shows its claim",
        );
    }
    match (has_node, claim) {
        (true, Some(claim)) if claim.phase == Phase::Consumed => {
            check_grant(pod, &[(dataset, claim, book)], findings);
        }
        (true, Some(claim)) => {
            let what = format!("it has a node, and its claim is {}", claim.phase.name());
            findings.add(FindingKind::Bypassed, &shown(pod), what);
        }
        (true, None) => {
            let what = format!("it has a node, and {id} is not in the ledger of {dataset}");
            findings.add(FindingKind::Bypassed, &shown(pod), what);
        }
        (false, Some(claim)) if is_open(pod) && matches!(claim.phase, Phase::Granted | Phase::Consumed) => {
            let what = format!("its claim is {}, and it has no node", claim.phase.name());
            findings.add(FindingKind::Hanging, &shown(pod), what);
        }
        (false, Some(claim)) if is_open(pod) && claim.phase == Phase::Released => {
            findings.add(
                FindingKind::Hanging,
                &shown(pod),
                "its claim is Released, and it waits",
            );
        }
        // Why it is in no ledger is said by its claim object, which is checked for itself.
        (false, _) => {}
    }
}

/// Checks that the ledger says who asked for a claim and what for, as its pod or object does. One without the annotation was made
/// while nobody wrote it.
fn check_requester(
    object: &Value,
    id: &str,
    purpose: Option<&str>,
    book: Option<&Book>,
    findings: &mut Findings,
) {
    let Some(claim) = book.and_then(|book| book.claims.get(id)) else {
        return;
    };
    let kept = claim.requester.as_ref().unwrap_or(&Value::Null);
    let user = object["metadata"]["annotations"][REQUESTED_BY].as_str();
    for (field, stated, most) in [
        ("user", user, MOST_NAME_BYTES),
        ("purpose", purpose, MOST_TEXT_BYTES),
    ] {
        let Some(stated) = stated.map(str::trim).filter(|stated| stated.len() <= most) else {
            continue;
        };
        let kept = text(kept, &[field]).trim();
        if kept != stated {
            let what = format!("its {field} is {stated:?}, and the ledger says {kept:?} of {id}");
            findings.add(FindingKind::Wrong, &shown(object), what);
        }
    }
}

/// Checks a pod that names claim objects.
fn check_named(
    pod: &Value,
    names: &str,
    objects: &Objects,
    books: &BTreeMap<String, Book>,
    findings: &mut Findings,
) {
    let own = namespace(pod);
    let has_node = pod["spec"]["nodeName"].is_string();
    let mut consumed = Vec::new();
    let mut all_granted = true;
    for named in names.split(',').map(str::trim) {
        let is_named = |claim: &&Value| namespace(claim) == own && name(claim) == named;
        let object = objects.claims.iter().find(is_named);
        // Its object may be gone since, and others may have had its name before.
        let prefix = format!("claim/{own}/{named}/");
        let id = object.map(claim_id);
        let of = books.iter().flat_map(|(dataset, book)| {
            let claims = book.claims.iter();
            claims.map(move |(id, claim)| (dataset.as_str(), book, id, claim))
        });
        let mut of = of.filter(|(_, _, other, _)| match &id {
            Some(id) => *other == id,
            None => other.starts_with(&prefix),
        });
        let found = of.find(|(_, _, _, claim)| id.is_some() || claim.phase == Phase::Consumed);
        all_granted &= found.is_some_and(|(_, _, _, claim)| claim.phase == Phase::Granted);
        match found {
            Some((dataset, book, _, claim)) if claim.phase == Phase::Consumed => {
                // What is shown of one whose object is gone is unknown.
                consumed.extend(id.is_some().then_some((dataset, claim, Some(book))));
            }
            _ if has_node => {
                let phase = found.map_or("in no ledger", |(_, _, _, claim)| claim.phase.name());
                let what = format!("it has a node, and its claim {named} is {phase}");
                findings.add(FindingKind::Bypassed, &shown(pod), what);
            }
            _ => {}
        }
    }
    if has_node && consumed.len() == names.split(',').count() {
        check_grant(pod, &consumed, findings);
    }
    if !has_node && all_granted && is_open(pod) {
        findings.add(
            FindingKind::Hanging,
            &shown(pod),
            "its claims are granted, and it has no node",
        );
    }
}

/// Compares the grant that a pod's containers read with what was consumed for it.
fn check_grant(pod: &Value, of: &[(&str, &Claim, Option<&Book>)], findings: &mut Findings) {
    let text_of = pod["metadata"]["annotations"][GRANT].as_str().unwrap_or_default();
    let Ok(grant) = serde_json::from_str::<Value>(text_of) else {
        return findings.add(FindingKind::Bypassed, &shown(pod), "it has a node and no grant");
    };
    for (dataset, claim, book) in of {
        let is_renyi = book.is_some_and(|book| book.rules.is_renyi());
        let mut granted: BTreeMap<&str, Option<Vec<Option<i128>>>> = BTreeMap::new();
        for part in list(&grant, &["claims"]) {
            if text(part, &["dataset"]) != *dataset {
                continue;
            }
            if !part["blocksFrom"].is_null() {
                return;
            }
            for budget in list(part, &["budgets"]) {
                for block in list(budget, &["blocks"]) {
                    granted.insert(text(block, &["name"]), shown_amounts(budget, is_renyi));
                }
            }
        }
        // A pod with several claims on one dataset has their blocks together.
        if of.iter().filter(|(other, _, _)| other == dataset).count() > 1 {
            continue;
        }
        for (at, (block, demand)) in claim.demands.iter().enumerate() {
            let mut had = demand.clone();
            add(&mut had, &claim.released[at], -1);
            let shown_here = granted.remove(block.as_str()).flatten();
            let agrees = shown_here.as_ref().map_or(!is_something(&had), |amounts| {
                amounts.len() == had.len()
                    && amounts
                        .iter()
                        .zip(&had)
                        .all(|(shown, had)| shown.is_none_or(|shown| shown == *had))
            });
            if !agrees {
                let what =
                    format!("its grant says {shown_here:?} of block {block}, and {had:?} was consumed");
                findings.add(FindingKind::Bypassed, &shown(pod), what);
            }
        }
        for block in granted.keys() {
            let what = format!("its grant names block {block}, of which nothing was granted");
            findings.add(FindingKind::Bypassed, &shown(pod), what);
        }
    }
}

/// Checks that a claim of the ledger that may go on has a pod or an object, and a reason to wait.
fn check_claim(dataset: &str, book: &Book, id: &str, claim: &Claim, exists: bool, findings: &mut Findings) {
    let object = format!("claim {id} of {dataset}");
    if matches!(claim.phase, Phase::Waiting | Phase::Granted) && !exists {
        let what = format!("it is {}, and its pod or object is gone", claim.phase.name());
        findings.add(FindingKind::Hanging, &object, what);
    }
    if claim.phase != Phase::Waiting || !claim.is_matched() {
        return;
    }
    if claim.expires.is_some_and(|expires| expires < book.time) {
        findings.add(FindingKind::Hanging, &object, "it waits, and its timeout is over");
    }
    if book.rules.grants_what_fits && book.fits(claim) {
        findings.add(
            FindingKind::Hanging,
            &object,
            "it waits, and all its blocks have enough available",
        );
    }
}
