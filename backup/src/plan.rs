//! What a restore of one dataset will write. Reads the file and the cluster, and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Client, api::ListParams};
use privatekube_api::{
    DatasetKey, LABEL_MANAGED, PrivacyBudgetClaim, PrivateDataBlock, PrivateDataset, RecoverySpec, Subject,
    SubjectKind,
};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{
    Checkpoint, CheckpointContent, CheckpointError, Entry, Hash, Replay, Store, StoreError,
};
use privatekube_policy::ClaimId;

use crate::{
    BackupError, DatasetPart, ExportFile,
    error::requesting,
    export::each,
    objects::{DatasetObject, name},
    settle,
};

/// Whether the export has all that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Nothing was decided after it.
    Complete,
    /// Decisions after it are lost. What they consumed is unknown, so all that isn't allocated is written off, for this
    /// reason.
    WriteOff(String),
}

/// The most entries that don't follow from those before them which are looked at.
const MOST_STRAY: usize = 1000;

/// What is written for one dataset.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) part: DatasetPart,
    /// The UID of its namespace, which entries name.
    pub(crate) namespace_uid: String,
    /// The numbers of the file's entries that the cluster lacks, ascending.
    pub(crate) missing: Vec<u64>,
    /// How many of the file's entries the cluster has.
    pub(crate) present: u64,
    /// How many of the file's entries the cluster lacks and doesn't need, because its checkpoint covers them.
    pub(crate) covered: u64,
    pub(crate) order: Order,
    /// How many entries the cluster has after the file's last.
    pub(crate) later: u64,
    /// The entries that follow the file's and consume what claims whose objects are gone were granted; without those that
    /// the cluster has.
    pub(crate) settling: Vec<Entry>,
    /// The claims that they consume.
    pub(crate) settled: Vec<ClaimId>,
    pub(crate) dataset: DatasetChange,
    /// The blocks to create, in order.
    pub(crate) blocks: Vec<PrivateDataBlock>,
    /// The blocks that exist already.
    pub(crate) kept_blocks: u64,
}

/// In which order the entries and the checkpoint are written, so that no ledger can be opened before it is complete.
#[derive(Debug)]
pub(crate) enum Order {
    /// There is no checkpoint while entries are missing, so a ledger is opened with all entries: the first missing one completes
    /// it. Then the checkpoint is published, if there is one.
    First(Option<Box<CheckpointContent>>),
    /// A ledger is opened with its published checkpoint and the entry that this stands at, which is missing: it completes the
    /// ledger. The checkpoint comes first, unless the cluster has it.
    Checkpoint {
        publish: Option<Box<CheckpointContent>>,
        completing: u64,
    },
}

impl Order {
    /// The entry of the checkpoint that is published.
    pub(crate) fn published(&self) -> Option<u64> {
        let (Self::First(content) | Self::Checkpoint { publish: content, .. }) = self;
        content.as_ref().map(|content| content.checkpoint.head.sequence)
    }
}

/// What happens to the dataset's object.
#[derive(Debug)]
pub(crate) enum DatasetChange {
    None,
    Create(Box<PrivateDataset>),
    /// The recovery is written to the object that exists.
    Recover(RecoverySpec),
}

/// What was found out, and the reasons why nothing can be restored.
pub(crate) type Planned = Result<Plan, Vec<String>>;

