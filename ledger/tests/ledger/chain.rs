//! Verification finds every change of stored entries, and names the place.

use futures::executor::block_on;
use privatekube_ledger::{
    ENTRY_VERSION, Entry, Hash, Ledger, MemoryStore, OpenError, Replay, VerifyError, verify,
};
use privatekube_policy::{Record, Revision, Time};

use crate::build::{at, block, claim, commit, consume, open, rules, snapshot};

/// Five entries with every kind of event and record.
fn written() -> Vec<Entry> {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    commit(&mut ledger, 10, &[block("b1", 100), block("b2", 50)]);
    commit(
        &mut ledger,
        20,
        &[claim("c1", 60, &["b1", "b2"]), claim("c2", 30, &["b1"])],
    );
    commit(&mut ledger, 20, &[consume("c2")]);
    commit(
        &mut ledger,
        30,
        &[claim("c3", 70, &["b1"]), claim("c4", 70, &["b1"])],
    );
    commit(&mut ledger, 40, &[block("b3", 10)]);
    store.entries()
}

/// The error of verifying the entries after `change`. Checks that opening them fails with the same.
fn tampered(change: impl FnOnce(&mut Vec<Entry>)) -> VerifyError {
    let mut entries = written();
    change(&mut entries);
    let error = verify(entries.clone()).unwrap_err();
    // A store returns entries in the order of their numbers, so it can't show every change of a list.
    let in_order = entries.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
    if in_order {
        let store = MemoryStore::from_iter(entries);
        let Err(OpenError::Verify(opened)) = block_on(Ledger::open(store, "w".to_owned(), rules())) else {
            panic!("a ledger that does not verify was opened");
        };
        assert_eq!(opened, error);
    }
    error
}

#[test]
fn what_was_written_verifies_and_says_what_it_holds() {
    let entries = written();
    let (hash, count) = (entries[4].hash().unwrap(), entries.len());
    let summary = verify(entries).unwrap();
    assert_eq!((summary.sequence, count), (5, 5));
    assert_eq!((summary.hash, summary.time), (hash, at(40)));
    assert_eq!(summary.rules, Some(rules()));
    assert_eq!((summary.blocks, summary.claims, summary.events), (3, 4, 8));
}

#[test]
fn nothing_verifies_as_an_empty_ledger() {
    let summary = verify([]).unwrap();
    assert_eq!((summary.sequence, summary.hash), (0, Hash::ORIGIN));
    assert_eq!(summary.rules, None);
}

#[test]
fn an_entry_that_is_missing_is_found() {
    for missing in 0..4 {
        let error = tampered(|entries| _ = entries.remove(missing));
        let expected = missing as u64 + 1;
        assert_eq!(
            error,
            VerifyError::Sequence {
                expected,
                found: expected + 1
            }
        );
    }
}

#[test]
fn a_missing_last_entry_shows_in_sequence_and_hash() {
    let mut entries = written();
    let whole = verify(entries.clone()).unwrap();
    entries.pop();
    let cut = verify(entries).unwrap();
    assert_ne!((cut.sequence, cut.hash), (whole.sequence, whole.hash));
}

#[test]
fn entries_that_changed_places_are_found() {
    for first in 0..4 {
        let swapped = tampered(|entries| entries.swap(first, first + 1));
        assert!(matches!(swapped, VerifyError::Sequence { expected, .. } if expected == first as u64 + 1));
        // The same, with the numbers exchanged as well.
        let renumbered = tampered(|entries| {
            entries.swap(first, first + 1);
            entries[first].sequence -= 1;
            entries[first + 1].sequence += 1;
        });
        let found = match renumbered {
            VerifyError::Previous { sequence, .. } => sequence,
            VerifyError::NoRules if first == 0 => 1,
            other => panic!("{other}"),
        };
        assert_eq!(found, first as u64 + 1);
    }
}

