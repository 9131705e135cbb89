//! What a bookkeeper makes of its messages, also when the watches are behind the API server.

mod checkpoints;
mod claims;
mod export;
mod held_blocks;
mod matching;
mod retirement;
mod scrape;

use std::sync::Arc;

use privatekube_api::{ClaimPhase, Subject};
use privatekube_fake_api_server::FakeApiServer;
use privatekube_policy::{BlockId, ClaimId, DatasetRules, Engine, Phase, Policy, Time};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Bookkeeper, ClaimInput, Message, WriterError};
use crate::{
    testing::{
        BLOCKS, DATASET, DATASETS, ENTRIES, NAMESPACE, block, claim_object, dataset, epsilon, handles, key,
    },
    writers::QueuedEvent,
};

/// A bookkeeper, the API server that it reads, and the Events that it announces.
struct World {
    server: FakeApiServer,
    books: Bookkeeper,
    events: mpsc::Receiver<QueuedEvent>,
}

impl World {
    fn new() -> Self {
        let defaults = handles(&FakeApiServer::default()).0.defaults;
        Self::with_defaults(defaults)
    }

    /// With these rules of datasets without an object.
    fn with_defaults(defaults: Option<DatasetRules>) -> Self {
        Self::on(FakeApiServer::default(), defaults)
    }

    fn on(server: FakeApiServer, defaults: Option<DatasetRules>) -> Self {
        let (mut handles, events) = handles(&server);
        handles.defaults = defaults;
        Self {
            server,
            books: Bookkeeper::new(handles, key()),
            events,
        }
    }

    /// Takes the next Event that was announced; says whether there was one.
    fn announced(&mut self) -> bool {
        self.events.try_recv().is_ok()
    }

    async fn take<const N: usize>(&mut self, batch: [Message; N]) {
        Box::pin(self.books.handle(Vec::from(batch))).await.unwrap();
    }

    fn phase(&self, claim: &ClaimId) -> Option<Phase> {
        self.books.writer.engine().unwrap()?.phase(claim)
    }

    /// What its object says of a claim: phase, reason and message.
    fn said(&self, claim: &ClaimId) -> (ClaimPhase, String, String) {
        let view = self.books.handles.view.claim(claim).unwrap();
        let status = &view.status();
        for condition in &status.conditions {
            assert_eq!(Some(&condition.reason), status.reason.as_ref());
            assert_eq!(Some(&condition.message), status.message.as_ref());
        }
        let text = |text: &Option<String>| text.clone().unwrap();
        (view.phase, text(&status.reason), text(&status.message))
    }

    fn engine(&self) -> &Engine {
        self.books.writer.engine().unwrap().unwrap()
    }

    fn blocks_of(&self, claim: &ClaimId) -> Vec<String> {
        let engine = self.engine();
        engine.blocks_of(claim).map(ToString::to_string).collect()
    }
}

/// A claim on every block, and its name in the ledger.
fn claim(name: &str, budget: &Value) -> (ClaimId, Message) {
    claim_with(name, &json!({"budget": budget}))
}

/// A claim with more in its spec.
fn claim_with(name: &str, spec: &Value) -> (ClaimId, Message) {
    let object = claim_object(name, spec);
    let subject = Subject::of_object(&object).unwrap();
    let request = Arc::new(object.request().unwrap());
    (
        subject.id(),
        Message::Requested(Box::new(ClaimInput {
            subject,
            request,
            was_granted: false,
            was_denied: None,
            requester: None,
        })),
    )
}

#[tokio::test]
async fn a_claim_is_not_matched_with_a_block_that_was_deleted_before_it_came() {
    let mut world = World::new();
    for name in ["a", "b"] {
        let block = block(name, name, Some("10"));
        world.server.put(BLOCKS, &*block);
        world.take([Message::BlockApplied(block)]).await;
    }
    world.server.delete(BLOCKS, "b");
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.blocks_of(&id), ["a"]);
}

#[tokio::test]
async fn a_block_that_was_made_again_is_not_gone_with_the_one_before_it() {
    let mut world = World::new();
    let (old, new) = (block("a", "1", Some("10")), block("a", "2", Some("10")));
    world.server.put(BLOCKS, &*old);
    world.take([Message::BlockApplied(Arc::clone(&old))]).await;
    let (spent, asks) = claim("first", &epsilon("9"));
    world.take([asks]).await;
    world.server.put(BLOCKS, &*new);
    let (id, asks) = claim("waits", &epsilon("5"));
    world.take([asks]).await;
    assert_eq!(world.phase(&spent), Some(Phase::Granted));
    assert_eq!(world.phase(&id), Some(Phase::Waiting));
    // The watch comes this far only now.
    world.take([Message::BlockDeleted(old)]).await;
    world.take([Message::BlockApplied(new)]).await;
    assert_eq!(world.phase(&id), Some(Phase::Waiting));
}

