//! The export of one ledger to a directory outside of the cluster (`--export`).
//!
//! A task appends what was committed, behind the ledger: it reads entries back from the API server, so nothing is kept for it in
//! memory, and no grant waits for a disk. Entries are removed from the cluster only once they are exported.
//!
//! The last exported entry is a witness. It was committed, so a ledger without it has lost entries, also if no status in the
//! cluster names them. Whoever opens the ledger to write it compares the two.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use privatekube_api::DatasetKey;
use privatekube_backup::{BackupError, DirectoryWriter, Exporter, LedgerDirectory, Witness};
use privatekube_ledger::Hash;
use privatekube_policy::Engine;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{info, warn};

use super::writer::{LedgerWriter, WriterError};
use crate::handles::Handles;

/// How long an opening waits for the directory.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Entries that are committed within such a time are made durable together.
const TOGETHER: Duration = Duration::from_millis(100);
/// How often it is looked whether the directory still has what was exported, while nothing is committed.
const LOOK_EVERY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 15_000 });
/// After such a time without progress, the export counts as failing.
const STALLED: Duration = Duration::from_secs(60);
/// The first wait after a failure, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The export of one ledger.
#[derive(Debug)]
pub(super) struct Export {
    handles: Handles,
    dataset: DatasetKey,
    /// None if nothing is exported.
    root: Option<PathBuf>,
    running: Option<Running>,
    /// A reading of the directory that took too long, and may hang for ever: another one would take another thread.
    reading: Option<Reading>,
}

type Reading = JoinHandle<Result<Exported, BackupError>>;

/// A task that exports. It ends when this is dropped.
#[derive(Debug)]
struct Running {
    task: JoinHandle<()>,
    /// The last entry that was committed.
    committed: watch::Sender<u64>,
    /// The last one that was exported.
    exported: watch::Receiver<u64>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was exported before a ledger is opened.
#[derive(Debug)]
pub(super) struct Exported {
    directory: LedgerDirectory,
    witness: Option<Witness>,
}

/// How an export goes on.
#[derive(Debug)]
pub(super) enum Start {
    /// After the last entry, which the ledger has; at the ledger's beginning if there is none.
    After(Exported),
    /// In the next generation: the ledger lost the last exported entry, and goes on by an administrator's word.
    GivingUp(LedgerDirectory, Witness),
}

impl Export {
    pub(super) fn new(handles: Handles, dataset: DatasetKey) -> Self {
        Self {
            root: handles.export.clone(),
            handles,
            dataset,
            running: None,
            reading: None,
        }
    }

    /// Reads what was exported of the ledger in the namespace with this UID; none if nothing is exported. Has to come before the
    /// ledger is read: then the ledger has all that was exported, since it was committed before.
    pub(super) async fn read(
        &mut self,
        namespace_uid: Option<&str>,
    ) -> Result<Option<Exported>, WriterError> {
        let Some(root) = self.root.clone() else {
            return Ok(None);
        };
        let Some(uid) = namespace_uid.map(str::to_owned) else {
            return Err(self.unreadable("the UID of the namespace is unknown"));
        };
        if self.reading.take_if(|reading| reading.is_finished()).is_none() && self.reading.is_some() {
            return Err(self.unreadable("an earlier reading has no answer yet"));
        }
        let dataset = self.dataset.clone();
        let mut reading = spawn_blocking(move || {
            let directory = LedgerDirectory::new(&root, dataset, &uid)?;
            let witness = directory.witness()?;
            Ok::<_, BackupError>(Exported { directory, witness })
        });
        match timeout(READ_LIMIT, &mut reading).await {
            Ok(Ok(read)) => read.map(Some).map_err(|error| self.unreadable(&error)),
            Ok(Err(error)) => Err(self.unreadable(&error)),
            Err(_) => {
                self.reading = Some(reading);
                Err(self.unreadable(&format_args!("no answer within {READ_LIMIT:?}")))
            }
        }
    }

    /// Compares a ledger that was opened with what was exported before. It has to have the last exported entry, unless the
    /// dataset's object says that the entries after its own last one are lost (`lost_after`), or its budget was written off since.
    pub(super) async fn compare(
        &self,
        exported: Exported,
        writer: &LedgerWriter,
        lost_after: Option<u64>,
    ) -> Result<Start, WriterError> {
        let Some(witness) = exported.witness else {
            return Ok(Start::After(exported));
        };
        let found = writer.last_sequence();
        if witness.sequence <= found {
            let covered = writer
                .published()
                .0
                .map_or(0, |published| published.head.sequence);
            let hash = match writer.hash_of(witness.sequence).await {
                // It was removed, and the checkpoint has what it led to.
                Err(WriterError::Lost(..)) if witness.sequence < covered => witness.hash,
                read => read?,
            };
            if hash == witness.hash {
                return Ok(Start::After(exported));
            }
        }
        let directory = exported.directory;
        if lost_after == Some(found) || self.was_written_off(&directory, &witness, writer).await? {
            return Ok(Start::GivingUp(directory, witness));
        }
        Err(WriterError::Witnessed {
            dataset: self.dataset.clone(),
            directory: directory.path().to_owned(),
            known: witness.sequence,
            found,
        })
    }

