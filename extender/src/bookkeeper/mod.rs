//! One dataset's bookkeeper: the only part of this process that writes to the dataset's ledger.
//!
//! The bookkeeper has three parts, each with private fields, which pass values to each other, always in this order:
//! - the [`intake`] turns [`Message`]s (objects and requests) into engine events;
//! - the ledger's [`writer`] turns events into committed entries;
//! - the [`Publisher`] of `privatekube-view` turns committed entries into the view and into changes, and [`effects`]
//!   carries the changes out: it writes statuses and Events, removes gates and updates metrics.
//!
//! Events that arrive while an entry is being written go into the next one together.

mod checkpoints;
mod effects;
mod export;
mod following;
mod intake;
mod message;
mod metrics;
mod question;
mod stop;
#[cfg(test)]
pub mod tests;
mod writer;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta;
use kube::Resource;
use privatekube_api::{DatasetKey, PrivateDataBlock, PrivateDataset, Subject, SubjectKind};
use privatekube_kubernetes::{DatasetReader, KubernetesStore, NamespaceIdentity};
use privatekube_policy::{
    BlockId, ClaimId, Composition, DatasetRules, Engine, Event, Phase, Policy, Revision, Time, Unlocking,
};
use privatekube_view::{Publisher, Touched, blocks_left_out};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{error, info, warn};

use self::{
    checkpoints::{Checkpoints, Outcome},
    effects::Effects,
    export::{Export, Exported},
    intake::{Intake, IntakeOutput, Notice},
    metrics::ReadBack,
    stop::Stop,
    writer::{LedgerWriter, PendingEvent},
};
use crate::{clock, handles::Handles, writers::StatusKey};

pub use self::{
    checkpoints::CheckpointSettings,
    message::{ClaimInput, ConsumeError, Message, RequestedUse},
    metrics::LedgerMetrics,
    question::Question,
    writer::WriterError,
};

/// The most messages that are handled together.
const MOST_MESSAGES: usize = 4096;
/// How often the ledger's last entry is read back, to notice that entries were deleted or replaced.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How often a waiting claim is announced again: the API server keeps Events for an hour.
const ANNOUNCE_AGAIN_EVERY: Duration = Duration::from_secs(45 * 60);
/// How often waiting claims are explained again.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// One dataset's bookkeeper.
#[derive(Debug)]
pub struct Bookkeeper {
    dataset: DatasetKey,
    handles: Handles,
    reader: DatasetReader,
    intake: Intake,
    /// Whether its ledger stays closed until the dataset has an object: it has no entries, and there are no default rules.
    waits_for_object: bool,
    writer: LedgerWriter,
    checkpoints: Checkpoints,
    export: Export,
    publisher: Publisher,
    effects: Effects,
    /// Why the dataset is stopped, and when its ledger is opened again; `None` while the dataset isn't stopped.
    stop: Option<Stop>,
    /// The stop that ended last, until an entry is written: a dataset whose ledger can be read and not written is tried less and
    /// less often, although each opening succeeds.
    ended_stop: Option<Stop>,
    /// Senders of [`Message::Flush`], which get their answers once there is no backlog.
    flushing: Vec<oneshot::Sender<()>>,
    /// The namespace as it was when the ledger was opened: another one now means that the ledger was deleted.
    namespace: Option<NamespaceIdentity>,
    /// Whether another process writes the ledger: this one reads what it writes. See [`following`].
    follows: bool,
}

/// What a bookkeeper does next.
enum Step {
    Handle(Vec<Message>),
    Resume,
    Check,
    CheckpointDone(checkpoints::Outcome),
    Refresh,
    CatchUpMeasures,
}

impl Bookkeeper {
    /// A bookkeeper whose ledger is still closed: it is opened once the dataset has a block or an object of its own.
    pub fn new(handles: Handles, dataset: DatasetKey) -> Self {
        let follows = !handles.leadership.leads();
        let store = KubernetesStore::new(handles.client.clone(), dataset.clone())
            .with_entry_version(handles.entry_version);
        Self {
            reader: DatasetReader::new(handles.client.clone(), dataset.clone()),
            intake: Intake::new(handles.defaults.clone()),
            waits_for_object: false,
            writer: LedgerWriter::new(
                dataset.clone(),
                store,
                handles.writer.clone(),
                Arc::clone(&handles.server_clock),
            ),
            checkpoints: Checkpoints::new(
                dataset.clone(),
                handles.checkpoints,
                Arc::clone(&handles.server_clock),
            ),
            export: Export::new(handles.clone(), dataset.clone()),
            publisher: Publisher::new(dataset.clone(), Arc::clone(&handles.view)),
            effects: Effects::new(handles.clone(), dataset.clone(), follows),
            stop: None,
            ended_stop: None,
            flushing: Vec::new(),
            namespace: None,
            follows,
            handles,
            dataset,
        }
    }

