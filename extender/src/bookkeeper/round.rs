//! What is about to happen becomes a round of the ledger, and is told once it is durable.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use privatekube_ledger::{ApplyError, Committed};
use privatekube_policy::{Amount, ClaimId, Event};
use tracing::debug;

use super::{
    Bookkeeper, BookkeeperError,
    message::{SpendError, SpendReply},
};
use crate::clock;

/// An event that is about to be written, and whom it concerns.
pub(super) struct Pending {
    pub(super) event: Event,
    reply: Option<SpendReply>,
}

impl From<Event> for Pending {
    fn from(event: Event) -> Self {
        Self { event, reply: None }
    }
}

impl Pending {
    /// A claim is spent, and somebody waits until that is durable.
    pub(super) const fn spend(claim: ClaimId, reply: SpendReply) -> Self {
        let amount = Amount::All;
        Self {
            event: Event::Consume { claim, amount },
            reply: Some(reply),
        }
    }
}

impl Bookkeeper {
    /// Writes what is pending, as many rounds as it takes, and tells what was decided.
    pub(super) async fn commit(&mut self, pending: Vec<Pending>) -> Result<(), BookkeeperError> {
        let mut pending = VecDeque::from(pending);
        loop {
            let Some(ledger) = &mut self.ledger else {
                self.drop_all(pending);
                return Ok(());
            };
            let began = Instant::now();
            let mut draft = ledger
                .draft(clock::now())
                .map_err(|error| BookkeeperError::Poisoned(self.dataset.clone(), error))?;
            let mut replies = Vec::new();
            let mut refused = Vec::new();
            let mut matched = Vec::new();
            while !draft.is_full() {
                let Some(Pending { event, reply }) = pending.pop_front() else {
                    break;
                };
                match draft.apply(event.clone()) {
                    Ok(_) => {
                        replies.extend(reply);
                        if let Event::Match { claim, .. } = event {
                            matched.push(claim);
                        }
                    }
                    Err(ApplyError::Full) => {
                        pending.push_front(Pending { event, reply });
                        break;
                    }
                    Err(error) => match reply {
                        Some(reply) => {
                            let _ = reply.send(Err(SpendError::Refused(error.to_string())));
                        }
                        None => refused.push((event, error)),
                    },
                }
            }
            let wrote = !draft.is_empty();
            let committed = draft
                .commit()
                .await
                .map_err(|error| BookkeeperError::Commit(self.dataset.clone(), Box::new(error)))?;
            if wrote {
                self.measure_round(&committed, began.elapsed());
                self.tell(&committed, matched)?;
            }
            for (event, error) in refused {
                self.tell_not_applied(&event, &error)?;
            }
            for reply in replies {
                let _ = reply.send(Ok(()));
            }
            if pending.is_empty() {
                return Ok(());
            }
        }
    }

    fn drop_all(&self, pending: impl IntoIterator<Item = Pending>) {
        for Pending { reply, event } in pending {
            debug!(dataset = %self.dataset, ?event, "nothing is known of the dataset yet");
            if let Some(reply) = reply {
                let _ = reply.send(Err(SpendError::Closed));
            }
        }
    }

    fn measure_round(&self, committed: &Committed, took: Duration) {
        let labels = self.labels();
        let metrics = &self.desk.metrics;
        metrics.rounds.with_label_values(&labels).inc();
        let events = metrics.events.with_label_values(&labels);
        events.inc_by(committed.events() as u64);
        let seconds = metrics.commit_seconds.with_label_values(&labels);
        seconds.observe(took.as_secs_f64());
        let sequence = metrics.sequence.with_label_values(&labels);
        sequence.set(i64::try_from(committed.sequence).unwrap_or(i64::MAX));
    }
}