    /// Whether the budget was written off after the ledger lost `witness`: the loss was accepted, and the process ended before it
    /// exported that. The entry that wrote it off follows the one that has the witness's number now, or takes the place of another
    /// one in the export.
    async fn was_written_off(
        &self,
        directory: &LedgerDirectory,
        witness: &Witness,
        writer: &LedgerWriter,
    ) -> Result<bool, WriterError> {
        let after = writer.engine()?.and_then(Engine::last_write_off);
        let Some(written_off) = after.map(|after| after.saturating_add(1)) else {
            return Ok(false);
        };
        if written_off > witness.sequence {
            return Ok(true);
        }
        let ours = match writer.hash_of(written_off).await {
            Err(WriterError::Lost(..)) => return Ok(false),
            read => read?,
        };
        let directory = directory.clone();
        let reading = spawn_blocking(move || directory.hash_of(written_off));
        // It may be a long way to that entry.
        let exported: Result<Option<Hash>, BackupError> = timeout(STALLED, reading)
            .await
            .map_err(|_| self.unreadable(&format_args!("no answer within {STALLED:?}")))?
            .map_err(|error| self.unreadable(&error))?;
        let exported = exported.map_err(|error| self.unreadable(&error))?;
        Ok(exported.is_some_and(|exported| exported != ours))
    }

    /// Begins to export a ledger that was opened, whose last entry is `last`. Events are about `object`.
    pub(super) fn start(&mut self, start: Start, last: u64, object: Option<ObjectReference>) {
        // A new dataset has no entries yet, and there is nothing to tell.
        let mut begins_late = None;
        let writer = match start {
            Start::After(Exported { directory, witness }) => {
                if witness.is_none() && last > 0 {
                    begins_late = Some(directory.path().display().to_string());
                }
                DirectoryWriter::after(directory, witness.as_ref())
            }
            Start::GivingUp(directory, witness) => {
                warn!(dataset = %self.dataset, witness = witness.sequence, "the exported entries that the ledger lost are given up");
                DirectoryWriter::giving_up(directory, &witness)
            }
        };
        let exporter = Exporter::new(self.handles.client.clone(), self.dataset.clone(), writer);
        let (progress, so_far) = watch::channel(exporter.exported());
        let (committed, to_export) = watch::channel(last);
        let report = Report {
            handles: self.handles.clone(),
            dataset: self.dataset.clone(),
            object,
            progress,
            is_failing: false,
        };
        if let Some(directory) = begins_late {
            report.begins_late(&directory, last);
        }
        self.running = Some(Running {
            task: tokio::spawn(run(exporter, to_export, report)),
            committed,
            exported: so_far,
        });
    }

    /// Exports an entry that was committed, in a moment.
    pub(super) fn committed(&self, sequence: u64) {
        if let Some(running) = &self.running {
            running.committed.send_replace(sequence);
        }
    }

    /// The last entry that may be removed from the cluster.
    pub(super) fn removable(&self) -> u64 {
        if self.root.is_none() {
            return u64::MAX;
        }
        self.running
            .as_ref()
            .map_or(0, |running| *running.exported.borrow())
    }

    /// Ends the export of a ledger that is gone.
    pub(super) fn end(&mut self) {
        self.running = None;
    }

    /// Waits until the entry of this number is exported.
    #[cfg(test)]
    pub(super) async fn until_exported(&self, sequence: u64) {
        let mut exported = self.running.as_ref().unwrap().exported.clone();
        exported.wait_for(|exported| *exported >= sequence).await.unwrap();
    }

    /// Lets a reading hang until the sender is gone.
    #[cfg(test)]
    pub(super) fn hang(&mut self, hangs: std::sync::mpsc::Receiver<()>) {
        let problem = self.dataset.to_string();
        self.reading = Some(spawn_blocking(move || {
            hangs.recv().ok();
            Err(BackupError::Changed(problem))
        }));
    }

    /// Waits until the reading that hung has ended.
    #[cfg(test)]
    pub(super) async fn until_read(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.await.unwrap().unwrap_err();
        }
        self.reading = None;
    }