/// An entry that another process wrote is not one that was deleted, whoever tells of it first.
#[tokio::test]
async fn a_writer_that_hears_of_an_entry_of_another_one_is_fenced() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    let mut other = World::on(world.server.clone(), None);
    let (id, asks) = claim("c", &epsilon("1"));
    other.take([asks]).await;
    assert_eq!(other.phase(&id), Some(Phase::Granted));
    let named = |sequence| Message::StatusNames {
        sequence,
        arrived: None,
    };
    let fenced = world.books.handle(vec![named(2)]).await.unwrap_err();
    assert!(fenced.is_fenced(), "{fenced}");
    let lacking = other.books.handle(vec![named(3)]).await.unwrap_err();
    assert!(matches!(lacking, WriterError::Shortened { .. }), "{lacking}");
}

#[tokio::test]
async fn a_claim_is_weighed_by_the_dataset_that_was_made_before_it_came() {
    let mut world = World::new();
    let old = dataset("1", 1, &json!({}));
    let new = dataset(
        "2",
        1,
        &json!({"weights": [{"namespace": NAMESPACE, "weight": 3}]}),
    );
    let block = block("a", "a", Some("10"));
    world.server.put(DATASETS, &*old);
    world.server.put(BLOCKS, &*block);
    world
        .take([
            Message::DatasetApplied(Arc::clone(&old)),
            Message::BlockApplied(block),
        ])
        .await;
    world.server.put(DATASETS, &*new);
    let (id, asks) = claim("c", &epsilon("1"));
    // The watch comes this far only now.
    world.take([Message::DatasetDeleted(old), asks]).await;
    let engine = world.engine();
    assert_eq!(engine.claim(&id).unwrap().arrival.weight.get(), 3);
}

#[tokio::test]
async fn a_ledger_begins_with_the_rules_of_its_first_entry() {
    let mut world = World::new();
    let block = block("a", "a", None);
    world.server.put(BLOCKS, &*block);
    // It states no budget, so that it waits for its dataset.
    world.take([Message::BlockApplied(block)]).await;
    assert_eq!(world.server.all(ENTRIES).len(), 0);
    let dataset = dataset(
        "1",
        1,
        &json!({"policy": "FCFS", "guarantee": {"epsilon": 10, "delta": 0}}),
    );
    world.server.put(DATASETS, &*dataset);
    world.take([Message::DatasetApplied(dataset)]).await;
    assert_eq!(world.server.all(ENTRIES).len(), 1);
    let engine = world.engine();
    assert_eq!(engine.rules().policy, Policy::Fcfs { refusing: false });
    assert!(engine.block(&BlockId::from("a")).is_some());
}

#[tokio::test]
async fn another_guarantee_of_the_dataset_is_for_blocks_to_come() {
    let mut world = World::new();
    let guarantee = |epsilon| json!({"guarantee": {"epsilon": epsilon, "delta": 0}});
    let before = dataset("1", 1, &guarantee(10));
    let first = block("a", "a", None);
    world.server.put(DATASETS, &*before);
    world.server.put(BLOCKS, &*first);
    world
        .take([Message::DatasetApplied(before), Message::BlockApplied(first)])
        .await;
    for (name, dataset) in [
        ("b", dataset("1", 2, &guarantee(20))),
        ("c", dataset("1", 3, &json!({}))),
    ] {
        let block = block(name, name, Some("10"));
        world.server.put(DATASETS, &*dataset);
        world.server.put(BLOCKS, &*block);
        world
            .take([Message::DatasetApplied(dataset), Message::BlockApplied(block)])
            .await;
        let problem = &world.books.intake.objects().block("a").unwrap().problem;
        assert_eq!(*problem, None);
    }
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.blocks_of(&id), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_block_that_is_gone_is_not_measured() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(Arc::clone(&block))]).await;
    let measured = |world: &World| {
        world
            .books
            .handles
            .metrics
            .text()
            .unwrap()
            .contains("block=\"a\"")
    };
    assert!(measured(&world));
    world.server.delete(BLOCKS, "a");
    world.take([Message::BlockDeleted(block)]).await;
    assert!(!measured(&world));
}