pub(crate) async fn plan(
    client: &Client,
    file: &mut ExportFile,
    part: &DatasetPart,
    completeness: &Completeness,
    keep_existing: bool,
) -> Result<Planned, BackupError> {
    let dataset = &part.dataset;
    let mut problems = Vec::new();
    let namespace_uid = namespace_uid(client, &dataset.namespace).await?;
    if namespace_uid.is_none() {
        problems.push(format!(
            "{dataset}: namespace {0} doesn't exist, or is being deleted: create it first (kubectl create namespace {0})",
            dataset.namespace
        ));
    }
    let mut replay = file.state(part)?;
    let mut found = match compare(client, part, &mut replay).await? {
        Ok(found) => found,
        Err(problem) => {
            problems.push(problem);
            return Ok(Err(problems));
        }
    };
    let here = replay.head().sequence;
    let mut objects = Objects::read(client, dataset).await?;
    let last_write_off = replay
        .engine()
        .and_then(privatekube_policy::Engine::last_write_off);
    let is_written_off = last_write_off == Some(part.last());
    let named = objects.last_sequence();
    match completeness {
        Completeness::Complete if last_write_off.is_none() && named > here => problems.push(format!(
            "{dataset}: the status of its PrivateDataset or of a block names entry {named}, and the export ends at entry \
             {here}, so it isn't complete: export again if the entries still exist, or use --write-off"
        )),
        Completeness::WriteOff(_) if found.later > 0 && !is_written_off => problems.push(format!(
            "{dataset}: its ledger in the cluster goes on after the export, to entry {here}: restore with --complete"
        )),
        _ => {}
    }
    let change = objects.compare(file, part, keep_existing, &mut problems)?;
    let mut settled = Vec::new();
    let mut settling = Vec::new();
    if *completeness == Completeness::Complete && (found.later == 0) {
        settled = gone(client, settle::granted(&replay)).await?;
        let entries = settle::consume_all(replay, settled.clone()).await;
        let entries = entries.map_err(|error| BackupError::Changed(format!("{dataset}: {error}")))?;
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| found.stray.get(&entry.sequence) == Some(entry));
        settling = unknown;
        if known.len() < found.stray.len() {
            problems.push(stray(dataset, &found.stray));
        }
    } else if !found.stray.is_empty() {
        problems.push(stray(dataset, &found.stray));
    }
    let dataset = match (completeness, change) {
        (Completeness::WriteOff(reason), change) if !is_written_off && part.last() > 0 => {
            let recovery = RecoverySpec {
                write_off_after: Some(part.last()),
                accept_time: None,
                reason: reason.clone(),
            };
            match change {
                DatasetChange::Create(mut object) => {
                    object.spec.recovery = Some(recovery);
                    DatasetChange::Create(object)
                }
                _ if objects.dataset.is_some() => DatasetChange::Recover(recovery),
                change => {
                    problems.push(format!(
                        "{dataset}: there is no PrivateDataset, neither in the export nor in the cluster, which could say \
                         that its budget is written off: create it first"
                    ));
                    change
                }
            }
        }
        (_, change) => change,
    };
    let covered = found.leave_out_covered(part);
    let order = order(file, part, &found, &settling)?.unwrap_or_else(|problem| {
        problems.push(format!("{}: {problem}", part.dataset));
        Order::First(None)
    });
    Ok(match namespace_uid {
        Some(namespace_uid) if problems.is_empty() => Ok(Plan {
            part: part.clone(),
            namespace_uid,
            present: part.entry_count() - found.missing.len() as u64 - covered,
            covered,
            order,
            missing: found.missing,
            later: found.later,
            settling,
            settled,
            dataset,
            blocks: objects.to_create,
            kept_blocks: objects.kept,
        }),
        _ => Err(problems),
    })
}

async fn namespace_uid(client: &Client, name: &str) -> Result<Option<String>, BackupError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = api.get_opt(name).await;
    let namespace = namespace.map_err(requesting(format!("read the namespace {name}")))?;
    Ok(namespace
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
        .and_then(|namespace| namespace.metadata.uid))
}

/// The entries of the cluster, beside those of the file.
struct Found {
    missing: Vec<u64>,
    /// How many follow the file's last.
    later: u64,
    /// Those after the file's last that don't follow an entry of the cluster: a restore was interrupted.
    stray: BTreeMap<u64, Entry>,
    /// The hashes of the entries that follow the file's last.
    hashes: BTreeMap<u64, Hash>,
    /// The checkpoint that the cluster has.
    checkpoint: Option<Checkpoint>,
}

impl Found {
    /// Leaves out of what is missing the entries before the cluster's checkpoint, if the ledger can be opened with it: they were
    /// removed, and would be again. Returns how many.
    fn leave_out_covered(&mut self, part: &DatasetPart) -> u64 {
        let Some(at) = self.checkpoint.map(|checkpoint| checkpoint.head.sequence) else {
            return 0;
        };
        let is_there = !self.missing.contains(&at) && (at <= part.last() || self.hashes.contains_key(&at));
        if !is_there {
            return 0;
        }
        let before = self.missing.len();
        self.missing.retain(|sequence| *sequence > at);
        (before - self.missing.len()) as u64
    }
}

