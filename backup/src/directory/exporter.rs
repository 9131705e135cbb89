//! Reads entries that were committed from the cluster, and appends them to an export directory.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{Entry, Hash, Store, StoreError};
use privatekube_policy::{BlockId, Event};
use serde::Serialize;

use super::{DirectoryWriter, LedgerDirectory, writer::Batch};
use crate::{
    BackupError,
    error::requesting,
    export::{blocks, find, portable_block, portable_dataset},
    ledger::{published, read_state},
    objects::DatasetObject,
};

/// How often the dataset's object is read again, if anything is exported.
const DATASET_EVERY: Duration = Duration::from_secs(60);
/// How many blocks are read at the same time.
const MOST_TOGETHER: usize = 16;

/// Exports one ledger: reads its entries back from the cluster, so that what is exported is what is stored there, and appends
/// them.
pub struct Exporter {
    client: Client,
    dataset: DatasetKey,
    store: KubernetesStore,
    /// None while a thread writes, or after a thread that wrote was given up.
    writer: Option<DirectoryWriter>,
    /// Whether all objects were written since, and the names of the blocks.
    listed: Option<HashSet<String>>,
    /// Entries up to this one follow a checkpoint that was written, and may have gaps before it.
    earlier: u64,
    /// The hash of the dataset's object that was written last, and when it was read.
    object: Option<(Hash, Instant)>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter")
            .field("dataset", &self.dataset)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// Exports the ledger of `dataset` by `writer`, which is of that ledger.
    #[must_use]
    pub fn new(client: Client, dataset: DatasetKey, writer: DirectoryWriter) -> Self {
        Self {
            store: KubernetesStore::new(client.clone(), dataset.clone()),
            client,
            dataset,
            writer: Some(writer),
            listed: None,
            earlier: 0,
            object: None,
        }
    }

    /// The number of the last entry that was exported; 0 if there is none.
    #[must_use]
    pub fn exported(&self) -> u64 {
        self.head().map_or(0, |(sequence, _)| sequence)
    }

    fn head(&self) -> Option<(u64, Hash)> {
        self.writer.as_ref().and_then(DirectoryWriter::head)
    }

    /// Exports entries until that with the number `last` is durable in the directory; calls `exported` with the number of each that
    /// became so. After an error nothing that was exported is lost, and it can be called again.
    pub async fn catch_up(&mut self, last: u64, mut exported: impl FnMut(u64)) -> Result<(), BackupError> {
        while self.exported() < last {
            let batch = self.read().await?;
            self.append(batch).await?;
            exported(self.exported());
        }
        if let Some(listed) = &mut self.listed {
            // A block of this name that is added from now on is another object.
            listed.clear();
        }
        Ok(())
    }

    /// Reads what comes next: at least one entry.
    async fn read(&mut self) -> Result<Batch, BackupError> {
        let unread = |error| BackupError::Store(self.dataset.clone(), error);
        let head = self.head();
        let mut page = self
            .store
            .read_after(head.map_or(0, |(sequence, _)| sequence))
            .await
            .map_err(unread)?;
        let mut batch = Batch::default();
        if page.is_empty() || head.is_none() {
            if let Some((sequence, _)) = head {
                // Either somebody has removed it, or it is lost.
                let covers = self.store.checkpoint().await.map_err(unread)?;
                if covers.is_none_or(|covers| covers.head.sequence <= sequence) {
                    return Err(unread(StoreError::Unreachable(format!(
                        "it has no entry {}",
                        sequence + 1
                    ))));
                }
                // What was written while the checkpoint was read is not removed.
                page = self.store.read_after(sequence).await.map_err(unread)?;
                if page.is_empty() {
                    page = self.store.read_after(0).await.map_err(unread)?;
                    batch.begins = true;
                }
            }
            let Some(first) = page.first() else {
                return Err(unread(StoreError::Unreachable("it has no entries".to_owned())));
            };
            if (head.is_none() || batch.begins) && first.sequence > 1 {
                batch.begins = true;
                let content = published(&self.store).await.map_err(unread)?;
                let Some(content) = content else {
                    let problem = format!("it begins with entry {}, and has no checkpoint", first.sequence);
                    return Err(unread(StoreError::Unreachable(problem)));
                };
                self.earlier = content.0.head.sequence;
                batch.checkpoint = Some(content);
            }
        }
        self.hash(page, &mut batch)?;
        self.read_objects(&mut batch).await?;
        Ok(batch)
    }

