//! How much work it takes to match claims with blocks, and how it is divided.

use std::sync::Arc;

use privatekube_api::PrivateDataBlock;
use privatekube_fake_api_server::RequestFilter;
use privatekube_policy::{Composition, Mechanism, Phase};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{World, claim, claim_with};
use crate::{
    bookkeeper::Message,
    testing::{BLOCKS, DATASETS, block, dataset, epsilon, key},
};

/// A block of a day.
fn day(number: usize) -> Arc<PrivateDataBlock> {
    block_of(&format!("day-{number:0>4}"), &json!({"day": number}))
}

/// A block with these dimensions.
fn block_of(name: &str, dimensions: &Value) -> Arc<PrivateDataBlock> {
    let mut block = (*block(name, name, Some("10"))).clone();
    block.spec.dimensions = serde_json::from_value(dimensions.clone()).unwrap();
    Arc::new(block)
}

impl World {
    /// Makes blocks of so many days, which the watch delivers at once.
    async fn add_days(&mut self, days: std::ops::Range<usize>) {
        let blocks = days.map(day).inspect(|block| self.server.put(BLOCKS, &**block));
        let blocks = blocks.map(Message::BlockApplied).collect();
        self.books.handle(blocks).await.unwrap();
    }

    /// Makes a block, which the watch delivers.
    async fn add(&mut self, block: Arc<PrivateDataBlock>) {
        self.server.put(BLOCKS, &*block);
        self.take([Message::BlockApplied(block)]).await;
    }

    /// Makes the dataset's object, or changes it, which the watch delivers.
    async fn set(&mut self, generation: i64, spec: &Value) {
        let object = dataset("d", generation, spec);
        self.server.put(DATASETS, &*object);
        self.take([Message::DatasetApplied(object)]).await;
    }

