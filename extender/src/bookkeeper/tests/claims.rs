//! What claims say and become that wait for a ledger, for blocks, or for nothing.

use std::sync::Arc;

use privatekube_api::{AmountRequest, ClaimPhase, Subject, SubjectKind};
use privatekube_policy::{BlockId, ClaimId, Phase, Unlocking};
use serde_json::{Value, json};

use super::{World, claim, claim_with};
use crate::{
    bookkeeper::{ConsumeError, Message, RequestedUse},
    testing::{BLOCKS, DATASET, DATASETS, ENTRIES, block, claim_object, dataset, epsilon},
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

/// Claims "used" (consumed), "held" (granted) and "waits" of a dataset with one block; each object exists.
async fn three_claims() -> (World, [ClaimId; 3]) {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    let claims = [("used", "1"), ("held", "1"), ("waits", "9")];
    let mut ids = Vec::new();
    for (name, asked) in claims {
        let (id, asks) = claim(name, &epsilon(asked));
        exists(&world, &id, true);
        world.take([asks]).await;
        ids.push(id);
    }
    let ids: [ClaimId; 3] = ids.try_into().unwrap();
    let (claim, usage) = (ids[0].clone(), RequestedUse::Consume(AmountRequest::All));
    world.take([Message::UseRequested { claim, usage }]).await;
    let phases = ids.clone().map(|id| world.phase(&id).unwrap());
    assert_eq!(phases, [Phase::Consumed, Phase::Granted, Phase::Waiting]);
    (world, ids)
}

/// Whether a claim's object exists, as the controller says.
fn exists(world: &World, id: &ClaimId, exists: bool) {
    let subject = Subject::of(id).unwrap();
    let named = exists.then(|| id.clone());
    let view = &world.books.handles.view;
    view.set_named(&subject.namespace, &subject.name, named);
}

fn count(world: &World, phase: ClaimPhase) -> u64 {
    let counts = world.books.publisher.counts();
    counts.get(&phase).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_claim_that_has_ended_is_kept_for_as_long_as_its_object_exists() {
    let (mut world, ids) = Box::pin(three_claims()).await;
    let view = Arc::clone(&world.books.handles.view);
    assert_eq!(view.claims_in_all(), 3);
    // Objects are deleted, but the watch has not reported it yet.
    for (left, id) in (0..3).rev().zip(&ids) {
        exists(&world, id, false);
        world.take([Message::Withdrawn(id.clone())]).await;
        assert_eq!(view.claims_in_all(), left);
    }
    let counted =
        [ClaimPhase::Consumed, ClaimPhase::Released, ClaimPhase::Withdrawn].map(|phase| count(&world, phase));
    // What was released was granted to the claim that waited.
    assert_eq!(counted, [1, 2, 0]);
    // Another end of a claim that has left the view does not bring it back.
    world.take([Message::NeverRan(ids[0].clone())]).await;
    assert_eq!(world.phase(&ids[0]), Some(Phase::Released));
    assert_eq!(view.claims_in_all(), 0);
    let counted =
        [ClaimPhase::Consumed, ClaimPhase::Released, ClaimPhase::Withdrawn].map(|phase| count(&world, phase));
    assert_eq!(counted, [0, 3, 0]);
    // Its object exists after all, and is told what became of it.
    exists(&world, &ids[0], true);
    world.take([claim("used", &epsilon("1")).1]).await;
    assert_eq!(world.said(&ids[0]).0, ClaimPhase::Released);
}

#[tokio::test]
async fn ended_claims_without_an_object_are_not_kept_after_a_start() {
    let (mut world, ids) = Box::pin(three_claims()).await;
    let view = Arc::clone(&world.books.handles.view);
    exists(&world, &ids[0], false);
    exists(&world, &ids[1], false);
    world.books.open().await.unwrap();
    // Nothing was listed yet, so each of them may exist.
    assert_eq!(view.claims_in_all(), 3);
    world.take([Message::AllListed]).await;
    assert_eq!(world.phase(&ids[1]), Some(Phase::Released));
    assert_eq!(view.claims_in_all(), 1);
    assert!(view.claim(&ids[2]).is_some());
    // Nor after the ledger is opened again.
    view.set_complete();
    world.books.open().await.unwrap();
    assert_eq!(view.claims_in_all(), 1);
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
    let claims = vec![id.clone()];
    world
        .take([
            Message::ConsumeAll { claims, reply },
            Message::Withdrawn(id.clone()),
            Message::NeverRan(id.clone()),
        ])
        .await;
    assert_eq!(spent.await.unwrap(), Ok(()));
    assert_eq!(world.phase(&id), Some(Phase::Released));
}

#[tokio::test]
async fn a_pod_with_several_claims_spends_none_of_them_if_one_is_not_granted_any_more() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    let (first, requested_first) = claim("c", &epsilon("1"));
    let (second, requested_second) = claim("e", &epsilon("2"));
    world
        .take([Message::BlockApplied(block), requested_first, requested_second])
        .await;
    let claims = vec![first.clone(), second.clone()];
    let (reply, together) = tokio::sync::oneshot::channel();
    let consume = Message::ConsumeAll {
        claims: claims.clone(),
        reply,
    };
    // The second is deleted while the pod is being bound.
    world.take([Message::Withdrawn(second.clone()), consume]).await;
    let Err(ConsumeError::Refused(why)) = together.await.unwrap() else {
        panic!("a released claim was consumed");
    };
    assert!(why.contains("Released"), "{why}");
    assert_eq!(world.phase(&first), Some(Phase::Granted));

    let (third, requested_third) = claim("f", &epsilon("2"));
    let (reply, together) = tokio::sync::oneshot::channel();
    let claims = vec![first.clone(), third.clone()];
    world
        .take([requested_third, Message::ConsumeAll { claims, reply }])
        .await;
    // What pods wait for is written before new claims are added.
    assert!(together.await.unwrap().is_err());
    let (reply, together) = tokio::sync::oneshot::channel();
    let claims = vec![first.clone(), third.clone()];
    world.take([Message::ConsumeAll { claims, reply }]).await;
    assert_eq!(together.await.unwrap(), Ok(()));
    for claim in [first, third] {
        assert_eq!(world.phase(&claim), Some(Phase::Consumed));
    }
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

#[tokio::test]
async fn nothing_is_kept_for_a_claim_that_is_denied_outside_the_ledger() {
    let mut world = World::new();
    let closed = dataset(
        "d",
        1,
        &json!({"claimants": {"from": "Selected", "namespaces": ["other"]}}),
    );
    world.server.put(DATASETS, &*closed);
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world
        .take([Message::DatasetApplied(closed), Message::BlockApplied(block)])
        .await;
    let usage = RequestedUse::Consume(AmountRequest::All);
    let wanted = |claim: &ClaimId| Message::UseRequested {
        claim: claim.clone(),
        usage: usage.clone(),
    };
    let (id, requested) = claim("c", &epsilon("1"));
    world.take([requested, wanted(&id)]).await;
    assert_eq!((world.said(&id).0, world.phase(&id)), (ClaimPhase::Denied, None));
    assert_eq!(world.books.intake.kept_uses(), 0);
    // Neither when its object asks again.
    world.take([wanted(&id)]).await;
    assert_eq!(world.books.intake.kept_uses(), 0);
}

#[tokio::test]
async fn few_statuses_are_written_again_at_a_time_because_other_claims_changed() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world
        .take([Message::BlockApplied(block), claim("first", &epsilon("10")).1])
        .await;
    for number in 0..60 {
        world
            .take([claim(&format!("waits-{number}"), &epsilon("5")).1])
            .await;
    }
    let mut refresh = || {
        let state = world.books.writer.state().unwrap().unwrap();
        let objects = world.books.intake.objects();
        let now = crate::clock::now();
        world.books.publisher.refresh_waiting(state, objects, now).len()
    };
    while refresh() > 0 {}
    // It goes before all others, which say so.
    world.take([claim("small", &epsilon("1")).1]).await;
    let mut refresh = || {
        let state = world.books.writer.state().unwrap().unwrap();
        let objects = world.books.intake.objects();
        let now = crate::clock::now();
        world.books.publisher.refresh_waiting(state, objects, now).len()
    };
    let changes: Vec<usize> = (0..4).map(|_| refresh()).collect();
    assert_eq!(changes, [20, 20, 20, 0]);
}

#[tokio::test]
async fn a_claim_that_is_used_in_part_says_which_part_is_spent_and_which_was_given_back() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    let (id, asks) = claim("c", &epsilon("4"));
    world.take([asks]).await;
    let part = json!({"perBlock": {"a": epsilon("1")}});
    let object = claim_object(
        "c",
        &json!({"budget": epsilon("4"), "consume": part, "release": part}),
    );
    let uses = [
        RequestedUse::Consume(object.consume().unwrap().unwrap()),
        RequestedUse::Release(object.release().unwrap().unwrap()),
    ];
    let reasons = |world: &World| -> Vec<String> {
        let status = world.books.handles.view.claim(&id).unwrap().status();
        let conditions = status.conditions.iter();
        conditions
            .map(|condition| format!("{} {} {}", condition.type_, condition.status, condition.reason))
            .collect()
    };
    for usage in uses {
        let claim = id.clone();
        world.take([Message::UseRequested { claim, usage }]).await;
    }
    assert_eq!(
        reasons(&world),
        [
            "Decided True Granted",
            "Granted True Granted",
            "Consumed True PartlyConsumed",
            "Released True PartlyReleased"
        ]
    );
    let (claim, usage) = (id.clone(), RequestedUse::Consume(AmountRequest::All));
    world.take([Message::UseRequested { claim, usage }]).await;
    assert_eq!(
        reasons(&world),
        [
            "Decided True Consumed",
            "Granted True Consumed",
            "Consumed True Consumed",
            "Released True PartlyReleased"
        ]
    );
}

