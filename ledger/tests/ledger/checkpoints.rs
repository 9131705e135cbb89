//! Checkpoints, ledgers that are opened from them, and entries that are removed.

use futures::executor::block_on;
use privatekube_ledger::{
    Checkpoint, CheckpointContent, CheckpointError, CheckpointMark, CheckpointStore, CommitError,
    ContentError, Hash, Head, Ledger, MemoryStore, OpenError, PublishError, Removal, Replay, Store,
    VerifyError, remove_entries,
};
use privatekube_policy::{Engine, Phase, Time};

use crate::build::{at, block, claim, open, rules, snapshot};

/// Commits an entry with a block, then one with a claim on it for each of `claims`.
fn with_claims(store: &MemoryStore, claims: u64) -> Ledger<MemoryStore> {
    let mut ledger = open(store.clone());
    commit(&mut ledger, 1, block("b1", 10));
    for number in 0..claims {
        commit(&mut ledger, 2 + number, claim(&format!("c{number}"), 3, &["b1"]));
    }
    ledger
}

fn commit(ledger: &mut Ledger<MemoryStore>, time: u64, event: privatekube_policy::Event) {
    let mut draft = ledger.draft(at(time)).unwrap();
    draft.apply(event).unwrap();
    block_on(draft.commit()).unwrap();
}

fn publish(ledger: &Ledger<MemoryStore>, store: &MemoryStore) -> Checkpoint {
    let content = ledger.checkpoint().unwrap();
    block_on(content.publish(store)).unwrap();
    content.checkpoint
}

const END: Time = Time::from_micros(u64::MAX);

fn numbers(store: &MemoryStore) -> Vec<u64> {
    store.entries().iter().map(|entry| entry.sequence).collect()
}

#[test]
fn a_ledger_is_opened_from_its_checkpoint_with_and_without_the_entries_before() {
    let store = MemoryStore::new();
    // Three claims of 3 fit into 10, the others wait.
    let mut ledger = with_claims(&store, 5);
    let checkpoint = publish(&ledger, &store);
    commit(&mut ledger, 20, claim("c5", 1, &["b1"]));
    let before = snapshot(ledger.engine().unwrap());
    for removed in [0, 2, usize::MAX] {
        block_on(remove_entries(
            &store,
            &checkpoint,
            Removal::older_than(END, removed),
        ))
        .unwrap();
        let opened = open(store.clone());
        assert_eq!(opened.head(), ledger.head());
        assert_eq!(opened.published(), Some(&checkpoint));
        assert_eq!(snapshot(opened.engine().unwrap()), before);
        let replay = block_on(Replay::read(&store)).unwrap();
        assert_eq!(replay.base(), Some(&checkpoint));
    }
    // The entry that the checkpoint stands at stays.
    assert_eq!(numbers(&store), [6, 7]);
    let mut opened = open(store.clone());
    commit(&mut opened, 30, claim("c6", 1, &["b1"]));
    assert_eq!(opened.engine().unwrap().phase(&"c6".into()), Some(Phase::Waiting));
}

#[test]
fn entries_are_removed_from_the_first_on_and_only_old_ones() {
    let store = MemoryStore::new();
    let ledger = with_claims(&store, 5);
    let checkpoint = publish(&ledger, &store);
    let removed = |before, most| {
        block_on(remove_entries(
            &store,
            &checkpoint,
            Removal::older_than(before, most),
        ))
        .unwrap()
    };
    assert_eq!(removed(at(1), 10), 0);
    assert_eq!(removed(at(4), 2), 2);
    assert_eq!(removed(at(4), 10), 1);
    assert_eq!(numbers(&store), [4, 5, 6]);
    // What is not exported yet stays.
    for (up_to, expected) in [(0, 0), (3, 0), (4, 1)] {
        let removal = Removal {
            up_to,
            ..Removal::older_than(END, 10)
        };
        assert_eq!(
            block_on(remove_entries(&store, &checkpoint, removal)),
            Ok(expected)
        );
    }
    assert_eq!(removed(END, 10), 1);
    assert_eq!(numbers(&store), [6]);
}

