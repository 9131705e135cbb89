//! Puts the datasets of an export into a cluster.

use std::path::Path;

use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{CheckpointContent, CreateError, Entry, PublishError, Store};
use serde::Serialize;
use serde_json::json;

use crate::{
    BackupError, Completeness, ExportFile,
    error::requesting,
    ledger::{Reading, read_verified},
    objects::name,
    plan::{DatasetChange, Order, Plan, plan},
};

/// How often a request is repeated whose outcome is unknown.
const MOST_ATTEMPTS: u32 = 8;
/// The field manager of objects that are put back: they are their owners', not the extender's.
const FIELD_MANAGER: &str = "privatekube-restore";
/// How many settled claims a report names.
const MOST_NAMED: usize = 20;

/// By which rights the cluster is read and written.
#[derive(Clone)]
pub struct Clients {
    /// Reads everything, and creates datasets and blocks.
    pub objects: Client,
    /// Creates ledger entries. Where PrivateKube's admission policies are installed, only its service account may.
    pub entries: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

/// What is restored, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Whether the export has all that was decided.
    pub completeness: Completeness,
    /// The datasets; all of the export if none is named.
    pub datasets: Vec<DatasetKey>,
    /// Datasets and blocks that exist stay as they are, also where they differ from the export.
    pub keep_existing: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// What was restored, or would be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// When the export was made, by the clock of whoever made it.
    pub exported: String,
    /// What of an export directory was passed over, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Each dataset.
    pub datasets: Vec<DatasetRestore>,
}

/// What was restored of a dataset, or would be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatasetRestore {
    /// `namespace/name`.
    pub dataset: String,
    /// Entries of the export that were created.
    pub entries_created: u64,
    /// Entries of the export that the cluster had.
    pub entries_present: u64,
    /// Entries of the export that were left out, because the cluster's checkpoint covers them: they were removed.
    pub entries_covered: u64,
    /// The entry of the checkpoint that was published; none if there is none in the export, or the cluster had it.
    pub checkpoint: Option<u64>,
    /// Entries that the cluster had after those.
    pub entries_later: u64,
    /// Entries that were added to consume what claims were granted whose pods or objects are gone.
    pub entries_settling: u64,
    /// How many such claims there are.
    pub settled: u64,
    /// The first of them.
    pub settled_claims: Vec<String>,
    /// What happened to the PrivateDataset: created, changed (its field recovery) or kept.
    pub private_dataset: &'static str,
    /// Blocks that were created.
    pub blocks_created: u64,
    /// Blocks that the cluster had.
    pub blocks_present: u64,
    /// Whether all budget that isn't allocated is written off.
    pub written_off: bool,
}