#[test]
fn an_entry_that_was_put_in_is_found() {
    for place in 1..5 {
        let error = tampered(|entries| {
            let mut foreign = entries[place].clone();
            foreign.events.clear();
            foreign.records.clear();
            for later in &mut entries[place..] {
                later.sequence += 1;
            }
            entries.insert(place, foreign);
        });
        let sequence = place as u64 + 2;
        assert!(matches!(error, VerifyError::Previous { sequence: found, .. } if found == sequence));
    }
}

#[test]
fn an_entry_that_is_there_twice_is_found() {
    let error = tampered(|entries| entries.insert(2, entries[1].clone()));
    assert_eq!(
        error,
        VerifyError::Sequence {
            expected: 3,
            found: 2
        }
    );
}

#[test]
fn a_changed_writer_is_found_by_the_next_entry() {
    for changed in 0..4 {
        let error = tampered(|entries| entries[changed].writer.push('x'));
        let sequence = changed as u64 + 2;
        assert!(matches!(error, VerifyError::Previous { sequence: found, .. } if found == sequence));
    }
}

#[test]
fn a_changed_predecessor_is_found() {
    for changed in 0..5 {
        let error = tampered(|entries| entries[changed].previous = Hash::of(b"another"));
        let found = Hash::of(b"another");
        let sequence = changed as u64 + 1;
        assert!(
            matches!(error, VerifyError::Previous { sequence: at, found: named, .. } if at == sequence && named == found)
        );
    }
}

#[test]
fn a_changed_time_is_found() {
    let back = tampered(|entries| entries[4].time = at(29));
    assert_eq!(
        back,
        VerifyError::Time {
            sequence: 5,
            before: at(30),
            found: at(29)
        }
    );
    // If the time changes a decision, the record shows it; else the next entry does.
    let decided = tampered(|entries| entries[1].time = at(15));
    assert!(matches!(decided, VerifyError::Record { sequence: 2, .. }));
    let undecided = tampered(|entries| entries[0].time = at(11));
    assert!(matches!(undecided, VerifyError::Previous { sequence: 2, .. }));
}

#[test]
fn rules_that_are_missing_or_repeated_are_found() {
    assert_eq!(tampered(|entries| entries[0].rules = None), VerifyError::NoRules);
    assert_eq!(
        tampered(|entries| entries[3].rules = Some(rules())),
        VerifyError::RulesAgain { sequence: 4 }
    );
}

#[test]
fn changed_rules_are_found() {
    let error = tampered(|entries| {
        let rules = entries[0].rules.as_mut().unwrap();
        rules.unlocking = privatekube_policy::Unlocking::Arrivals(7);
    });
    assert!(matches!(
        error,
        VerifyError::Previous { sequence: 2, .. } | VerifyError::Record { sequence: 1, .. }
    ));
}

#[test]
fn a_changed_record_is_found_and_named() {
    for entry in 0..5 {
        for record in 0..written()[entry].records.len() {
            let sequence = entry as u64 + 1;
            let named = |error: &VerifyError| matches!(error, VerifyError::Record { sequence: s, record: r, .. } if *s == sequence && *r <= record);
            let changed = tampered(|entries| {
                entries[entry].records[record] = Record::Expired {
                    claim: "c9".into(),
                    at: Time::default(),
                };
            });
            assert!(named(&changed), "{changed}");
            let removed = tampered(|entries| _ = entries[entry].records.remove(record));
            assert!(named(&removed), "{removed}");
            let doubled = tampered(|entries| {
                let double = entries[entry].records[record].clone();
                entries[entry].records.push(double);
            });
            assert!(
                matches!(&doubled, VerifyError::Record { sequence: s, follows: None, .. } if *s == sequence),
                "{doubled}"
            );
        }
    }
}