    /// Puts entries into a batch, as far as each follows the one before. Of those that a checkpoint covers, a delayed request may have
    /// created one again, so that there are gaps: then the entries before the gap are no part of the ledger.
    fn hash(&self, page: Vec<Entry>, batch: &mut Batch) -> Result<(), BackupError> {
        let mut before = self.head().filter(|_| !batch.begins);
        for entry in page {
            let hash = entry.hash().map_err(|error| {
                let problem = format!("entry {}: {error}", entry.sequence);
                BackupError::Store(self.dataset.clone(), StoreError::Corrupt(problem))
            })?;
            let follows = before
                .is_none_or(|(sequence, hash)| (sequence + 1, hash) == (entry.sequence, entry.previous));
            if !follows && entry.sequence <= self.earlier {
                batch.entries.clear();
                batch.begins = true;
            }
            before = Some((entry.sequence, hash));
            batch.entries.push((hash, entry));
        }
        Ok(())
    }

    /// Reads the objects that the entries of a batch are about: a block that an entry added exists before it.
    async fn read_objects(&mut self, batch: &mut Batch) -> Result<(), BackupError> {
        let is_due = self
            .object
            .is_none_or(|(_, read)| read.elapsed() >= DATASET_EVERY);
        if is_due {
            self.read_dataset(batch).await?;
        }
        let mut added = Vec::new();
        let mut retired = Vec::new();
        for event in batch.entries.iter().flat_map(|(_, entry)| &entry.events) {
            match event {
                Event::AddBlock { block, .. } => added.push(block.clone()),
                Event::RetireBlock { block } => retired.push(block.clone()),
                _ => {}
            }
        }
        if self.head().is_none() && self.listed.is_none() {
            let all = blocks(&self.client, &self.dataset).await?;
            let names = all.iter().filter_map(|block| block.metadata.name.clone());
            self.listed = Some(names.collect());
            let objects = all
                .into_iter()
                .map(|block| DatasetObject::PrivateDataBlock(Box::new(block)));
            batch.objects.extend(objects);
        }
        let is_listed = |block: &BlockId| {
            self.listed
                .as_ref()
                .is_some_and(|listed| listed.contains(block.as_str()))
        };
        added.retain(|block| !is_listed(block));
        added.append(&mut retired);
        added.sort_unstable();
        added.dedup();
        let api: Api<PrivateDataBlock> = Api::namespaced(self.client.clone(), &self.dataset.namespace);
        for names in added.chunks(MOST_TOGETHER) {
            let reads = names.iter().map(|name| api.get_opt(name.as_str()));
            for (name, read) in names.iter().zip(join_all(reads).await) {
                let read = read.map_err(requesting(format!("read block {name} of {}", self.dataset)))?;
                match read.filter(|block| block.spec.dataset == self.dataset.name) {
                    Some(block) => batch
                        .objects
                        .push(DatasetObject::PrivateDataBlock(Box::new(portable_block(block)))),
                    None => batch.deleted_blocks.push(name.to_string()),
                }
            }
        }
        Ok(())
    }

    /// Reads the dataset's object, and writes it if it is another one than before.
    async fn read_dataset(&mut self, batch: &mut Batch) -> Result<(), BackupError> {
        let api: Api<PrivateDataset> = Api::namespaced(self.client.clone(), &self.dataset.namespace);
        let read = api.get_opt(&self.dataset.name).await;
        let read = read.map_err(requesting(format!("read the PrivateDataset {}", self.dataset)))?;
        let Some(object) = read.map(portable_dataset) else {
            return Ok(());
        };
        let text = serde_json::to_vec(&object).map_err(|error| BackupError::Changed(error.to_string()))?;
        let hash = Hash::of(&text);
        if self.object.is_none_or(|(before, _)| before != hash) {
            batch
                .objects
                .push(DatasetObject::PrivateDataset(Box::new(object)));
        }
        self.object = Some((hash, Instant::now()));
        Ok(())
    }

