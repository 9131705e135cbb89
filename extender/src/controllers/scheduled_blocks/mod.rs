//! Creates the blocks that datasets say come by themselves, each once.
//!
//! What was made is in the dataset's status (`lastBlock`) and in the blocks, which state their portions: a block of a period
//! that begins before the last one ends, or of users who have one, is never made, whatever the clock, a restart or a changed
//! schedule does. The status may be behind the blocks, since the process may end between the two writes, so a process reads the
//! blocks before it creates its first one of a dataset. Time is the API server's: a clock of this machine that jumped ahead
//! makes nothing.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Resource as _, api::Patch};
use parking_lot::Mutex;
use privatekube_api::{BlockSchedule, DatasetKey, Made, PrivateDataBlock, PrivateDataset, excerpt};
use privatekube_kubernetes::{each_block, patch_params, post_params};
use privatekube_policy::Time;
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use crate::handles::Handles;

/// The most blocks of one dataset that are created before the others have their turn.
const MOST_AT_ONCE: usize = 100;
/// How many datasets have blocks created at the same time.
const MOST_DATASETS: usize = 8;
/// How long it takes at most until a dataset is looked at again: the API server's clock may have been corrected.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The pause while the API server's clock isn't known.
const NO_CLOCK: Duration = Duration::from_millis(500);
/// The first pause after a block could not be created, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How many bytes of the API server's reason an Event quotes.
const MOST_REASON: usize = 400;

/// The datasets whose blocks come by themselves.
#[derive(Debug, Default)]
pub(super) struct ScheduledBlocks {
    datasets: Mutex<HashMap<DatasetKey, Scheduled>>,
    changed: Notify,
}

#[derive(Clone, Debug)]
struct Scheduled {
    object: ObjectReference,
    schedule: Arc<BlockSchedule>,
    /// How far blocks have come.
    made: Made,
    /// Whether this process has looked at the blocks that exist: the status may be behind them.
    is_known: bool,
    /// Failures since a block was created last.
    failures: u32,
    /// When it is tried again after a failure.
    retry_at: Option<Instant>,
}

impl ScheduledBlocks {
    /// Remembers what a dataset's object says.
    pub(super) fn applied(&self, object: &PrivateDataset) {
        let Some(key) = key(object) else { return };
        let ends = object.metadata.deletion_timestamp.is_some();
        // Admission refuses a schedule that can't be used; should one exist, no blocks come.
        let schedule = object.spec.block_schedule().ok().flatten().filter(|_| !ends);
        let mut datasets = self.datasets.lock();
        let Some(schedule) = schedule else {
            datasets.remove(&key);
            return;
        };
        let status = object.status.as_ref();
        let made = Made::of(status.and_then(|status| status.last_block.as_ref()));
        let mut scheduled = Scheduled {
            object: object.object_ref(&()),
            schedule: Arc::new(schedule),
            made,
            is_known: false,
            failures: 0,
            retry_at: None,
        };
        match datasets.entry(key) {
            Entry::Occupied(mut known) => {
                if known.get().object.uid == scheduled.object.uid {
                    // The watch may be behind what this process has written.
                    scheduled.made = made.max(known.get().made);
                    scheduled.is_known = known.get().is_known;
                    (scheduled.failures, scheduled.retry_at) = (known.get().failures, known.get().retry_at);
                }
                known.insert(scheduled);
            }
            Entry::Vacant(slot) => {
                slot.insert(scheduled);
            }
        }
        self.changed.notify_one();
    }

    /// Forgets a dataset whose object was deleted.
    pub(super) fn deleted(&self, object: &PrivateDataset) {
        if let Some(key) = key(object) {
            let mut datasets = self.datasets.lock();
            if datasets
                .get(&key)
                .is_some_and(|known| known.object.uid == object.metadata.uid)
            {
                datasets.remove(&key);
            }
        }
    }

