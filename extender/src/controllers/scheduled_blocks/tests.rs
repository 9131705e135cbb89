use std::time::Duration;

use privatekube_api::{PrivateDataset, parse_rfc3339};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};

use super::*;
use crate::{
    testing::{BLOCKS, DATASETS, block, dataset, handles},
    writers::QueuedEvent,
};

/// A dataset whose blocks come by themselves, an API server with a clock, and what creates the blocks.
struct World {
    server: FakeApiServer,
    handles: Handles,
    events: mpsc::Receiver<QueuedEvent>,
    scheduled: ScheduledBlocks,
}

impl World {
    /// With this clock of the API server.
    fn new(now: &str) -> Self {
        let server = FakeApiServer::default();
        let (handles, events) = handles(&server);
        let world = Self {
            server,
            handles,
            events,
            scheduled: ScheduledBlocks::default(),
        };
        world.set_clock(now);
        world
    }

    fn set_clock(&self, now: &str) {
        self.handles.server_clock.set(parse_rfc3339(now).unwrap());
    }

    /// Makes the dataset's object, or changes it, which a watch delivers.
    fn set_dataset(&self, uid: &str, blocks: &Value) {
        let spec = json!({"guarantee": {"epsilon": 10, "delta": 0}, "blocks": blocks});
        self.server.put(DATASETS, &*dataset(uid, 1, &spec));
        self.deliver();
    }

    fn deliver(&self) {
        let object: PrivateDataset =
            serde_json::from_value(self.server.get(DATASETS, "taxi").unwrap()).unwrap();
        self.scheduled.applied(&object);
    }

    /// Another process takes over.
    fn restart(&mut self) {
        self.scheduled = ScheduledBlocks::default();
        self.deliver();
    }

    /// Creates blocks for so long.
    async fn run_for(&self, time: Duration) {
        tokio::select! {
            () = self.scheduled.keep(&self.handles) => {}
            () = sleep(time) => {}
        }
    }

