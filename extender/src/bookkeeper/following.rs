//! A bookkeeper of a process that follows: another one writes the ledger. It reads each entry and publishes it, knows the
//! dataset's objects, and writes nothing. Once its process leads, it reads what is left, and goes on as the writer.
//!
//! What objects request isn't kept, since all of it is requested again from a process that becomes the leader.

use privatekube_policy::{BlockId, ClaimId};
use privatekube_view::Touched;
use tracing::info;

use super::{
    Bookkeeper, Message, WriterError, exists, intake::IntakeOutput, intake::Notice, message::ConsumeError,
};
use crate::clock;

impl Bookkeeper {
    /// Handles messages that arrived together, while another process leads.
    pub(super) async fn follow(&mut self, batch: Vec<Message>) -> Result<(), WriterError> {
        let mut leads = Vec::new();
        let batch = batch.into_iter().filter_map(|message| match message {
            Message::Lead(reply) => {
                leads.push(reply);
                None
            }
            other => Some(other),
        });
        let batch: Vec<Message> = batch.collect();
        let followed = self.follow_all(batch).await;
        if leads.is_empty() {
            return followed;
        }
        self.follows = false;
        self.effects.begin();
        let led = match followed {
            Ok(()) => Box::pin(self.lead()).await,
            Err(error) => Err(error),
        };
        for reply in leads {
            // Whoever waited may have given up.
            let _ = reply.send(());
        }
        led
    }

    async fn follow_all(&mut self, batch: Vec<Message>) -> Result<(), WriterError> {
        let has_news = batch
            .iter()
            .any(|message| matches!(message, Message::EntriesChanged | Message::StatusNames { .. }));
        let deleted = batch.iter().any(Message::is_deletion);
        let mut taken = IntakeOutput::default();
        for message in batch {
            self.publish_existence(&message)?;
            match message {
                Message::BlockApplied(object) => {
                    let name = object.metadata.name.as_deref().map(BlockId::from);
                    self.take(Message::BlockApplied(object), &mut taken);
                    taken.notices.extend(name.map(Notice::BlockChecked));
                }
                Message::BlockDeleted(_)
                | Message::DatasetApplied(_)
                | Message::DatasetDeleted(_)
                | Message::Flush(_) => self.take(message, &mut taken),
                // Without a ledger, the view says of each request why it waits.
                Message::Requested(_) | Message::Withdrawn(_) if !self.writer.is_open() => {
                    self.take(message, &mut taken);
                }
                Message::Asked(question) => question.answer(self.writer.engine()?, self.intake.objects()),
                Message::ConsumeAll { reply, .. } => {
                    let _ = reply.send(Err(ConsumeError::Closed));
                }
                Message::Requested(_)
                | Message::Exists(_)
                | Message::Withdrawn(_)
                | Message::Ran(_)
                | Message::NeverRan(_)
                | Message::UseRequested { .. }
                | Message::StatusNames { .. }
                | Message::EntriesChanged
                | Message::AllListed
                | Message::Lead(_) => {}
            }
        }
        self.objects_changed();
        if has_news && self.stop.is_none() {
            if self.writer.is_open() {
                self.read_new_entries().await?;
            } else {
                Box::pin(self.open()).await?;
            }
        }
        self.intake.publish_held(self.writer.is_open(), &mut taken);
        self.publish(taken.notices)?;
        self.flushing.extend(taken.flushed);
        self.answer_flushes();
        if deleted {
            self.check_last_entry().await?;
        }
        Ok(())
    }

    /// Lets the intake take a message about objects. Events that would follow are the writer's.
    fn take(&mut self, message: Message, taken: &mut IntakeOutput) {
        let exists = |claim: &ClaimId| exists(&self.handles, claim);
        self.intake.take(message, None, exists, taken);
        taken.events.clear();
    }

    /// Reads the entries that are new, and publishes each.
    async fn read_new_entries(&mut self) -> Result<(), WriterError> {
        while let Some((committed, matched)) = self.writer.follow().await? {
            let Some(state) = self.writer.state()? else {
                return Ok(());
            };
            let touched = Touched::by(committed.records(), &matched, state.engine);
            let objects = self.intake.objects();
            let changes = self
                .publisher
                .publish_entry(state, objects, committed.time, &touched);
            self.handles
                .decisions
                .record(&self.dataset, committed.time, &changes);
            self.effects.apply(changes, objects);
        }
        Ok(())
    }

    /// Goes on as the writer: reads what is left to read, and what the API server has of the dataset's objects.
    async fn lead(&mut self) -> Result<(), WriterError> {
        info!(dataset = %self.dataset, now = ?clock::now(), "this process writes the ledger from now on");
        if self.stop.take().is_some() {
            return self.resume().await;
        }
        Box::pin(self.open()).await?;
        self.handle(Vec::new()).await
    }
}
