//! Writes the ledgers of datasets and their objects to a file.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{NamespaceResourceScope, ObjectMeta},
};
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset, rfc3339};
use privatekube_kubernetes::datasets_with_ledger;
use privatekube_policy::Time;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    BackupError,
    error::requesting,
    file::{DatasetEnd, End, Header, Key, Line, VERSION, piece_line},
    ledger::{Reading, read_verified},
    objects::{DatasetObject, name, portable},
};

/// How many objects are read in one request.
const PAGE: u32 = 500;

/// What was exported.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportReport {
    /// The file.
    pub file: PathBuf,
    /// The datasets in it.
    pub datasets: Vec<DatasetExport>,
    /// What isn't in it, because its ledger can't be read or verified, and why.
    pub left_out: Vec<String>,
}

/// What was exported of a dataset.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetExport {
    /// `namespace/name`.
    pub dataset: String,
    /// The number of the first entry. Those before it were removed from the cluster.
    pub first: u64,
    /// How many entries of its ledger there are.
    pub entries: u64,
    /// The entry that its checkpoint stands at, if it has one.
    pub checkpoint: Option<u64>,
    /// The hash of the last entry.
    pub hash: String,
    /// The time of the last entry, in RFC 3339; none of an empty ledger.
    pub last: Option<String>,
    /// How many blocks it has.
    pub blocks: u64,
}

