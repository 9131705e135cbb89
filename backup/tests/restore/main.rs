//! An export is put back: exactly, again after an interruption, and never into a ledger of another origin.

mod checkpoints;
mod directory;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use privatekube_api::DatasetKey;
use privatekube_backup::{
    BackupError, Clients, Completeness, DatasetRestore, ExportFile, RestoreOptions, export, restore,
};
use privatekube_fake_api_server::{FakeApiServer, Fault, RequestFilter};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Ledger, Replay, Store};
use privatekube_policy::{
    Amount, Arrival, BlockId, ClaimId, Composition, DatasetRules, Demand, Event, Phase, Policy, Revision,
    Time, Unlocking, Weight,
};
use serde_json::json;
use tempfile::TempDir;

const ENTRIES: &str = "privacyledgerentries";
const DATASETS: &str = "privatedatasets";
const BLOCKS: &str = "privatedatablocks";

fn key() -> DatasetKey {
    DatasetKey {
        namespace: "data".into(),
        name: "taxi".into(),
    }
}

fn rules() -> DatasetRules {
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    }
}

fn epsilon(epsilon: &str) -> Result<privatekube_policy::Budget> {
    Ok(Composition::Basic.capacity(epsilon.parse()?, "0".parse()?)?)
}

fn arrival(claim: &str, budget: &str) -> Result<Event> {
    Ok(Event::Arrive(Arrival {
        claim: claim.into(),
        demands: vec![Demand {
            blocks: vec!["a".into()],
            budget: epsilon(budget)?,
        }],
        min_blocks: 1,
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    }))
}

/// A cluster with a namespace.
fn cluster(uid: &str) -> FakeApiServer {
    let server = FakeApiServer::default();
    server.put("namespaces", &json!({"metadata": {"name": "data", "uid": uid}}));
    server
}

fn block(name: &str, epsilon: &str) -> serde_json::Value {
    json!({
        "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataBlock",
        "metadata": {"namespace": "data", "name": name, "labels": {"team": "x"}, "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]},
        "spec": {"dataset": "taxi", "initialBudget": {"epsilon": epsilon, "delta": "0"}},
    })
}

/// A cluster whose ledger has consumed 2 of block a, and granted 3 to a claim and 1 to a pod.
async fn used() -> Result<FakeApiServer> {
    let server = cluster("first");
    server.put(
        DATASETS,
        &json!({
            "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataset",
            "metadata": {"namespace": "data", "name": "taxi"},
            "spec": {"policy": "DPF", "unlocking": {"immediate": true}, "composition": "Basic"},
        }),
    );
    server.put(BLOCKS, &block("a", "10"));
    let store = KubernetesStore::new(server.client(), key());
    let mut ledger = Ledger::open(store, "extender".into(), rules()).await?;
    let entries = [
        vec![Event::AddBlock {
            block: "a".into(),
            capacity: epsilon("10")?,
        }],
        vec![arrival("claim/data/used/u1", "2")?],
        vec![Event::Consume {
            claim: "claim/data/used/u1".into(),
            amount: Amount::All,
        }],
        vec![
            arrival("claim/data/granted/u2", "3")?,
            arrival("pod/data/p/u3", "1")?,
        ],
    ];
    for (minute, events) in (1..).zip(entries) {
        let mut draft = ledger.draft(Time::from_micros(minute * 60_000_000))?;
        for event in events {
            draft.apply(event)?;
        }
        draft.commit().await?;
    }
    Ok(server)
}

async fn exported(server: &FakeApiServer) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("export.jsonl");
    let report = export(&server.client(), &[], &path, Time::from_micros(1)).await?;
    assert!(
        report.left_out.is_empty() && report.datasets.len() == 1,
        "{report:?}"
    );
    Ok((dir, path))
}

fn complete() -> RestoreOptions {
    RestoreOptions {
        completeness: Completeness::Complete,
        datasets: Vec::new(),
        keep_existing: false,
        dry_run: false,
    }
}