#[tokio::test]
async fn a_ledger_begins_with_the_datasets_object_unless_default_rules_are_switched_on() {
    let mut world = World::with_defaults(None);
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    let (id, asks) = claim("early", &epsilon("1"));
    world.take([asks]).await;
    let (_, reason, message) = world.said(&id);
    assert_eq!(reason, "DatasetUnknown");
    assert!(
        message.contains("there is no PrivateDataset of that name"),
        "{message}"
    );
    assert!(world.server.all(ENTRIES).is_empty());
    // Its rules are those that it states, although its block came first.
    let arrivals = json!({"unlocking": {"arrivals": 1}});
    let object = dataset("d", 1, &arrivals);
    world.server.put(DATASETS, &*object);
    world.take([Message::DatasetApplied(object)]).await;
    assert_eq!(world.engine().rules().unlocking, Unlocking::Arrivals(1));
    assert_eq!(world.phase(&id), Some(Phase::Granted));
}

#[tokio::test]
async fn a_pod_that_could_not_be_told_all_its_blocks_is_not_granted_and_a_claim_object_is() {
    let mut world = World::new();
    // So many names fit an entry, and not the status of a claim.
    let blocks: Vec<_> = (0..3100)
        .map(|number| block(&format!("{number:0>250}"), "a", Some("10")))
        .collect();
    let of_pod = |name: &str, spec: &Value| {
        let (_, mut message) = claim_with(name, spec);
        let Message::Requested(input) = &mut message else {
            panic!("a claim requests")
        };
        input.subject.kind = SubjectKind::Pod;
        (input.subject.id(), message)
    };
    world.server.put(BLOCKS, &*blocks[0]);
    world.take([Message::BlockApplied(Arc::clone(&blocks[0]))]).await;
    let spec = json!({"budget": epsilon("1"), "blocks": {"min": 2}});
    let (waits, asks) = of_pod("waits", &spec);
    world.take([asks]).await;
    for block in &blocks {
        world.server.put(BLOCKS, &**block);
    }
    let all = blocks
        .iter()
        .map(|block| Message::BlockApplied(Arc::clone(block)));
    world.books.handle(all.collect()).await.unwrap();
    let (phase, reason, message) = world.said(&waits);
    assert_eq!((phase, reason.as_str()), (ClaimPhase::Waiting, "TooManyBlocks"));
    let says = "the names of the 3100 blocks that it matches take 812200 bytes in the status where its pod reads them, and \
                786432 fit: request fewer blocks at a time, about 3001";
    assert!(message.starts_with(says), "{message}");
    let (denied, asks) = of_pod("denied", &json!({"budget": epsilon("1")}));
    world.take([asks]).await;
    let (phase, _, message) = world.said(&denied);
    assert_eq!((phase, message.as_str()), (ClaimPhase::Denied, says));
    assert_eq!(world.phase(&denied), None);
    let (object, asks) = claim("object", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.phase(&object), Some(Phase::Granted));
    // One that takes the newest fits.
    let (few, asks) = of_pod("few", &json!({"budget": epsilon("1"), "blocks": {"max": 3000}}));
    world.take([asks]).await;
    assert_eq!(world.phase(&few), Some(Phase::Granted));
    assert_eq!(world.phase(&waits), Some(Phase::Waiting));
    // Nothing was charged for the others.
    let last = BlockId::from(blocks[3099].metadata.name.as_deref().unwrap());
    let charged = world.engine().block(&last).unwrap();
    assert_eq!(charged.allocated[0], 2_000_000_000_000);
}