    fn names(&self) -> Vec<String> {
        let blocks = self.server.all(BLOCKS).into_iter();
        let mut names: Vec<String> = blocks
            .map(|block| block["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn creations(&self) -> usize {
        self.server
            .count(&RequestFilter::any().method("POST").resource(BLOCKS))
    }

    fn last(&self) -> Value {
        self.server.get(DATASETS, "taxi").unwrap()["status"]["lastBlock"].clone()
    }

    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            told.push(format!("{event:?}"));
        }
        told
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn missed_blocks_are_caught_up_and_each_comes_when_its_time_has_come() {
    let world = World::new("2026-11-30T12:00:00Z");
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
    assert_eq!(
        world.last(),
        json!({"name": "taxi-2026-11-30", "end": "2026-12-01T00:00:00Z"})
    );
    world.run_for(DAY).await;
    assert_eq!(
        world.names(),
        ["taxi-2026-11-29", "taxi-2026-11-30", "taxi-2026-12-01"]
    );
    assert_eq!(world.creations(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_block_is_made_twice_whatever_restarts_or_is_deleted() {
    let mut world = World::new("2026-11-30T12:00:00Z");
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    // Somebody doesn't want a block. The clock goes back and forth, and the process restarts.
    world.server.delete(BLOCKS, "taxi-2026-11-29");
    world.deliver();
    world.set_clock("2026-11-28T00:00:00Z");
    world.run_for(MINUTE).await;
    world.restart();
    world.set_clock("2026-11-30T13:00:00Z");
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-30"]);
    assert_eq!(world.creations(), 2);
    // The period of hours that follows a day with a block begins after it.
    world.set_dataset("d", &json!({"hourly": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.creations(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ended_before_the_status_was_written_has_made_its_blocks_once() {
    let mut world = World::new("2026-11-30T12:00:00Z");
    let status = RequestFilter::any().method("PATCH").resource(DATASETS);
    world.server.inject(&status, 1, Fault::Refuse(503));
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.last(), Value::Null);
    world.restart();
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
    assert_eq!(world.last()["name"], json!("taxi-2026-11-30"));
    assert_eq!(world.told(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_block_that_cannot_be_created_is_told_once_and_tried_again() {
    let mut world = World::new("2026-11-30T12:00:00Z");
    let creations = RequestFilter::any().method("POST").resource(BLOCKS);
    world.server.inject(&creations, 3, Fault::Refuse(403));
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-30"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-30"]);
    assert_eq!(world.creations(), 4);
    let told = world.told();
    assert!(
        told.len() == 1 && told[0].contains("BlockNotCreated"),
        "{told:#?}"
    );
}

/// A dataset that was deleted and created again, or restored, has no status that says what was made.
#[tokio::test(start_paused = true)]
async fn a_dataset_that_is_created_again_makes_no_second_block_of_a_portion() {
    let world = World::new("2026-11-30T12:00:00Z");
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    world.server.delete(DATASETS, "taxi");
    world.set_dataset(
        "again",
        &json!({"hourly": {"from": "2026-11-29", "name": "other-{date}-{hour}"}}),
    );
    assert_eq!(world.last(), Value::Null);
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
    world.run_for(DAY).await;
    assert_eq!(world.names()[0], "other-2026-12-01-00");
}

/// The status was written for the first day, and could not be for the second.
#[tokio::test(start_paused = true)]
async fn a_status_that_is_behind_its_blocks_makes_no_second_block_of_a_portion() {
    let mut world = World::new("2026-11-29T12:00:00Z");
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    let status = RequestFilter::any().method("PATCH").resource(DATASETS);
    world.server.inject(&status, 1, Fault::Refuse(503));
    world.run_for(DAY).await;
    assert_eq!(world.last()["name"], json!("taxi-2026-11-29"));
    let mut object = world.server.get(DATASETS, "taxi").unwrap();
    object["spec"]["blocks"] = json!({"hourly": {"from": "2026-11-29"}});
    world.server.put(DATASETS, &object);
    world.restart();
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
    assert_eq!(world.last()["name"], json!("taxi-2026-11-30"));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_ahead_of_its_blocks_stays() {
    let mut world = World::new("2026-11-30T12:00:00Z");
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    world.server.delete(BLOCKS, "taxi-2026-11-30");
    world.server.clear_log();
    world.restart();
    world.set_clock("2026-12-01T00:00:01Z");
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-12-01"]);
    // Only the new block was written to it.
    let status = RequestFilter::any().method("PATCH").resource(DATASETS);
    assert_eq!(world.server.count(&status), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_says_nothing_of_the_block_is_tried_again() {
    let world = World::new("2026-11-30T12:00:00Z");
    let creations = RequestFilter::any().method("POST").resource(BLOCKS);
    // As a quota answers whose object was changed meanwhile.
    world.server.inject(&creations, 1, Fault::Refuse(409));
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_dataset_has_is_told_and_the_period_gets_no_block() {
    let mut world = World::new("2026-11-30T12:00:00Z");
    let mut other = (*block("taxi-2026-11-29", "b", Some("10"))).clone();
    other.spec.dataset = "other".to_owned();
    world.server.put(BLOCKS, &other);
    world.set_dataset("d", &json!({"daily": {"from": "2026-11-29"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2026-11-29", "taxi-2026-11-30"]);
    let told = world.told();
    assert!(
        told.len() == 1 && told[0].contains("dataset other has a block of this name"),
        "{told:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_before_the_api_servers_clock_is_known_or_after_the_dataset_is_deleted() {
    let server = FakeApiServer::default();
    let (handles, events) = handles(&server);
    let scheduled = ScheduledBlocks::default();
    let world = World {
        server,
        handles,
        events,
        scheduled,
    };
    world.set_dataset("d", &json!({"daily": {"from": "2020-01-01"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), Vec::<String>::new());
    world.set_clock("2020-01-01T00:00:01Z");
    let object: PrivateDataset = serde_json::from_value(world.server.get(DATASETS, "taxi").unwrap()).unwrap();
    world.scheduled.deleted(&object);
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), Vec::<String>::new());
    world.deliver();
    world.run_for(MINUTE).await;
    assert_eq!(world.names(), ["taxi-2020-01-01"]);
}

#[tokio::test(start_paused = true)]
async fn many_missed_blocks_come_in_parts() {
    let world = World::new("2026-11-30T12:00:00Z");
    world.set_dataset("d", &json!({"hourly": {"from": "2026-11-01"}}));
    world.run_for(MINUTE).await;
    assert_eq!(world.names().len(), 29 * 24 + 13);
    let statuses = world
        .server
        .count(&RequestFilter::any().method("PATCH").resource(DATASETS));
    assert_eq!(statuses, (29 * 24 + 13_usize).div_ceil(MOST_AT_ONCE));
}