async fn put_back(server: &FakeApiServer, path: &Path, options: &RestoreOptions) -> Result<DatasetRestore> {
    let clients = Clients {
        objects: server.client(),
        entries: server.client(),
    };
    let mut report = restore(&clients, path, options).await?;
    report.datasets.pop().context("no dataset was restored")
}

/// The ledger of a cluster, verified: its entries without what only Kubernetes sets, and the state after them.
async fn ledger(server: &FakeApiServer) -> Result<(Vec<serde_json::Value>, Replay)> {
    let store = KubernetesStore::new(server.client(), key());
    let mut replay = Replay::new();
    let mut entries = Vec::new();
    loop {
        let page = store.read_after(replay.head().sequence).await?;
        if page.is_empty() {
            return Ok((entries, replay));
        }
        for entry in page {
            replay.push(&entry)?;
            entries.push(serde_json::to_value(&entry)?);
        }
    }
}

/// Epsilon of block a in units of 1: available, allocated, consumed.
fn amounts(replay: &Replay) -> Result<[i128; 3]> {
    let engine = replay.engine().context("no ledger")?;
    let state = engine.block(&BlockId::from("a")).context("no block")?;
    Ok([&state.available, &state.allocated, &state.consumed].map(|amounts| amounts[0] / 1_000_000_000_000))
}

fn phase(replay: &Replay, claim: &str) -> Option<Phase> {
    replay.engine()?.phase(&ClaimId::from(claim))
}

#[tokio::test]
async fn a_ledger_is_put_back_exactly_and_what_was_granted_counts_as_consumed() -> Result<()> {
    let first = used().await?;
    let (before, replay) = ledger(&first).await?;
    assert_eq!(amounts(&replay)?, [4, 4, 2]);
    let (_dir, path) = exported(&first).await?;
    let second = cluster("second");
    let report = put_back(&second, &path, &complete()).await?;
    assert_eq!((report.entries_created, report.blocks_created), (4, 1));
    assert_eq!(report.settled_claims, ["claim/data/granted/u2", "pod/data/p/u3"]);
    let (after, replay) = ledger(&second).await?;
    assert_eq!(after[..4], before[..]);
    assert_eq!(amounts(&replay)?, [4, 0, 6]);
    assert_eq!(phase(&replay, "claim/data/granted/u2"), Some(Phase::Consumed));
    // The entries name the new namespace, and the objects nothing of the old cluster.
    for entry in second.all(ENTRIES) {
        assert_eq!(entry["spec"]["namespaceUid"], "second");
    }
    let metadata = second.get(BLOCKS, "data/a").context("no block")?["metadata"].clone();
    assert_eq!(metadata["labels"], json!({"team": "x"}));
    assert!(metadata["ownerReferences"].is_null(), "{metadata}");
    assert!(second.get(DATASETS, "data/taxi").is_some());
    // Once more changes nothing.
    let versions = |server: &FakeApiServer| {
        let all = [ENTRIES, DATASETS, BLOCKS].map(|kind| server.all(kind));
        serde_json::to_string(&all).unwrap_or_default()
    };
    let written = versions(&second);
    let again = put_back(&second, &path, &complete()).await?;
    assert_eq!((again.entries_created, again.entries_settling), (0, 0));
    assert_eq!(versions(&second), written);
    Ok(())
}