#[tokio::test]
async fn a_ledger_is_open_before_the_measures_of_fairness_have_seen_its_claims() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    for number in 0..30 {
        let (_, asks) = claim(&format!("c{number}"), &epsilon("0.1"));
        world.take([asks]).await;
    }
    let (handles, _events) = handles(&world.server);
    let metrics = handles.metrics.clone();
    let has = |series: &str| metrics.text().unwrap().contains(series);
    let mut books = Bookkeeper::new(handles, key());
    books.open().await.unwrap();
    // Ten claims and their blocks were looked at.
    assert!(books.effects.meter.is_catching_up());
    assert!(!has("privatekube_dominant_share{") && has("privatekube_ledger_sequence{"));
    let (messages, mut received) = mpsc::unbounded_channel();
    let measured = async {
        while !has("privatekube_dominant_share{") {
            tokio::task::yield_now().await;
        }
        drop(messages);
    };
    let (ended, ()) = tokio::join!(books.run(&mut received), measured);
    assert_eq!(ended.unwrap(), key());
    let all = r#"privatekube_dominant_share{claimant="data",dataset="taxi",namespace="data"} 0.3"#;
    assert!(has(all), "{}", metrics.text().unwrap());
}

#[tokio::test]
async fn a_dataset_that_goes_with_its_namespace_leaves_no_series() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world
        .take([Message::BlockApplied(block), claim("c", &epsilon("1")).1])
        .await;
    let metrics = world.books.handles.metrics.clone();
    metrics
        .writers
        .gate_removed(&world.books.dataset, std::time::Duration::from_secs(1));
    let series = || {
        let text = metrics.text().unwrap();
        let label = format!("dataset=\"{DATASET}\"");
        text.lines().filter(|line| line.contains(&label)).count()
    };
    assert!(series() > 20);
    // The server knows no namespace.
    let lost = WriterError::Lost(world.books.dataset.clone(), 1);
    assert!(!world.books.stop_or_end(lost).await.unwrap());
    assert_eq!(series(), 0);
}

#[tokio::test]
async fn no_ledger_begins_for_a_dataset_that_is_gone() {
    let mut world = World::new();
    let old = dataset("1", 1, &json!({}));
    world.server.put(DATASETS, &*old);
    world.take([Message::DatasetApplied(Arc::clone(&old))]).await;
    world.server.delete(DATASETS, DATASET);
    world.take([Message::DatasetDeleted(old)]).await;
    assert!(world.books.handles.view.dataset(&world.books.dataset).is_none());
    let (id, asks) = claim("c", &epsilon("1"));
    world.take([asks]).await;
    assert_eq!(world.said(&id).1, "DatasetUnknown");
    assert_eq!(world.server.all(ENTRIES).len(), 0);
    let new = dataset("2", 1, &json!({"policy": "FCFS"}));
    world.server.put(DATASETS, &*new);
    world.take([Message::DatasetApplied(new)]).await;
    let engine = world.engine();
    assert_eq!(engine.rules().policy, Policy::Fcfs { refusing: false });
    assert_eq!(world.said(&id).1, "TooFewBlocks");
}

#[tokio::test]
async fn a_block_that_is_deleted_with_its_namespace_leaves_no_status_to_write() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world
        .take([
            Message::BlockApplied(Arc::clone(&block)),
            claim("c", &epsilon("1")).1,
        ])
        .await;
    let view = Arc::clone(&world.books.handles.view);
    let published = || view.block(&(key(), "a".to_owned())).is_some();
    assert!(published());
    // The entries are gone, too; the server knows no namespace.
    for entry in world.server.all(ENTRIES) {
        world
            .server
            .delete(ENTRIES, entry["metadata"]["name"].as_str().unwrap());
    }
    let error = world.books.handle(vec![Message::BlockDeleted(block)]).await;
    assert!(!world.books.stop_or_end(error.unwrap_err()).await.unwrap());
    assert!(!published());
}