    /// The dataset.
    pub const fn dataset(&self) -> &DatasetKey {
        &self.dataset
    }

    /// Continues for a bookkeeper that panicked, for the `failures`th time: the dataset is stopped, and its ledger is opened
    /// again after a while. See [`Self::run`].
    pub async fn run_after_failure(
        mut self,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        failures: u32,
    ) -> Result<DatasetKey, WriterError> {
        self.intake.set_dataset(self.reader.dataset().await);
        self.intake.add_all_blocks(self.reader.blocks().await);
        if self.namespace_is_gone().await {
            self.forget_all();
            return Ok(self.dataset);
        }
        self.stop(Stop::after_failures(&self.dataset, failures))?;
        Box::pin(self.run(messages)).await
    }

    /// Handles messages until all their senders are dropped, or the ledger is deleted with its namespace; then returns
    /// the dataset. If the ledger can't be read or written, the dataset is stopped, and the bookkeeper tries from time
    /// to time to open the ledger again. Returns an error only if another process writes to the ledger.
    pub async fn run(
        mut self,
        messages: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Result<DatasetKey, WriterError> {
        let mut batch = Vec::new();
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let writes = self.writer.is_open() && !self.follows;
            let next_step = self.writer.engine()?.filter(|_| writes);
            let next_step = next_step.and_then(Engine::next_step);
            let next_retirement = self.intake.objects().next_retirement().filter(|_| writes);
            let retry_at = self.stop.as_ref().map(|stop| stop.retry_at);
            let has_backlog = self.has_backlog();
            let catches_up = self.writer.is_open() && self.effects.meter.is_catching_up();
            let step = tokio::select! {
                taken = messages.recv_many(&mut batch, MOST_MESSAGES) => {
                    if taken == 0 {
                        return Ok(self.dataset);
                    }
                    self.handles.metrics.writers.queue_left("intake", taken);
                    Step::Handle(std::mem::take(&mut batch))
                }
                () = std::future::ready(()), if has_backlog => Step::Handle(Vec::new()),
                () = wait_until(next_step) => Step::Handle(Vec::new()),
                () = wait_until(next_retirement) => Step::Handle(Vec::new()),
                () = wait_until_instant(retry_at) => Step::Resume,
                _ = check.tick() => Step::Check,
                outcome = self.checkpoints.done(), if self.checkpoints.is_running() => Step::CheckpointDone(outcome),
                _ = refresh.tick() => Step::Refresh,
                // Others may run between two pieces, and messages take turns with them.
                () = tokio::task::yield_now(), if catches_up => Step::CatchUpMeasures,
            };
            // Nothing is begun that another process may do meanwhile.
            let _acting = if self.follows && !step.leads() {
                None
            } else {
                Some(self.handles.leadership.act().await)
            };
            let handled = match step {
                Step::Handle(batch) => self.handle(batch).await,
                Step::Resume => self.resume().await,
                Step::Check => {
                    if !self.follows {
                        let exported = self.export.removable();
                        self.checkpoints.remove_if_due(self.writer.store(), exported);
                    }
                    self.check_last_entry().await
                }
                Step::CheckpointDone(outcome) => {
                    self.checkpoint_done(&outcome);
                    Ok(())
                }
                Step::Refresh => self.refresh_waiting(),
                Step::CatchUpMeasures => self.catch_up_measures(),
            };
            if let Err(error) = handled
                && !self.stop_or_end(error).await?
            {
                self.handles.metrics.writers.queue_left("intake", messages.len());
                return Ok(self.dataset);
            }
        }
    }

    /// Opens the ledger and publishes its state. Returns `false` if the ledger is being deleted with its namespace: the
    /// bookkeeper isn't needed then. If the ledger can't be opened, the dataset is stopped, and the bookkeeper is
    /// needed.
    pub async fn open_unless_deleted(&mut self) -> Result<bool, WriterError> {
        match Box::pin(self.open()).await {
            Ok(()) => Ok(true),
            Err(error) => self.stop_or_end(error).await,
        }
    }