/// A writer that is behind creates an entry whose name was removed: nothing but the checkpoint tells.
#[test]
fn an_entry_that_a_checkpoint_covers_is_not_published() {
    let store = MemoryStore::new();
    let mut stale = with_claims(&store, 1);
    let mut ledger = open(store.clone());
    commit(&mut ledger, 10, claim("c1", 3, &["b1"]));
    commit(&mut ledger, 11, claim("c2", 3, &["b1"]));
    let checkpoint = publish(&ledger, &store);
    block_on(remove_entries(&store, &checkpoint, Removal::older_than(END, 10))).unwrap();
    let mut draft = stale.draft(at(12)).unwrap();
    draft.apply(claim("other", 7, &["b1"])).unwrap();
    let error = block_on(draft.commit()).unwrap_err();
    assert_eq!(error, CommitError::Covered { sequence: 3, at: 4 });
    assert!(stale.is_poisoned());
    // The entry is there, and is no part of the ledger.
    assert_eq!(numbers(&store), [3, 4]);
    assert_eq!(open(store.clone()).head(), ledger.head());
    assert_eq!(
        block_on(remove_entries(&store, &checkpoint, Removal::older_than(END, 10))),
        Ok(1)
    );
}

#[test]
fn a_checkpoint_is_made_right_after_an_entry() {
    let store = MemoryStore::new();
    let mut ledger = open(store.clone());
    let not_at_entry =
        |ledger: &Ledger<MemoryStore>| matches!(ledger.checkpoint(), Err(CheckpointError::NotAtEntry));
    assert!(not_at_entry(&ledger));
    commit(&mut ledger, 1, block("b1", 10));
    assert!(!not_at_entry(&ledger));
    // Nothing follows from the time alone, and the engine's clock is later than the entry.
    drop(ledger.draft(at(5)).unwrap());
    assert!(not_at_entry(&ledger));
    assert!(!not_at_entry(&open(store)));
}

#[test]
fn an_earlier_checkpoint_never_replaces_a_later_one() {
    let store = MemoryStore::new();
    let mut ledger = with_claims(&store, 1);
    let earlier = ledger.checkpoint().unwrap();
    commit(&mut ledger, 10, claim("c1", 3, &["b1"]));
    let later = publish(&ledger, &store);
    assert_eq!(
        block_on(earlier.publish(&store)),
        Err(PublishError::Superseded(2))
    );
    assert_eq!(block_on(store.checkpoint()), Ok(Some(later)));
    // What was published already is published again without an error: its answer may have been lost.
    let again = ledger.checkpoint().unwrap();
    assert_eq!(block_on(again.publish(&store)), Ok(()));
}

#[test]
fn the_next_entry_names_the_checkpoint_and_a_changed_one_is_found() {
    let store = MemoryStore::new();
    let mut ledger = with_claims(&store, 4);
    let checkpoint = publish(&ledger, &store);
    ledger.mark(checkpoint.mark());
    commit(&mut ledger, 20, claim("c4", 1, &["b1"]));
    commit(&mut ledger, 21, claim("c5", 1, &["b1"]));
    let marks: Vec<_> = store.entries().iter().map(|entry| entry.checkpoint).collect();
    let mark = CheckpointMark {
        sequence: 5,
        digest: checkpoint.digest,
    };
    assert_eq!(marks, [None, None, None, None, None, Some(mark), None]);
    // Somebody writes another checkpoint for the same entry, without the claim that waits, and with its right digest.
    let mut engine = replay_to(&store, 5).engine().unwrap().clone();
    engine
        .apply(&privatekube_policy::Event::Withdraw { claim: "c3".into() })
        .unwrap();
    let forged = CheckpointContent::of(&engine, checkpoint.head).unwrap();
    let other: MemoryStore = store.entries().into_iter().collect();
    block_on(forged.publish(&other)).unwrap();
    let error = block_on(Replay::read(&other)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Verify(VerifyError::Checkpoint { sequence: 6, .. })
        ),
        "{error}"
    );
}

fn replay_to(store: &MemoryStore, sequence: u64) -> Replay {
    let mut replay = Replay::new();
    for entry in store
        .entries()
        .iter()
        .take_while(|entry| entry.sequence <= sequence)
    {
        replay.push(entry).unwrap();
    }
    replay
}

/// Writes over the checkpoint's first piece.
fn deface(store: &MemoryStore, checkpoint: &Checkpoint, content: &[u8]) -> MemoryStore {
    let defaced: MemoryStore = store.entries().into_iter().collect();
    block_on(async {
        defaced.create_piece(checkpoint, 0, content).await.unwrap();
        defaced.publish(checkpoint).await.unwrap();
    });
    defaced
}