/// Restores an export. Nothing is written if anything in the cluster contradicts it; what is there already is left as it is,
/// so that an interrupted restore is repeated with the same options.
pub async fn restore(
    clients: &Clients,
    path: &Path,
    options: &RestoreOptions,
) -> Result<RestoreReport, BackupError> {
    let mut file = ExportFile::open(path)?;
    let mut parts = file.datasets().to_vec();
    for named in &options.datasets {
        if !parts.iter().any(|part| part.dataset == *named) {
            let why = "the export doesn't have it".to_owned();
            return Err(BackupError::UnknownDataset(named.clone(), why));
        }
    }
    parts.retain(|part| options.datasets.is_empty() || options.datasets.contains(&part.dataset));
    let (mut plans, mut problems) = (Vec::new(), Vec::new());
    for part in &parts {
        let client = &clients.objects;
        let keep = options.keep_existing;
        match plan(client, &mut file, part, &options.completeness, keep).await? {
            Ok(plan) => plans.push(plan),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(BackupError::Conflicts(problems));
    }
    let mut report = RestoreReport {
        exported: file.time().to_owned(),
        notes: file.notes().to_owned(),
        dry_run: options.dry_run,
        datasets: Vec::new(),
    };
    for plan in plans {
        let restored = summary(&plan, &options.completeness);
        if !options.dry_run {
            carry_out(clients, &mut file, plan).await?;
        }
        report.datasets.push(restored);
    }
    Ok(report)
}

fn summary(plan: &Plan, completeness: &Completeness) -> DatasetRestore {
    let settled = plan.settled.iter().take(MOST_NAMED);
    DatasetRestore {
        dataset: plan.part.dataset.to_string(),
        entries_created: plan.missing.len() as u64,
        entries_present: plan.present,
        entries_covered: plan.covered,
        checkpoint: plan.order.published(),
        entries_later: plan.later,
        entries_settling: plan.settling.len() as u64,
        settled: plan.settled.len() as u64,
        settled_claims: settled.map(ToString::to_string).collect(),
        private_dataset: match plan.dataset {
            DatasetChange::None => "kept",
            DatasetChange::Create(_) => "created",
            DatasetChange::Recover(_) => "changed",
        },
        blocks_created: plan.blocks.len() as u64,
        blocks_present: plan.kept_blocks,
        written_off: matches!(completeness, Completeness::WriteOff(_)),
    }
}

/// Writes what is missing, the last entry first, and the entry last that completes the ledger: as long as it is missing, no
/// extender can open the ledger. The objects are written before it, so that an extender that opens it finds the blocks, and what
/// is written off.
async fn carry_out(clients: &Clients, file: &mut ExportFile, plan: Plan) -> Result<(), BackupError> {
    let Plan {
        part,
        namespace_uid,
        mut missing,
        mut settling,
        dataset,
        blocks,
        order,
        ..
    } = plan;
    let key = part.dataset.clone();
    let mut store = KubernetesStore::new(clients.entries.clone(), key.clone());
    store.set_namespace_uid(Some(namespace_uid));
    let (completing, publish_last, keeps_closed) = match order {
        Order::First(content) => {
            let keeps_closed = part.last() > 1 || !settling.is_empty();
            let first = (!missing.is_empty()).then(|| missing.remove(0));
            let first = first.map(|sequence| file.entry(&part, sequence)).transpose()?;
            (first, content, keeps_closed)
        }
        Order::Checkpoint {
            publish: content,
            completing,
        } => {
            if let Some(content) = content {
                publish(&store, &key, &content).await?;
            }
            missing.retain(|sequence| *sequence != completing);
            let of_settling = settling.iter().position(|entry| entry.sequence == completing);
            let entry = match of_settling {
                Some(at) => settling.remove(at),
                None => file.entry(&part, completing)?,
            };
            (Some(entry), None, true)
        }
    };
    for entry in settling.iter().rev() {
        create(&store, &key, entry).await?;
    }
    for sequence in missing.into_iter().rev() {
        create(&store, &key, &file.entry(&part, sequence)?).await?;
    }
    // The only entry of a ledger comes before the objects: an extender that finds the objects and no entry begins another
    // ledger.
    if let Some(entry) = completing.as_ref().filter(|_| !keeps_closed) {
        create(&store, &key, entry).await?;
    }
    write_objects(&clients.objects, &key, dataset, blocks).await?;
    if let Some(entry) = completing.as_ref().filter(|_| keeps_closed) {
        create(&store, &key, entry).await?;
    }
    if let Some(content) = publish_last {
        publish(&store, &key, &content).await?;
    }
    verify(&clients.objects, file, &part.dataset).await
}

/// Publishes a checkpoint, unless there is a later one: an extender went on meanwhile.
async fn publish(
    store: &KubernetesStore,
    dataset: &DatasetKey,
    content: &CheckpointContent,
) -> Result<(), BackupError> {
    match content.publish(store).await {
        Ok(()) | Err(PublishError::Superseded(_)) => Ok(()),
        Err(error) => Err(BackupError::Changed(format!(
            "{dataset}: {error}: restore again with the same options"
        ))),
    }
}

/// Creates an entry, unless the cluster has the same one.
async fn create(store: &KubernetesStore, dataset: &DatasetKey, entry: &Entry) -> Result<(), BackupError> {
    let sequence = entry.sequence;
    let mut attempt = 0;
    loop {
        let unknown = match store.create(entry).await {
            Ok(()) => return Ok(()),
            Err(CreateError::Refused(why)) => {
                return Err(BackupError::Changed(format!(
                    "{dataset}: the API server refuses entry {sequence}: {why}"
                )));
            }
            Err(CreateError::Exists) => "it exists, and can't be read".to_owned(),
            Err(CreateError::Unknown(why)) => why,
        };
        match store.read(sequence).await {
            Ok(Some(found)) if found == *entry => return Ok(()),
            Ok(Some(found)) => {
                return Err(BackupError::Changed(format!(
                    "{dataset}: {} wrote another entry {sequence} meanwhile: stop the extender, and see what it granted \
                     since",
                    found.writer
                )));
            }
            Ok(None) | Err(_) => {}
        }
        attempt += 1;
        if attempt == MOST_ATTEMPTS {
            return Err(BackupError::Changed(format!(
                "{dataset}: whether entry {sequence} was written is unknown ({unknown}): restore again with the same options"
            )));
        }
        store.pause(attempt).await;
    }
}

async fn write_objects(
    client: &Client,
    key: &DatasetKey,
    dataset: DatasetChange,
    blocks: Vec<PrivateDataBlock>,
) -> Result<(), BackupError> {
    let api: Api<PrivateDataset> = Api::namespaced(client.clone(), &key.namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match dataset {
        DatasetChange::None => {}
        DatasetChange::Create(object) => {
            let created = api.create(&params, &object).await;
            created.map_err(requesting(format!("create the PrivateDataset {key}")))?;
        }
        DatasetChange::Recover(recovery) => {
            // What accepted a time before doesn't count any more.
            let patch = json!({"spec": {"recovery": {
                "writeOffAfter": recovery.write_off_after, "acceptTime": null, "reason": recovery.reason,
            }}});
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patched = api.patch(&key.name, &params, &Patch::Merge(&patch)).await;
            patched.map_err(requesting(format!("write recovery to the PrivateDataset {key}")))?;
        }
    }
    let api: Api<PrivateDataBlock> = Api::namespaced(client.clone(), &key.namespace);
    for block in blocks {
        let created = api.create(&params, &block).await;
        created.map_err(requesting(format!("create block {} of {key}", name(&block))))?;
    }
    Ok(())
}

/// Reads the ledger back from the cluster: it is whole, and begins with the file's entries.
async fn verify(client: &Client, file: &ExportFile, dataset: &DatasetKey) -> Result<(), BackupError> {
    let part = file.datasets().iter().find(|part| part.dataset == *dataset);
    let replay = read_verified(client, dataset, |reading| {
        let (Reading::Earlier(entry) | Reading::Entry(entry, ..)) = reading else {
            return Ok(());
        };
        let exported = part.and_then(|part| part.hash(entry.sequence));
        if exported.is_some_and(|exported| entry.hash() != Ok(exported)) {
            return Err(BackupError::Changed(format!(
                "{dataset}: entry {} in the cluster isn't that of the export",
                entry.sequence
            )));
        }
        Ok(())
    })
    .await?;
    let head = replay.head();
    if part.is_some_and(|part| head.sequence < part.last()) {
        return Err(BackupError::Changed(format!(
            "{dataset}: the ledger in the cluster ends at entry {}: restore again with the same options",
            head.sequence
        )));
    }
    Ok(())
}