    /// Creates blocks as they become due, for ever.
    pub(super) async fn keep(&self, handles: &Handles) {
        loop {
            handles.leadership.until_leading().await;
            let Some(now) = handles.server_clock.now() else {
                sleep(NO_CLOCK).await;
                continue;
            };
            let (due, wait) = self.due(now);
            if due.is_empty() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(wait) => {}
                }
                continue;
            }
            let _acting = handles.leadership.act().await;
            stream::iter(due)
                .for_each_concurrent(MOST_DATASETS, |(key, scheduled)| {
                    self.make(handles, key, scheduled, now)
                })
                .await;
        }
    }

    /// The datasets of which blocks are due, and when to look again if there are none.
    fn due(&self, now: Time) -> (Vec<(DatasetKey, Scheduled)>, Instant) {
        let at = Instant::now();
        let mut wait = at + LOOK_EVERY;
        let mut due = Vec::new();
        for (key, scheduled) in &*self.datasets.lock() {
            let Some(next) = scheduled.schedule.next_due(scheduled.made, now) else {
                continue;
            };
            let micros = next.micros().saturating_sub(now.micros());
            // A moment far ahead: the wait is no longer than the longest.
            let next = at.checked_add(Duration::from_micros(micros)).unwrap_or(wait);
            let next = scheduled.retry_at.map_or(next, |retry_at| next.max(retry_at));
            if next <= at {
                due.push((key.clone(), scheduled.clone()));
            }
            wait = wait.min(next);
        }
        (due, wait)
    }

    /// Creates the blocks of a dataset that are due, or some of them if there are many.
    async fn make(&self, handles: &Handles, key: DatasetKey, mut scheduled: Scheduled, now: Time) {
        if !scheduled.is_known {
            match made_by_blocks(handles, &key).await {
                Ok(last) => {
                    let made = last.as_ref().map(|(_, made)| *made).unwrap_or_default();
                    let stated = scheduled.made;
                    scheduled.made = stated.max(made);
                    self.now_known(&key, &scheduled.object, made);
                    // The status may also name a later block, which was deleted: it stays.
                    if let Some((name, made)) = last.filter(|_| scheduled.made != stated) {
                        write_last(handles, &key, &scheduled.object, name, made).await;
                    }
                }
                Err(error) => {
                    warn!(dataset = %key, %error, "the blocks can't be read that came by themselves, which is tried again");
                    self.made(&key, &scheduled.object, None, true);
                    return;
                }
            }
        }
        let mut last = None;
        let mut failure = None;
        let due = scheduled
            .schedule
            .due(&key.namespace, &key.name, scheduled.made, now);
        for due in due.take(MOST_AT_ONCE) {
            let name = due.block.metadata.name.clone().unwrap_or_default();
            match create(handles, &key, &scheduled.object, &due.block).await {
                Ok(()) => last = Some((name, due.made)),
                Err(error) => {
                    failure = Some((name, error));
                    break;
                }
            }
        }
        self.made(
            &key,
            &scheduled.object,
            last.as_ref().map(|(_, made)| *made),
            failure.is_some(),
        );
        if let Some((block, error)) = failure {
            warn!(dataset = %key, block, %error, "a block that is due can't be created, and is tried again");
            if scheduled.failures == 0 {
                let reason = match &error {
                    kube::Error::Api(status) => excerpt(&status.message, MOST_REASON).into_owned(),
                    error => excerpt(&error.to_string(), MOST_REASON).into_owned(),
                };
                let note =
                    format!("block {block} is due and can't be created, which is tried again: {reason}");
                handles
                    .events
                    .about_object(scheduled.object.clone(), "BlockNotCreated", true, &note);
            }
        }
        if let Some((name, made)) = last {
            write_last(handles, &key, &scheduled.object, name, made).await;
        }
    }

    /// Remembers how far the blocks that exist have come.
    fn now_known(&self, key: &DatasetKey, object: &ObjectReference, made: Made) {
        let mut datasets = self.datasets.lock();
        if let Some(known) = datasets
            .get_mut(key)
            .filter(|known| known.object.uid == object.uid)
        {
            known.made = known.made.max(made);
            known.is_known = true;
        }
    }

    /// Remembers what was made of a dataset, unless its object was created again since.
    fn made(&self, key: &DatasetKey, object: &ObjectReference, last: Option<Made>, failed: bool) {
        let mut datasets = self.datasets.lock();
        let Some(known) = datasets
            .get_mut(key)
            .filter(|known| known.object.uid == object.uid)
        else {
            return;
        };
        known.made = known.made.max(last.unwrap_or_default());
        known.failures = match (failed, last) {
            (false, _) => 0,
            (true, Some(_)) => 1,
            (true, None) => known.failures.saturating_add(1),
        };
        known.retry_at = failed.then(|| Instant::now() + pause(known.failures));
    }
}