/// Finds out in which order entries are written, or why they can't be.
fn order(
    file: &mut ExportFile,
    part: &DatasetPart,
    found: &Found,
    settling: &[Entry],
) -> Result<Result<Order, String>, BackupError> {
    let dataset = &part.dataset;
    let changed = |error: String| BackupError::Changed(format!("{dataset}: {error}"));
    let exported = match part.checkpoint().copied() {
        Some(checkpoint) => Some(Box::new(CheckpointContent {
            checkpoint,
            pieces: file.pieces(part)?,
            text_bytes: 0,
        })),
        None => None,
    };
    let is_missing = |sequence: u64| {
        found.missing.binary_search(&sequence).is_ok()
            || settling.iter().any(|entry| entry.sequence == sequence)
    };
    let Some(here) = found.checkpoint else {
        return Ok(Ok(match exported {
            Some(content) if is_missing(content.checkpoint.head.sequence) => Order::Checkpoint {
                completing: content.checkpoint.head.sequence,
                publish: Some(content),
            },
            exported => Order::First(exported),
        }));
    };
    let at = here.head.sequence;
    let of_settling = settling.iter().find(|entry| entry.sequence == at);
    let known = part
        .hash(at)
        .or_else(|| found.hashes.get(&at).copied())
        .or_else(|| of_settling.and_then(|entry| entry.hash().ok()));
    if known != Some(here.head.hash) {
        return Ok(Err(format!(
            "the checkpoint in the cluster stands at entry {at} with the hash {}, which the export doesn't have (its entries are \
             {} to {}): it is of another ledger, or the ledger went on. Restore a later export, or delete the checkpoint as \
             system:masters, if what it granted never ran",
            here.head.hash,
            part.first(),
            part.last()
        )));
    }
    let later = exported.filter(|content| content.checkpoint.head.sequence > at);
    if let Some(content) = part.checkpoint()
        && content.head.sequence == at
        && content.digest != here.digest
    {
        return Ok(Err(format!(
            "the checkpoint in the cluster at entry {at} has the digest {}, and that of the export {}: one of the two was changed",
            here.digest, content.digest
        )));
    }
    let top = later
        .as_ref()
        .map_or(at, |content| content.checkpoint.head.sequence);
    if is_missing(top) {
        return Ok(Ok(Order::Checkpoint {
            publish: later,
            completing: top,
        }));
    }
    let Some(last) = found
        .missing
        .last()
        .copied()
        .or_else(|| settling.first().map(|entry| entry.sequence))
    else {
        return Ok(Ok(Order::First(later)));
    };
    // The ledger could be opened with the checkpoint that there is, whatever is missing after it. A checkpoint at an entry that is
    // missing closes it.
    let mut replay = file.state_at(part, last.min(part.last()))?;
    if let Some(entry) = settling.first().filter(|entry| entry.sequence == last) {
        replay.push(entry).map_err(|error| changed(error.to_string()))?;
    }
    let content = replay
        .engine()
        .ok_or(CheckpointError::NotAtEntry)
        .and_then(|engine| CheckpointContent::of(engine, replay.head()));
    let content = content.map_err(|error| changed(error.to_string()))?;
    Ok(Ok(Order::Checkpoint {
        publish: Some(Box::new(content)),
        completing: last,
    }))
}

/// Compares the entries of the cluster with those of the file, and lets those that follow the file's last go on with
/// `replay`.
async fn compare(
    client: &Client,
    part: &DatasetPart,
    replay: &mut Replay,
) -> Result<Result<Found, String>, BackupError> {
    let dataset = &part.dataset;
    let store = KubernetesStore::new(client.clone(), dataset.clone());
    let mut found = Found {
        missing: Vec::new(),
        later: 0,
        stray: BTreeMap::new(),
        hashes: BTreeMap::new(),
        checkpoint: None,
    };
    found.checkpoint = match store.checkpoint().await {
        Ok(checkpoint) => checkpoint,
        Err(StoreError::Corrupt(problem)) => return Ok(Err(format!("{dataset}: {problem}"))),
        Err(error) => return Err(BackupError::Store(dataset.clone(), error)),
    };
    let (mut after, mut next) = (0, part.first());
    loop {
        let entries = match store.read_after(after).await {
            Ok(entries) => entries,
            Err(StoreError::Corrupt(problem)) => return Ok(Err(format!("{dataset}: {problem}"))),
            Err(error) => return Err(BackupError::Store(dataset.clone(), error)),
        };
        let Some(last) = entries.last() else {
            break;
        };
        after = last.sequence;
        for entry in entries {
            let sequence = entry.sequence;
            let Some(exported) = part.hash(sequence) else {
                if sequence < part.first() {
                    // It isn't the export's, and the chain of hashes says whether it is the ledger's.
                    continue;
                }
                if sequence == replay.head().sequence + 1 {
                    if let Err(error) = replay.push(&entry) {
                        return Ok(Err(format!(
                            "{dataset}: entry {sequence} in the cluster doesn't follow the export's: {error}"
                        )));
                    }
                    found.later += 1;
                    found.hashes.insert(sequence, replay.head().hash);
                } else if found.stray.len() < MOST_STRAY {
                    found.stray.insert(sequence, entry);
                }
                continue;
            };
            if entry.hash().ok() != Some(exported) {
                return Ok(Err(format!(
                    "{dataset}: entry {sequence} in the cluster, of {} by {}, isn't that of the export: the dataset has a \
                     ledger of its own here. Nothing of two ledgers can be put together: delete one of them as an \
                     administrator (the namespace, or the entries as system:masters), if what it granted never ran",
                    privatekube_api::rfc3339(entry.time),
                    entry.writer
                )));
            }
            found.missing.extend(next..sequence);
            next = sequence + 1;
        }
    }
    found.missing.extend(next..=part.last());
    Ok(Ok(found))
}

