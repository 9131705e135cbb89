//! When checkpoints are published, what they forget, and which entries are removed.

use std::num::NonZeroU64;

use privatekube_fake_api_server::RequestFilter;
use privatekube_policy::Span;

use super::*;
use crate::bookkeeper::{CheckpointSettings, checkpoints::Outcome};

const CHECKPOINTS: &str = "privacyledgercheckpoints";
const PIECES: &str = "privacyledgercheckpointpieces";

/// A bookkeeper with a block that makes a checkpoint every three entries.
async fn every_three(keep_entries: Option<Span>) -> World {
    let server = FakeApiServer::default();
    let (mut handles, events) = handles(&server);
    handles.checkpoints = CheckpointSettings {
        every: NonZeroU64::new(3),
        keep_entries,
    };
    handles.view.set_complete();
    let mut world = World {
        server,
        books: Bookkeeper::new(handles, key()),
        events,
    };
    let block = block("a", "a", Some("10"));
    world.server.put(BLOCKS, &*block);
    world.take([Message::BlockApplied(block)]).await;
    world
}

impl World {
    /// Lets claims arrive, each in an entry of its own.
    async fn arrive(&mut self, names: &[&str]) -> Vec<ClaimId> {
        let mut ids = Vec::new();
        for name in names {
            let (id, asks) = claim(name, &epsilon("1"));
            self.take([asks]).await;
            ids.push(id);
        }
        ids
    }

    /// Waits for what is being done, if anything is.
    async fn done(&mut self) -> Option<Outcome> {
        if !self.books.checkpoints.is_running() {
            return None;
        }
        let outcome = self.books.checkpoints.done().await;
        self.books.checkpoint_done(&outcome);
        Some(outcome)
    }

    /// The entry that the published checkpoint stands at.
    fn published_at(&self) -> Option<i64> {
        let published = self.server.all(CHECKPOINTS).pop()?;
        published["spec"]["sequence"].as_i64()
    }

    fn entries(&self) -> Vec<i64> {
        let entries = self.server.all(ENTRIES);
        let mut numbers: Vec<i64> = entries
            .iter()
            .filter_map(|entry| entry["spec"]["sequence"].as_i64())
            .collect();
        numbers.sort_unstable();
        numbers
    }
}

#[tokio::test]
async fn a_checkpoint_is_published_after_so_many_entries_and_read_by_a_start() {
    let mut world = Box::pin(every_three(None)).await;
    world.arrive(&["c1"]).await;
    assert!(world.done().await.is_none());
    world.arrive(&["c2"]).await;
    assert!(matches!(world.done().await, Some(Outcome::Published(..))));
    assert_eq!(world.published_at(), Some(3));
    let ids = world.arrive(&["c3", "c4"]).await;
    // The next entry names it, and only that one does.
    let marks: Vec<Value> = world
        .server
        .all(ENTRIES)
        .iter()
        .map(|entry| entry["spec"]["checkpoint"]["sequence"].clone())
        .collect();
    assert_eq!(
        marks,
        [json!(null), json!(null), json!(null), json!(3), json!(null)]
    );

    let (mut handles, _events) = handles(&world.server);
    handles.checkpoints = world.books.handles.checkpoints;
    let lists = RequestFilter::any().method("GET").resource(ENTRIES);
    let before = world.server.count(&lists);
    let mut books = Bookkeeper::new(handles, key());
    books.open().await.unwrap();
    let engine = books.writer.engine().unwrap().unwrap();
    assert_eq!(engine.claims().count(), 4);
    assert_eq!(engine.phase(&ids[1]), Some(Phase::Granted));
    // The entry that it stands at, and by name those after it and the ones after them that don't exist.
    let requests = world.server.count(&lists) - before;
    assert!(requests < 10, "{requests}");
    assert!(books.checkpoints.looks_for_gone() || !books.checkpoints.is_due());
}