/// Creates a block. One of its name that exists already counts as created: it was made before the process ended, or by hand.
async fn create(
    handles: &Handles,
    key: &DatasetKey,
    about: &ObjectReference,
    block: &PrivateDataBlock,
) -> Result<(), kube::Error> {
    let api: Api<PrivateDataBlock> = Api::namespaced(handles.client.clone(), &key.namespace);
    let name = block.metadata.name.as_deref().unwrap_or_default();
    let answer = api.create(&post_params(), block).await;
    handles.metrics.writers.count_write("block", &answer);
    match answer {
        Ok(_) => {
            info!(dataset = %key, block = name, "a block is created");
            Ok(())
        }
        // Other conflicts are of a quota whose object was changed meanwhile: nothing was created.
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let existing = api.get_opt(name).await?;
            // Deleted in this moment by somebody who doesn't want it.
            let Some(existing) = existing else { return Ok(()) };
            if existing.spec.dataset != key.name || existing.spec.portion != block.spec.portion {
                let note = format!(
                    "block {name} is due, and dataset {} has a block of this name that is another portion of data: this one gets no \
                     block. Give the blocks other names",
                    existing.spec.dataset
                );
                handles
                    .events
                    .about_object(about.clone(), "BlockNotCreated", true, &note);
            }
            debug!(dataset = %key, block = name, "a block that is due exists already");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The last of the blocks that exist and came by themselves, and how far they have come with it.
async fn made_by_blocks(handles: &Handles, key: &DatasetKey) -> Result<Option<(String, Made)>, kube::Error> {
    let mut last: Option<(String, Made)> = None;
    each_block(&handles.client, key, |block| {
        let made = Made::with_block(&block);
        let is_later = last
            .as_ref()
            .is_none_or(|(_, last)| (made.until, made.users) > (last.until, last.users));
        if let Some(name) = block
            .metadata
            .name
            .filter(|_| made != Made::default() && is_later)
        {
            last = Some((name, made));
        }
    })
    .await?;
    Ok(last)
}

/// Writes which block was the last. Should that fail, it is written with the next one; and after a restart the blocks since the
/// one that the status names are found to exist.
async fn write_last(handles: &Handles, key: &DatasetKey, object: &ObjectReference, name: String, made: Made) {
    let api: Api<PrivateDataset> = Api::namespaced(handles.client.clone(), &key.namespace);
    let last = made.last_block(name);
    // The uid: the API server refuses the write if another object was created under this name.
    let patch = json!({"metadata": {"uid": object.uid}, "status": {"lastBlock": last}});
    let answer = api
        .patch_status(&key.name, &patch_params(), &Patch::Merge(patch))
        .await;
    handles.metrics.writers.count_write("dataset status", &answer);
    if let Err(error) = answer {
        warn!(dataset = %key, %error, "the status can't be written that names the last block");
    }
}

fn key(object: &PrivateDataset) -> Option<DatasetKey> {
    Some(DatasetKey {
        namespace: object.metadata.namespace.clone()?,
        name: object.metadata.name.clone()?,
    })
}

fn pause(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}
