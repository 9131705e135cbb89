//! Blocks that state when they are retired.

use std::sync::Arc;

use privatekube_api::{ClaimPhase, PrivateDataBlock, moment};
use privatekube_policy::{BlockId, Event, Phase, Time};

use super::{World, claim};
use crate::{
    bookkeeper::Message,
    clock,
    testing::{BLOCKS, block, epsilon, key},
};

/// A block that is retired so many seconds from now, or before now.
fn block_until(name: &str, seconds: i64) -> Arc<PrivateDataBlock> {
    let mut block = (*block(name, name, Some("10"))).clone();
    let now = i64::try_from(clock::now().micros()).unwrap();
    let at = Time::from_micros(u64::try_from(now + seconds * 1_000_000).unwrap());
    block.spec.retires = Some(moment(at));
    Arc::new(block)
}

impl World {
    async fn add_block(&mut self, block: Arc<PrivateDataBlock>) {
        self.server.put(BLOCKS, &*block);
        self.take([Message::BlockApplied(block)]).await;
    }

    fn ready(&self, block: &str) -> (String, String) {
        let view = self.books.handles.view.block(&(key(), block.to_owned())).unwrap();
        let status = view.status();
        (
            status.conditions[0].status.clone(),
            status.conditions[0].reason.clone(),
        )
    }

    /// Waits until the time of the next block has come.
    async fn wait_for_retirement(&mut self) {
        let at = self.books.intake.objects().next_retirement();
        crate::bookkeeper::wait_until(at).await;
        self.take([]).await;
    }
}

#[tokio::test]
async fn a_block_whose_time_has_come_denies_what_waits_and_keeps_what_is_granted() {
    let mut world = World::new();
    world.add_block(block_until("a", 1)).await;
    let (granted, asks) = claim("granted", &epsilon("6"));
    world.take([asks]).await;
    let (waits, asks) = claim("waits", &epsilon("5"));
    world.take([asks]).await;
    assert_eq!(world.phase(&waits), Some(Phase::Waiting));
    assert_eq!(world.ready("a"), ("True".to_owned(), "InLedger".to_owned()));
    world.wait_for_retirement().await;
    assert_eq!(world.phase(&waits), Some(Phase::Denied));
    let (phase, reason, message) = world.said(&waits);
    assert_eq!((phase, reason.as_str()), (ClaimPhase::Denied, "BlockGone"));
    assert!(message.contains("block a is retired"), "{message}");
    assert_eq!(world.phase(&granted), Some(Phase::Granted));
    assert_eq!(world.ready("a"), ("False".to_owned(), "Retired".to_owned()));
    // Its object stays, no claim matches it any more, and it is looked at no more.
    let (later, asks) = claim("later", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.phase(&later), Some(Phase::Waiting));
    assert_eq!(world.books.intake.objects().next_retirement(), None);
}

#[tokio::test]
async fn a_block_that_comes_after_its_time_never_gets_budget() {
    let mut world = World::new();
    world.add_block(block_until("a", -10)).await;
    world.add_block(block_until("b", 1000)).await;
    assert_eq!(world.engine().block(&BlockId::from("a")), None);
    assert_eq!(world.ready("a").0, "False");
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.blocks_of(&id), ["b"]);
}

#[tokio::test]
async fn a_retired_block_stays_retired_when_the_ledger_is_opened_again() {
    let mut world = World::new();
    world.add_block(block_until("a", 1)).await;
    world.wait_for_retirement().await;
    world.books.writer.close();
    world.books.open().await.unwrap();
    world.take([]).await;
    assert_eq!(world.ready("a"), ("False".to_owned(), "Retired".to_owned()));
    let retires = world.server.all(crate::testing::ENTRIES).into_iter();
    let retires = retires.filter(|entry| entry.to_string().contains("retireBlock"));
    assert_eq!(retires.count(), 1);
    // An event of this form is what the ledger has.
    let event = Event::RetireBlock {
        block: BlockId::from("a"),
    };
    assert!(serde_json::to_string(&event).unwrap().contains("retireBlock"));
}