fn stray(dataset: &DatasetKey, stray: &BTreeMap<u64, Entry>) -> String {
    let numbers: Vec<String> = stray.keys().take(5).map(u64::to_string).collect();
    format!(
        "{dataset}: the cluster has entries after the export's last that don't follow it ({}): restore what was interrupted \
         with the same file and the same options, or delete these entries as system:masters",
        numbers.join(", ")
    )
}

/// Those of `claims` whose pods or claim objects don't exist in the cluster.
async fn gone(client: &Client, claims: Vec<ClaimId>) -> Result<Vec<ClaimId>, BackupError> {
    if claims.is_empty() {
        return Ok(claims);
    }
    let mut existing = BTreeSet::new();
    let managed = ListParams::default().labels(&format!("{LABEL_MANAGED}=true"));
    each(&Api::<Pod>::all(client.clone()), &managed, |pod| {
        existing.extend(pod.metadata.uid.map(|uid| (false, uid)));
        Ok(())
    })
    .await?;
    let all = ListParams::default();
    each(&Api::<PrivacyBudgetClaim>::all(client.clone()), &all, |claim| {
        existing.extend(claim.metadata.uid.map(|uid| (true, uid)));
        Ok(())
    })
    .await?;
    let exists = |claim: &ClaimId| {
        let subject = Subject::of(claim);
        subject.is_some_and(|subject| existing.contains(&(subject.kind == SubjectKind::Claim, subject.uid)))
    };
    Ok(claims.into_iter().filter(|claim| !exists(claim)).collect())
}

/// The dataset's objects in the cluster, and what is missing of the file's.
struct Objects {
    dataset: Option<PrivateDataset>,
    blocks: BTreeMap<String, PrivateDataBlock>,
    to_create: Vec<PrivateDataBlock>,
    kept: u64,
}

impl Objects {
    async fn read(client: &Client, dataset: &DatasetKey) -> Result<Self, BackupError> {
        let api: Api<PrivateDataset> = Api::namespaced(client.clone(), &dataset.namespace);
        let object = api.get_opt(&dataset.name).await;
        let object = object.map_err(requesting(format!("read the PrivateDataset {dataset}")))?;
        let mut blocks = BTreeMap::new();
        // Blocks of another dataset may have the names of the export's.
        let api: Api<PrivateDataBlock> = Api::namespaced(client.clone(), &dataset.namespace);
        each(&api, &ListParams::default(), |block: PrivateDataBlock| {
            blocks.insert(name(&block).to_owned(), block);
            Ok(())
        })
        .await?;
        Ok(Self {
            dataset: object,
            blocks,
            to_create: Vec::new(),
            kept: 0,
        })
    }

    /// The largest number of an entry that a status names.
    fn last_sequence(&self) -> u64 {
        let of_dataset = self.dataset.as_ref().and_then(|dataset| dataset.status.as_ref());
        let of_blocks = self.blocks.values();
        let of_blocks = of_blocks
            .filter(|block| {
                let dataset = self.dataset.as_ref();
                dataset.is_some_and(|dataset| name(dataset) == block.spec.dataset)
            })
            .filter_map(|block| block.status.as_ref()?.ledger_sequence);
        let of_dataset = of_dataset.and_then(|status| status.ledger_sequence);
        of_blocks.chain(of_dataset).max().unwrap_or(0)
    }

    /// Compares the cluster's objects with those of the file.
    fn compare(
        &mut self,
        file: &mut ExportFile,
        part: &DatasetPart,
        keep_existing: bool,
        problems: &mut Vec<String>,
    ) -> Result<DatasetChange, BackupError> {
        let mut change = DatasetChange::None;
        let mut differs = |what: String| {
            if !keep_existing {
                problems.push(format!(
                    "{}: {what} exists in the cluster with another spec: delete it, or go on with it by --keep-existing",
                    part.dataset
                ));
            }
        };
        for object in file.objects(part) {
            match object? {
                DatasetObject::PrivateDataset(object) => match &self.dataset {
                    None => change = DatasetChange::Create(object),
                    Some(existing) => {
                        let (mut ours, mut theirs) = (object.spec, existing.spec.clone());
                        (ours.recovery, theirs.recovery) = (None, None);
                        if ours != theirs {
                            differs("its PrivateDataset".to_owned());
                        }
                    }
                },
                DatasetObject::PrivateDataBlock(block) => match self.blocks.get(name(&*block)) {
                    None => self.to_create.push(*block),
                    Some(existing) => {
                        if existing.spec != block.spec {
                            differs(format!("block {}", name(&*block)));
                        }
                        self.kept += 1;
                    }
                },
            }
        }
        Ok(change)
    }
}
