//! Recent decisions: the last ones, and a channel that tells of new ones. Both have a bound, and whoever reads slowly misses
//! decisions and is told how many; a bookkeeper never waits for a reader.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use privatekube_api::{ClaimPhase, ClaimReason, DatasetKey, Subject};
use privatekube_policy::Time;
use privatekube_view::Change;
use tokio::sync::broadcast;

/// How many decisions are kept.
const MOST_KEPT: usize = 200;
/// How many decisions a reader of the channel may be behind.
const MOST_BEHIND: usize = 256;

/// A claim that reached another phase in the ledger.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When.
    pub at: Time,
    /// The dataset.
    pub dataset: DatasetKey,
    /// What the claim is made for.
    pub subject: Subject,
    /// The phase.
    pub phase: ClaimPhase,
    /// Why, as one word.
    pub reason: ClaimReason,
    /// Why, in a sentence.
    pub message: String,
}

/// The recent decisions of all datasets. Without a status page nothing is kept.
#[derive(Debug, Default)]
pub struct Decisions(Option<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    last: VecDeque<Arc<Decision>>,
    /// `None` once the process ends, so that streams end, too.
    channel: Option<broadcast::Sender<Arc<Decision>>>,
}

impl Decisions {
    /// Decisions that are kept.
    pub fn kept() -> Self {
        Self(Some(Mutex::new(Kept {
            last: VecDeque::with_capacity(MOST_KEPT),
            channel: Some(broadcast::Sender::new(MOST_BEHIND)),
        })))
    }

    /// Records the decisions among the changes that an entry of `at` made.
    pub fn record(&self, dataset: &DatasetKey, at: Time, changes: &[Change]) {
        let Some(kept) = &self.0 else {
            return;
        };
        let decided = changes.iter().filter_map(|change| match change {
            Change::Phase(change) if change.phase != ClaimPhase::Waiting => Some(change),
            _ => None,
        });
        for change in decided {
            let decision = Arc::new(Decision {
                at,
                dataset: dataset.clone(),
                subject: change.subject.clone(),
                phase: change.phase,
                reason: change.why.reason,
                message: change.why.message.clone(),
            });
            let mut kept = kept.lock();
            if kept.last.len() == MOST_KEPT {
                kept.last.pop_back();
            }
            kept.last.push_front(Arc::clone(&decision));
            if let Some(channel) = &kept.channel {
                // There may be no reader.
                let _ = channel.send(decision);
            }
        }
    }

    /// The last decisions, the newest first.
    pub fn last(&self) -> Vec<Arc<Decision>> {
        let kept = self
            .0
            .as_ref()
            .map(|kept| kept.lock().last.iter().cloned().collect());
        kept.unwrap_or_default()
    }

    /// A reader of the decisions from now on; `None` if there are none any more.
    pub fn subscribe(&self) -> Option<broadcast::Receiver<Arc<Decision>>> {
        let kept = self.0.as_ref()?.lock();
        kept.channel.as_ref().map(broadcast::Sender::subscribe)
    }

    /// Ends all readers, because the process ends.
    pub fn end(&self) {
        if let Some(kept) = &self.0 {
            kept.lock().channel = None;
        }
    }
}
