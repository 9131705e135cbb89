//! Who asked for claims: what entries keep of it, in which form, and that it costs no claim its place.

use futures::executor::block_on;
use privatekube_ledger::{
    ApplyError, Entry, Hash, MOST_ENTRY_BYTES, MOST_EVENT_BYTES, MOST_REQUESTER_BYTES, MemoryStore, Replay,
    Requester, VerifyError, verify,
};

use crate::build::{at, block, claim, commit, consume, open, snapshot};

fn alice(claim: &str) -> Requester {
    Requester {
        user: Some("alice@example.com".to_owned()),
        service_account: Some("trainer".to_owned()),
        owner: Some("Job/train".to_owned()),
        images: vec!["train:1".to_owned(), "proxy:2".to_owned()],
        mechanism: Some("gaussian(sigma=20)".to_owned()),
        purpose: Some("weekly \"report\"\n\u{e9}".to_owned()),
        ..Requester::unknown(claim.into())
    }
}

/// A ledger with a block, and an entry in which c1 and c2 arrive, c1 with all that can be known of a requester.
fn written() -> Vec<Entry> {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 10, &[block("b1", 100)]);
    ledger.set_program("privatekube 0.1.0".to_owned());
    let mut draft = ledger.draft(at(20)).unwrap();
    draft
        .apply_requested(claim("c1", 60, &["b1"]), Some(alice("c1")))
        .unwrap();
    let user = Requester {
        user: Some("bob".to_owned()),
        ..Requester::unknown("c2".into())
    };
    draft
        .apply_requested(claim("c2", 30, &["b1"]), Some(user))
        .unwrap();
    block_on(draft.commit()).unwrap();
    store.entries()
}

#[test]
fn the_canonical_form_with_requesters_and_program_is_what_it_was() {
    let entries = written();
    let entry = &entries[1];
    let canonical = String::from_utf8(entry.canonical().unwrap()).unwrap();
    let expected = [
        r#"{"sequence":2,"previous":"#,
        &serde_json::to_string(&entries[0].hash().unwrap()).unwrap(),
        r#","writer":"writer-1","program":"privatekube 0.1.0","time":20,"#,
        r#""events":[{"arrive":{"claim":"c1","demands":[{"blocks":["b1"],"budget":[60,0]}],"minBlocks":1}},"#,
        r#"{"arrive":{"claim":"c2","demands":[{"blocks":["b1"],"budget":[30,0]}],"minBlocks":1}}],"#,
        r#""records":[{"granted":{"claim":"c1","at":20}},{"granted":{"claim":"c2","at":20}}],"#,
        r#""requesters":[{"claim":"c1","user":"alice@example.com","serviceAccount":"trainer","owner":"Job/train","#,
        r#""images":["train:1","proxy:2"],"mechanism":"gaussian(sigma=20)","#,
        r#""purpose":"weekly \"report\"\né"},{"claim":"c2","user":"bob"}]}"#,
    ];
    assert_eq!(canonical, expected.concat());
    assert_eq!(entry.hash(), Ok(Hash::of(canonical.as_bytes())));
    let read: Entry = serde_json::from_str(&canonical).unwrap();
    assert_eq!(read, *entry);
    verify(entries).unwrap();
}

#[test]
fn a_requester_with_something_unknown_in_it_is_not_read() {
    let mut stored = serde_json::to_value(&written()[1]).unwrap();
    stored["requesters"][0]["mood"] = "good".into();
    assert!(serde_json::from_value::<Entry>(stored).is_err());
}

#[test]
fn the_hash_covers_who_asked() {
    let mut entries = written();
    let store = MemoryStore::from_iter(entries.clone());
    commit(&mut open(store.clone()), 30, &[consume("c1")]);
    entries = store.entries();
    entries[1].requesters[0].user = Some("mallory".to_owned());
    assert!(matches!(
        verify(entries),
        Err(VerifyError::Previous { sequence: 3, .. })
    ));
}