    fn unreadable(&self, error: &(impl ToString + ?Sized)) -> WriterError {
        WriterError::Export(self.dataset.clone(), error.to_string())
    }
}

/// Exports what is committed, until it is dropped.
async fn run(mut exporter: Exporter, mut committed: watch::Receiver<u64>, mut report: Report) {
    let mut pause = FIRST_PAUSE;
    report.begins(exporter.exported());
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = *committed.borrow_and_update();
        if exporter.exported() < last {
            let progress = report.measure();
            match attend(exporter.catch_up(last, progress), &mut report).await {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    report.succeeds();
                }
                Err(error) => {
                    report.measure()(exporter.exported());
                    report.fails(&error.to_string());
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
        }
        tokio::select! {
            changed = committed.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(TOGETHER).await;
            }
            _ = look.tick() => look_at(&mut exporter, &mut report).await,
        }
    }
}

/// Notices that the directory doesn't have what was exported: entries would be removed from the cluster that are exported nowhere.
async fn look_at(exporter: &mut Exporter, report: &mut Report) {
    let problem = match attend(exporter.is_there(), report).await {
        Ok(true) => {
            report.measure()(exporter.exported());
            return report.succeeds();
        }
        Ok(false) => "the directory was replaced or emptied: what is missing in it is exported again, as far as the cluster has it"
            .to_owned(),
        Err(error) => error.to_string(),
    };
    report.measure()(exporter.exported());
    report.fails(&problem);
}

/// Waits for what is done with the directory. Says so if nothing is exported for long, and waits on: a file system that hangs can't
/// be given up.
async fn attend<T>(working: impl Future<Output = T>, report: &mut Report) -> T {
    let mut working = std::pin::pin!(working);
    let mut before = *report.progress.borrow();
    loop {
        tokio::select! {
            done = &mut working => return done,
            () = sleep(STALLED) => {
                let now = *report.progress.borrow();
                if now == before {
                    report.fails(&format!("the directory has given no answer for {STALLED:?}"));
                }
                before = now;
            }
        }
    }
}

/// Says how an export goes: metrics, Events and the log.
struct Report {
    handles: Handles,
    dataset: DatasetKey,
    object: Option<ObjectReference>,
    progress: watch::Sender<u64>,
    is_failing: bool,
}

impl Report {
    fn begins(&self, sequence: u64) {
        self.measure()(sequence);
        self.handles
            .metrics
            .ledgers
            .export_failing(&self.dataset, self.is_failing);
    }

    /// Says that nothing of a ledger that has entries is in the directory. Was it exported before, its volume was lost, or another
    /// one is mounted, and there was nothing to compare the ledger with.
    fn begins_late(&self, directory: &str, last: u64) {
        warn!(dataset = %self.dataset, directory, last, "nothing of the ledger was exported before: all of it is exported now");
        let note = format!(
            "nothing of the dataset's ledger is in {directory}, so that it was compared with nothing; its {last} entries are \
             exported now. If it was exported before, another volume is mounted, or that one was emptied"
        );
        self.announce("ExportBegun", false, &note);
    }

    /// What measures how far the export is.
    fn measure(&self) -> impl FnMut(u64) + Send + use<> {
        let metrics = self.handles.metrics.ledgers.clone();
        let (dataset, progress) = (self.dataset.clone(), self.progress.clone());
        move |sequence| {
            metrics.exported(&dataset, sequence);
            progress.send_replace(sequence);
        }
    }

    /// An export failed. Whether what it wrote before is still there, or comes back with its volume, is unknown: until an attempt
    /// succeeds, nothing counts as exported, and no entry is removed.
    fn fails(&mut self, problem: &str) {
        self.progress.send_replace(0);
        warn!(dataset = %self.dataset, problem, "entries can't be exported: none is removed, and it is tried again");
        if self.is_failing {
            return;
        }
        self.is_failing = true;
        self.handles.metrics.ledgers.export_failing(&self.dataset, true);
        let note = format!(
            "entries of the dataset's ledger can't be exported; grants go on, and no entry is removed: {problem}"
        );
        self.announce("ExportFailing", true, &note);
    }

    fn succeeds(&mut self) {
        if !std::mem::take(&mut self.is_failing) {
            return;
        }
        info!(dataset = %self.dataset, "entries are exported again");
        self.handles.metrics.ledgers.export_failing(&self.dataset, false);
        self.announce(
            "ExportResumed",
            false,
            "all entries of the dataset's ledger are exported again",
        );
    }

    fn announce(&self, reason: &'static str, warning: bool, note: &str) {
        if let Some(object) = self.object.clone() {
            self.handles.events.about_object(object, reason, warning, note);
        }
    }
}
