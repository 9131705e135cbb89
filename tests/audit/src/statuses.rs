//! Compares the statuses of datasets, blocks and claims with the ledgers, each at the entry that it names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    amounts::{BEYOND_COUNT, shown as shown_amounts, shown_orders},
    book::{Block, Book, Phase},
    json::{list, number, text},
    objects::{Objects, is_going, name, namespace, shown},
    report::{FindingKind, Findings},
    subjects::{claim_id, dataset_of_claim},
};

pub(crate) fn check(objects: &Objects, books: &BTreeMap<String, Book>, findings: &mut Findings) {
    for dataset in &objects.datasets {
        check_dataset(dataset, books, findings);
    }
    let mut existing = BTreeSet::new();
    for block in &objects.blocks {
        let dataset = format!("{}/{}", namespace(block), text(block, &["spec", "dataset"]));
        existing.insert((dataset.clone(), name(block)));
        check_block(block, books.get(&dataset), findings);
    }
    for (dataset, book) in books {
        for (name, block) in &book.blocks {
            if !block.retired && !existing.contains(&(dataset.clone(), name)) {
                let what = format!("block {name} has no object, and isn't retired");
                findings.add(FindingKind::Hanging, &format!("ledger {dataset}"), what);
            }
        }
    }
    for claim in &objects.claims {
        let dataset = dataset_of_claim(claim);
        check_claim(claim, books.get(&dataset), findings);
    }
}

/// Checks the entry that a status names. Returns false if nothing can be compared with it.
fn is_there(object: &Value, sequence: u64, book: Option<&Book>, findings: &mut Findings) -> bool {
    let head = book.map_or(0, |book| book.head);
    if sequence > head {
        let what = format!("its status names entry {sequence}, but the last one is {head}");
        findings.add(FindingKind::Lost, &shown(object), what);
    }
    sequence <= head
}

