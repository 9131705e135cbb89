//! What is exported, and what a start does whose ledger lacks what was exported.

use std::{num::NonZeroU64, path::Path};

use privatekube_backup::{ExportFile, LedgerDirectory};
use privatekube_policy::Span;

use super::*;
use crate::bookkeeper::CheckpointSettings;

const NAMESPACES: &str = "namespaces";
const UID: &str = "n1";

/// A bookkeeper that exports to `root`.
fn exporting(server: FakeApiServer, root: Option<&Path>) -> World {
    exporting_with(server, root, None)
}

/// As [`exporting`], with a checkpoint after so many entries.
fn exporting_with(server: FakeApiServer, root: Option<&Path>, every: Option<NonZeroU64>) -> World {
    server.put(NAMESPACES, &json!({"metadata": {"name": NAMESPACE, "uid": UID}}));
    let (mut handles, events) = handles(&server);
    handles.export = root.map(Path::to_owned);
    handles.checkpoints = CheckpointSettings {
        every,
        keep_entries: Some(Span::from_micros(1)),
    };
    handles.view.set_complete();
    let books = Bookkeeper::new(handles, key());
    World {
        server,
        books,
        events,
    }
}

impl World {
    async fn begin(&mut self) {
        let (dataset, block) = (dataset("1", 1, &json!({})), block("a", "a", Some("10")));
        self.server.put(DATASETS, &*dataset);
        self.server.put(BLOCKS, &*block);
        self.take([Message::DatasetApplied(dataset), Message::BlockApplied(block)])
            .await;
    }

    /// Lets a claim arrive, in an entry of its own.
    async fn claims(&mut self, names: &[&str]) {
        for name in names {
            let (_, asks) = claim(name, &epsilon("1"));
            self.take([asks]).await;
        }
    }

    /// Another process, which exports to `root`, with the same API server.
    fn restarted(self, root: Option<&Path>) -> World {
        let Self { server, books, .. } = self;
        drop(books);
        exporting(server, root)
    }

    fn delete_entries(&self, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            self.server.delete(ENTRIES, &format!("{DATASET}-{number:010}"));
        }
    }

    /// Waits until an Event of this reason was announced.
    async fn until_announced(&mut self, reason: &str) {
        while let Some(event) = self.events.recv().await {
            if format!("{event:?}").contains(reason) {
                return;
            }
        }
    }
}

/// The generation and the number of the last exported entry.
fn generation(root: &Path) -> Option<(u32, u64)> {
    let directory = LedgerDirectory::new(root, key(), UID).unwrap();
    let witness = directory.witness().unwrap();
    witness.map(|witness| (witness.generation, witness.sequence))
}

/// How the metric of exports that fail reads.
fn is_failing(world: &World) -> bool {
    let text = world.books.handles.metrics.text().unwrap();
    let mut series = text
        .lines()
        .filter(|line| line.starts_with("privatekube_ledger_export_failing{"));
    series.any(|line| line.ends_with(" 1"))
}

#[tokio::test]
async fn what_is_committed_is_exported_also_by_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let mut world = exporting(FakeApiServer::default(), Some(root.path()));
    world.begin().await;
    world.claims(&["c1"]).await;
    world.books.export.until_exported(2).await;
    // Without an export for a while.
    let mut world = world.restarted(None);
    world.begin().await;
    world.claims(&["c2", "c3"]).await;
    let mut world = world.restarted(Some(root.path()));
    world.begin().await;
    world.books.export.until_exported(4).await;
    world.claims(&["c4"]).await;
    world.books.export.until_exported(5).await;
    let file = ExportFile::open(root.path()).unwrap();
    assert_eq!((file.datasets()[0].first(), file.datasets()[0].last()), (1, 5));
    assert_eq!(generation(root.path()), Some((1, 5)));
}

