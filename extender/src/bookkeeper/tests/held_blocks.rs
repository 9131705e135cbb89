//! What blocks say whose dataset has no ledger.

use privatekube_api::{PrivateDataBlockStatus, conditions};

use super::*;

fn status(world: &World, name: &str) -> Option<PrivateDataBlockStatus> {
    let view = &world.books.handles.view;
    view.block(&(key(), name.to_owned())).map(|block| block.status())
}

/// Status, reason and message of a block's condition Ready.
fn ready(world: &World, name: &str) -> (String, String, String) {
    let conditions = status(world, name).unwrap().conditions;
    let ready = conditions
        .into_iter()
        .find(|ready| ready.type_ == conditions::READY);
    let ready = ready.unwrap();
    (ready.status, ready.reason, ready.message)
}

#[tokio::test]
async fn a_block_says_that_its_dataset_is_missing_until_it_is_there() {
    let mut world = World::with_defaults(None);
    let first = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*first);
    world.take([Message::BlockApplied(first)]).await;
    let (is_ready, reason, message) = ready(&world, "a");
    assert_eq!((is_ready.as_str(), reason.as_str()), ("False", "DatasetUnknown"));
    assert!(
        message.contains("there is no PrivateDataset of that name"),
        "{message}"
    );
    assert_eq!(status(&world, "a").unwrap().ledger_sequence, None);
    // One that comes later says the same, and one whose status names an entry keeps it.
    let later = block("b", "b", Some("10"));
    let mut spent = (*block("c", "c", Some("10"))).clone();
    spent.status = Some(PrivateDataBlockStatus {
        ledger_sequence: Some(7),
        ..PrivateDataBlockStatus::default()
    });
    world.server.put(BLOCKS, &*later);
    world
        .take([
            Message::BlockApplied(later),
            Message::BlockApplied(Arc::new(spent)),
        ])
        .await;
    assert_eq!(ready(&world, "b").1, "DatasetUnknown");
    assert_eq!(status(&world, "c"), None);
    // Nothing of it is measured, and it goes with its object.
    let text = world.books.handles.metrics.text().unwrap();
    assert!(!text.contains("block=\"a\""), "{text}");
    let gone = block("b", "b", Some("10"));
    world.server.delete(BLOCKS, "b");
    world.take([Message::BlockDeleted(gone)]).await;
    assert_eq!(status(&world, "b"), None);
    let object = dataset("d", 1, &json!({}));
    world.server.put(DATASETS, &*object);
    world.take([Message::DatasetApplied(object)]).await;
    let (is_ready, reason, _) = ready(&world, "a");
    assert_eq!((is_ready.as_str(), reason.as_str()), ("True", "InLedger"));
}

#[tokio::test]
async fn a_block_says_that_its_dataset_cannot_be_used_and_why() {
    let mut world = World::with_defaults(None);
    let unusable = dataset("d", 1, &json!({"composition": "Renyi", "policy": "RoundRobin"}));
    let first = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*first);
    world.take([Message::BlockApplied(first)]).await;
    world.server.put(DATASETS, &*unusable);
    world.take([Message::DatasetApplied(unusable)]).await;
    assert_eq!(ready(&world, "a").1, "DatasetInvalid");
    let usable = dataset("d", 2, &json!({}));
    world.server.put(DATASETS, &*usable);
    world.take([Message::DatasetApplied(usable)]).await;
    assert_eq!(ready(&world, "a").1, "InLedger");
}