fn check_dataset(dataset: &Value, books: &BTreeMap<String, Book>, findings: &mut Findings) {
    let book = books.get(&format!("{}/{}", namespace(dataset), name(dataset)));
    let conditions = list(dataset, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    match ready {
        Some(ready) if ready["status"] == "True" => {}
        Some(ready) => {
            let what = format!(
                "it isn't ready: {}: {}",
                text(ready, &["reason"]),
                text(ready, &["message"])
            );
            findings.add(FindingKind::Hanging, &shown(dataset), what);
        }
        None => findings.add(FindingKind::Behind, &shown(dataset), "it has no condition Ready"),
    }
    let Some(sequence) = number(dataset, &["status", "ledgerSequence"]) else {
        return;
    };
    let Some(book) = book.filter(|_| is_there(dataset, sequence, book, findings)) else {
        return;
    };
    let granted = number(dataset, &["status", "granted"]).unwrap_or_default();
    let (then, now) = (book.granted_at(sequence), book.granted_at(book.head));
    if granted != then {
        let what = format!(
            "its status says that {granted} claims were granted up to entry {sequence}: it was {then}"
        );
        findings.add(FindingKind::Wrong, &shown(dataset), what);
    } else if then != now {
        let what = format!("its status is of entry {sequence}, and {now} claims are granted by now");
        findings.add(FindingKind::Behind, &shown(dataset), what);
    }
}

/// Whether a block's status says that its budget is in the ledger.
fn is_in_ledger(status: &Value) -> bool {
    let mut conditions = list(status, &["conditions"]).iter();
    conditions.any(|condition| text(condition, &["reason"]) == "InLedger")
}

fn check_block(object: &Value, book: Option<&Book>, findings: &mut Findings) {
    let status = &object["status"];
    let found = book.and_then(|book| Some((book, book.blocks.get(name(object))?)));
    let Some((book, block)) = found else {
        if !is_going(object) {
            let why = list(status, &["conditions"])
                .iter()
                .map(|condition| text(condition, &["reason"]));
            let why = why.collect::<Vec<_>>().join(", ");
            // An entry that was written after the entries were read may have added it.
            let is_untrue = is_in_ledger(status)
                && book
                    .zip(number(status, &["ledgerSequence"]))
                    .is_some_and(|(book, sequence)| sequence <= book.head);
            let kind = if is_untrue {
                FindingKind::Wrong
            } else {
                FindingKind::Behind
            };
            findings.add(kind, &shown(object), format!("it is in no ledger: {why}"));
        }
        return;
    };
    let Some(sequence) = number(status, &["ledgerSequence"]) else {
        return findings.add(FindingKind::Behind, &shown(object), "its status names no entry");
    };
    if !is_there(object, sequence, Some(book), findings) {
        return;
    }
    let Some(sums) = block.sums_at(sequence) else {
        // It may say why the block couldn't be used until then.
        let (kind, says) = if is_in_ledger(status) {
            (FindingKind::Wrong, "that it is in the ledger")
        } else {
            (FindingKind::Behind, "why it can't be used")
        };
        let what =
            format!("its status is of entry {sequence}, in which it was not yet there, and says {says}");
        return findings.add(kind, &shown(object), what);
    };
    let is_by_clock = matches!(book.rules.unlocking, crate::rules::Unlocking::Lifetime { .. });
    let parts = [
        ("total", &block.capacity),
        ("locked", &sums.locked),
        ("available", &sums.available),
        ("allocated", &sums.allocated),
        ("consumed", &sums.consumed),
    ];
    for (part, units) in parts {
        // The clock may have unlocked more since the entry, which is in no entry.
        if is_by_clock && matches!(part, "locked" | "available") {
            continue;
        }
        if !agrees(book, &status[part], units) {
            let what = format!(
                "its status shows {part} as {} at entry {sequence}: it was {units:?}",
                status[part]
            );
            findings.add(FindingKind::Wrong, &shown(object), what);
        }
    }
    check_parts(object, book, block, findings);
    if let Some((changed, _)) = block.history.last()
        && sequence < *changed
        && !is_going(object)
    {
        let what = format!("its status is of entry {sequence}, and entry {changed} changed it");
        findings.add(FindingKind::Behind, &shown(object), what);
    }
}

/// Checks that what a status shows adds up to the capacity.
fn check_parts(object: &Value, book: &Book, block: &Block, findings: &mut Findings) {
    let is_renyi = book.rules.is_renyi();
    let parts = ["locked", "available", "allocated", "consumed"];
    let parts: Vec<_> = parts
        .iter()
        .filter_map(|part| shown_amounts(&object["status"][part], is_renyi))
        .collect();
    for (at, capacity) in block.capacity.iter().enumerate() {
        let amounts = parts.iter().map(|part| part.get(at).copied().flatten());
        // What can't be counted is shown as null.
        if let Some(amounts) = amounts.collect::<Option<Vec<i128>>>()
            && amounts.iter().sum::<i128>() != *capacity
        {
            let what =
                format!("locked, available, allocated and consumed are {amounts:?}: not {capacity} together");
            findings.add(FindingKind::Wrong, &shown(object), what);
        }
    }
}

/// Whether a status' amounts are these.
fn agrees(book: &Book, value: &Value, units: &[i128]) -> bool {
    let is_renyi = book.rules.is_renyi();
    let Some(amounts) = shown_amounts(value, is_renyi) else {
        return false;
    };
    let orders = book.rules.orders.iter().flatten().map(String::as_str);
    if amounts.len() != units.len() || (is_renyi && !orders.eq(shown_orders(value))) {
        return false;
    }
    let mut pairs = amounts.iter().zip(units);
    pairs.all(|(shown, units)| match shown {
        Some(shown) => shown == units,
        None => units.abs() >= BEYOND_COUNT / 2,
    })
}

fn check_claim(object: &Value, book: Option<&Book>, findings: &mut Findings) {
    let status = &object["status"];
    let id = claim_id(object);
    let Some((book, claim)) = book.and_then(|book| Some((book, book.claims.get(&id)?))) else {
        return check_claim_without_ledger(object, &id, book, findings);
    };
    let reason = text(status, &["reason"]);
    let Some(sequence) = number(status, &["sequence"]) else {
        let what = format!(
            "its status names no entry, and says {:?}, {reason:?}: it is {}",
            text(status, &["phase"]),
            claim.phase.name()
        );
        return findings.add(FindingKind::Behind, &shown(object), what);
    };
    if !is_there(object, sequence, Some(book), findings) {
        return;
    }
    let phase = text(status, &["phase"]);
    let then = claim
        .phase_at(sequence)
        .map_or("in no ledger", |phase| phase.name());
    if phase != then {
        let what = format!("its status says {phase} at entry {sequence}: it was {then}");
        return findings.add(FindingKind::Wrong, &shown(object), what);
    }
    if phase != claim.phase.name() {
        let what = format!(
            "its status says {phase} as of entry {sequence}, and it is {}",
            claim.phase.name()
        );
        return findings.add(FindingKind::Behind, &shown(object), what);
    }
    let listed: Vec<&str> = list(status, &["blocks"])
        .iter()
        .map(|block| text(block, &["name"]))
        .collect();
    let count = number(status, &["blockCount"]).unwrap_or_default();
    let blocks = claim.demands.iter().map(|(block, _)| block.as_str());
    // Of very many blocks only the first are listed.
    if count != claim.demands.len() as u64 || !blocks.take(listed.len()).eq(listed.iter().copied()) {
        let what = format!("its status says {count} blocks, {listed:?}: its demands are on others");
        findings.add(FindingKind::Wrong, &shown(object), what);
    }
    if reason.is_empty() || text(status, &["message"]).is_empty() {
        let what = format!("{phase}, without a reason");
        findings.add(FindingKind::Hanging, &shown(object), what);
    }
    // Whether a claim that waits has enough blocks is in the ledger.
    if claim.phase == Phase::Waiting && claim.is_matched() == LACKS_BLOCKS.contains(&reason) {
        let what = format!(
            "its status says {reason}, but it has {} of {} blocks",
            claim.demands.len(),
            claim.min_blocks
        );
        findings.add(FindingKind::Behind, &shown(object), what);
    }
}

/// Reasons for which a claim of the ledger waits that has fewer blocks than it needs.
const LACKS_BLOCKS: [&str; 2] = ["TooFewBlocks", "TooManyBlocks"];
/// Reasons for which a claim is denied without being in a ledger.
const DENIED_BEFORE: [&str; 4] = ["NotAllowed", "PriorityTooHigh", "Invalid", "TooManyBlocks"];
/// Reasons for which a claim waits without being in a ledger.
const WAITS_BEFORE: [&str; 2] = ["DatasetUnknown", "DatasetInvalid"];

fn check_claim_without_ledger(object: &Value, id: &str, book: Option<&Book>, findings: &mut Findings) {
    let status = &object["status"];
    let (phase, reason) = (text(status, &["phase"]), text(status, &["reason"]));
    let sequence = number(status, &["sequence"]).unwrap_or_default();
    match phase {
        "Denied" if DENIED_BEFORE.contains(&reason) => {}
        "Waiting" if WAITS_BEFORE.contains(&reason) && book.is_none() => {}
        "Granted" | "Consumed" | "Released" => {
            let what = format!("its status says {phase} at entry {sequence}, and no ledger knows {id}");
            findings.add(FindingKind::Lost, &shown(object), what);
        }
        _ if is_going(object) => {}
        _ => {
            let what = format!("{id} is in no ledger, and its status says {phase:?}, {reason:?}");
            findings.add(FindingKind::Hanging, &shown(object), what);
        }
    }
}