    /// Handles messages that arrived together.
    async fn handle(&mut self, batch: Vec<Message>) -> Result<(), WriterError> {
        if self.follows {
            return Box::pin(self.follow(batch)).await;
        }
        let batch = answer_leads(batch);
        let requested = self.requests_anything_new(&batch)?;
        let was_empty = self.intake.objects().is_empty();
        let deleted = batch.iter().any(Message::is_deletion);
        if !self.writer.is_open() && self.stop.is_none() && self.may_open(&batch, requested).await {
            Box::pin(self.open()).await?;
        }
        if batch
            .iter()
            .any(|message| matches!(message, Message::BlockDeleted(_)))
        {
            // A block that was created again is not retired: claims may have been matched with it since.
            self.intake.add_all_blocks(self.reader.blocks().await);
        }
        let named = batch.iter().filter_map(|message| match message {
            Message::StatusNames { sequence, arrived } => {
                (!self.is_older_than_namespace(arrived.as_ref())).then_some(*sequence)
            }
            _ => None,
        });
        let named = named.max();
        let mut taken = IntakeOutput::default();
        for message in batch {
            self.publish_existence(&message)?;
            let exists = |claim: &ClaimId| exists(&self.handles, claim);
            self.intake
                .take(message, self.writer.engine()?, exists, &mut taken);
        }
        if !self.writer.is_open() && self.stop.is_none() && self.intake.objects().dataset().is_none() {
            self.publisher.forget_dataset();
        }
        self.objects_changed();
        if requested {
            // Pods wait to be bound, which doesn't depend on what is read for new claims, so both are done together.
            let pods_wait = taken.events.iter().any(PendingEvent::is_awaited);
            let first = if pods_wait && !deleted && named.is_none() {
                self.publish(std::mem::take(&mut taken.notices))?;
                std::mem::take(&mut taken.events)
            } else {
                Vec::new()
            };
            let known = self.handles.known_blocks.in_namespace(&self.dataset.namespace);
            let reader = self.reader.clone();
            let read = async { Ok(reader.read_if_not(known).await) };
            let ((), current) = tokio::try_join!(Box::pin(self.commit_if_any(first)), read)?;
            self.intake.catch_up(current, self.writer.engine()?, &mut taken);
            self.objects_changed();
        }
        if let Some(stop) = &mut self.stop
            && taken
                .notices
                .iter()
                .any(|notice| matches!(notice, Notice::DatasetApplied))
        {
            // The object may say how the dataset goes on.
            stop.retry_at = Instant::now();
        }
        self.publish(std::mem::take(&mut taken.notices))?;
        if deleted || (was_empty && !self.intake.objects().is_empty()) {
            // The namespace may have been deleted and created again. The engine then still has decisions of the deleted
            // entries, and nothing that follows from them may be written.
            self.check_last_entry().await?;
        }
        if let Some(named) = named {
            Box::pin(self.writer.check_named(named)).await?;
        }
        self.keep_rules_current().await?;
        let has_ledger = self.writer.is_open();
        // The labels are read from the API server, because no watch follows namespaces.
        let namespaces = self.intake.namespaces_to_read(has_ledger);
        let labels = self.reader.namespace_labels(namespaces).await;
        let accepted = self.intake.deny_refused(&labels, has_ledger, &mut taken);
        self.intake.publish_held(has_ledger, &mut taken);
        if let Some(engine) = self.writer.engine()? {
            self.intake
                .add_blocks_and_claims(engine, accepted, clock::now(), &mut taken);
        }
        self.publish(taken.notices)?;
        self.commit(taken.events).await?;
        self.flushing.extend(taken.flushed);
        if !self.has_backlog() {
            self.answer_flushes();
        }
        Ok(())
    }

    /// The events that forget claims before a checkpoint that is due: claims that have ended and whose objects are gone, so that
    /// a checkpoint grows with what is alive and not with what ever was.
    fn claims_to_forget(&mut self) -> Result<Vec<PendingEvent>, WriterError> {
        // Until all objects that exist were listed, each may exist.
        if !self.checkpoints.looks_for_gone() || !self.handles.view.is_complete() {
            return Ok(Vec::new());
        }
        let Some(engine) = self.writer.engine()? else {
            return Ok(Vec::new());
        };
        let has_ended = |claim: &ClaimId| engine.phase(claim).is_some_and(Phase::has_ended);
        let gone = engine
            .claims()
            .filter(|claim| has_ended(claim) && !exists(&self.handles, claim));
        let events = self.checkpoints.forget(gone.cloned().collect());
        Ok(events.into_iter().map(PendingEvent::from).collect())
    }

    /// Begins a checkpoint if one is due. It stands at the last entry, so it is begun right after that, before the clock goes on.
    fn checkpoint_if_due(&mut self) {
        if !self.checkpoints.is_due() {
            return;
        }
        match self.writer.checkpoint() {
            Ok(Some(content)) => self.checkpoints.begin(content, self.writer.store().clone()),
            // It is due after the next entry, too.
            Ok(None) => {}
            // To write the state down costs as much each time.
            Err(error) => self.checkpoints.not_made(&error),
        }
    }

