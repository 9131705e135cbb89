//! Ledgers with checkpoints, with and without their first entries.

use std::time::Duration;

use anyhow::{Context, Result};
use privatekube_backup::{ExportFile, RestoreOptions, export};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Checkpoint, Ledger, Removal, Replay, Store, remove_entries};
use privatekube_policy::{Event, Phase, Time};
use serde_json::Value;

use crate::{
    BLOCKS, ENTRIES, amounts, arrival, cluster, complete, exported, key, phase, put_back, rules, used,
};

pub(crate) const CHECKPOINTS: &str = "privacyledgercheckpoints";
const PIECES: &str = "privacyledgercheckpointpieces";

pub(crate) fn store(server: &FakeApiServer) -> KubernetesStore {
    KubernetesStore::new(server.client(), key())
}

async fn open(server: &FakeApiServer) -> Result<Ledger<KubernetesStore>> {
    Ok(Ledger::open(store(server), "extender".into(), rules()).await?)
}

/// The ledger of `used`, with a checkpoint at entry 5, which entry 6 names, and an entry 7 which grants claim late. Entries up to
/// `removed` are removed.
pub(crate) async fn compacted(removed: usize) -> Result<(FakeApiServer, Checkpoint)> {
    let server = used().await?;
    let mut ledger = open(&server).await?;
    let commit = async |ledger: &mut Ledger<KubernetesStore>, minute: u64, event: Event| -> Result<()> {
        let mut draft = ledger.draft(Time::from_micros(minute * 60_000_000))?;
        draft.apply(event)?;
        draft.commit().await?;
        Ok(())
    };
    commit(&mut ledger, 5, arrival("claim/data/large/u5", "9")?).await?;
    let content = ledger.checkpoint()?;
    content.publish(&store(&server)).await?;
    ledger.mark(content.checkpoint.mark());
    let claim = "claim/data/large/u5".into();
    commit(&mut ledger, 6, Event::Withdraw { claim }).await?;
    commit(&mut ledger, 7, arrival("claim/data/late/u7", "1")?).await?;
    let (checkpoint, end) = (content.checkpoint, Time::from_micros(u64::MAX));
    remove_entries(&store(&server), &checkpoint, Removal::older_than(end, removed)).await?;
    Ok((server, checkpoint))
}

/// The specs of what a ledger consists of, without the namespace, which is another one in another cluster.
pub(crate) fn specs(server: &FakeApiServer) -> Vec<Value> {
    let objects = [ENTRIES, CHECKPOINTS, PIECES].map(|kind| server.all(kind));
    let specs = objects.into_iter().flatten().map(|mut object| {
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("namespaceUid");
        }
        object["spec"].take()
    });
    specs.collect()
}

/// What a restore without settling gives: the claims exist in the new cluster, too.
pub(crate) fn with_claims(uid: &str) -> FakeApiServer {
    let server = cluster(uid);
    for (kind, name, uid) in [
        ("privacybudgetclaims", "granted", "u2"),
        ("pods", "p", "u3"),
        ("privacybudgetclaims", "late", "u7"),
    ] {
        let labels = serde_json::json!({"privatekube.dev/managed": "true"});
        let metadata = serde_json::json!({"namespace": "data", "name": name, "uid": uid, "labels": labels});
        let mut object = serde_json::json!({"metadata": metadata});
        if kind == "privacybudgetclaims" {
            object["spec"] = serde_json::json!({"dataset": "taxi"});
        }
        server.put(kind, &object);
    }
    server
}

#[tokio::test]
async fn a_ledger_with_a_checkpoint_is_put_back_exactly_with_and_without_its_first_entries() -> Result<()> {
    for (removed, first) in [(0, 1), (2, 3), (9, 5)] {
        let (server, checkpoint) = compacted(removed).await?;
        let (_dir, path) = exported(&server).await?;
        let file = ExportFile::open(&path)?;
        let part = file.datasets().first().context("no dataset")?;
        assert_eq!((part.first(), part.last()), (first, 7));
        assert_eq!(part.checkpoint(), Some(&checkpoint));
        let second = with_claims("second");
        let report = put_back(&second, &path, &complete()).await?;
        assert_eq!(
            (report.entries_created, report.settled, report.checkpoint),
            (8 - first, 0, Some(5))
        );
        assert_eq!(specs(&second), specs(&server));
        for object in [ENTRIES, CHECKPOINTS, PIECES]
            .map(|kind| second.all(kind))
            .concat()
        {
            assert_eq!(object["spec"]["namespaceUid"], "second");
        }
        let opened = open(&second).await?;
        assert_eq!(opened.head().sequence, 7);
        // Once more changes nothing.
        let writes = second.count(&RequestFilter::writes());
        let again = put_back(&second, &path, &complete()).await?;
        assert_eq!(
            (again.entries_created, again.entries_present, again.checkpoint),
            (0, 8 - first, None)
        );
        assert_eq!(second.count(&RequestFilter::writes()), writes);
    }
    Ok(())
}

