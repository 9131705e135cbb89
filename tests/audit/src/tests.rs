//! A cluster's real objects, in which nothing is wrong, and what the audit finds once they are changed.

use serde_json::{Value, json};

use crate::{FindingKind, Objects, Report, audit, canonical};

/// The objects of a cluster with a dataset of basic and one of Renyi composition, as kubectl printed them.
const CLUSTER: &str = include_str!("../tests/cluster.json");

/// The objects, to be changed.
fn objects() -> Vec<Value> {
    let list: Value = serde_json::from_str(CLUSTER).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn report(items: &[Value]) -> Report {
    let mut objects = Objects::default();
    objects
        .add(&json!({"kind": "List", "items": items}).to_string())
        .unwrap();
    audit(&objects)
}

/// The object of a kind with a name.
fn find<'a>(items: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    let found = items
        .iter_mut()
        .find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The entry of a dataset that has a record like this of a claim whose name contains `claim`.
fn entry_with<'a>(items: &'a mut [Value], record: &str, claim: &str) -> &'a mut Value {
    let has = |item: &Value| {
        let records = item["spec"]["records"].as_array();
        records.into_iter().flatten().any(|one| {
            let name = one[record]["claim"].as_str();
            name.is_some_and(|name| name.contains(claim))
        })
    };
    items.iter_mut().find(|item| has(item)).unwrap()
}

/// Makes the chain of a dataset whole again, as a forger would.
fn chain_again(items: &mut [Value], dataset: &str) {
    let mut entries: Vec<&mut Value> = items
        .iter_mut()
        .filter(|item| item["kind"] == "PrivacyLedgerEntry" && item["spec"]["dataset"] == dataset)
        .collect();
    entries.sort_by_key(|entry| entry["spec"]["sequence"].as_u64());
    let mut previous = canonical::ORIGIN.to_owned();
    for entry in entries {
        entry["spec"]["previous"] = json!(previous);
        previous = canonical::hash(&entry["spec"]).unwrap();
        entry["spec"]["hash"] = json!(previous);
    }
}

/// Checks that the audit finds something of this kind whose text contains `words`.
fn finds(items: &[Value], kind: FindingKind, words: &str) {
    let report = report(items);
    let found = report
        .findings
        .iter()
        .any(|finding| finding.kind == kind && finding.to_string().contains(words));
    assert!(found, "no {kind:?} with {words:?} in\n{report}");
}

#[test]
fn of_an_honest_cluster_nothing_is_wrong() {
    let report = report(&objects());
    assert!(report.findings.is_empty(), "{report}");
    assert_eq!(report.ledgers.len(), 2);
    assert!(
        report.pods_with_node >= 3 && report.pods > report.pods_with_node,
        "{report}"
    );
    for phase in ["Waiting", "Granted", "Consumed", "Released", "Denied"] {
        let count = report
            .ledgers
            .iter()
            .filter_map(|ledger| ledger.claims.get(phase));
        assert!(count.sum::<u64>() > 0, "no claim is {phase}");
    }
    assert!(report.to_string().contains("Nothing is wrong."));
}

#[test]
fn a_missing_entry_and_a_changed_amount_break_the_chain() {
    let mut items = objects();
    items.retain(|item| item["metadata"]["name"] != "taxi-0000000003");
    finds(&items, FindingKind::Chain, "entry 3 should come here");

    let mut items = objects();
    let entry = entry_with(&mut items, "granted", "first");
    let name = entry["metadata"]["name"].as_str().unwrap().to_owned();
    for event in entry["spec"]["events"].as_array_mut().unwrap() {
        if event["arrive"].is_object() {
            event["arrive"]["demands"][0]["budget"][0] = json!(1);
        }
    }
    finds(
        &items,
        FindingKind::Chain,
        &format!("{name}: its content has the hash"),
    );
    // Whoever computes all hashes again has changed what was consumed, which statuses and grants contradict.
    chain_again(&mut items, "taxi");
    finds(&items, FindingKind::Wrong, "its status shows consumed");
    finds(&items, FindingKind::Bypassed, "its grant says");
}

