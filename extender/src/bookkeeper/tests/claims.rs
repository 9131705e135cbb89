//! What claims say and become that wait for a ledger, for blocks, or for nothing.

use std::sync::Arc;

use privatekube_api::ClaimPhase;
use privatekube_policy::Phase;
use serde_json::json;

use super::{World, claim, claim_with};
use crate::{
    bookkeeper::{Message, RequestedUse},
    testing::{BLOCKS, DATASET, DATASETS, block, dataset, epsilon},
};

#[tokio::test]
async fn a_claim_that_makes_no_sense_is_told_so_once() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    let curve = json!({"renyi": [{"order": 4, "epsilon": "1"}]});
    for _ in 0..2 {
        // Its own status is a change of the object, with which it is sent again.
        world.take([claim("c", &curve).1]).await;
    }
    assert!(world.announced());
    assert!(!world.announced());
}

#[tokio::test]
async fn a_claim_that_expired_before_it_had_its_blocks_is_forgotten() {
    let mut world = World::new();
    let first = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*first);
    world.take([Message::BlockApplied(first)]).await;
    let spec = json!({"budget": epsilon("1"), "blocks": {"min": 2}, "timeout": "1ms"});
    let (id, asks) = claim_with("c", &spec);
    world.take([asks]).await;
    assert!(world.books.intake.is_unmatched(&id));
    while world.phase(&id) == Some(Phase::Waiting) {
        world.take([]).await;
    }
    assert_eq!(world.phase(&id), Some(Phase::Expired));
    assert!(!world.books.intake.is_unmatched(&id));
}

#[tokio::test]
async fn a_claim_that_is_matched_says_at_once_with_which_blocks() {
    let mut world = World::new();
    let blocks = ["a", "b"].map(|name| block(name, name, Some("10")));
    world.server.put(BLOCKS, &*blocks[0]);
    world.take([Message::BlockApplied(Arc::clone(&blocks[0]))]).await;
    let (_, asks) = claim("first", &epsilon("10"));
    world.take([asks]).await;
    let spec = json!({"budget": epsilon("1"), "blocks": {"min": 2}});
    let (id, asks) = claim_with("c", &spec);
    world.take([asks]).await;
    assert_eq!(world.said(&id).1, "TooFewBlocks");
    world.server.put(BLOCKS, &*blocks[1]);
    world.take([Message::BlockApplied(Arc::clone(&blocks[1]))]).await;
    assert_eq!(world.blocks_of(&id), ["a", "b"]);
    assert_eq!(world.said(&id).1, "TooLittleUnlocked");
    assert!(!world.books.intake.is_unmatched(&id));
}

#[tokio::test]
async fn a_claim_whose_match_fits_no_entry_says_so_until_it_does() {
    let mut world = World::new();
    // An object's name has 253 characters at most.
    let name = |number: usize| format!("{number:0>250}");
    let blocks: Vec<_> = (0..3300)
        .map(|number| block(&name(number), "a", Some("10")))
        .collect();
    world.server.put(BLOCKS, &*blocks[0]);
    world.take([Message::BlockApplied(Arc::clone(&blocks[0]))]).await;
    let spec = json!({"budget": epsilon("1"), "blocks": {"min": 2}});
    let (id, asks) = claim_with("c", &spec);
    world.take([asks]).await;
    assert!(world.announced() && !world.announced());
    for block in &blocks {
        world.server.put(BLOCKS, &**block);
    }
    let all = blocks
        .iter()
        .map(|block| Message::BlockApplied(Arc::clone(block)));
    world.books.handle(all.collect()).await.unwrap();
    let (phase, reason, message) = world.said(&id);
    assert_eq!((phase, reason.as_str()), (ClaimPhase::Waiting, "TooManyBlocks"));
    assert!(
        message.contains("3300 blocks") && message.contains("786432"),
        "{message}"
    );
    assert!(world.announced() && !world.announced());
    // It still says so when its reason is looked at again, and when nothing has changed.
    world.books.refresh_waiting().unwrap();
    world.books.intake.match_all_again();
    world.take([]).await;
    assert_eq!(world.said(&id), (phase, reason, message));
    assert!(!world.announced());
    let gone = &blocks[..600];
    for block in gone {
        world
            .server
            .delete(BLOCKS, block.metadata.name.as_deref().unwrap());
    }
    let gone = gone.iter().map(|block| Message::BlockDeleted(Arc::clone(block)));
    world.books.handle(gone.collect()).await.unwrap();
    assert!(!world.books.intake.is_oversized(&id));
    assert_eq!(world.phase(&id), Some(Phase::Granted));
    assert_eq!(world.blocks_of(&id).len(), 2700);
}

#[tokio::test]
async fn a_held_claim_is_told_when_its_reason_becomes_another() {
    let mut world = World::new();
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.said(&id).1, "DatasetUnknown");
    let invalid = dataset("1", 1, &json!({"composition": "Renyi", "orders": [1]}));
    assert!(invalid.spec.rules().is_err());
    world.server.put(DATASETS, &*invalid);
    world.take([Message::DatasetApplied(Arc::clone(&invalid))]).await;
    assert_eq!(world.said(&id).1, "DatasetInvalid");
    world.server.delete(DATASETS, DATASET);
    world.take([Message::DatasetDeleted(invalid)]).await;
    assert_eq!(world.said(&id).1, "DatasetUnknown");
    for _ in 0..3 {
        assert!(world.announced());
    }
    assert!(!world.announced());
    let (block, valid) = (block("a", "a", Some("10")), dataset("2", 1, &json!({})));
    world.server.put(BLOCKS, &*block);
    world.server.put(DATASETS, &*valid);
    world
        .take([Message::DatasetApplied(valid), Message::BlockApplied(block)])
        .await;
    assert_eq!(world.said(&id).0, ClaimPhase::Granted);
}

#[tokio::test]
async fn a_claim_that_is_spent_while_its_pod_goes_is_given_back() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([Message::BlockApplied(block), asks]).await;
    assert_eq!(world.phase(&id), Some(Phase::Granted));
    let (reply, spent) = tokio::sync::oneshot::channel();
    let claim = id.clone();
    world
        .take([
            Message::Consume { claim, reply },
            Message::Withdrawn(id.clone()),
            Message::NeverRan(id.clone()),
        ])
        .await;
    assert_eq!(spent.await.unwrap(), Ok(()));
    assert_eq!(world.phase(&id), Some(Phase::Released));
}

#[tokio::test]
async fn what_a_waiting_claim_wants_consumed_is_consumed_once_it_is_granted() {
    let mut world = World::new();
    let (id, requested) = claim("c", &epsilon("1"));
    let usage = RequestedUse::Consume(privatekube_api::AmountRequest::All);
    let wanted = Message::UseRequested {
        claim: id.clone(),
        usage,
    };
    // The claim waits for its dataset, and nothing says again what its object wants.
    world.take([requested, wanted]).await;
    assert_eq!(world.said(&id).0, ClaimPhase::Waiting);
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    assert_eq!(world.phase(&id), Some(Phase::Consumed));
}

#[tokio::test]
async fn what_a_denied_claim_wants_consumed_is_forgotten() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    let (id, requested) = claim("c", &epsilon("20"));
    let usage = RequestedUse::Consume(privatekube_api::AmountRequest::All);
    let wanted = Message::UseRequested {
        claim: id.clone(),
        usage,
    };
    world
        .take([Message::BlockApplied(block), requested, wanted])
        .await;
    assert_eq!(world.phase(&id), Some(Phase::Denied));
    // The denial is announced, and no consume that was refused.
    assert!(world.announced());
    assert!(!world.announced());
}