    /// Whether what was exported is in the directory still. `false` if the directory was replaced or emptied: then
    /// [`exported`](Self::exported) says how far that one is, and [`catch_up`](Self::catch_up) goes on from there.
    pub async fn is_there(&mut self) -> Result<bool, BackupError> {
        self.in_thread(DirectoryWriter::is_there).await
    }

    async fn append(&mut self, batch: Batch) -> Result<(), BackupError> {
        self.in_thread(|writer| writer.append(batch)).await
    }

    /// Lets the writer work in a thread for such work: a disk may take its time.
    async fn in_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut DirectoryWriter) -> Result<T, BackupError> + Send + 'static,
    ) -> Result<T, BackupError> {
        let ended = || {
            BackupError::Changed(format!(
                "{}: a thread that wrote the export has ended",
                self.dataset
            ))
        };
        let mut writer = self.writer.take().ok_or_else(ended)?;
        let head = writer.head();
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut writer);
            (writer, done)
        });
        let (writer, done) = working.await.map_err(|_| ended())?;
        let is_replaced = writer.head() < head;
        self.writer = Some(writer);
        if is_replaced {
            self.earlier = 0;
        }
        if is_replaced || done.is_err() {
            // The objects are not there either.
            (self.listed, self.object) = (None, None);
        }
        done
    }
}

/// What [`append`] has done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendReport {
    /// The directory.
    pub directory: PathBuf,
    /// The ledgers that are in it as far as they go.
    pub datasets: Vec<DatasetAppend>,
    /// What isn't in it, and why.
    pub left_out: Vec<String>,
}

/// A ledger that [`append`] has exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetAppend {
    /// `namespace/name`.
    pub dataset: String,
    /// The number of its last entry.
    pub sequence: u64,
}

/// Appends what is new in the ledgers of `datasets`, or of all, to the export directory `root`, as the extender does with
/// `--export`. Each ledger is verified, and compared with what was exported before. `Ok` also if some were left out.
pub async fn append(
    client: &Client,
    datasets: &[DatasetKey],
    root: &Path,
) -> Result<AppendReport, BackupError> {
    let mut report = AppendReport {
        directory: root.to_owned(),
        datasets: Vec::new(),
        left_out: Vec::new(),
    };
    let mut uids: HashMap<String, Option<String>> = HashMap::new();
    for dataset in find(client, datasets).await? {
        let namespace = &dataset.namespace;
        if !uids.contains_key(namespace) {
            let api: Api<Namespace> = Api::all(client.clone());
            let read = api.get_opt(namespace).await;
            let read = read.map_err(requesting(format!("read the namespace {namespace}")))?;
            uids.insert(namespace.clone(), read.and_then(|read| read.metadata.uid));
        }
        let Some(uid) = uids.get(namespace).and_then(Option::as_deref) else {
            report.left_out.push(format!("{dataset}: its namespace is gone"));
            continue;
        };
        match append_one(client, &dataset, root, uid).await {
            Ok(sequence) => report.datasets.push(DatasetAppend {
                dataset: dataset.to_string(),
                sequence,
            }),
            Err(error) => report.left_out.push(error.to_string()),
        }
    }
    Ok(report)
}

async fn append_one(
    client: &Client,
    dataset: &DatasetKey,
    root: &Path,
    uid: &str,
) -> Result<u64, BackupError> {
    let ledger = LedgerDirectory::new(root, dataset.clone(), uid)?;
    // Before the ledger is read: what is exported is committed.
    let witness = ledger.witness()?;
    let last = read_state(client, dataset).await?.head().sequence;
    if let Some(witness) = &witness {
        let store = KubernetesStore::new(client.clone(), dataset.clone());
        let found = store.read(witness.sequence).await;
        let found = found.map_err(|error| BackupError::Store(dataset.clone(), error))?;
        let is_other = found.is_some_and(|entry| entry.hash() != Ok(witness.hash));
        if witness.sequence > last || is_other {
            return Err(BackupError::Witness {
                dataset: dataset.clone(),
                directory: ledger.path().to_owned(),
                known: witness.sequence,
                found: last,
            });
        }
    }
    let mut exporter = Exporter::new(
        client.clone(),
        dataset.clone(),
        DirectoryWriter::after(ledger, witness.as_ref()),
    );
    exporter.catch_up(last, |_| {}).await?;
    Ok(last)
}