#[tokio::test]
async fn a_start_whose_ledger_lacks_exported_entries_stops_and_goes_on_by_an_administrators_word() {
    let root = tempfile::tempdir().unwrap();
    let mut world = exporting(FakeApiServer::default(), Some(root.path()));
    world.begin().await;
    world.claims(&["c1", "c2", "c3"]).await;
    world.books.export.until_exported(4).await;
    // No status names what is gone.
    world.delete_entries(3..=4);
    let mut world = world.restarted(Some(root.path()));
    assert!(world.books.open_unless_deleted().await.unwrap());
    let message = world.books.stop.as_ref().unwrap().message.clone();
    assert_eq!(world.books.stop.as_ref().unwrap().cause.as_str(), "shortened");
    for says in [
        "ends at entry 2 and doesn't have entry 4 of its export in ",
        "privatekube-extender restore ",
        "writeOffAfter: 2",
    ] {
        assert!(message.contains(says), "{message}");
    }
    // A process without --export doesn't know, and goes on.
    let mut world = world.restarted(None);
    world.begin().await;
    world.claims(&["c4", "c5", "c6"]).await;
    let mut world = world.restarted(Some(root.path()));
    assert!(matches!(
        world.books.open().await,
        Err(WriterError::Witnessed {
            known: 4,
            found: 5,
            ..
        })
    ));
    assert_eq!(generation(root.path()), Some((1, 4)));

    let recovery = json!({"recovery": {"writeOffAfter": 5, "reason": "lost"}});
    let object = dataset("1", 2, &recovery);
    world.server.put(DATASETS, &*object);
    // The process ends before it exports that.
    let mut other = world.restarted(None);
    other.books.open().await.unwrap();
    assert_eq!(other.engine().last_write_off(), Some(5));
    let mut world = other.restarted(Some(root.path()));
    world.books.open().await.unwrap();
    world.books.export.until_exported(6).await;
    assert_eq!(generation(root.path()), Some((2, 6)));
    // The word was for that loss, and not for the next one.
    world.delete_entries(6..=6);
    world.server.put(DATASETS, &*dataset("1", 3, &json!({})));
    let mut world = world.restarted(Some(root.path()));
    assert!(matches!(
        world.books.open().await,
        Err(WriterError::Witnessed {
            known: 6,
            found: 5,
            ..
        })
    ));
    world.server.put(DATASETS, &*object);
    world.books.open().await.unwrap();
    world.books.export.until_exported(6).await;
    assert_eq!(generation(root.path()), Some((3, 6)));
}

#[tokio::test]
async fn a_ledger_that_is_gone_as_a_whole_is_noticed_too() {
    let root = tempfile::tempdir().unwrap();
    let mut world = exporting(FakeApiServer::default(), Some(root.path()));
    world.begin().await;
    world.claims(&["c1"]).await;
    world.books.export.until_exported(2).await;
    world.delete_entries(1..=2);
    let mut world = world.restarted(Some(root.path()));
    assert!(matches!(
        world.books.open().await,
        Err(WriterError::Witnessed {
            known: 2,
            found: 0,
            ..
        })
    ));
    let recovery = json!({"recovery": {"writeOffAfter": 0, "reason": "lost"}});
    world.server.put(DATASETS, &*dataset("1", 2, &recovery));
    world.books.open().await.unwrap();
    assert_eq!(world.engine().last_write_off(), Some(0));
    world.books.export.until_exported(1).await;
    // In a namespace that was created again, a dataset begins anew.
    world.delete_entries(1..=1);
    let mut world = world.restarted(Some(root.path()));
    world
        .server
        .put(NAMESPACES, &json!({"metadata": {"name": NAMESPACE, "uid": "n2"}}));
    world.begin().await;
    world.books.export.until_exported(1).await;
    assert!(root.path().join("data/taxi/n2").is_dir());
}

