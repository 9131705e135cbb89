//! A dataset as its ledger has it: its objects, and the engine after the last entry, made by a replay in this process.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use kube::api::ListParams;
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset};
use privatekube_backup::{
    BackupError, DatasetObject, DatasetPart, ExportFile, Reading, check_state, read_state, read_verified,
};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Checkpoint, CheckpointMark, Head, Replay, Store};
use privatekube_policy::{ClaimId, Engine, Time};
use privatekube_view::{CommittedState, DatasetObjects, Publisher, View};

use crate::cluster::Cluster;

/// A dataset.
pub(crate) struct DatasetState {
    pub(crate) key: DatasetKey,
    pub(crate) objects: DatasetObjects,
    /// The state after the last entry, at the time `now`.
    pub(crate) engine: Engine,
    pub(crate) head: Head,
    /// By the clock of the source, and never before the last entry.
    pub(crate) now: Time,
}

/// Where a ledger is read from.
pub(crate) enum Source {
    /// The cluster.
    Cluster(Cluster),
    /// A file that `export` wrote.
    File(Box<ExportFile>),
    /// The entries of files, each from where the one before it ends, and then those of the cluster: for a cluster whose old
    /// entries were removed.
    Archive(Vec<ExportFile>, Cluster),
}

/// An entry that names a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) by: u64,
    pub(crate) mark: CheckpointMark,
}

/// The time by this machine's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl Source {
    /// The datasets of a file.
    pub(crate) fn in_file(&self) -> Vec<DatasetKey> {
        match self {
            Self::File(file) => file.datasets().iter().map(|part| part.dataset.clone()).collect(),
            Self::Cluster(_) | Self::Archive(..) => Vec::new(),
        }
    }

    /// The time by the API server's clock; for a file, by this machine's.
    pub(crate) async fn now(&self) -> Time {
        match self {
            Self::Cluster(cluster) | Self::Archive(_, cluster) => cluster.now().await,
            Self::File(_) => now(),
        }
    }

    /// Reads and verifies all entries that there are of a ledger.
    pub(crate) async fn read(
        &mut self,
        dataset: &DatasetKey,
        mut each: impl FnMut(Reading<'_>),
    ) -> Result<Replay> {
        let mut each = |reading: Reading<'_>| {
            each(reading);
            Ok(())
        };
        Ok(match self {
            Self::Cluster(cluster) => read_verified(&cluster.client, dataset, each).await?,
            Self::File(file) => {
                let part = part(file, dataset)?;
                file.replay_each(&part, each)?
            }
            Self::Archive(files, cluster) => {
                let mut replay: Option<Replay> = None;
                for file in files {
                    let part = part(file, dataset)?;
                    match &mut replay {
                        None => replay = Some(file.replay_each(&part, &mut each)?),
                        Some(replay) => read_on_in_file(file, &part, replay, &mut each)?,
                    }
                }
                let mut replay = replay.unwrap_or_default();
                read_on(cluster, dataset, &mut replay, &mut each).await?;
                replay
            }
        })
    }

    /// The checkpoints that the entries name, without verifying anything.
    pub(crate) async fn marks(&mut self, dataset: &DatasetKey) -> Result<Vec<Marked>> {
        let mut marks = Vec::new();
        let mut last = 0;
        let marked = |entry: &privatekube_ledger::Entry| {
            let by = entry.sequence;
            entry.checkpoint.map(|mark| Marked { by, mark })
        };
        let files = match self {
            Self::File(file) => std::slice::from_mut(&mut **file),
            Self::Archive(files, _) => files.as_mut_slice(),
            Self::Cluster(_) => &mut [],
        };
        for file in files {
            let part = part(file, dataset)?;
            for sequence in part.first().max(last + 1)..=part.last() {
                marks.extend(marked(&file.entry(&part, sequence)?));
            }
            last = last.max(part.last());
        }
        if let Self::Cluster(cluster) | Self::Archive(_, cluster) = self {
            let store = KubernetesStore::new(cluster.client.clone(), dataset.clone());
            let unread = |error| BackupError::Store(dataset.clone(), error);
            let mut at = 0;
            loop {
                let page = store.read_after(at).await.map_err(unread)?;
                let Some(end) = page.last() else { break };
                at = end.sequence;
                let new = page.iter().filter(|entry| entry.sequence > last);
                marks.extend(new.filter_map(marked));
            }
        }
        Ok(marks)
    }

    /// The dataset's objects.
    pub(crate) async fn objects(&mut self, dataset: &DatasetKey) -> Result<DatasetObjects> {
        match self {
            Self::Cluster(cluster) | Self::Archive(_, cluster) => {
                let object: Option<PrivateDataset> = cluster.get(&dataset.namespace, &dataset.name).await?;
                Ok(objects(object, blocks(cluster, dataset).await?))
            }
            Self::File(file) => {
                let part = part(file, dataset)?;
                let (mut object, mut blocks) = (None, Vec::new());
                for each in file.objects(&part) {
                    match each? {
                        DatasetObject::PrivateDataset(dataset) => object = Some(*dataset),
                        DatasetObject::PrivateDataBlock(block) => blocks.push(*block),
                    }
                }
                Ok(objects(object, blocks))
            }
        }
    }

    /// The state after the last entry: from a checkpoint, if there is one.
    pub(crate) async fn state(&mut self, dataset: &DatasetKey) -> Result<Replay> {
        Ok(match self {
            Self::Cluster(cluster) | Self::Archive(_, cluster) => {
                read_state(&cluster.client, dataset).await?
            }
            Self::File(file) => {
                let part = part(file, dataset)?;
                file.state(&part)?
            }
        })
    }

    /// The dataset with the state after its last entry.
    pub(crate) async fn dataset(&mut self, key: &DatasetKey) -> Result<DatasetState> {
        let objects = self.objects(key).await?;
        let replay = self.state(key).await?;
        DatasetState::new(key.clone(), objects, &replay, self.now().await)
    }
}