#[test]
fn an_entry_that_is_cut_off_is_named_by_statuses() {
    let mut items = objects();
    let last = items.iter().filter(|item| item["spec"]["dataset"] == "taxi");
    let last = last
        .filter_map(|item| item["spec"]["sequence"].as_u64())
        .max()
        .unwrap();
    items.retain(|item| item["metadata"]["name"] != format!("taxi-{last:010}"));
    finds(&items, FindingKind::Lost, &format!("names entry {last}"));
}

#[test]
fn an_entry_that_goes_back_in_time_or_is_of_another_namespace_is_found() {
    let mut items = objects();
    find(&mut items, "PrivacyLedgerEntry", "taxi-0000000004")["spec"]["timeMicros"] = json!(1);
    chain_again(&mut items, "taxi");
    finds(&items, FindingKind::Chain, "dated before");

    let mut items = objects();
    find(&mut items, "PrivacyLedgerEntry", "taxi-0000000004")["spec"]["namespaceUid"] = json!("other");
    finds(&items, FindingKind::Chain, "of the namespace with UID other");
}

#[test]
fn a_grant_too_many_is_found_though_the_chain_is_whole() {
    // The claim that waits is granted: its block has not enough.
    let mut items = objects();
    let entry = entry_with(&mut items, "waits", "waits");
    let time = entry["spec"]["timeMicros"].clone();
    let records = entry["spec"]["records"].as_array_mut().unwrap();
    for record in records.iter_mut().filter(|record| record["waits"].is_object()) {
        let claim = record["waits"]["claim"].clone();
        *record = json!({"granted": {"claim": claim, "at": time}});
    }
    chain_again(&mut items, "taxi");
    finds(&items, FindingKind::Overspent, "available then");

    // A claim is granted twice.
    let mut items = objects();
    let entry = entry_with(&mut items, "granted", "first");
    let records = entry["spec"]["records"].as_array_mut().unwrap();
    let again = records
        .iter()
        .find(|record| record["granted"].is_object())
        .cloned();
    records.extend(again);
    chain_again(&mut items, "taxi");
    finds(&items, FindingKind::Contradiction, "is granted, and was Granted");
}

#[test]
fn consumed_budget_that_returns_is_found() {
    let mut items = objects();
    let entry = entry_with(&mut items, "consumed", "first");
    let records = entry["spec"]["records"].as_array_mut().unwrap();
    let claim = records
        .iter()
        .find_map(|record| record["consumed"]["claim"].as_str());
    let claim = claim.unwrap().to_owned();
    // Nothing was left to release.
    records.push(json!({"released": {"claim": claim, "entirely": true}}));
    let events = entry["spec"]["events"].as_array_mut().unwrap();
    events.push(json!({"release": {"claim": claim, "amount": "all"}}));
    chain_again(&mut items, "taxi");
    finds(&items, FindingKind::Contradiction, "no event says so");
}

#[test]
fn a_status_that_is_off_by_one_or_untrue_is_found() {
    let mut items = objects();
    let consumed = &mut find(&mut items, "PrivateDataBlock", "taxi-1")["status"]["consumed"]["epsilon"];
    *consumed = json!(format!(
        "{}.000000000001",
        consumed.as_str().unwrap().split('.').next().unwrap()
    ));
    finds(&items, FindingKind::Wrong, "its status shows consumed");
    finds(&items, FindingKind::Wrong, "not 10000000000000 together");

    let mut items = objects();
    find(&mut items, "PrivacyBudgetClaim", "granted")["status"]["phase"] = json!("Consumed");
    finds(&items, FindingKind::Wrong, "granted: its status says Consumed");

    let mut items = objects();
    let granted = &mut find(&mut items, "PrivateDataset", "taxi")["status"]["granted"];
    *granted = json!(granted.as_u64().unwrap() + 1);
    finds(&items, FindingKind::Wrong, "taxi: its status says that");
}

