//! A follower publishes another process's ledger with nothing but its entries and the dataset's objects.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use futures::executor::block_on;
use privatekube_api::{
    BudgetSource, ClaimPhase, ClaimToGrant, DatasetKey, Dimension, GrantedBudget, PrivacyBudgetClaimStatus,
    PrivateDataBlock, Subject, SubjectKind,
};
use privatekube_ledger::{Ledger, MemoryStore, Replay};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, DatasetRules, Demand, Event, Policy, Revision,
    Time, Unlocking, Weight,
};
use privatekube_view::{Change, CommittedState, DatasetObjects, Publisher, Touched, Verdict, View};
use serde_json::json;

fn rules() -> DatasetRules {
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    }
}

fn dataset() -> DatasetKey {
    DatasetKey {
        namespace: "data".into(),
        name: "taxi".into(),
    }
}

fn budget(epsilon: &str) -> Budget {
    Composition::Basic
        .capacity(epsilon.parse().unwrap(), "0".parse().unwrap())
        .unwrap()
}

fn subject(name: &str) -> Subject {
    Subject {
        kind: SubjectKind::Pod,
        namespace: "data".into(),
        name: name.into(),
        uid: format!("{name}-uid"),
    }
}

fn arrival(name: &str, epsilon: &str) -> Event {
    Event::Arrive(Arrival {
        claim: subject(name).id(),
        demands: vec![Demand {
            blocks: vec![BlockId::from("a")],
            budget: budget(epsilon),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

fn objects() -> DatasetObjects {
    let block: PrivateDataBlock = serde_json::from_value(json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataBlock",
        "metadata": {"namespace": "data", "name": "a", "uid": "a", "creationTimestamp": "2026-11-21T00:00:00Z"},
        "spec": {"dataset": "taxi", "dataSource": "s3://lake/a", "dimensions": {"day": 7}},
    }))
    .unwrap();
    let mut objects = DatasetObjects::default();
    assert!(objects.add_block(Arc::new(block)));
    objects
}

/// A ledger of one block with epsilon 10, in which a pod consumes 4 and another waits for 9.
fn ledger() -> MemoryStore {
    let store = MemoryStore::new();
    let events = [
        vec![Event::AddBlock {
            block: "a".into(),
            capacity: budget("10"),
        }],
        vec![arrival("first", "4"), arrival("second", "9")],
        vec![Event::Consume {
            claim: subject("first").id(),
            amount: Amount::All,
        }],
    ];
    block_on(async {
        let mut ledger = Ledger::open(store.clone(), "writer".to_owned(), rules())
            .await
            .unwrap();
        for (second, events) in (1..).zip(events) {
            let mut draft = ledger.draft(Time::from_micros(second * 1_000_000)).unwrap();
            for event in events {
                draft.apply(event).unwrap();
            }
            draft.commit().await.unwrap();
        }
    });
    store
}

/// Follows every entry; returns the view and the changes of each entry.
fn follow(store: &MemoryStore) -> (Arc<View>, Vec<Vec<Change>>) {
    let view = Arc::new(View::default());
    let mut publisher = Publisher::new(dataset(), Arc::clone(&view));
    let (objects, mut replay) = (objects(), Replay::new());
    let mut changes = Vec::new();
    for entry in store.entries() {
        let committed = replay.push(&entry).unwrap();
        let (engine, sequence) = (replay.engine().unwrap(), committed.sequence);
        let touched = Touched::by(committed.records(), &[], engine);
        let state = CommittedState { engine, sequence };
        changes.push(publisher.publish_entry(state, &objects, committed.time, &touched));
    }
    view.set_complete();
    (view, changes)
}

/// The phases that an entry's changes announce, by pod.
fn phases(changes: &[Change]) -> Vec<(&str, ClaimPhase)> {
    let phase = |change: &Change| match change {
        Change::Phase(change) => Some((change.subject.name.clone(), change.phase)),
        _ => None,
    };
    let names = ["first", "second"];
    let found: Vec<_> = changes.iter().filter_map(phase).collect();
    let with_name = |(name, phase): &(String, ClaimPhase)| {
        (names.into_iter().find(|known| known == name).unwrap(), *phase)
    };
    found.iter().map(with_name).collect()
}

#[test]
fn a_follower_announces_what_each_entry_changed() {
    let (_, changes) = follow(&ledger());
    assert_eq!(changes.len(), 3);
    assert_eq!(changes[0], [Change::Block("a".into()), Change::Dataset]);
    assert_eq!(
        phases(&changes[1]),
        [("first", ClaimPhase::Granted), ("second", ClaimPhase::Waiting)]
    );
    // What is consumed of the block makes the claim that waits for more than the rest impossible.
    assert_eq!(
        phases(&changes[2]),
        [("first", ClaimPhase::Consumed), ("second", ClaimPhase::Denied)]
    );
}

#[test]
fn a_followers_view_has_statuses_grants_and_verdicts() {
    let (view, _) = follow(&ledger());
    let claim = view.claim(&subject("first").id()).unwrap();
    assert_eq!(claim.phase, ClaimPhase::Consumed);
    assert_eq!(claim.status().sequence, Some(3));
    let grant = claim.grant().unwrap();
    assert!(grant.is_listed);
    let blocks: Vec<_> = grant.claim.blocks().collect();
    assert_eq!((grant.claim.block_count, blocks.len()), (1, 1));
    let (block, budget) = blocks[0];
    assert_eq!(block.data_source.as_deref(), Some("s3://lake/a"));
    assert_eq!(block.dimensions.get("day"), Some(&Dimension::Number(7)));
    let (epsilon, delta) = ("4".to_owned(), "0".to_owned());
    assert_eq!(*budget, GrantedBudget::Guarantee { epsilon, delta });
    let block = view.block(&(dataset(), "a".into())).unwrap();
    let epsilon = |amounts: &Option<privatekube_api::Amounts>| amounts.as_ref().unwrap().epsilon.clone();
    assert_eq!(epsilon(&block.status().consumed), "4");
    assert_eq!(epsilon(&block.status().available), "6");
    let status = &view.dataset(&dataset()).unwrap().status;
    assert_eq!((status.waiting, status.granted), (Some(0), Some(1)));

    let verdict = |name: &str| {
        let source = BudgetSource::Own {
            subject: subject(name),
            dataset: dataset(),
        };
        Verdict::of(&source, "data", &view)
    };
    assert_eq!(verdict("first").label(), "granted");
    assert_eq!(verdict("second").label(), "denied");
    assert_eq!(verdict("third").label(), "unknown");
}

#[test]
fn publishing_a_replayed_ledger_at_once_gives_the_same_view_but_for_positions() {
    let store = ledger();
    let (followed, _) = follow(&store);
    let mut replay = Replay::new();
    for entry in store.entries() {
        replay.push(&entry).unwrap();
    }
    let engine = replay.engine().unwrap();
    let view = Arc::new(View::default());
    let mut publisher = Publisher::new(dataset(), Arc::clone(&view));
    let state = CommittedState { engine, sequence: 3 };
    let changes = publisher.publish_all(state, &objects(), Time::from_micros(3_000_000), |_| true);
    assert_eq!(changes, [Change::Dataset]);
    assert_eq!(publisher.counts().get(&ClaimPhase::Denied), Some(&1));
    for name in ["first", "second"] {
        let id: ClaimId = subject(name).id();
        let (one, other) = (view.claim(&id).unwrap(), followed.claim(&id).unwrap());
        assert_eq!((one.phase, one.grant()), (other.phase, other.grant()));
        assert_eq!(one.message(), other.message());
        // Which entry it was decided in isn't known after a replay: the last one has it, too.
        assert_eq!(one.status().sequence, Some(3));
    }
    let block = |view: &View| view.block(&(dataset(), "a".into())).unwrap();
    assert!(block(&view).says_the_same(&block(&followed)));
}

#[test]
fn a_waiting_claim_is_published_again_only_if_its_reason_changes() {
    let store = MemoryStore::new();
    let view = Arc::new(View::default());
    let mut publisher = Publisher::new(dataset(), Arc::clone(&view));
    let objects = objects();
    let mut ledger = block_on(Ledger::open(store, "writer".to_owned(), rules())).unwrap();
    let mut step = |second: u64, events: Vec<Event>| {
        let mut draft = ledger.draft(Time::from_micros(second * 1_000_000)).unwrap();
        for event in events {
            draft.apply(event).unwrap();
        }
        let committed = block_on(draft.commit()).unwrap();
        let (engine, sequence) = (ledger.engine().unwrap(), committed.sequence);
        let touched = Touched::by(committed.records(), &[], engine);
        let state = CommittedState { engine, sequence };
        publisher.publish_entry(state, &objects, committed.time, &touched);
        let changes = publisher.refresh_waiting(state, &objects, committed.time);
        assert_eq!(publisher.refresh_waiting(state, &objects, committed.time), []);
        changes
    };
    let add = Event::AddBlock {
        block: "a".into(),
        capacity: budget("10"),
    };
    step(1, vec![add, arrival("first", "4"), arrival("second", "9")]);
    // A claim that is granted leaves less for the one that waits: 1 of 10.
    let changed = step(2, vec![arrival("third", "5")]);
    assert_eq!(changed, [Change::Claim(subject("second").id())]);
    let claim = view.claim(&subject("second").id()).unwrap();
    assert!(claim.message().contains("has 1 of the 9 epsilon"));
}

/// The grant of the pod `first` that demands epsilon 4 of `blocks` blocks with names of `name_length` bytes, after
/// `released` was released of the first one.
fn grant_on(
    blocks: usize,
    name_length: usize,
    released: &[&str],
) -> (ClaimToGrant, PrivacyBudgetClaimStatus) {
    let names: Vec<BlockId> = (0..blocks)
        .map(|at| BlockId::from(format!("{at:0name_length$}")))
        .collect();
    let mut ledger = block_on(Ledger::open(MemoryStore::new(), "writer".to_owned(), rules())).unwrap();
    let view = Arc::new(View::default());
    let mut publisher = Publisher::new(dataset(), Arc::clone(&view));
    let id = subject("first").id();
    let added = names.iter().map(|block| Event::AddBlock {
        block: block.clone(),
        capacity: budget("10"),
    });
    let mut events: Vec<Event> = added.collect();
    events.push(Event::Arrive(Arrival {
        claim: id.clone(),
        demands: vec![Demand {
            blocks: names.clone(),
            budget: budget("4"),
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    }));
    events.extend(
        names
            .iter()
            .zip(released)
            .map(|(block, released)| Event::Release {
                claim: id.clone(),
                amount: Amount::InAll(vec![Demand {
                    blocks: vec![block.clone()],
                    budget: budget(released),
                }]),
            }),
    );
    for event in events {
        let mut draft = ledger.draft(Time::from_micros(1)).unwrap();
        draft.apply(event).unwrap();
        let _ = block_on(draft.commit()).unwrap();
    }
    let state = CommittedState {
        engine: ledger.engine().unwrap(),
        sequence: 1,
    };
    let _ = publisher.publish_all(state, &DatasetObjects::default(), Time::from_micros(1), |_| true);
    let claim = view.claim(&id).unwrap();
    (claim.grant().unwrap(), claim.status())
}

/// The epsilon of each budget of a grant, and how many blocks it is on.
fn budgets(grant: &ClaimToGrant) -> Vec<(String, usize)> {
    let budgets = grant.claim.budgets.iter().map(|of| match &of.budget {
        GrantedBudget::Guarantee { epsilon, .. } => (epsilon.clone(), of.blocks.len()),
        curve @ GrantedBudget::Curve { .. } => (format!("{curve:?}"), of.blocks.len()),
    });
    budgets.collect()
}

#[test]
fn equal_budgets_are_granted_once_and_what_was_released_is_left_out() {
    let (grant, _) = grant_on(5, 3, &[]);
    assert_eq!(budgets(&grant), [("4".to_owned(), 5)]);
    assert!(grant.is_listed);
    let (grant, status) = grant_on(5, 3, &["1", "4", "1"]);
    assert_eq!(budgets(&grant), [("3".to_owned(), 2), ("4".to_owned(), 2)]);
    // The status lists a block of which nothing is left.
    assert_eq!((grant.claim.block_count, status.block_count), (4, Some(5)));
    assert!(!grant.is_listed);
}

#[test]
fn a_status_lists_as_many_blocks_as_fit() {
    let (grant, status) = grant_on(2900, 253, &[]);
    assert_eq!((status.block_count, status.blocks.len()), (Some(2900), 2900));
    assert!(grant.is_listed);
    let (grant, status) = grant_on(3000, 253, &[]);
    assert_eq!((status.block_count, status.blocks.len()), (Some(3000), 2967));
    assert!(!grant.is_listed && grant.claim.block_count == 3000);
}
