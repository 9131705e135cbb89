//! How much work it takes to match claims with blocks, and how it is divided.

use std::sync::Arc;

use privatekube_api::PrivateDataBlock;
use privatekube_fake_api_server::RequestFilter;
use privatekube_policy::Phase;
use serde_json::json;
use tokio::sync::oneshot;

use super::{World, claim, claim_with};
use crate::{
    bookkeeper::Message,
    testing::{BLOCKS, block, epsilon},
};

/// A block of a day.
fn day(number: usize) -> Arc<PrivateDataBlock> {
    let name = format!("day-{number:0>4}");
    let mut block = (*block(&name, &name, Some("10"))).clone();
    let dimensions = json!({"day": number});
    block.spec.dimensions = serde_json::from_value(dimensions).unwrap();
    Arc::new(block)
}

impl World {
    /// Makes blocks of so many days, which the watch delivers at once.
    async fn add_days(&mut self, days: std::ops::Range<usize>) {
        let blocks = days.map(day).inspect(|block| self.server.put(BLOCKS, &**block));
        let blocks = blocks.map(Message::BlockApplied).collect();
        self.books.handle(blocks).await.unwrap();
    }

    /// How many requests were made for all blocks.
    fn lists(&self) -> usize {
        let requests = self
            .server
            .requests(&RequestFilter::any().method("GET").resource(BLOCKS));
        let all = requests
            .iter()
            .filter(|request| !request.query.contains("limit=1"));
        all.count()
    }
}

#[tokio::test]
async fn a_new_block_is_evaluated_once_for_each_selector_that_waits() {
    let mut world = World::new();
    world.add_days(0..1).await;
    for number in 0..100 {
        let selector = ["block.day >= 0", "block.day >= 1"][number % 2];
        let spec = json!({"budget": epsilon("1"), "selector": selector, "blocks": {"min": 100_000}});
        world.take([claim_with(&number.to_string(), &spec).1]).await;
    }
    let before = world.books.intake.evaluations();
    world.add_days(1..11).await;
    assert_eq!(world.books.intake.evaluations() - before, 20);
}

#[tokio::test]
async fn blocks_are_read_for_a_claim_only_if_the_watch_lacks_some() {
    let mut world = World::new();
    world.add_days(0..3).await;
    let before = world.lists();
    for number in 0..3 {
        let (id, requested) = claim(&number.to_string(), &epsilon("1"));
        world.take([requested]).await;
        assert_eq!(world.blocks_of(&id).len(), 3);
    }
    assert_eq!(world.lists(), before);
    // The watch hasn't delivered this one yet.
    world.server.put(BLOCKS, &*day(3));
    let (id, requested) = claim("behind", &epsilon("1"));
    world.take([requested]).await;
    assert_eq!(world.blocks_of(&id).len(), 4);
    assert_eq!(world.lists(), before + 1);
    let (id, requested) = claim("level", &epsilon("1"));
    world.take([Message::BlockApplied(day(3)), requested]).await;
    assert_eq!(world.blocks_of(&id).len(), 4);
    assert_eq!(world.lists(), before + 1);
}

#[tokio::test]
async fn much_matching_is_divided_and_a_flush_waits_for_all_of_it() {
    let mut world = World::new();
    world.add_days(0..300).await;
    let claims: Vec<_> = (0..200)
        .map(|number| {
            let spec = json!({"budget": epsilon("0.01"), "selector": format!("block.day >= {number}")});
            claim_with(&number.to_string(), &spec)
        })
        .collect();
    let (ids, mut batch): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
    let (reply, mut done) = oneshot::channel();
    batch.push(Message::Flush(reply));
    let before = world.books.intake.evaluations();
    world.books.handle(batch).await.unwrap();
    let evaluated = world.books.intake.evaluations() - before;
    assert!((20_000..20_300).contains(&evaluated), "{evaluated}");
    // They arrive in their order.
    assert_eq!(world.phase(&ids[66]), Some(Phase::Granted));
    assert_eq!(world.phase(&ids[67]), None);
    let mut parts = 1;
    while world.books.has_backlog() {
        assert!(done.try_recv().is_err());
        world.take([]).await;
        parts += 1;
    }
    assert_eq!(parts, 3);
    assert_eq!(done.try_recv(), Ok(()));
    for id in &ids {
        assert_eq!(world.phase(id), Some(Phase::Granted));
    }
}