#[tokio::test]
async fn a_ledger_that_is_dated_ahead_goes_on_when_its_time_is_accepted() {
    let mut world = World::new();
    let before = dataset("1", 1, &json!({}));
    let block = block("a", "a", Some("10"));
    world
        .server
        .put("namespaces", &json!({"metadata": {"name": NAMESPACE}}));
    world.server.put(DATASETS, &*before);
    world.server.put(BLOCKS, &*block);
    world
        .take([Message::DatasetApplied(before), Message::BlockApplied(block)])
        .await;
    // By the API server's clock, the entry that was just written is dated ahead by years.
    world
        .books
        .handles
        .server_clock
        .set(Time::from_micros(1_500_000_000_000_000));
    let error = world.books.handle(vec![claim("early", &epsilon("1")).1]).await;
    assert!(world.books.stop_or_end(error.unwrap_err()).await.unwrap());
    let message = world.books.stop.as_ref().unwrap().message.clone();
    let (_, rest) = message.split_once("acceptTime: \"").unwrap();
    let (time, _) = rest.split_once('"').unwrap();
    let recovery = json!({"recovery": {"acceptTime": time, "reason": "the node's clock was wrong"}});
    let after = dataset("1", 2, &recovery);
    world.server.put(DATASETS, &*after);
    world.take([Message::DatasetApplied(after)]).await;
    world.books.resume().await.unwrap();
    let (id, requested) = claim("late", &epsilon("1"));
    world.take([requested]).await;
    assert_eq!(world.phase(&id), Some(Phase::Granted));
}

#[tokio::test]
async fn blocks_beyond_the_bound_are_summed_and_take_places_that_become_free() {
    let mut world = World::new();
    // Ten have series of their own.
    let blocks: [_; 12] = std::array::from_fn(|number| {
        let name = format!("b{number:02}");
        block(&name, &name, Some("10"))
    });
    for block in &blocks {
        world.server.put(BLOCKS, &**block);
    }
    world.take(blocks.clone().map(Message::BlockApplied)).await;
    world.take([claim("c", &epsilon("4")).1]).await;
    let of_block = |world: &World, block: &str, state: &str| {
        let text = world.books.handles.metrics.text().unwrap();
        let labels = format!(
            "{{block=\"{block}\",dataset=\"{DATASET}\",namespace=\"{NAMESPACE}\",state=\"{state}\"}} "
        );
        let line = text.lines().find_map(|line| {
            line.strip_prefix("privatekube_block_epsilon")?
                .strip_prefix(&*labels)
        });
        line.map(str::to_owned)
    };
    let has = |text: &str| Some(text.to_owned());
    assert_eq!(of_block(&world, "b09", "allocated"), has("4"));
    assert_eq!(of_block(&world, "b10", "allocated"), None);
    assert_eq!(of_block(&world, "_other", "allocated"), has("8"));
    assert_eq!(of_block(&world, "_other", "total"), has("20"));
    let text = world.books.handles.metrics.text().unwrap();
    for line in [
        "privatekube_blocks_beyond_bound{dataset=\"taxi\",namespace=\"data\"} 2",
        "privatekube_dataset_epsilon{dataset=\"taxi\",namespace=\"data\",state=\"allocated\"} 48",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    for gone in blocks.iter().take(2) {
        world
            .server
            .delete(BLOCKS, gone.metadata.name.as_deref().unwrap());
        world.take([Message::BlockDeleted(Arc::clone(gone))]).await;
    }
    assert_eq!(of_block(&world, "b11", "allocated"), has("4"));
    assert_eq!(of_block(&world, "_other", "total"), None);
    assert_eq!(of_block(&world, "b00", "total"), None);
}

#[tokio::test]
async fn gauges_say_the_same_after_the_ledger_is_read_again() {
    let mut world = World::new();
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    world
        .take([claim("c", &epsilon("4")).1, claim("d", &epsilon("9")).1])
        .await;
    let gauges = |world: &mut World| {
        world.books.refresh_waiting().unwrap();
        let text = world.books.handles.metrics.text().unwrap();
        let is_gauge = |line: &&str| {
            line.starts_with("privatekube_")
                && !["_total", "_bucket", "_sum", "_count", "_open_duration"]
                    .iter()
                    .any(|part| line.contains(part))
        };
        text.lines()
            .filter(is_gauge)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = gauges(&mut world);
    for line in [
        "privatekube_waiting_claims{claimant=\"data\",dataset=\"taxi\",namespace=\"data\"} 1",
        "privatekube_dominant_share{claimant=\"data\",dataset=\"taxi\",namespace=\"data\"} 0.4",
        "privatekube_unused_available_epsilon_ratio{dataset=\"taxi\",namespace=\"data\"} 0.6",
    ] {
        assert!(
            before.iter().any(|there| there == line),
            "{line} is not in {before:#?}"
        );
    }
    world.books.writer.close();
    world.books.open().await.unwrap();
    assert_eq!(gauges(&mut world), before);
}