#[tokio::test]
async fn what_was_granted_counts_as_consumed_after_a_checkpoint_too() -> Result<()> {
    let (server, _) = compacted(9).await?;
    let (_dir, path) = exported(&server).await?;
    let second = cluster("second");
    let report = put_back(&second, &path, &complete()).await?;
    assert_eq!((report.entries_settling, report.settled), (1, 3));
    let replay = Replay::read(&store(&second)).await?;
    assert_eq!(amounts(&replay)?, [3, 0, 7]);
    assert_eq!(phase(&replay, "claim/data/late/u7"), Some(Phase::Consumed));
    Ok(())
}

/// What is left of a ledger whose restore was interrupted can't be opened: there is nothing yet, or an error.
#[tokio::test(start_paused = true)]
async fn whenever_a_restore_is_interrupted_the_checkpoint_does_not_open_a_part() -> Result<()> {
    for (removed, first) in [(0, 1), (3, 4)] {
        let (server, _) = compacted(removed).await?;
        let (_dir, path) = exported(&server).await?;
        let entries: usize = 9 - first;
        // A piece, the checkpoint, the entries and two objects.
        for writes in 0..entries + 4 {
            let second = cluster("second");
            interrupted(&second, &path, writes).await;
            let is_empty = second.all(ENTRIES).is_empty() && second.all(CHECKPOINTS).is_empty();
            match open(&second).await {
                Ok(ledger) => assert!(is_empty && ledger.head().sequence == 0, "{removed} {writes}"),
                Err(_) => assert!(!is_empty, "{removed} {writes}"),
            }
            put_back(&second, &path, &complete()).await?;
            let replay = Replay::read(&store(&second)).await?;
            assert_eq!((replay.head().sequence, amounts(&replay)?), (8, [3, 0, 7]));
            assert_eq!(second.all(ENTRIES).len(), entries);
            assert!(second.get(BLOCKS, "data/a").is_some());
        }
    }
    Ok(())
}

/// A restore whose write after this many is refused.
async fn interrupted(server: &FakeApiServer, path: &std::path::Path, writes: usize) {
    let all = RequestFilter::writes();
    // A fault that does nothing takes the requests before.
    server.inject(&all, writes, Fault::Delay(Duration::ZERO));
    server.inject(&all, 1, Fault::Refuse(403));
    let error = put_back(server, path, &complete()).await.err();
    assert!(error.is_some(), "{writes}");
}

/// Where etcd was put back, the cluster has the checkpoint and its entry, with which a ledger could be opened that lacks later
/// entries.
#[tokio::test(start_paused = true)]
async fn lost_entries_after_a_checkpoint_are_put_back_without_a_moment_in_which_they_are_missed() -> Result<()>
{
    // The entries that are lost, and how many writes the restore makes: a piece, a checkpoint, them and one that settles.
    for (lost, count) in [(&[6, 7][..], 5), (&[7], 4), (&[6], 4), (&[], 3)] {
        for writes in 0..count {
            let (server, _) = compacted(3).await?;
            let (_dir, path) = exported(&server).await?;
            for sequence in lost {
                server.delete(ENTRIES, &format!("data/taxi-{sequence:010}"));
            }
            interrupted(&server, &path, writes).await;
            let settled = [ENTRIES, CHECKPOINTS].map(|kind| server.all(kind).len());
            match open(&server).await {
                // Before the first entry is written, the cluster is as it was.
                Ok(_) => assert!(writes < 2, "{lost:?} {writes} {settled:?}"),
                Err(_) => assert!(writes >= 2, "{lost:?} {writes} {settled:?}"),
            }
            put_back(&server, &path, &complete()).await?;
            let replay = Replay::read(&store(&server)).await?;
            assert_eq!((replay.head().sequence, amounts(&replay)?), (8, [3, 0, 7]));
            assert_eq!(open(&server).await?.head().sequence, 8);
        }
    }
    Ok(())
}