/// Reads and verifies the entries of a file after those of a replay.
fn read_on_in_file(
    file: &mut ExportFile,
    part: &DatasetPart,
    replay: &mut Replay,
    each: &mut impl FnMut(Reading<'_>) -> Result<(), BackupError>,
) -> Result<()> {
    let next = replay.head().sequence + 1;
    if part.first() > next {
        anyhow::bail!(
            "the files have the entries of {} to {} and from {} on: give them in their order, with those between",
            part.dataset,
            next - 1,
            part.first()
        );
    }
    for sequence in next..=part.last() {
        let entry = file.entry(part, sequence)?;
        let committed = replay.push(&entry);
        let committed =
            committed.map_err(|error| BackupError::Verify(part.dataset.clone(), Box::new(error)))?;
        each(Reading::Entry(&entry, &committed, replay))?;
    }
    Ok(())
}

/// Reads and verifies the cluster's entries after those of a replay. The state at the published checkpoint's entry has to be the
/// checkpoint's.
async fn read_on(
    cluster: &Cluster,
    dataset: &DatasetKey,
    replay: &mut Replay,
    each: &mut impl FnMut(Reading<'_>) -> Result<(), BackupError>,
) -> Result<()> {
    let store = KubernetesStore::new(cluster.client.clone(), dataset.clone());
    let unread = |error| BackupError::Store(dataset.clone(), error);
    let unverified = |error| BackupError::Verify(dataset.clone(), Box::new(error));
    let published: Option<Checkpoint> = store.checkpoint().await.map_err(unread)?;
    let published = published.filter(|published| published.head.sequence > replay.head().sequence);
    loop {
        let page = store.read_after(replay.head().sequence).await.map_err(unread)?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            let committed = replay.push(&entry).map_err(unverified)?;
            if let Some(published) = published.filter(|published| published.head.sequence == entry.sequence) {
                check_state(replay, published.mark(), None).map_err(unverified)?;
            }
            each(Reading::Entry(&entry, &committed, replay))?;
        }
    }
    if let Some(published) = published.filter(|published| published.head.sequence > replay.head().sequence) {
        anyhow::bail!(
            "the file ends at entry {}, and the entries from there to {}, where the checkpoint of {dataset} in the cluster \
             stands, are not there: give a later export",
            replay.head().sequence,
            published.head.sequence
        );
    }
    replay.check().map_err(unverified)?;
    Ok(())
}

/// A dataset has no ledger.
#[derive(Debug)]
pub(crate) struct NoLedger(DatasetKey);

impl std::fmt::Display for NoLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "dataset {} has no ledger: one begins with the PrivateDataset object, once the extender has seen it",
            self.0
        )
    }
}

impl std::error::Error for NoLedger {}

fn part(file: &ExportFile, dataset: &DatasetKey) -> Result<DatasetPart> {
    let found = file.datasets().iter().find(|part| part.dataset == *dataset);
    found
        .cloned()
        .with_context(|| format!("the export has no dataset {dataset}"))
}

/// The blocks of a dataset, with their statuses.
pub(crate) async fn blocks(cluster: &Cluster, dataset: &DatasetKey) -> Result<Vec<PrivateDataBlock>> {
    let params = ListParams::default().fields(&format!("spec.dataset={}", dataset.name));
    cluster.list(Some(&dataset.namespace), &params).await
}

fn objects(dataset: Option<PrivateDataset>, blocks: Vec<PrivateDataBlock>) -> DatasetObjects {
    let mut objects = DatasetObjects::default();
    objects.set_dataset(dataset.map(Arc::new));
    for block in blocks {
        objects.add_block(Arc::new(block));
    }
    objects
}

impl DatasetState {
    /// The state after the last entry of a replay, at a time.
    pub(crate) fn new(key: DatasetKey, objects: DatasetObjects, replay: &Replay, now: Time) -> Result<Self> {
        let Some(engine) = replay.engine() else {
            return Err(NoLedger(key).into());
        };
        let mut engine = engine.clone();
        let now = now.max(replay.head().time);
        // What the clock decides until now is decided, as the extender's next entry would say.
        engine.advance(now);
        Ok(Self {
            key,
            objects,
            engine,
            head: replay.head(),
            now,
        })
    }

    /// What the extender's view says: statuses, and why claims are in their phases.
    pub(crate) fn view(&self) -> Arc<View> {
        let view = Arc::new(View::default());
        let mut publisher = Publisher::new(self.key.clone(), Arc::clone(&view));
        let state = CommittedState {
            engine: &self.engine,
            sequence: self.head.sequence,
        };
        publisher.publish_all(state, &self.objects, self.now, |_: &ClaimId| true);
        view
    }
}