    fn checkpoint_done(&mut self, outcome: &Outcome) {
        if let Outcome::Published(checkpoint, _) = outcome {
            self.writer.mark(checkpoint);
        }
        self.effects.meter.checkpoint(outcome);
    }

    /// Reads the last entry back. See [`LedgerWriter::check_last_entry`].
    async fn check_last_entry(&self) -> Result<(), WriterError> {
        let checked = self.writer.check_last_entry().await;
        let outcome = match &checked {
            Ok(outcome) => *outcome,
            Err(WriterError::Lost(..)) => Some(ReadBack::Lost),
            Err(_) => Some(ReadBack::Replaced),
        };
        if let Some(outcome) = outcome {
            self.effects.meter.read_back(outcome);
        }
        checked.map(drop)
    }

    /// Tells others what the objects say: how many blocks are known, and how far the ledger may be dated ahead.
    fn objects_changed(&mut self) {
        let recovery = self.intake.objects().recovery();
        self.writer
            .accept_time(recovery.and_then(|recovery| recovery.accept_time));
        let count = self.intake.objects().block_count();
        self.handles.known_blocks.set(&self.dataset, count);
    }

    /// Whether messages that were handled left more to write.
    fn has_backlog(&self) -> bool {
        self.writer.is_open() && !self.follows && self.intake.has_backlog()
    }

    fn answer_flushes(&mut self) {
        for reply in self.flushing.drain(..) {
            // The receiver is dropped if the sender of the message no longer waits.
            let _ = reply.send(());
        }
    }

    /// Writes events, if there are any. See [`Self::commit`].
    async fn commit_if_any(&mut self, events: Vec<PendingEvent>) -> Result<(), WriterError> {
        if events.is_empty() {
            return Ok(());
        }
        self.commit(events).await
    }

    /// Writes events, in as many entries as it takes, and publishes each entry once it is durable.
    async fn commit(&mut self, events: Vec<PendingEvent>) -> Result<(), WriterError> {
        self.commit_by(clock::now, events).await
    }

    /// As [`Self::commit`], by another clock.
    async fn commit_by(
        &mut self,
        clock: impl Fn() -> Time + Send,
        events: Vec<PendingEvent>,
    ) -> Result<(), WriterError> {
        let mut pending = VecDeque::from(events);
        loop {
            if self.handles.leadership.has_ended() {
                // Another process decides about what is left, after the entry that this one has just written.
                return Ok(());
            }
            let Some(written) = self.writer.write(&mut pending, clock()).await? else {
                return Ok(());
            };
            let mut next = IntakeOutput::default();
            if let (Some(committed), Some(state)) = (&written.committed, self.writer.state()?) {
                self.ended_stop = None;
                self.checkpoints.committed(committed.bytes());
                self.export.committed(committed.sequence);
                self.effects.meter.committed(state.engine, committed, &written);
                let touched = Touched::by(committed.records(), &written.matched, state.engine);
                self.intake.after_entry(
                    touched.claims.iter(),
                    touched.settled(state.engine),
                    state.engine,
                    &mut next,
                );
                let objects = self.intake.objects();
                let changes = self
                    .publisher
                    .publish_entry(state, objects, committed.time, &touched);
                self.handles
                    .decisions
                    .record(&self.dataset, committed.time, &changes);
                self.effects.apply(changes, objects);
                self.effects.meter.phases(&self.publisher);
            }
            for refused in &written.refused {
                warn!(dataset = %self.dataset, event = ?refused.event, error = %refused.error, "an event is refused");
                next.notices.extend(self.intake.refused(refused));
            }
            self.publish(next.notices)?;
            written.answer();
            pending.extend(next.events);
            if pending.is_empty() {
                pending.extend(self.claims_to_forget()?);
            }
            if pending.is_empty() {
                self.checkpoint_if_due();
                return Ok(());
            }
        }
    }

    /// Whether a message requests a claim that is neither in the ledger nor queued. The dataset's objects are read from
    /// the API server only for such claims, since after a restart every claim is requested again.
    fn requests_anything_new(&self, batch: &[Message]) -> Result<bool, WriterError> {
        let engine = self.writer.engine()?;
        Ok(batch.iter().any(|message| match message {
            Message::Requested(input) => self.intake.is_new(&input.subject.id(), engine),
            _ => false,
        }))
    }

    /// Whether the dataset has a block or an object of its own, without which its ledger stays closed.
    async fn may_open(&self, batch: &[Message], requested: bool) -> bool {
        let applied =
            |message: &Message| matches!(message, Message::BlockApplied(_) | Message::DatasetApplied(_));
        if self.waits_for_object {
            let is_dataset = |message: &Message| matches!(message, Message::DatasetApplied(_));
            return requested || batch.iter().any(is_dataset);
        }
        !self.intake.objects().is_empty()
            || batch.iter().any(applied)
            || (requested && self.reader.has_objects().await)
    }

