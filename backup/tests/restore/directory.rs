//! Export directories: what is appended to them is put back exactly, and a ledger that lost entries is noticed.

use std::{fs, path::Path};

use anyhow::Result;
use privatekube_backup::{
    DirectoryWriter, ExportFile, Exporter, LedgerDirectory, append, export, read_state,
};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_ledger::{CheckpointContent, Ledger, Removal, Store, remove_entries};
use privatekube_policy::{Event, Phase, Time};

use crate::{
    BLOCKS, DATASETS, ENTRIES, arrival, block,
    checkpoints::{CHECKPOINTS, compacted, specs, store, with_claims},
    cluster, complete, epsilon, exported, key, ledger, phase, put_back, rules, used,
};

/// Appends to a directory what a cluster has, and returns the last entry.
async fn appended(server: &FakeApiServer, root: &Path) -> Result<u64> {
    let report = append(&server.client(), &[], root).await?;
    assert!(report.left_out.is_empty(), "{report:?}");
    assert_eq!(report.datasets[0].dataset, "data/taxi");
    Ok(report.datasets[0].sequence)
}

async fn commit(
    server: &FakeApiServer,
    minute: u64,
    events: Vec<Event>,
) -> Result<Ledger<privatekube_kubernetes::KubernetesStore>> {
    let mut ledger = Ledger::open(store(server), "extender".into(), rules()).await?;
    let mut draft = ledger.draft(Time::from_micros(minute * 60_000_000))?;
    for event in events {
        draft.apply(event)?;
    }
    draft.commit().await?;
    Ok(ledger)
}

fn add(name: &str) -> Result<Event> {
    Ok(Event::AddBlock {
        block: name.into(),
        capacity: epsilon("10")?,
    })
}

#[tokio::test]
async fn a_ledger_is_put_back_from_a_directory_exactly() -> Result<()> {
    let server = used().await?;
    let root = tempfile::tempdir()?;
    assert_eq!(appended(&server, root.path()).await?, 4);
    // It goes on: only what is new is read and appended.
    server.put(BLOCKS, &block("b", "10"));
    commit(&server, 5, vec![add("b")?]).await?;
    let blocks = RequestFilter::any().method("GET").resource(BLOCKS);
    let before = server.count(&blocks);
    assert_eq!(appended(&server, root.path()).await?, 5);
    assert_eq!(server.count(&blocks) - before, 1, "the block that was added");
    assert_eq!(appended(&server, root.path()).await?, 5);

    let (_dir, file) = exported(&server).await?;
    let (by_file, by_directory) = (with_claims("second"), with_claims("second"));
    let of_file = put_back(&by_file, &file, &complete()).await?;
    let of_directory = put_back(&by_directory, root.path(), &complete()).await?;
    assert_eq!(of_directory.entries_created, 5);
    assert_eq!(format!("{of_file:?}"), format!("{of_directory:?}"));
    assert_eq!(ledger(&server).await?.0, ledger(&by_directory).await?.0);
    let spec = |server: &FakeApiServer, kind: &str| -> Vec<_> {
        let objects = server.all(kind).into_iter();
        objects
            .map(|mut object| (object["metadata"]["labels"].take(), object["spec"].take()))
            .collect()
    };
    for kind in [DATASETS, BLOCKS] {
        assert_eq!(spec(&by_file, kind), spec(&by_directory, kind));
    }
    // So does a directory within it.
    let within = root.path().join("data/taxi");
    assert_eq!(
        put_back(&by_directory, &within, &complete())
            .await?
            .entries_created,
        0
    );
    Ok(())
}

#[tokio::test]
async fn a_ledger_without_its_first_entries_is_exported_with_its_checkpoint() -> Result<()> {
    for removed in [2, 4] {
        let (server, checkpoint) = compacted(removed).await?;
        let root = tempfile::tempdir()?;
        assert_eq!(appended(&server, root.path()).await?, 7);
        let file = ExportFile::open(root.path())?;
        let part = &file.datasets()[0];
        assert_eq!((part.first(), part.last()), (removed as u64 + 1, 7));
        assert_eq!(part.checkpoint(), Some(&checkpoint));
        let other = with_claims("second");
        put_back(&other, root.path(), &complete()).await?;
        assert_eq!(specs(&other), specs(&server));
    }
    Ok(())
}