#[tokio::test]
async fn an_export_that_fails_delays_no_grant_and_keeps_entries_in_the_cluster() {
    let root = tempfile::tempdir().unwrap();
    let export = root.path().join("export");
    std::fs::create_dir(&export).unwrap();
    let every = NonZeroU64::new(3);
    let mut world = exporting_with(FakeApiServer::default(), Some(&export), every);
    world.server.put(DATASETS, &*dataset("1", 1, &json!({})));
    world.books.open().await.unwrap();
    std::fs::remove_dir(&export).unwrap();
    world.begin().await;
    world.claims(&["c1", "c2", "c3"]).await;
    let granted = world
        .engine()
        .claims()
        .filter(|claim| world.phase(claim) == Some(Phase::Granted));
    assert_eq!(granted.count(), 3);
    world.until_announced("ExportFailing").await;
    assert!(is_failing(&world));
    assert!(world.books.checkpoints.is_running());
    let outcome = world.books.checkpoints.done().await;
    world.books.checkpoint_done(&outcome);
    world.books.handles.server_clock.set(crate::clock::now());
    let store = world.books.writer.store().clone();
    world
        .books
        .checkpoints
        .remove_if_due(&store, world.books.export.removable());
    world.books.checkpoints.done().await;
    assert_eq!(world.server.all(ENTRIES).len(), 4);

    std::fs::create_dir(&export).unwrap();
    world.until_announced("ExportResumed").await;
    assert!(!is_failing(&world));
    assert_eq!(
        (generation(&export), world.books.export.removable()),
        (Some((1, 4)), 4)
    );
    let mut world = world.restarted(Some(&export));
    world.books.open().await.unwrap();
    world.books.export.until_exported(4).await;
    world.books.handles.server_clock.set(crate::clock::now());
    world
        .books
        .checkpoints
        .remove_if_due(&store, world.books.export.removable());
    world.books.checkpoints.done().await;
    assert_eq!(world.server.all(ENTRIES).len(), 2);
}

#[tokio::test]
async fn an_export_that_cannot_be_read_stops_the_dataset_until_it_can() {
    let root = tempfile::tempdir().unwrap();
    let export = root.path().join("export");
    let mut world = exporting(FakeApiServer::default(), Some(&export));
    world.server.put(DATASETS, &*dataset("1", 1, &json!({})));
    assert!(world.books.open_unless_deleted().await.unwrap());
    let stop = world.books.stop.as_ref().unwrap();
    assert_eq!(stop.cause.as_str(), "export");
    assert!(
        stop.message.contains("mount the volume of --export"),
        "{}",
        stop.message
    );
    assert!(world.server.all(ENTRIES).is_empty());
    std::fs::create_dir(&export).unwrap();
    world.books.resume().await.unwrap();
    world.begin().await;
    world.books.export.until_exported(1).await;
}

#[tokio::test]
async fn a_directory_that_is_emptied_or_replaced_is_filled_again_and_nothing_is_removed_before() {
    let above = tempfile::tempdir().unwrap();
    let root = above.path().join("export");
    std::fs::create_dir(&root).unwrap();
    let mut world = exporting(FakeApiServer::default(), Some(&root));
    world.begin().await;
    world.claims(&["c1", "c2"]).await;
    world.books.export.until_exported(3).await;
    // Nothing is committed meanwhile. The lost volume's mount point is there, and then another volume.
    std::fs::rename(&root, above.path().join("lost")).unwrap();
    world.until_announced("ExportFailing").await;
    assert!(world.books.export.removable() < 3);
    std::fs::create_dir(&root).unwrap();
    world.until_announced("ExportResumed").await;
    assert_eq!((generation(&root), is_failing(&world)), (Some((1, 3)), false));
    let file = ExportFile::open(&root).unwrap();
    assert_eq!((file.datasets()[0].first(), file.datasets()[0].last()), (1, 3));
    // The next process finds an empty one, and says that it compared the ledger with nothing.
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::create_dir(&root).unwrap();
    let mut world = world.restarted(Some(&root));
    world.begin().await;
    world.until_announced("ExportBegun").await;
    world.books.export.until_exported(3).await;
}

#[tokio::test]
async fn a_reading_that_hangs_takes_one_thread() {
    let root = tempfile::tempdir().unwrap();
    let mut world = exporting(FakeApiServer::default(), Some(root.path()));
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    world.books.export.hang(hangs);
    for _ in 0..2 {
        assert!(world.books.open_unless_deleted().await.unwrap());
        let stop = world.books.stop.as_ref().unwrap();
        assert!(
            stop.message.contains("an earlier reading has no answer yet"),
            "{}",
            stop.message
        );
    }
    drop(release);
    world.books.export.until_read().await;
    world.server.put(DATASETS, &*dataset("1", 1, &json!({})));
    world.books.resume().await.unwrap();
    world.begin().await;
    world.books.export.until_exported(1).await;
}