    /// Opens the ledger and publishes its state. A ledger without entries stays closed if the dataset has no objects,
    /// or has rules that can't be used: its first entry would fix the default rules for ever.
    async fn open(&mut self) -> Result<(), WriterError> {
        let namespace = self.reader.namespace().await;
        // What this process has read is the ledger of the namespace as it was. That of another one is none of it, and is for a
        // bookkeeper that begins anew.
        if self.namespace.is_some() && self.namespace != namespace {
            return Err(WriterError::OtherNamespace(self.dataset.clone()));
        }
        self.namespace = namespace;
        let uid = self.namespace.as_ref().map(|namespace| namespace.uid.clone());
        // Before the ledger is read.
        let exported = if self.follows {
            None
        } else {
            self.export.read(uid.as_deref()).await?
        };
        self.writer.set_namespace(uid);
        self.intake.set_dataset(self.reader.dataset().await);
        let (rules, problem) = match self.intake.rules() {
            Ok(rules) => (rules, None),
            // A ledger that has entries keeps its own rules, and another one is closed again.
            Err(problem) => (no_rules(), Some(problem)),
        };
        let began = std::time::Instant::now();
        self.objects_changed();
        let recovery = self.intake.objects().recovery();
        let lost_after = recovery.as_ref().and_then(|recovery| recovery.write_off_after);
        let sequence = if self.follows {
            self.writer.open_to_follow().await?
        } else {
            self.writer.open(rules, lost_after).await?
        };
        let now = clock::now();
        self.waits_for_object =
            sequence == 0 && problem.is_some() && self.intake.objects().dataset().is_none();
        if self.waits_for_object {
            info!(dataset = %self.dataset, "the ledger stays closed: there is no PrivateDataset yet");
            self.writer.close();
            self.publisher.forget_dataset();
            return Ok(());
        }
        if let Some(problem) = problem.filter(|_| sequence == 0) {
            // Admission denies such an object, but it may have been written while the webhook was not installed.
            warn!(dataset = %self.dataset, problem, "the ledger stays closed: the dataset's rules can't be used");
            self.writer.close();
            let objects = self.intake.objects();
            let change = self.publisher.publish_dataset(None, objects, now);
            self.effects.apply(change, objects);
            return Ok(());
        }
        // A claim's grant and status name the data sources of its blocks.
        let blocks = self.reader.blocks().await;
        if sequence == 0 && self.intake.objects().dataset().is_none() && blocks.is_empty() {
            // The watches reported objects that have been deleted since.
            self.writer.close();
            self.publisher.forget_dataset();
            self.effects.meter.forget_all();
            return Ok(());
        }
        if let Some(engine) = self.writer.engine()?
            && lost_after != Some(sequence)
            // An entry and a status that names it may have been written since the ledger was read.
            && !self.follows
        {
            let known = last_sequence_in_statuses(self.intake.objects().dataset(), &blocks, engine);
            if let Err(error) = Box::pin(self.writer.reaches(known, sequence)).await {
                self.writer.close();
                return Err(error);
            }
        }
        if let Some(exported) = exported {
            self.begin_export(exported, lost_after).await?;
        }
        info!(dataset = %self.dataset, sequence, follows = self.follows, took = ?began.elapsed(), "the ledger is open");
        if !self.follows {
            let (published, entries) = self.writer.published();
            let at = published.map_or(0, |published| published.head.sequence);
            self.effects.meter.checkpoint_at(at);
            self.checkpoints.opened(published, entries);
            self.checkpoint_if_due();
        }
        if let Some(engine) = self.writer.engine()? {
            self.intake.ledger_opened(blocks, engine);
        }
        if let Some(state) = self.writer.state()? {
            let objects = self.intake.objects();
            // Until all objects that exist were listed, each may exist.
            let is_listed = self.handles.view.is_complete();
            let may_exist = |claim: &ClaimId| !is_listed || exists(&self.handles, claim);
            let changes = self.publisher.publish_all(state, objects, now, may_exist);
            self.effects
                .meter
                .opened(state, self.writer.last_time(), began.elapsed());
            self.effects.meter.all_blocks(objects);
            self.effects.apply(changes, objects);
            self.effects.meter.phases(&self.publisher);
        }
        if self.follows {
            self.intake.forget_requests();
            return Ok(());
        }
        self.write_off_lost(sequence).await
    }