#[tokio::test]
async fn entries_that_the_cluster_has_removed_stay_removed() -> Result<()> {
    let (server, checkpoint) = compacted(0).await?;
    let (_dir, path) = exported(&server).await?;
    remove_entries(
        &store(&server),
        &checkpoint,
        Removal::older_than(Time::from_micros(u64::MAX), 9),
    )
    .await?;
    let keep = RestoreOptions {
        keep_existing: true,
        ..complete()
    };
    let report = put_back(&server, &path, &keep).await?;
    let counts = (
        report.entries_created,
        report.entries_present,
        report.entries_covered,
    );
    assert_eq!(counts, (0, 3, 4));
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_of_another_ledger_in_the_cluster_stops_a_restore() -> Result<()> {
    let (server, _) = compacted(0).await?;
    let (_dir, path) = exported(&server).await?;
    let second = cluster("second");
    let mut head = server.get(CHECKPOINTS, "data/taxi").context("no checkpoint")?;
    head["spec"]["hash"] = Value::from("0".repeat(64));
    second.put(CHECKPOINTS, &head);
    let before = second.count(&RequestFilter::writes());
    let why = put_back(&second, &path, &complete())
        .await
        .err()
        .context("restored")?;
    assert!(
        why.to_string()
            .contains("the checkpoint in the cluster stands at entry 5"),
        "{why}"
    );
    assert_eq!(second.count(&RequestFilter::writes()), before);
    Ok(())
}

#[tokio::test]
async fn a_file_whose_checkpoint_was_cut_off_or_changed_is_refused() -> Result<()> {
    for removed in [0, 3] {
        let (server, checkpoint) = compacted(removed).await?;
        let (dir, path) = exported(&server).await?;
        let text = std::fs::read_to_string(&path)?;
        let lines: Vec<&str> = text.lines().collect();
        let refused = |text: String| -> Result<String> {
            let changed = dir.path().join("changed");
            std::fs::write(&changed, text)?;
            Ok(ExportFile::open(&changed).err().context("accepted")?.to_string())
        };
        for left_out in 0..lines.len() {
            let mut some = lines.clone();
            some.remove(left_out);
            // All entries without the checkpoint are a ledger, too.
            if removed == 0 && lines[left_out].starts_with("{\"piece\"") {
                some.remove(left_out - 1);
                continue;
            }
            refused(some.join("\n"))?;
        }
        let at = lines
            .iter()
            .position(|line| line.starts_with("{\"piece\""))
            .context("no piece")?;
        let mut without = lines.clone();
        without.remove(at);
        let why = refused(without.join("\n"))?;
        assert!(why.contains("the checkpoint at entry 5 can't be used"), "{why}");
        let mut broken = lines.clone();
        broken[at] = "{\"piece\":\"bm8gemxpYg==\"}";
        let why = refused(broken.join("\n"))?;
        assert!(
            why.contains("the checkpoint at entry 5 can't be used: piece 0"),
            "{why}"
        );
        let digest = checkpoint.digest.to_string();
        let why = refused(text.replacen(&digest, &"0".repeat(64), 1))?;
        assert!(
            why.contains("the checkpoint at entry 5 can't be used: its text has the digest"),
            "{why}"
        );
        let hash = checkpoint.head.hash.to_string();
        let why = refused(text.replacen(&hash, &"0".repeat(64), 1))?;
        assert!(
            why.contains("the checkpoint stands at entry 5 with the hash 0000"),
            "{why}"
        );
    }
    Ok(())
}

/// A checkpoint that somebody else computed, with the right digest of another state.
#[tokio::test]
async fn a_checkpoint_that_does_not_follow_from_the_entries_is_named() -> Result<()> {
    let (server, checkpoint) = compacted(0).await?;
    let mut replay = Replay::new();
    for sequence in 1..=5 {
        let entry = store(&server).read(sequence).await?.context("no entry")?;
        replay.push(&entry)?;
    }
    let mut engine = replay.engine().context("no engine")?.clone();
    engine.apply(&Event::Withdraw {
        claim: "claim/data/granted/u2".into(),
    })?;
    let forged = privatekube_ledger::CheckpointContent::of(&engine, checkpoint.head)?;
    server.delete(CHECKPOINTS, "data/taxi");
    forged.publish(&store(&server)).await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("export.jsonl");
    let report = export(&server.client(), &[], &path, Time::from_micros(1)).await?;
    let why = report.left_out.first().context("exported")?;
    let (published, follows) = (
        forged.checkpoint.digest.to_string(),
        checkpoint.digest.to_string(),
    );
    assert!(why.contains(&published) && why.contains(&follows), "{why}");
    Ok(())
}