#[tokio::test]
async fn what_still_exists_keeps_what_it_was_granted() -> Result<()> {
    let server = used().await?;
    let (_dir, path) = exported(&server).await?;
    server.put(
        "pods",
        &json!({"metadata": {"namespace": "data", "name": "p", "uid": "u3", "labels": {"privatekube.dev/managed": "true"}}}),
    );
    // The last entries are lost, as where etcd is put back.
    for sequence in [3, 4] {
        server.delete(ENTRIES, &format!("data/taxi-{sequence:010}"));
    }
    let report = put_back(&server, &path, &complete()).await?;
    assert_eq!((report.entries_created, report.entries_present), (2, 2));
    assert_eq!(report.settled_claims, ["claim/data/granted/u2"]);
    let (_, replay) = ledger(&server).await?;
    assert_eq!(phase(&replay, "pod/data/p/u3"), Some(Phase::Granted));
    assert_eq!(amounts(&replay)?, [4, 1, 5]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn whenever_a_restore_is_interrupted_the_ledger_is_whole_or_cannot_be_opened() -> Result<()> {
    let first = used().await?;
    let (_dir, path) = exported(&first).await?;
    // A restore of this cluster writes five entries and two objects.
    for writes in 0..7 {
        let second = cluster("second");
        let all = RequestFilter::writes();
        // A fault that does nothing takes the requests before.
        second.inject(&all, writes, Fault::Delay(Duration::ZERO));
        second.inject(&all, 1, Fault::Refuse(403));
        let error = put_back(&second, &path, &complete()).await.err();
        assert!(error.is_some(), "{writes}");
        let store = KubernetesStore::new(second.client(), key());
        let opened = Ledger::open(store, "extender".into(), rules()).await;
        let is_empty = second.all(ENTRIES).is_empty();
        match opened {
            Ok(ledger) => assert!(is_empty && ledger.head().sequence == 0, "{writes}"),
            Err(_) => assert!(!is_empty, "{writes}"),
        }
        // The same command goes on.
        put_back(&second, &path, &complete()).await?;
        let (entries, replay) = ledger(&second).await?;
        assert_eq!((entries.len(), amounts(&replay)?), (5, [4, 0, 6]), "{writes}");
        assert!(second.get(BLOCKS, "data/a").is_some());
    }
    Ok(())
}

#[tokio::test]
async fn a_loss_is_written_off_by_the_dataset_before_the_ledger_can_be_opened() -> Result<()> {
    let first = used().await?;
    let (_dir, path) = exported(&first).await?;
    let second = cluster("second");
    let options = RestoreOptions {
        completeness: Completeness::WriteOff("the cluster was lost".into()),
        ..complete()
    };
    let report = put_back(&second, &path, &options).await?;
    assert_eq!((report.entries_created, report.settled), (4, 0));
    let dataset = second.get(DATASETS, "data/taxi").context("no dataset")?;
    let recovery = json!({"writeOffAfter": 4, "reason": "the cluster was lost"});
    assert_eq!(dataset["spec"]["recovery"], recovery);
    let first_entry = second.get(ENTRIES, "data/taxi-0000000001").context("no entry")?;
    let version = |object: &serde_json::Value| -> Option<u64> {
        object["metadata"]["resourceVersion"].as_str()?.parse().ok()
    };
    assert!(version(&first_entry) > version(&dataset));
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_where_the_cluster_has_something_else() -> Result<()> {
    let first = used().await?;
    let (_dir, path) = exported(&first).await?;
    let refusal = async |server: &FakeApiServer, options: &RestoreOptions| -> Result<String> {
        let writes = RequestFilter::writes();
        let before = server.count(&writes);
        let error = put_back(server, &path, options).await.err().context("restored")?;
        assert_eq!(server.count(&writes), before);
        Ok(error.to_string())
    };
    // A namespace is missing.
    let server = FakeApiServer::default();
    let why = refusal(&server, &complete()).await?;
    assert!(why.contains("kubectl create namespace data"), "{why}");
    // Another ledger began.
    let server = cluster("second");
    let store = KubernetesStore::new(server.client(), key());
    let mut other = Ledger::open(store, "somebody".into(), rules()).await?;
    let mut draft = other.draft(Time::from_micros(9))?;
    draft.apply(Event::AddBlock {
        block: "a".into(),
        capacity: epsilon("10")?,
    })?;
    draft.commit().await?;
    let why = refusal(&server, &complete()).await?;
    assert!(
        why.contains("entry 1 in the cluster") && why.contains("somebody"),
        "{why}"
    );
    // A block has another budget.
    let server = cluster("second");
    server.put(BLOCKS, &block("a", "11"));
    let why = refusal(&server, &complete()).await?;
    assert!(why.contains("block a exists"), "{why}");
    let kept = RestoreOptions {
        keep_existing: true,
        ..complete()
    };
    let report = put_back(&server, &path, &kept).await?;
    assert_eq!((report.blocks_created, report.blocks_present), (0, 1));
    // A status tells of later entries.
    let server = used().await?;
    let mut later = block("a", "10");
    later["status"] = json!({"ledgerSequence": 9});
    server.put(BLOCKS, &later);
    server.delete(ENTRIES, "data/taxi-0000000004");
    let why = refusal(&server, &complete()).await?;
    assert!(why.contains("entry 9") && why.contains("--write-off"), "{why}");
    // A dry run writes nothing, and says what it would.
    let server = cluster("second");
    let before = server.count(&RequestFilter::writes());
    let dry = RestoreOptions {
        dry_run: true,
        ..complete()
    };
    let report = put_back(&server, &path, &dry).await?;
    assert_eq!((report.entries_created, report.settled), (4, 2));
    assert_eq!(server.count(&RequestFilter::writes()), before);
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_goes_on_is_left_alone() -> Result<()> {
    let server = used().await?;
    let (_dir, path) = exported(&server).await?;
    let store = KubernetesStore::new(server.client(), key());
    let mut ledger = Ledger::open(store, "extender".into(), rules()).await?;
    let mut draft = ledger.draft(Time::from_micros(300_000_000))?;
    draft.apply(arrival("claim/data/new/u9", "1")?)?;
    draft.commit().await?;
    let report = put_back(&server, &path, &complete()).await?;
    let counts = (
        report.entries_created,
        report.entries_present,
        report.entries_later,
    );
    assert_eq!((counts, report.settled), ((0, 4, 1), 0));
    Ok(())
}

#[tokio::test]
async fn a_file_that_was_cut_off_or_changed_is_refused() -> Result<()> {
    let server = used().await?;
    let (dir, path) = exported(&server).await?;
    let text = std::fs::read_to_string(&path)?;
    let lines: Vec<&str> = text.lines().collect();
    let refused = |text: String| -> Result<String> {
        let changed = dir.path().join("changed");
        std::fs::write(&changed, text)?;
        Ok(ExportFile::open(&changed).err().context("accepted")?.to_string())
    };
    for length in 0..lines.len() {
        let why = refused(lines[..length].join("\n"))?;
        assert!(why.contains("cut off"), "{length}: {why}");
    }
    for left_out in 0..lines.len() {
        let mut some = lines.clone();
        some.remove(left_out);
        refused(some.join("\n"))?;
    }
    let more_budget = refused(text.replace("2000000000000", "1000000000000"))?;
    assert!(more_budget.contains("can't be verified"), "{more_budget}");
    let later = refused(text.replace("\"version\":2", "\"version\":3"))?;
    assert!(later.contains("use a newer one"), "{later}");
    // What earlier releases wrote is read.
    let earlier = text
        .replace("\"version\":2", "\"version\":1")
        .replace("\"first\":1,", "");
    assert_ne!(earlier, text);
    let changed = dir.path().join("earlier");
    std::fs::write(&changed, earlier)?;
    let read = ExportFile::open(&changed)?;
    assert_eq!(
        read.datasets().first().map(|part| (part.first(), part.last())),
        Some((1, 4))
    );
    // The export itself replaces no file.
    let again = export(&server.client(), &[], &path, Time::from_micros(1)).await;
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_cannot_be_verified_is_left_out_and_named() -> Result<()> {
    let server = used().await?;
    let mut entry = server.get(ENTRIES, "data/taxi-0000000002").context("no entry")?;
    entry["spec"]["writer"] = json!("forger");
    server.put(ENTRIES, &entry);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("export.jsonl");
    let report = export(&server.client(), &[], &path, Time::from_micros(1)).await?;
    assert!(report.left_out[0].contains("taxi-0000000002"), "{report:?}");
    assert!(ExportFile::open(&path)?.datasets().is_empty());
    Ok(())
}