    /// Why a block can't be used, as its status says.
    fn problem(&self, name: &str) -> Option<String> {
        let view = &self.books.handles.view;
        let status = view.block(&(key(), name.to_owned())).unwrap().status();
        let ready = &status.conditions[0];
        (ready.status == "False").then(|| ready.message.clone())
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

#[tokio::test]
async fn the_newest_blocks_go_by_the_dimension_that_the_dataset_names_last() {
    let mut world = World::new();
    let days = json!([{"name": "day", "type": "Integer"}]);
    world.set(1, &json!({"dimensions": days})).await;
    // Days that are filled in afterwards.
    for number in [9, 2] {
        let name = format!("made-{}", 10 - number);
        world.add(block_of(&name, &json!({"day": number}))).await;
    }
    let newest = |name: &str| claim_with(name, &json!({"budget": epsilon("1"), "blocks": {"max": 1}}));
    let (id, requested) = newest("by-name");
    world.take([requested]).await;
    assert_eq!(world.blocks_of(&id), ["made-8"]);
    world
        .set(2, &json!({"dimensions": days, "timeDimension": "day"}))
        .await;
    let (id, requested) = newest("by-day");
    world.take([requested]).await;
    assert_eq!(world.blocks_of(&id), ["made-1"]);
}

#[tokio::test]
async fn a_block_without_a_declared_dimension_is_unusable_until_the_dataset_declares_otherwise() {
    let mut world = World::new();
    let declares = |type_: &str| json!({"dimensions": [{"name": "day", "type": type_}]});
    world.set(1, &declares("Integer")).await;
    world.add(block_of("right", &json!({"day": 1}))).await;
    world.add(block_of("wrong", &json!({"day": "1"}))).await;
    assert_eq!(world.problem("right"), None);
    let problem = world.problem("wrong").unwrap();
    assert!(
        problem.contains("spec.dimensions.day: \"1\" is a string"),
        "{problem}"
    );
    let (id, requested) = claim("all", &epsilon("1"));
    world.take([requested]).await;
    assert_eq!(world.blocks_of(&id), ["right"]);
    world.set(2, &declares("String")).await;
    assert_eq!(world.problem("wrong"), None);
    assert!(world.problem("right").unwrap().contains("1 is an integer"));
    let (id, requested) = claim("all-again", &epsilon("1"));
    world.take([requested]).await;
    assert_eq!(world.blocks_of(&id), ["wrong"]);
    world.set(3, &json!({})).await;
    assert_eq!((world.problem("right"), world.problem("wrong")), (None, None));
}

#[tokio::test]
async fn a_claim_names_the_blocks_of_per_block_that_do_not_exist() {
    let mut world = World::new();
    world.add(day(1)).await;
    let per_block: Value = [1, 2, 3]
        .map(|day| (format!("day-{day:0>4}"), epsilon("1")))
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into();
    let (waits, requested) = claim_with("waits", &json!({"perBlock": per_block}));
    world.take([requested]).await;
    let message = world.said(&waits).2;
    assert!(
        message.starts_with(
            "1 of the 3 blocks that it needs at least match; it is matched again when a block is added"
        ) && message.contains("; blocks day-0002 and day-0003 are left out: the dataset has no"),
        "{message}"
    );
    world.add(day(2)).await;
    let message = world.said(&waits).2;
    assert!(message.contains("; block day-0003 is left out: "), "{message}");
    world.add(day(3)).await;
    let (phase, _, message) = world.said(&waits);
    assert_eq!(phase, privatekube_api::ClaimPhase::Granted);
    assert!(!message.contains("left out"), "{message}");
}

#[tokio::test]
async fn a_suspicious_block_is_used_and_says_so_in_its_conditions() {
    let mut world = World::new();
    world
        .set(2, &json!({"guarantee": {"epsilon": 10, "delta": "0"}}))
        .await;
    let status = |world: &World, name: &str| {
        let view = &world.books.handles.view;
        view.block(&(key(), name.to_owned())).unwrap().status()
    };
    let conditions = |world: &World, name: &str| -> Vec<(String, String)> {
        let status = status(world, name);
        let all = status.conditions.into_iter();
        all.map(|condition| (condition.type_, condition.status)).collect()
    };
    let is_true = |type_: &str| (type_.to_owned(), "True".to_owned());
    for (name, budget) in [("first", "10"), ("second", "10.00001")] {
        let mut object = (*block(name, name, Some(budget))).clone();
        object.spec.data_source = Some("s3://lake/taxi".to_owned());
        world.add(Arc::new(object)).await;
    }
    assert_eq!(
        conditions(&world, "second"),
        ["Ready", "DataSourceShared", "AboveGuarantee"].map(is_true)
    );
    let second = status(&world, "second");
    let table = second.table.unwrap();
    assert_eq!(table.guarantee.as_deref(), Some("(10,0)"));
    assert_eq!(table.total.as_deref(), Some("10"));
    assert_eq!(table.data_source.as_deref(), Some("s3://lake/taxi"));
    assert_eq!(second.total.unwrap().epsilon, "10.00001");
    assert!(
        second
            .summary
            .unwrap()
            .starts_with("block first has the same dataSource: ")
    );
    assert_eq!(
        conditions(&world, "first"),
        ["Ready", "DataSourceShared"].map(is_true)
    );
}

#[tokio::test]
async fn a_claim_says_which_blocks_it_leaves_out_because_of_their_types() {
    let mut world = World::new();
    world.add(day(1)).await;
    world.add(block_of("quoted", &json!({"day": "2"}))).await;
    let spec =
        |min: u32| json!({"budget": epsilon("1"), "selector": "block.day >= 1", "blocks": {"min": min}});
    let (granted, requested) = claim_with("granted", &spec(1));
    world.take([requested]).await;
    let message = world.said(&granted).2;
    let left_out = "; block quoted is left out: \"block.day >= 1\" has no answer: ";
    assert!(message.contains(left_out), "{message}");
    let (waits, requested) = claim_with("waits", &spec(2));
    world.take([requested]).await;
    assert!(world.said(&waits).2.contains(left_out));
    world.add(block_of("quoted-too", &json!({"day": "3"}))).await;
    let message = world.said(&waits).2;
    assert!(
        message.contains("; blocks quoted and quoted-too are left out: "),
        "{message}"
    );
    for name in ["quoted", "quoted-too"] {
        world.server.delete(BLOCKS, name);
        let block = block_of(name, &json!({}));
        world.take([Message::BlockDeleted(block)]).await;
    }
    let message = world.said(&waits).2;
    assert!(!message.contains("left out"), "{message}");
    world.add(day(2)).await;
    assert_eq!(world.phase(&waits), Some(Phase::Granted));
}

#[tokio::test]
async fn a_claim_with_a_batch_size_costs_what_its_rate_on_the_granted_blocks_costs() {
    let mut world = World::new();
    let with_records = |name: &str, records: Option<u64>| {
        let mut block = (*block(name, name, Some("10"))).clone();
        block.spec.records = records;
        Arc::new(block)
    };
    world.add(with_records("a", Some(100))).await;
    world.add(with_records("unknown", None)).await;
    let spec =
        json!({"budget": {"mechanism": "subsampled-laplace(scale=1,batch-size=10)"}, "blocks": {"min": 2}});
    let (id, requested) = claim_with("sampled", &spec);
    world.take([requested]).await;
    let message = world.said(&id).2;
    assert!(
        message
            .contains("block unknown is left out: it doesn't state how many records it has (spec.records)"),
        "{message}"
    );
    world.add(with_records("b", Some(300))).await;
    assert_eq!(world.blocks_of(&id), ["a", "b"]);
    let rate: Mechanism = "subsampled-laplace(scale=1,sample-rate=0.025)".parse().unwrap();
    let claim = world.engine().claim(&id).unwrap();
    assert_eq!(
        claim.arrival.demands[0].budget,
        rate.demand(&Composition::Basic).unwrap()
    );
}

#[tokio::test]
async fn no_claim_of_a_portion_arrives_unchecked_in_place_of_a_refused_one() {
    let mut world = World::new();
    world.add_days(0..1).await;
    // More than arrive before one entry, all from a namespace to which the dataset isn't open.
    let foreign = (0..600).map(|number| {
        let (_, mut message) = claim(&number.to_string(), &epsilon("0.001"));
        let Message::Requested(input) = &mut message else {
            panic!("a claim requests")
        };
        input.subject.namespace = "other".to_owned();
        (input.subject.id(), message)
    });
    let (ids, batch): (Vec<_>, Vec<_>) = foreign.unzip();
    world.books.handle(batch).await.unwrap();
    while world.books.has_backlog() {
        world.take([]).await;
    }
    for id in &ids {
        assert_eq!(world.phase(id), None, "{id}");
    }
}