#[test]
fn a_block_that_seems_to_be_in_the_ledger_before_the_entry_that_adds_it_is_found() {
    let not_yet_there = "is of entry 1, in which it was not yet there";
    let mut items = objects();
    let status = &mut find(&mut items, "PrivateDataBlock", "taxi-2")["status"];
    status["ledgerSequence"] = json!(1);
    finds(&items, FindingKind::Wrong, not_yet_there);
    let status = &mut find(&mut items, "PrivateDataBlock", "taxi-2")["status"];
    status["conditions"][0]["reason"] = json!("Unusable");
    finds(&items, FindingKind::Behind, not_yet_there);

    let mut items = objects();
    let mut other = find(&mut items, "PrivateDataBlock", "taxi-2").clone();
    other["metadata"]["name"] = json!("taxi-3");
    items.push(other);
    finds(&items, FindingKind::Wrong, "taxi-3: it is in no ledger: InLedger");
}

#[test]
fn a_status_that_was_not_written_is_behind() {
    for (kind, name) in [
        ("PrivacyBudgetClaim", "granted"),
        ("PrivateDataBlock", "taxi-1"),
        ("PrivateDataset", "web"),
    ] {
        let mut items = objects();
        find(&mut items, kind, name)["status"] = json!({});
        finds(&items, FindingKind::Behind, name);
    }
    let mut items = objects();
    find(&mut items, "PrivacyBudgetClaim", "lacks")["status"]["reason"] = json!("TooLittleUnlocked");
    finds(&items, FindingKind::Behind, "it has 2 of 5 blocks");
}

#[test]
fn a_pod_that_runs_without_consumption_or_with_another_grant_is_found() {
    let mut items = objects();
    find(&mut items, "Pod", "waits")["spec"]["nodeName"] = json!("node-0");
    finds(
        &items,
        FindingKind::Bypassed,
        "Pod data/waits: it has a node, and its claim is Waiting",
    );

    let mut items = objects();
    let pod = find(&mut items, "Pod", "first");
    pod["metadata"]["uid"] = json!("another");
    finds(&items, FindingKind::Bypassed, "is not in the ledger");

    let mut items = objects();
    let pod = find(&mut items, "Pod", "first");
    pod["metadata"]["annotations"]["privatekube.dev/grant"] = Value::Null;
    finds(&items, FindingKind::Bypassed, "it has a node and no grant");
}

#[test]
fn what_hangs_is_found() {
    let mut items = objects();
    find(&mut items, "Pod", "first")["spec"]["nodeName"] = Value::Null;
    finds(
        &items,
        FindingKind::Hanging,
        "its claim is Consumed, and it has no node",
    );

    let mut items = objects();
    items.retain(|item| item["metadata"]["name"] != "granted");
    finds(
        &items,
        FindingKind::Hanging,
        "it is Granted, and its pod or object is gone",
    );

    // A claim that waits although its block has enough: nothing of what others demand was granted.
    let mut items = objects();
    let entry = entry_with(&mut items, "waits", "waits");
    for event in entry["spec"]["events"].as_array_mut().unwrap() {
        if event["arrive"]["claim"]
            .as_str()
            .is_some_and(|claim| claim.contains("/waits/"))
        {
            event["arrive"]["demands"][0]["budget"] = json!([1, 0]);
        }
    }
    chain_again(&mut items, "taxi");
    finds(
        &items,
        FindingKind::Hanging,
        "all its blocks have enough available",
    );
}

#[test]
fn an_object_in_no_ledger_is_lost_or_hanging() {
    let mut items = objects();
    let claim = find(&mut items, "PrivacyBudgetClaim", "granted");
    claim["metadata"]["uid"] = json!("another");
    finds(
        &items,
        FindingKind::Lost,
        "no ledger knows claim/data/granted/another",
    );
    find(&mut items, "PrivacyBudgetClaim", "granted")["status"] =
        json!({"phase": "Waiting", "reason": "Undecided"});
    finds(&items, FindingKind::Hanging, "is in no ledger");
}