#[test]
fn a_damaged_checkpoint_is_passed_over_while_all_entries_are_there() {
    let store = MemoryStore::new();
    let ledger = with_claims(&store, 3);
    let checkpoint = publish(&ledger, &store);
    for content in [&b"no zlib"[..], &[]] {
        let damaged = deface(&store, &checkpoint, content);
        let replay = block_on(Replay::read(&damaged)).unwrap();
        assert_eq!((replay.base(), replay.head()), (None, ledger.head()));
        damaged_without_entries(&damaged, &checkpoint);
    }
}

fn damaged_without_entries(damaged: &MemoryStore, checkpoint: &Checkpoint) {
    block_on(damaged.remove(1)).unwrap();
    let error = block_on(Replay::read(damaged)).unwrap_err();
    let OpenError::Verify(VerifyError::Content { sequence, error }) = error else {
        panic!("{error}");
    };
    assert_eq!(sequence, checkpoint.head.sequence);
    assert!(matches!(error, ContentError::Piece { piece: 0, .. }), "{error}");
}

#[test]
fn a_checkpoint_of_another_ledger_is_refused() {
    let store = MemoryStore::new();
    let ledger = with_claims(&store, 3);
    let mut content = ledger.checkpoint().unwrap();
    content.checkpoint.head.hash = Hash::ORIGIN;
    block_on(content.publish(&store)).unwrap();
    let error = block_on(Replay::read(&store)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Verify(VerifyError::OtherEntry { sequence: 4, .. })
        ),
        "{error}"
    );
}

/// A text that isn't that of the digest is refused, also if it is that of an engine.
#[test]
fn a_checkpoint_with_another_text_than_its_digest_is_refused() {
    let store = MemoryStore::new();
    let ledger = with_claims(&store, 3);
    let mut content = ledger.checkpoint().unwrap();
    content.checkpoint.digest = Hash::ORIGIN;
    block_on(content.publish(&store)).unwrap();
    block_on(store.remove(1)).unwrap();
    let error = block_on(Replay::read(&store)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Verify(VerifyError::Content {
                error: ContentError::Digest { .. },
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn entries_that_are_missing_without_a_checkpoint_are_an_error() {
    let store = MemoryStore::new();
    with_claims(&store, 3);
    block_on(store.remove(1)).unwrap();
    let error = block_on(Replay::read(&store)).unwrap_err();
    assert_eq!(error.to_string(), "entry 1 should come next, but it is entry 2");
}

#[test]
fn the_entry_that_a_checkpoint_stands_at_is_missed() {
    let store = MemoryStore::new();
    let ledger = with_claims(&store, 3);
    publish(&ledger, &store);
    block_on(store.remove(4)).unwrap();
    let error = block_on(Replay::read(&store)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store could not be read: entry 4, which its checkpoint stands at, or a piece of the checkpoint is missing: put it \
         back"
    );
}

/// What is removed is gone: a checkpoint that can't be restored must not be all that is left.
#[test]
fn no_entry_is_removed_under_a_checkpoint_that_cannot_be_restored() {
    let store = MemoryStore::new();
    let checkpoint = publish(&with_claims(&store, 3), &store);
    let damaged = deface(&store, &checkpoint, b"no zlib");
    let error = block_on(remove_entries(
        &damaged,
        &checkpoint,
        Removal::older_than(END, 10),
    ))
    .unwrap_err();
    assert!(error.to_string().contains("the checkpoint at entry 4"), "{error}");
    assert_eq!(numbers(&damaged), [1, 2, 3, 4]);
    // Neither under one whose pieces are missing.
    let bare: MemoryStore = store.entries().into_iter().collect();
    block_on(bare.publish(&checkpoint)).unwrap();
    assert!(block_on(remove_entries(&bare, &checkpoint, Removal::older_than(END, 10))).is_err());
    assert_eq!(numbers(&bare), [1, 2, 3, 4]);
}

#[test]
fn a_state_with_a_part_that_no_reader_accepts_gets_no_checkpoint() {
    let mut engine = Engine::new(rules()).unwrap();
    engine.apply(&block(&"b".repeat(5 << 20), 10)).unwrap();
    let error = CheckpointContent::of(&engine, Head::ORIGIN).unwrap_err();
    assert!(
        error.to_string().contains("it must have at most 4194304"),
        "{error}"
    );
}