#[test]
fn a_changed_event_is_found() {
    for entry in 0..5 {
        for event in 0..written()[entry].events.len() {
            let sequence = entry as u64 + 1;
            // The records that follow from the other events are not those that are written.
            let removed = tampered(|entries| _ = entries[entry].events.remove(event));
            assert!(
                matches!(&removed, VerifyError::Record { sequence: s, .. } if *s == sequence),
                "{removed}"
            );
            let again = tampered(|entries| {
                let again = entries[entry].events[event].clone();
                entries[entry].events.push(again);
            });
            // A block or claim that comes again makes no sense; what is consumed again changes nothing, so
            // only the next entry shows it.
            assert!(
                match &again {
                    VerifyError::Event { sequence: s, .. } => *s == sequence,
                    VerifyError::Previous { sequence: s, .. } => *s == sequence + 1,
                    _ => false,
                },
                "{again}"
            );
        }
    }
    let larger = tampered(|entries| entries[0].events[0] = block("b1", 101));
    assert!(matches!(larger, VerifyError::Previous { sequence: 2, .. }));
    let unknown = tampered(|entries| entries[2].events[0] = consume("c9"));
    assert!(matches!(
        unknown,
        VerifyError::Event {
            sequence: 3,
            event: 0,
            ..
        }
    ));
}

#[test]
fn an_event_changed_with_all_its_records_is_found_by_the_next_entry() {
    let error = tampered(|entries| {
        let last = entries[3].events.len() - 1;
        entries[3].events[last] = claim("c4", 69, &["b1"]);
        let mut replay = Replay::new();
        for entry in &entries[..3] {
            replay.push(entry).unwrap();
        }
        while let Err(VerifyError::Record { record, follows, .. }) = replay.push(&entries[3]) {
            entries[3]
                .records
                .splice(record..=record, follows.map(|follows| *follows));
            replay = Replay::new();
            for entry in &entries[..3] {
                replay.push(entry).unwrap();
            }
        }
    });
    assert!(
        matches!(error, VerifyError::Previous { sequence: 5, .. }),
        "{error}"
    );
}

#[test]
fn a_hash_does_not_depend_on_the_order_in_which_a_store_keeps_keys() {
    for entry in written() {
        // serde_json's values keep keys sorted, as etcd and the API server may.
        let stored = serde_json::to_value(&entry).unwrap();
        let read: Entry = serde_json::from_value(stored.clone()).unwrap();
        assert_ne!(serde_json::to_vec(&stored).unwrap(), entry.canonical().unwrap());
        assert_eq!((read.hash(), &read), (entry.hash(), &entry));
    }
}

#[test]
fn the_canonical_form_is_what_it_was() {
    // As in release 0.1.0, which had no revisions.
    let mut entry = written()[0].clone();
    entry.rules.as_mut().unwrap().revision = Revision::First;
    assert_eq!(
        String::from_utf8(entry.canonical().unwrap()).unwrap(),
        concat!(
            r#"{"sequence":1,"#,
            r#""previous":"0000000000000000000000000000000000000000000000000000000000000000","#,
            r#""writer":"writer-1","time":10,"#,
            r#""setting":{"policy":"dpf","unlocking":"immediate","composition":"basic"},"#,
            r#""events":[{"addBlock":{"block":"b1","capacity":[100,0]}},{"addBlock":{"block":"b2","capacity":[50,0]}}],"#,
            r#""records":[{"blockAdded":{"block":"b1"}},{"blockAdded":{"block":"b2"}}]}"#,
        )
    );
    assert_eq!(Ok(Hash::of(&entry.canonical().unwrap())), entry.hash());
}

/// Release 0.1.0 unlocked for a claim that is denied when it arrives, and wrote no revision.
#[test]
fn a_ledger_of_the_first_release_is_replayed_to_its_own_decisions() {
    let entry = concat!(
        r#"{"sequence":1,"#,
        r#""previous":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""writer":"writer-1","time":10,"#,
        r#""setting":{"policy":"dpf","unlocking":{"arrivals":4},"composition":"basic"},"#,
        r#""events":[{"addBlock":{"block":"b1","capacity":[100,0]}},"#,
        r#"{"arrive":{"claim":"c1","demands":[{"blocks":["b1"],"budget":[101,0]}],"minBlocks":1}}],"#,
        r#""records":[{"blockAdded":{"block":"b1"}},{"unlocked":{"blocks":["b1"]}},"#,
        r#"{"denied":{"claim":"c1","reason":{"tooLarge":{"block":"b1","coordinate":0,"asked":101,"left":100}},"at":10}}]}"#,
    );
    let entry: Entry = serde_json::from_str(entry).unwrap();
    let mut replay = Replay::new();
    replay.push(&entry).unwrap();
    let block = replay.engine().unwrap().block(&"b1".into()).unwrap();
    assert_eq!((block.arrivals, block.locked[0]), (1, 75));

    let mut newer = entry;
    newer.rules.as_mut().unwrap().revision = Revision::CURRENT;
    assert!(Replay::new().push(&newer).is_err());
}