    /// Goes on to export a ledger that was opened, unless it lacks what was exported before: then it is closed.
    async fn begin_export(&mut self, exported: Exported, lost_after: Option<u64>) -> Result<(), WriterError> {
        match self.export.compare(exported, &self.writer, lost_after).await {
            Ok(start) => {
                let object = self
                    .intake
                    .objects()
                    .dataset()
                    .map(|object| object.object_ref(&()));
                self.export.start(start, self.writer.last_sequence(), object);
                Ok(())
            }
            Err(error) => {
                self.writer.close();
                Err(error)
            }
        }
    }

    /// Writes all budget off after the entry `sequence`, the last one, if the dataset's object states that the entries after
    /// it are lost.
    async fn write_off_lost(&mut self, sequence: u64) -> Result<(), WriterError> {
        let engine = self.writer.engine()?;
        let event = engine.and_then(|engine| self.intake.write_off(sequence, engine));
        let Some(event) = event else {
            return Ok(());
        };
        let Event::WriteOff { after, reason, .. } = event.clone() else {
            return Ok(());
        };
        // The entry has the time of the last one. At a later time the clock would decide first, and grant what it has unlocked
        // since, from a state that lacks what the lost entries granted.
        self.commit_by(Time::default, vec![event.into()]).await?;
        let Some(state) = self.writer.state()? else {
            return Ok(());
        };
        if state.engine.last_write_off() != Some(after) {
            self.writer.close();
            return Err(WriterError::WriteOff(self.dataset.clone()));
        }
        let objects = self.intake.objects();
        self.effects.written_off(after, &reason, objects);
        for (name, _) in objects.blocks() {
            let block = BlockId::from(name.as_str());
            let change = self.publisher.publish_block(state, objects, &block, clock::now());
            self.effects.apply(change, objects);
        }
        Ok(())
    }

    /// Opens a ledger without entries again if the dataset's rules have changed since it was opened: the first entry
    /// has to fix the rules that the dataset has at that time.
    async fn keep_rules_current(&mut self) -> Result<(), WriterError> {
        let Some(opened_with) = self.writer.rules_before_first_entry() else {
            return Ok(());
        };
        let is_current = self.intake.rules().is_ok_and(|rules| rules == *opened_with);
        if is_current && !self.intake.objects().is_empty() {
            return Ok(());
        }
        self.writer.close();
        self.intake.ledger_closed();
        Box::pin(self.open()).await
    }

    /// Publishes facts that don't come from ledger entries.
    fn publish(&mut self, notices: Vec<Notice>) -> Result<(), WriterError> {
        let now = clock::now();
        let state = self.writer.state()?;
        let objects = self.intake.objects();
        for notice in notices {
            let change = match notice {
                Notice::OutsideLedger(subject, why) => {
                    self.publisher.publish_outside_ledger(subject, why, now)
                }
                Notice::BlockHeld(name, why) => {
                    // It has no metrics: these begin and end with a ledger.
                    let change = self
                        .publisher
                        .publish_block_without_ledger(objects, &name, why, now);
                    if change.is_some() {
                        self.effects.write_block(name);
                    }
                    None
                }
                Notice::ClaimForgotten(claim) => {
                    self.publisher.forget_claim(&claim);
                    None
                }
                Notice::Oversized(claim, problem) => {
                    if let Some(state) = state {
                        let changes = self.publisher.publish_oversized(state.engine, &claim, &problem);
                        self.effects.apply(changes, objects);
                    }
                    None
                }
                Notice::NotOversized(claim) => {
                    self.publisher.forget_oversized(&claim);
                    None
                }
                Notice::UseRefused(claim, problem) => {
                    self.effects.use_refused(&claim, &problem);
                    None
                }
                Notice::LeftOut(claim, left_out) => state.and_then(|state| {
                    let text = left_out.as_ref().map(blocks_left_out);
                    self.publisher.publish_left_out(state.engine, &claim, text)
                }),
                Notice::BlockWithoutStatus(name) => {
                    self.effects.write_block(name);
                    None
                }
                Notice::BlockChecked(block) => {
                    state.and_then(|state| self.publisher.publish_block(state, objects, &block, now))
                }
                Notice::BlockDeleted(name) => {
                    self.publisher.forget_block(&name);
                    self.effects.meter.forget_block(&name);
                    None
                }
                Notice::DatasetApplied => match &self.stop {
                    Some(stop) => self.publisher.publish_stopped(objects, &stop.message, now),
                    None => self.publisher.publish_dataset(state, objects, now),
                },
            };
            self.effects.apply(change, objects);
        }
        Ok(())
    }