#[test]
fn what_the_audit_does_not_know_is_said() {
    let mut items = objects();
    let entry = find(&mut items, "PrivacyLedgerEntry", "web-0000000002");
    entry["spec"]["events"]
        .as_array_mut()
        .unwrap()
        .push(json!({"vanish": {"claim": "c"}}));
    finds(&items, FindingKind::Unknown, "vanish");
    let entry = find(&mut items, "PrivacyLedgerEntry", "taxi-0000000002");
    entry["spec"]["omitted"] = json!({"count": 3, "hash": canonical::ORIGIN});
    finds(&items, FindingKind::Unknown, "3 records are left out");
}

#[test]
fn a_claim_is_forgotten_only_once_it_has_ended() {
    for (phase, is_wrong) in [("waits", true), ("consumed", false)] {
        let mut items = objects();
        let taxi =
            |item: &&mut Value| item["kind"] == "PrivacyLedgerEntry" && item["spec"]["dataset"] == "taxi";
        let mut claim = None;
        for item in items.iter_mut().filter(taxi) {
            for record in item["spec"]["records"].as_array().unwrap() {
                let name = &record[phase]["claim"];
                claim = claim.or_else(|| name.as_str().map(str::to_owned));
            }
        }
        let claim = claim.unwrap_or_else(|| panic!("no claim {phase}"));
        let last = items
            .iter_mut()
            .filter(taxi)
            .max_by_key(|item| item["spec"]["sequence"].as_u64());
        let events = last.unwrap()["spec"]["events"].as_array_mut().unwrap();
        events.push(json!({"forget": {"claims": [claim], "of": "team"}}));
        chain_again(&mut items, "taxi");
        let report = report(&items);
        let said = report.to_string().contains("is forgotten, and has not ended");
        assert_eq!(said, is_wrong, "{phase}: {report}");
    }
}

#[test]
fn the_report_is_the_same_in_any_order_of_objects() {
    let mut items = objects();
    let before = report(&items);
    items.reverse();
    assert_eq!(report(&items).ledgers, before.ledgers);
}

/// The cluster's objects, with who made the pod `first`, and what the ledger says of that.
fn requested(by: &str, kept: Value) -> Vec<Value> {
    let mut items = objects();
    let pod = find(&mut items, "Pod", "first");
    pod["metadata"]["annotations"]["privatekube.dev/requested-by"] = json!(by);
    pod["metadata"]["annotations"]["privatekube.dev/purpose"] = json!("a report");
    let entry = entry_with(&mut items, "granted", "first");
    entry["spec"]["program"] = json!("privatekube 0.1.0");
    entry["spec"]["requesters"] = kept;
    chain_again(&mut items, "taxi");
    items
}

/// The name of the claim of the pod `first`.
const FIRST: &str = "pod/data/first/52bd3878-0685-4fd3-9db4-2eec0927292e";

#[test]
fn the_ledger_says_who_asked_as_the_pods_do() {
    let kept = json!([{"claim": FIRST, "user": "alice", "images": ["train:1"], "purpose": "a report"}]);
    let report = report(&requested("alice", kept.clone()));
    assert!(report.findings.is_empty(), "{report}");
    finds(
        &requested("bob", kept),
        FindingKind::Wrong,
        "its user is \"bob\", and the ledger says \"alice\"",
    );
    let without = json!([{"claim": FIRST, "user": "alice"}]);
    finds(
        &requested("alice", without),
        FindingKind::Wrong,
        "its purpose is \"a report\"",
    );
    let of_another = json!([{"claim": "pod/data/nobody/1", "user": "alice"}]);
    finds(
        &requested("alice", of_another),
        FindingKind::Contradiction,
        "doesn't arrive in it",
    );
    // Nobody can hash a form that isn't known.
    let mut items = requested("alice", json!([]));
    let entry = entry_with(&mut items, "granted", "first");
    entry["spec"]["requesters"] = json!([{"claim": FIRST, "mood": "good"}]);
    finds(&items, FindingKind::Unknown, "mood");
    // Who asked is covered by the hash.
    let mut items = requested(
        "alice",
        json!([{"claim": FIRST, "user": "alice", "purpose": "a report"}]),
    );
    let entry = entry_with(&mut items, "granted", "first");
    entry["spec"]["requesters"][0]["user"] = json!("mallory");
    finds(&items, FindingKind::Chain, "its content has the hash");
}