/// Version 1 has no key, so that entries of it have the hashes that they always had.
#[test]
fn an_entry_of_a_later_version_has_a_key_for_it_and_is_refused() {
    let entry = Entry {
        version: 2,
        ..written()[0].clone()
    };
    let text = String::from_utf8(entry.canonical().unwrap()).unwrap();
    assert!(text.starts_with(r#"{"version":2,"sequence":1,"#), "{text}");
    let read: Entry = serde_json::from_str(&text).unwrap();
    assert_eq!((&read, read.hash()), (&entry, entry.hash()));
    for version in [0, 2, u32::MAX] {
        let mut replay = Replay::new();
        let later = Entry {
            version,
            ..entry.clone()
        };
        let newer = VerifyError::Newer {
            sequence: 1,
            version,
            newest: ENTRY_VERSION,
        };
        assert_eq!(replay.push(&later).unwrap_err(), newer);
        // It has left nothing behind.
        replay.push(&written()[0]).unwrap();
    }
}

#[test]
fn an_entry_with_something_unknown_in_it_is_not_read() {
    let mut stored = serde_json::to_value(&written()[0]).unwrap();
    stored["note"] = "added".into();
    assert!(serde_json::from_value::<Entry>(stored).is_err());
}

#[test]
fn a_misplaced_entry_leaves_a_replay_as_it_was_and_a_wrong_one_ends_it() {
    let entries = written();
    let mut replay = Replay::new();
    replay.push(&entries[0]).unwrap();
    let before = snapshot(replay.engine().unwrap());
    for misplaced in [&entries[0], &entries[2]] {
        assert!(matches!(
            replay.push(misplaced),
            Err(VerifyError::Sequence { expected: 2, .. })
        ));
    }
    assert_eq!(snapshot(replay.engine().unwrap()), before);
    let mut wrong = entries[1].clone();
    wrong.events.push(block("b1", 7));
    assert!(matches!(replay.push(&wrong), Err(VerifyError::Event { .. })));
    assert!(replay.engine().is_none());
    assert_eq!(replay.push(&entries[1]), Err(VerifyError::Broken { sequence: 2 }));
    assert_eq!(replay.head().sequence, 1);
}

#[test]
fn a_follower_becomes_the_writer_with_nothing_to_read() {
    let store = MemoryStore::from_iter(written());
    let mut replay = Replay::new();
    for entry in &store.entries()[..3] {
        replay.push(entry).unwrap();
    }
    let resumed = Ledger::resume(store.clone(), "w2".to_owned(), rules(), replay);
    let mut resumed = block_on(resumed).unwrap();
    let opened = open(store.clone());
    assert_eq!(resumed.head(), opened.head());
    assert_eq!(
        snapshot(resumed.engine().unwrap()),
        snapshot(opened.engine().unwrap())
    );
    commit(&mut resumed, 50, &[block("b4", 1)]);
    assert_eq!(verify(store.entries()).unwrap().sequence, 6);
}

#[test]
fn a_broken_follower_does_not_take_over() {
    let entries = written();
    let mut wrong = entries[0].clone();
    wrong.records.clear();
    let mut replay = Replay::new();
    replay.push(&wrong).unwrap_err();
    let store = MemoryStore::new();
    let resumed = block_on(Ledger::resume(store, "w2".to_owned(), rules(), replay));
    assert!(matches!(
        resumed,
        Err(OpenError::Verify(VerifyError::Broken { .. }))
    ));
}