    /// Publishes that the object of a claim exists, or not any more: the view keeps no claim that has ended and whose
    /// object is gone.
    fn publish_existence(&mut self, message: &Message) -> Result<(), WriterError> {
        let Some(state) = self.writer.state()? else {
            return Ok(());
        };
        let engine = state.engine;
        match message {
            Message::Requested(input) => {
                let objects = self.intake.objects();
                let change = self.publisher.object_exists(state, objects, &input.subject.id());
                self.effects.apply(change, objects);
            }
            Message::Exists(claim) => {
                let objects = self.intake.objects();
                let change = self.publisher.object_exists(state, objects, claim);
                self.effects.apply(change, objects);
            }
            // The claim of a pod that is being deleted is withdrawn while the pod still exists.
            Message::Withdrawn(claim) | Message::Ran(claim) if !exists(&self.handles, claim) => {
                self.publisher.object_deleted(engine, claim);
            }
            Message::AllListed => {
                let exists = |claim: &ClaimId| exists(&self.handles, claim);
                self.publisher.forget_deleted(engine, exists);
            }
            _ => {}
        }
        Ok(())
    }

    /// Explains waiting claims again, and writes the statuses that change.
    fn refresh_waiting(&mut self) -> Result<(), WriterError> {
        if let Some(state) = self.writer.state()? {
            let objects = self.intake.objects();
            let mut changes = self.publisher.refresh_waiting(state, objects, clock::now());
            changes.extend(self.publisher.announce_waiting_again(
                state.engine,
                REFRESH_EVERY,
                ANNOUNCE_AGAIN_EVERY,
            ));
            self.effects.apply(changes, objects);
            self.effects.meter.tick(state.engine);
        }
        Ok(())
    }

    /// Looks at some claims for the measures of a ledger that was opened.
    fn catch_up_measures(&mut self) -> Result<(), WriterError> {
        if let Some(engine) = self.writer.engine()? {
            self.effects.meter.catch_up(engine);
        }
        Ok(())
    }

    /// Stops the dataset after an error and returns `true`: the bookkeeper continues. If the ledger was deleted with
    /// its namespace, returns `false`: the bookkeeper ends. Returns an error if another process writes to the ledger:
    /// then this process has to step down, for all datasets.
    async fn stop_or_end(&mut self, error: WriterError) -> Result<bool, WriterError> {
        if self.namespace_is_gone().await {
            // If the namespace is created again, the dataset begins with an empty ledger.
            info!(dataset = %self.dataset, %error, "the ledger was deleted with its namespace");
            self.forget_all();
            return Ok(false);
        }
        let error = if error.is_fenced() {
            let was_open = self.writer.is_open();
            self.effects.meter.conflict();
            // The other entry is a writer's only if the ledger can be verified with it. If it can't, somebody else
            // created or changed the entry, and that stops only this dataset.
            self.writer.close();
            match Box::pin(self.open()).await {
                Ok(()) if was_open => return Err(error),
                // The entry came while the ledger was read: the last one of a process that doesn't lead any more, perhaps.
                Ok(()) => return Ok(true),
                Err(unverified) => unverified,
            }
        } else {
            error
        };
        self.writer.close();
        let before = self.stop.as_ref().or(self.ended_stop.as_ref());
        let stop = Stop::new(&self.dataset, &error, before);
        self.stop(stop)?;
        Ok(true)
    }

    /// Whether the dataset's namespace is being deleted, is gone, or was created again since the ledger was opened.
    async fn namespace_is_gone(&self) -> bool {
        let namespace = self.reader.namespace().await;
        let is_other = |opened_in: &NamespaceIdentity| Some(opened_in) != namespace.as_ref();
        namespace.is_none() || self.namespace.as_ref().is_some_and(is_other)
    }

    /// Whether a claim that arrived then did so before the dataset's namespace was created: in another ledger, that of a namespace
    /// which had the same name. Claims in other namespaces outlive it.
    fn is_older_than_namespace(&self, arrived: Option<&meta::v1::Time>) -> bool {
        let created = self
            .namespace
            .as_ref()
            .and_then(|namespace| namespace.created.as_ref());
        arrived
            .zip(created)
            .is_some_and(|(arrived, created)| arrived.0 < created.0)
    }

    /// Removes everything that was published from the ledger, which was deleted.
    fn forget_all(&mut self) {
        self.export.end();
        self.publisher.forget_all();
        self.effects.meter.forget_all();
        self.handles.known_blocks.set(&self.dataset, 0);
    }