#[test]
fn a_requester_of_what_does_not_arrive_in_this_place_is_refused() {
    let change = |change: fn(&mut Vec<Requester>)| {
        let mut entries = written();
        change(&mut entries[1].requesters);
        let claim = match verify(entries) {
            Err(VerifyError::Requester { sequence: 2, claim }) => claim,
            other => panic!("{other:?}"),
        };
        claim.to_string()
    };
    assert_eq!(change(|requesters| requesters[1].claim = "c3".into()), "c3");
    assert_eq!(change(|requesters| requesters.swap(0, 1)), "c1");
    assert_eq!(change(|requesters| requesters.push(requesters[1].clone())), "c2");
    let mut entries = written();
    entries[1].requesters.remove(0);
    // That it is missing says nothing: it may have been unknown.
    verify(entries).unwrap();
}

#[test]
fn nothing_is_kept_for_other_events_and_of_nobody() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 10, &[block("b1", 100), claim("c1", 1, &["b1"])]);
    let mut draft = ledger.draft(at(20)).unwrap();
    draft.apply_requested(consume("c1"), Some(alice("c1"))).unwrap();
    draft
        .apply_requested(claim("c2", 1, &["b1"]), Some(alice("c1")))
        .unwrap();
    let nobody = Requester::unknown("c3".into());
    draft
        .apply_requested(claim("c3", 1, &["b1"]), Some(nobody))
        .unwrap();
    // The engine refuses it, since it arrived before.
    draft
        .apply_requested(claim("c1", 1, &["b1"]), Some(alice("c1")))
        .unwrap_err();
    block_on(draft.commit()).unwrap();
    assert_eq!(store.entries()[1].requesters, []);
}

#[test]
fn who_asked_changes_no_decision_and_no_state() {
    let mut with = Replay::new();
    let mut without = Replay::new();
    let entries = written();
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    for entry in &entries {
        with.push(entry).unwrap();
        let mut draft = ledger.draft(entry.time).unwrap();
        for event in &entry.events {
            draft.apply(event.clone()).unwrap();
        }
        block_on(draft.commit()).unwrap();
    }
    for entry in store.entries() {
        without.push(&entry).unwrap();
    }
    assert_eq!(
        snapshot(with.engine().unwrap()),
        snapshot(without.engine().unwrap())
    );
}

#[test]
fn the_largest_requesters_fit_beside_the_largest_events_and_never_refuse_a_claim() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 1, &[block("b1", 1_000_000)]);
    // Control characters take six bytes each.
    let text = || Some("\u{1}".repeat(10_000));
    let largest = |claim: &str| Requester {
        user: text(),
        service_account: text(),
        owner: text(),
        images: (0..100).map(|_| "\u{1}".repeat(10_000)).collect(),
        mechanism: text(),
        purpose: text(),
        ..Requester::unknown(claim.into())
    };
    let mut draft = ledger.draft(at(2)).unwrap();
    draft
        .apply(block(&"y".repeat(MOST_EVENT_BYTES - 1_000), 1))
        .unwrap();
    draft
        .apply_requested(claim("first", 1, &["b1"]), Some(largest("first")))
        .unwrap();
    block_on(draft.commit()).unwrap();

    let mut draft = ledger.draft(at(3)).unwrap();
    let mut taken = 0;
    loop {
        let name = format!("c{taken}");
        match draft.apply_requested(claim(&name, 1, &["b1"]), Some(largest(&name))) {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!(error, ApplyError::Full);
                break;
            }
        }
    }
    block_on(draft.commit()).unwrap();
    assert!(taken > 1, "{taken}");
    let entries = store.entries();
    assert_eq!(
        (entries[1].requesters.len(), entries[2].requesters.len()),
        (1, taken)
    );
    for entry in &entries {
        let length = entry.canonical().unwrap().len();
        assert!(length <= MOST_ENTRY_BYTES, "{length}");
        let size = |json: serde_json::Result<Vec<u8>>| json.unwrap().len();
        let both = size(serde_json::to_vec(&entry.requesters)) + size(serde_json::to_vec(&entry.events));
        assert!(both <= MOST_EVENT_BYTES + MOST_REQUESTER_BYTES + 4, "{both}");
    }
    verify(entries).unwrap();
}

#[test]
fn a_claim_with_a_name_beyond_all_bounds_arrives_without_its_requester() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 1, &[block("b1", 10)]);
    let name = "x".repeat(MOST_REQUESTER_BYTES);
    let mut draft = ledger.draft(at(2)).unwrap();
    draft
        .apply_requested(claim(&name, 1, &["b1"]), Some(alice(&name)))
        .unwrap();
    block_on(draft.commit()).unwrap();
    assert_eq!(store.entries()[1].requesters, []);
}
