//! Datasets for tests, with ledgers that the engine decides.

use std::sync::Arc;

use privatekube_api::{DatasetKey, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset, Subject};
use privatekube_ledger::{CheckpointContent, ContentReader, Entry, Ledger, MemoryStore, Replay};
use privatekube_policy::{
    Amount, Arrival, ClaimId, Composition, DatasetRules, Demand, Event, Mechanism, Time, Weight,
};
use privatekube_view::DatasetObjects;
use serde_json::json;

use crate::state::DatasetState;

/// The first second of the ledgers: 2026-11-30T10:00:00Z.
pub(crate) const BEGIN: u64 = 1_796_032_800;

pub(crate) fn key() -> DatasetKey {
    DatasetKey {
        namespace: "data".to_owned(),
        name: "taxi".to_owned(),
    }
}

/// DPF, four arrivals unlock a block, orders 2, 8 and 32, epsilon 10 and delta 1e-7 on each block.
pub(crate) fn dataset() -> PrivateDataset {
    serde_json::from_value(json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataset",
        "metadata": {"namespace": "data", "name": "taxi"},
        "spec": {
            "policy": "DPF", "composition": "Renyi", "orders": [2, 8, 32], "unlocking": {"arrivals": 4},
            "guarantee": {"epsilon": 10, "delta": "1e-7"},
        },
    }))
    .unwrap()
}

pub(crate) fn rules() -> DatasetRules {
    dataset().spec.rules().unwrap()
}

/// A claim object on block b1.
pub(crate) fn claim(name: &str, mechanism: &str) -> PrivacyBudgetClaim {
    serde_json::from_value(json!({
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivacyBudgetClaim",
        "metadata": {"namespace": "data", "name": name, "uid": format!("{name}-uid")},
        "spec": {"dataset": "taxi", "selector": "block.day == 1", "budget": {"mechanism": mechanism}},
    }))
    .unwrap()
}

pub(crate) fn id(name: &str) -> ClaimId {
    Subject::of_object(&claim(name, "gaussian(sigma=1)"))
        .unwrap()
        .id()
}

fn demand(composition: &Composition, mechanism: &str) -> Vec<Demand> {
    let mechanism: Mechanism = mechanism.parse().unwrap();
    vec![Demand {
        blocks: vec!["b1".into()],
        budget: mechanism.demand(composition).unwrap(),
    }]
}

pub(crate) fn arrival(name: &str, mechanism: &str) -> Event {
    Event::Arrive(Arrival {
        claim: id(name),
        demands: demand(&rules().composition, mechanism),
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

pub(crate) fn consume(name: &str) -> Event {
    Event::Consume {
        claim: id(name),
        amount: Amount::All,
    }
}

pub(crate) fn add_block(name: &str) -> Event {
    let capacity = rules()
        .composition
        .capacity("10".parse().unwrap(), "1e-7".parse().unwrap());
    Event::AddBlock {
        block: name.into(),
        capacity: capacity.unwrap(),
    }
}

/// The entries of a ledger in which these lists of events happen, a minute after one another.
pub(crate) async fn entries(lists: Vec<Vec<Event>>) -> Vec<Entry> {
    let store = MemoryStore::new();
    let mut ledger = Ledger::open(store.clone(), "writer".to_owned(), rules())
        .await
        .unwrap();
    for (minute, events) in (0..).zip(lists) {
        let time = Time::from_micros((BEGIN + 60 * minute) * 1_000_000);
        let mut draft = ledger.draft(time).unwrap();
        for event in events {
            draft.apply(event).unwrap();
        }
        draft.commit().await.unwrap();
    }
    store.entries()
}

/// A replay that begins with a checkpoint at this entry.
pub(crate) fn at_checkpoint(entries: &[Entry], sequence: u64) -> Replay {
    let mut replay = Replay::new();
    for entry in entries.iter().take_while(|entry| entry.sequence <= sequence) {
        replay.push(entry).unwrap();
    }
    let content = CheckpointContent::of(replay.engine().unwrap(), replay.head()).unwrap();
    let mut reader = ContentReader::new();
    for piece in &content.pieces {
        reader.push(piece).unwrap();
    }
    reader.finish(content.checkpoint).unwrap()
}

pub(crate) fn objects(blocks: &[&str]) -> DatasetObjects {
    let mut objects = DatasetObjects::default();
    objects.set_dataset(Some(Arc::new(dataset())));
    for (day, name) in (1..).zip(blocks) {
        let block: PrivateDataBlock = serde_json::from_value(json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivateDataBlock",
            "metadata": {"namespace": "data", "name": name, "uid": name, "creationTimestamp": "2026-11-21T00:00:00Z"},
            "spec": {"dataset": "taxi", "dimensions": {"day": day}, "records": 1000},
        }))
        .unwrap();
        objects.add_block(Arc::new(block));
    }
    objects
}

/// Two blocks; on b1, claim small is granted and claim large waits.
pub(crate) fn events() -> Vec<Vec<Event>> {
    vec![
        vec![add_block("b1"), add_block("b2")],
        vec![arrival("small", "gaussian(sigma=4)")],
        vec![arrival("large", "gaussian(sigma=1)")],
    ]
}

/// The state after [`events`].
pub(crate) fn renyi_state() -> DatasetState {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut replay = Replay::new();
    for entry in runtime.block_on(entries(events())) {
        replay.push(&entry).unwrap();
    }
    DatasetState::new(key(), objects(&["b1", "b2"]), &replay, replay.head().time).unwrap()
}