    /// Stops the dataset, whose ledger is closed.
    fn stop(&mut self, stop: Stop) -> Result<(), WriterError> {
        // It goes on when the ledger is opened again.
        self.export.end();
        if stop.is_news(self.stop.as_ref()) {
            error!(dataset = %self.dataset, why = stop.message, "the dataset is stopped");
            self.intake.ledger_stopped(stop.message.clone());
            let objects = self.intake.objects();
            let change = self
                .publisher
                .publish_stopped(objects, &stop.message, clock::now());
            self.effects.apply(change, objects);
            self.effects.stopped(&stop, objects);
        }
        self.stop = Some(stop);
        self.answer_flushes();
        let mut held = IntakeOutput::default();
        self.intake.publish_held(false, &mut held);
        self.publish(held.notices)
    }

    /// Opens the ledger of a stopped dataset again. Claims whose objects were deleted in the meantime are withdrawn,
    /// and controllers send every other request again.
    async fn resume(&mut self) -> Result<(), WriterError> {
        Box::pin(self.open()).await?;
        self.ended_stop = self.stop.take();
        // Also if nothing was published, since an empty ledger was closed again.
        self.handles.view.set_stopped(&self.dataset, None);
        self.effects.resumed(self.intake.objects());
        // Entries that were put back may say something else of blocks than the statuses that were written before.
        for (name, _) in self.intake.objects().blocks() {
            let key = StatusKey::Block(self.dataset.clone(), name.clone());
            self.handles.statuses.write(key);
        }
        info!(dataset = %self.dataset, "the dataset is not stopped any more");
        let mut taken = IntakeOutput::default();
        if self.handles.view.is_complete() && !self.follows {
            let exists = |claim: &ClaimId| exists(&self.handles, claim);
            self.intake.end_deleted(self.writer.engine()?, exists, &mut taken);
        }
        self.commit(taken.events).await?;
        self.handles.request_again(self.dataset.clone());
        self.handle(Vec::new()).await
    }
}

impl Step {
    /// Whether it makes this process the ledger's writer.
    fn leads(&self) -> bool {
        matches!(self, Self::Handle(batch) if batch.iter().any(|message| matches!(message, Message::Lead(_))))
    }
}

/// Answers those who want this process to lead, which it does.
fn answer_leads(batch: Vec<Message>) -> Vec<Message> {
    let is_answered = |message: Message| match message {
        Message::Lead(reply) => {
            // Whoever waited may have given up.
            let _ = reply.send(());
            None
        }
        other => Some(other),
    };
    batch.into_iter().filter_map(is_answered).collect()
}

/// The largest sequence number in the statuses of the dataset and its blocks. Only the extender writes statuses, so the
/// ledger must have an entry of this number. Statuses from before budget was written off last may name entries that were
/// lost.
fn last_sequence_in_statuses(
    dataset: Option<&Arc<PrivateDataset>>,
    blocks: &[Arc<PrivateDataBlock>],
    engine: &Engine,
) -> u64 {
    let last_write_off = engine.last_write_off();
    let of_blocks = blocks.iter().filter_map(|block| {
        let status = block.status.as_ref()?;
        let name = BlockId::from(block.metadata.name.as_deref()?);
        let written_off = engine.is_lost(&name) || engine.block(&name).is_some_and(|block| block.written_off);
        let is_older = written_off && status.written_off_after != last_write_off;
        status.ledger_sequence.filter(|_| !is_older)
    });
    let of_dataset = dataset.and_then(|dataset| {
        let status = dataset.status.as_ref()?;
        let is_older = last_write_off.is_some() && status.written_off_after != last_write_off;
        status.ledger_sequence.filter(|_| !is_older)
    });
    of_blocks.chain(of_dataset).max().unwrap_or(0)
}

/// The rules with which a ledger is opened whose dataset has none that can be used. None of them is ever in an entry: a ledger
/// that has entries has its rules, and one without entries is closed again.
const fn no_rules() -> DatasetRules {
    DatasetRules {
        policy: Policy::Dpf,
        unlocking: Unlocking::Immediate,
        composition: Composition::Basic,
        revision: Revision::CURRENT,
    }
}

/// Whether the pod or the claim object of a claim exists.
fn exists(handles: &Handles, id: &ClaimId) -> bool {
    let Some(subject) = Subject::of(id) else {
        return false;
    };
    match subject.kind {
        SubjectKind::Claim => handles.view.named(&subject.namespace, &subject.name).as_ref() == Some(id),
        SubjectKind::Pod => {
            let pod = handles.pods.get(&privatekube_api::PodKey {
                namespace: subject.namespace,
                name: subject.name,
            });
            pod.is_some_and(|pod| pod.uid == subject.uid)
        }
    }
}

async fn wait_until_instant(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn wait_until(time: Option<Time>) {
    match time {
        Some(time) => tokio::time::sleep(clock::until(time)).await,
        None => std::future::pending().await,
    }
}
