//! A dataset as its ledger has it: its objects, and the engine after the last entry, made by a replay in this process.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use kube::api::ListParams;
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset};
use privatekube_backup::{DatasetObject, DatasetPart, ExportFile, read_verified};
use privatekube_ledger::{Committed, Entry, Head, Replay};
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
            Self::Cluster(_) => Vec::new(),
        }
    }

    /// The time by the API server's clock; for a file, by this machine's.
    pub(crate) async fn now(&self) -> Time {
        match self {
            Self::Cluster(cluster) => cluster.now().await,
            Self::File(_) => now(),
        }
    }

    /// Reads and verifies a ledger. `each` gets every entry with its records and the state after it.
    pub(crate) async fn replay(
        &mut self,
        dataset: &DatasetKey,
        mut each: impl FnMut(&Entry, &Committed, &Replay),
    ) -> Result<Replay> {
        let each = |entry: Entry, committed: &Committed, replay: &Replay| {
            each(&entry, committed, replay);
            Ok(())
        };
        Ok(match self {
            Self::Cluster(cluster) => read_verified(&cluster.client, dataset, each).await?,
            Self::File(file) => {
                let part = part(file, dataset)?;
                file.replay_each(&part, each)?
            }
        })
    }

    /// The dataset's objects.
    pub(crate) async fn objects(&mut self, dataset: &DatasetKey) -> Result<DatasetObjects> {
        match self {
            Self::Cluster(cluster) => {
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

    /// The dataset with the state after its last entry.
    pub(crate) async fn dataset(&mut self, key: &DatasetKey) -> Result<DatasetState> {
        let objects = self.objects(key).await?;
        let replay = self.replay(key, |_, _, _| {}).await?;
        DatasetState::new(key.clone(), objects, &replay, self.now().await)
    }
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