/// Writes `datasets`, or all if none are named, to a new file. Each ledger is read page by page and verified; one that can't
/// be is left out, and the report says so. `now` is the time that the file states.
pub async fn export(
    client: &Client,
    datasets: &[DatasetKey],
    path: &Path,
    now: Time,
) -> Result<ExportReport, BackupError> {
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let datasets = find(client, datasets).await?;
    // The file gets its name when it is complete.
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut out = Lines::create(Path::new(&partial))?;
    out.write(&Line::Export(Header {
        version: VERSION,
        time: rfc3339(now),
    }))?;
    let mut report = ExportReport {
        file: path.to_owned(),
        datasets: Vec::new(),
        left_out: Vec::new(),
    };
    for dataset in datasets {
        let begin = out.position()?;
        match write_dataset(client, &dataset, &mut out).await {
            Ok((exported, damaged)) => {
                report.datasets.push(exported);
                report.left_out.extend(damaged);
            }
            Err(error @ (BackupError::Verify(..) | BackupError::Store(..))) => {
                out.go_back(begin)?;
                report.left_out.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    out.write(&Line::End(End {
        datasets: report.datasets.len() as u64,
    }))?;
    out.finish(path)?;
    Ok(report)
}

/// The named datasets, or all that have a ledger or an object. For named ones, their namespaces alone are read: whoever exports them
/// may have no right to read others.
pub(crate) async fn find(client: &Client, named: &[DatasetKey]) -> Result<BTreeSet<DatasetKey>, BackupError> {
    let mut found = BTreeSet::new();
    if named.is_empty() {
        find_in(client, None, &mut found).await?;
        return Ok(found);
    }
    let namespaces: BTreeSet<&str> = named.iter().map(|dataset| dataset.namespace.as_str()).collect();
    for namespace in namespaces {
        find_in(client, Some(namespace), &mut found).await?;
    }
    if let Some(unknown) = named.iter().find(|dataset| !found.contains(dataset)) {
        let why = "it has neither a ledger nor a PrivateDataset".to_owned();
        return Err(BackupError::UnknownDataset(unknown.clone(), why));
    }
    Ok(named.iter().cloned().collect())
}

/// Finds the datasets of a namespace, or of all.
async fn find_in(
    client: &Client,
    namespace: Option<&str>,
    found: &mut BTreeSet<DatasetKey>,
) -> Result<(), BackupError> {
    let of = namespace.map_or_else(String::new, |namespace| format!(" in namespace {namespace}"));
    let with_ledger = datasets_with_ledger(client, namespace).await;
    found.extend(with_ledger.map_err(requesting(format!("list the entries of all ledgers{of}")))?);
    let api: Api<PrivateDataset> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    each(&api, &ListParams::default(), |object: PrivateDataset| {
        let ObjectMeta { namespace, name, .. } = object.metadata;
        found.extend(
            namespace
                .zip(name)
                .map(|(namespace, name)| DatasetKey { namespace, name }),
        );
        Ok(())
    })
    .await
}

/// Writes a dataset. Its ledger is verified meanwhile. Returns what it wrote, and what was left out of it.
async fn write_dataset(
    client: &Client,
    dataset: &DatasetKey,
    out: &mut Lines,
) -> Result<(DatasetExport, Option<String>), BackupError> {
    out.write(&Line::Dataset(Key {
        namespace: dataset.namespace.clone(),
        name: dataset.name.clone(),
    }))?;
    let mut first = None;
    let mut checkpoint = None;
    let mut damaged = None;
    let mut begin = out.position()?;
    let replay = read_verified(client, dataset, |reading| match reading {
        Reading::Checkpoint(published, pieces) => {
            checkpoint = Some(published.head.sequence);
            out.write(&Line::Checkpoint(published.into()))?;
            pieces.iter().try_for_each(|piece| out.write(&piece_line(piece)))?;
            begin = out.position()?;
            Ok(())
        }
        Reading::Damaged(published, error) => {
            let sequence = published.head.sequence;
            damaged = Some(format!(
                "the checkpoint of {dataset} at entry {sequence}, which can't be used: {error}. All entries are in the file"
            ));
            Ok(())
        }
        Reading::Gap => {
            first = None;
            out.go_back(begin)
        }
        Reading::Base(_) => Ok(()),
        Reading::Earlier(entry) | Reading::Entry(entry, ..) => {
            first.get_or_insert(entry.sequence);
            out.write(&Line::Entry(Box::new(entry.clone())))
        }
    })
    .await?;
    let first = first.unwrap_or(1);
    let head = replay.head();
    let mut objects = 0;
    let api: Api<PrivateDataset> = Api::namespaced(client.clone(), &dataset.namespace);
    let object = api.get_opt(&dataset.name).await;
    if let Some(object) = object.map_err(requesting(format!("read the PrivateDataset {dataset}")))? {
        let object = portable_dataset(object);
        out.write(&Line::Object(DatasetObject::PrivateDataset(Box::new(object))))?;
        objects += 1;
    }
    let blocks = blocks(client, dataset).await?;
    let block_count = blocks.len() as u64;
    for block in blocks {
        out.write(&Line::Object(DatasetObject::PrivateDataBlock(Box::new(block))))?;
        objects += 1;
    }
    let entries = head.sequence + 1 - first;
    out.write(&Line::DatasetEnd(DatasetEnd {
        first,
        entries,
        objects,
        hash: head.hash,
    }))?;
    let exported = DatasetExport {
        dataset: dataset.to_string(),
        first,
        entries,
        checkpoint,
        hash: head.hash.to_string(),
        last: (head.sequence > 0).then(|| rfc3339(head.time)),
        blocks: block_count,
    };
    Ok((exported, damaged))
}

/// The blocks of a dataset in the order in which they were created: among blocks of the same time, that decides which are
/// the newest.
pub(crate) async fn blocks(
    client: &Client,
    dataset: &DatasetKey,
) -> Result<Vec<PrivateDataBlock>, BackupError> {
    let api: Api<PrivateDataBlock> = Api::namespaced(client.clone(), &dataset.namespace);
    let params = ListParams::default().fields(&format!("spec.dataset={}", dataset.name));
    let mut blocks = Vec::new();
    each(&api, &params, |mut block: PrivateDataBlock| {
        let created = block.metadata.creation_timestamp.take();
        blocks.push((created.map(|time| time.0), portable_block(block)));
        Ok(())
    })
    .await?;
    blocks.sort_by(|(time, block), (other_time, other)| {
        time.cmp(other_time).then_with(|| name(block).cmp(name(other)))
    });
    Ok(blocks.into_iter().map(|(_, block)| block).collect())
}

/// What of a dataset's object can be put into another cluster.
pub(crate) fn portable_dataset(mut object: PrivateDataset) -> PrivateDataset {
    object.status = None;
    object.metadata = portable(object.metadata);
    object
}

/// What of a block can be put into another cluster.
pub(crate) fn portable_block(mut block: PrivateDataBlock) -> PrivateDataBlock {
    block.status = None;
    block.metadata = portable(block.metadata);
    block
}

/// Reads all objects of a kind, page by page.
pub(crate) async fn each<K>(
    api: &Api<K>,
    params: &ListParams,
    mut take: impl FnMut(K) -> Result<(), BackupError>,
) -> Result<(), BackupError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let mut params = params.clone().limit(PAGE);
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(requesting(format!("list {}", K::plural(&()))))?;
        for object in page.items {
            take(object)?;
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(()),
        }
    }
}

/// Writes lines to a new file.
struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Lines {
    fn create(path: &Path) -> Result<Self, BackupError> {
        // Only its owner reads it: it names people's pods and data.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|error| BackupError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(file),
        })
    }

    fn write(&mut self, line: &Line) -> Result<(), BackupError> {
        serde_json::to_writer(&mut self.out, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"))
            .map_err(|error| self.error(error))
    }

    fn position(&mut self) -> Result<u64, BackupError> {
        let position = self.out.stream_position();
        position.map_err(|error| self.error(error))
    }

    /// Removes what was written after `position`.
    fn go_back(&mut self, position: u64) -> Result<(), BackupError> {
        let back = self.out.seek(SeekFrom::Start(position));
        let back = back.and_then(|_| self.out.get_ref().set_len(position));
        back.map_err(|error| self.error(error))
    }

    /// Makes the file durable, and gives it its name.
    fn finish(mut self, path: &Path) -> Result<(), BackupError> {
        let finished = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        // A hard link, other than a renaming, replaces no file that was made meanwhile.
        let finished = finished
            .and_then(|()| fs::hard_link(&self.path, path))
            .and_then(|()| fs::remove_file(&self.path));
        finished.map_err(|error| self.error(error))
    }

    fn error(&self, error: std::io::Error) -> BackupError {
        BackupError::Io {
            path: self.path.clone(),
            error,
        }
    }
}