#[tokio::test]
async fn a_start_publishes_a_checkpoint_that_is_due() {
    let mut world = Box::pin(every_three(None)).await;
    world.books.handles.checkpoints.every = None;
    let (handles_of_start, _events) = handles(&world.server);
    world.arrive(&["c1"]).await;
    let mut handles = handles_of_start;
    handles.checkpoints.every = NonZeroU64::new(2);
    let mut books = Bookkeeper::new(handles, key());
    books.open().await.unwrap();
    assert!(books.checkpoints.is_running());
    assert!(matches!(books.checkpoints.done().await, Outcome::Published(..)));
    assert_eq!(world.published_at(), Some(2));
}

#[tokio::test]
async fn a_claim_that_ended_and_is_gone_is_forgotten_by_the_second_checkpoint() {
    let mut world = Box::pin(every_three(None)).await;
    let ids = world.arrive(&["c1"]).await;
    world.take([Message::Withdrawn(ids[0].clone())]).await;
    assert_eq!(world.phase(&ids[0]), Some(Phase::Released));
    world.done().await;
    assert_eq!(
        (world.published_at(), world.phase(&ids[0])),
        (Some(3), Some(Phase::Released))
    );
    let others = world.arrive(&["c2", "c3", "c4"]).await;
    // The entry before the checkpoint forgets it.
    assert!(matches!(world.done().await, Some(Outcome::Published(..))));
    assert_eq!(world.published_at(), Some(7));
    assert_eq!(world.phase(&ids[0]), None);
    let engine = world.engine();
    let sums: Vec<_> = engine.folded().filter(|sum| sum.block.is_none()).collect();
    assert_eq!(sums.len(), 1);
    assert_eq!(
        (sums[0].group, sums[0].phase, sums[0].claims),
        (Some(NAMESPACE), Phase::Released, 1)
    );
    for id in others {
        assert_eq!(engine.phase(&id), Some(Phase::Granted));
    }
    // What it had is available.
    let block = engine.block(&BlockId::from("a")).unwrap();
    assert_eq!(block.allocated[0] * 10, i128::from(block.capacity.units()[0]) * 3);
}

#[tokio::test]
async fn a_checkpoint_that_is_refused_is_tried_again_later_and_stops_nothing() {
    let mut world = Box::pin(every_three(None)).await;
    let refused = RequestFilter::writes().resource(PIECES);
    world
        .server
        .inject(&refused, 1, privatekube_fake_api_server::Fault::Refuse(403));
    world.arrive(&["c1", "c2"]).await;
    assert!(matches!(world.done().await, Some(Outcome::NotPublished(_))));
    let ids = world.arrive(&["c3", "c4", "c5"]).await;
    assert!(world.done().await.is_none(), "it is tried again after a minute");
    assert_eq!(world.phase(&ids[2]), Some(Phase::Granted));
}

#[tokio::test]
async fn old_entries_are_removed_only_if_that_was_configured() {
    for (keep, left) in [
        (None, vec![1, 2, 3]),
        (Some(Span::from_secs(3600)), vec![1, 2, 3]),
        (Some(Span::from_micros(1)), vec![3]),
    ] {
        let mut world = Box::pin(every_three(keep)).await;
        world.arrive(&["c1", "c2"]).await;
        world.done().await;
        let store = world.books.writer.store().clone();
        // The API server's clock isn't known yet.
        world.books.checkpoints.remove_if_due(&store, u64::MAX);
        assert!(world.done().await.is_none());
        world.books.handles.server_clock.set(crate::clock::now());
        world.books.checkpoints.remove_if_due(&store, u64::MAX);
        world.done().await;
        assert_eq!(world.entries(), left, "{keep:?}");
        world.books.check_last_entry().await.unwrap();
        let ids = world.arrive(&["c3"]).await;
        assert_eq!(world.phase(&ids[0]), Some(Phase::Granted));
    }
}