#[tokio::test]
async fn entries_that_were_removed_before_they_were_exported_leave_a_gap_that_a_checkpoint_closes()
-> Result<()> {
    let server = used().await?;
    let root = tempfile::tempdir()?;
    assert_eq!(appended(&server, root.path()).await?, 4);
    for minute in 5..=8 {
        let mut ledger = commit(
            &server,
            minute,
            vec![arrival(&format!("claim/data/c{minute}/u"), "0.1")?],
        )
        .await?;
        if minute == 7 {
            let content: CheckpointContent = ledger.checkpoint()?;
            content.publish(&store(&server)).await?;
            ledger.mark(content.checkpoint.mark());
        }
    }
    let checkpoint = store(&server).checkpoint().await?.unwrap();
    remove_entries(
        &store(&server),
        &checkpoint,
        Removal::older_than(Time::from_micros(u64::MAX), 10),
    )
    .await?;
    assert_eq!(appended(&server, root.path()).await?, 8);
    let file = ExportFile::open(root.path())?;
    let part = &file.datasets()[0];
    assert_eq!(
        (part.first(), part.last(), part.checkpoint()),
        (7, 8, Some(&checkpoint))
    );
    let other = cluster("second");
    put_back(&other, root.path(), &complete()).await?;
    assert_eq!(
        phase(&read_state(&other.client(), &key()).await?, "claim/data/used/u1"),
        Some(Phase::Consumed)
    );
    assert_eq!(other.all(CHECKPOINTS).len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_lost_entries_is_not_appended_until_they_are_given_up() -> Result<()> {
    let server = used().await?;
    let root = tempfile::tempdir()?;
    appended(&server, root.path()).await?;
    // Gone, and replaced by others.
    for again in [false, true] {
        for sequence in 3..=4 {
            server.delete(ENTRIES, &format!("taxi-{sequence:010}"));
        }
        if again {
            for minute in 4..=5 {
                commit(
                    &server,
                    minute,
                    vec![arrival(&format!("claim/data/c{minute}/u"), "0.1")?],
                )
                .await?;
            }
        }
        let report = append(&server.client(), &[key()], root.path()).await?;
        let problem = &report.left_out[0];
        assert!(
            problem.contains("doesn't have entry 4 of its export in "),
            "{problem}"
        );
        assert!(report.datasets.is_empty(), "{report:?}");
    }
    assert_eq!(ExportFile::open(root.path())?.datasets()[0].last(), 4);

    let directory = LedgerDirectory::new(root.path(), key(), "first")?;
    let witness = directory.witness()?.unwrap();
    let writer = DirectoryWriter::giving_up(directory.clone(), &witness);
    let mut exporter = Exporter::new(server.client(), key(), writer);
    let mut progress = Vec::new();
    exporter.catch_up(4, |last| progress.push(last)).await?;
    assert_eq!((exporter.exported(), progress.last()), (4, Some(&4)));
    assert_eq!(directory.witness()?.map(|witness| witness.generation), Some(2));
    commit(&server, 6, vec![arrival("claim/data/after/u", "0.1")?]).await?;
    assert_eq!(appended(&server, root.path()).await?, 5);
    let other = cluster("second");
    put_back(&other, root.path(), &complete()).await?;
    assert_eq!(
        phase(&ledger(&other).await?.1, "claim/data/c5/u"),
        Some(Phase::Consumed)
    );
    Ok(())
}

#[tokio::test]
async fn a_dataset_that_began_anew_has_another_directory() -> Result<()> {
    let server = used().await?;
    let root = tempfile::tempdir()?;
    appended(&server, root.path()).await?;
    let anew = cluster("again");
    commit(&anew, 60, vec![add("a")?]).await?;
    assert_eq!(appended(&anew, root.path()).await?, 1);
    let file = ExportFile::open(root.path())?;
    assert_eq!((file.datasets().len(), file.datasets()[0].last()), (1, 1));
    assert!(
        file.notes()[0].contains("data/taxi/first was passed over"),
        "{:?}",
        file.notes()
    );
    let earlier = ExportFile::open(&root.path().join("data/taxi/first"))?;
    assert_eq!(earlier.datasets()[0].last(), 4);
    Ok(())
}

#[tokio::test]
async fn a_directory_without_ledgers_says_so() -> Result<()> {
    let root = tempfile::tempdir()?;
    fs::create_dir_all(root.path().join("lost+found"))?;
    let error = ExportFile::open(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("there is no exported ledger in it"), "{error}");
    Ok(())
}

#[tokio::test]
async fn whoever_may_read_one_namespace_exports_the_datasets_in_it() -> Result<()> {
    let server = used().await?;
    // Lists of all namespaces are refused.
    let everywhere = RequestFilter::any().path_prefix("/apis/privatekube.dev/v1alpha1/priva");
    server.inject(&everywhere, usize::MAX, Fault::Refuse(403));
    let (root, named) = (tempfile::tempdir()?, [key()]);
    let report = append(&server.client(), &named, root.path()).await?;
    assert_eq!(
        (report.datasets.len(), report.left_out.len()),
        (1, 0),
        "{report:?}"
    );
    let file = root.path().join("taxi.jsonl");
    let report = export(&server.client(), &named, &file, Time::default()).await?;
    assert_eq!(
        (report.datasets.len(), report.left_out.len()),
        (1, 0),
        "{report:?}"
    );
    assert!(append(&server.client(), &[], root.path()).await.is_err());
    Ok(())
}
