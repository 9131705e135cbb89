//! One dataset's bookkeeper: the only one who writes to its ledger.
//!
//! Everything that happens to a dataset comes to it as a [`Message`]. It gathers what came while the last round was
//! being written, makes events of it, commits them as one round, and then, and only then, tells what was decided.
//!
//! - What it is told is in [`message`], what it reads besides in [`cluster`], what bookkeepers share in [`desk`].
//! - Events are made in [`blocks`], [`claims`] (whose requests, kept in [`asked`], are brought together with blocks in
//!   [`matching`]) and [`uses`], with what the [`dataset`]'s object says.
//! - They are written in a [`round`] of the [`ledger`].
//! - What was decided is told in [`telling`], with the statuses made in [`claim_status`], [`block_status`] and
//!   [`dataset_status`]; why claims wait is in [`waiting`], in sentences in [`explain`], and what never came to the
//!   ledger in [`outside`].

mod amounts;
mod asked;
mod block_status;
mod blocks;
mod claim_status;
mod claims;
mod cluster;
mod condition;
mod dataset;
mod dataset_status;
mod desk;
mod explain;
mod ledger;
mod matching;
mod message;
mod outside;
mod round;
mod telling;
#[cfg(test)]
pub mod tests;
mod uses;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use privatekube_api::{DatasetKey, PrivateDataset};
use privatekube_ledger::{CommitError, Ledger, OpenError, Poisoned};
use privatekube_policy::{ClaimId, Engine, Phase, Time};
use thiserror::Error;
use tokio::sync::mpsc;

use self::{
    asked::{Asked, Queue},
    blocks::KnownBlock,
    cluster::Present,
    explain::Why,
    round::Pending,
};
use crate::{clock, kubernetes_store::KubernetesStore};

pub use self::{
    desk::Desk,
    message::{Message, SpendError, UseKind},
    telling::phase_reason,
};

/// Messages that are taken together at most.
const MOST_MESSAGES: usize = 4096;
/// How often the reasons of waiting claims are looked at again.
const EXPLAIN_EVERY: Duration = Duration::from_secs(1);

/// One dataset's bookkeeper.
#[derive(Debug)]
pub struct Bookkeeper {
    desk: Desk,
    dataset: DatasetKey,
    /// None until there is anything to write or to read.
    ledger: Option<Ledger<KubernetesStore>>,
    /// The dataset's object, if it has one.
    object: Option<Arc<PrivateDataset>>,
    blocks: BTreeMap<String, KnownBlock>,
    /// Whether the ledger may lack blocks that exist.
    blocks_changed: bool,
    /// What was asked and isn't in the ledger yet, in the order in which it came.
    fresh: Queue,
    /// Why what was asked can't come to a ledger, as it was told last; none while there is a ledger.
    held_by: Option<Why>,
    /// What waits in the ledger for more blocks, in the order in which it came.
    unmatched: Queue,
    /// Those of them whose match takes more than an entry of the ledger, and what that was told as.
    oversized: HashMap<ClaimId, String>,
    /// The claims that wait.
    waiting: BTreeSet<ClaimId>,
    /// The last of them whose reason was looked at, if there are more.
    explained: Option<ClaimId>,
    /// How many claims are in each phase.
    phases: HashMap<Phase, i64>,
    /// The phase of each claim that was told last.
    known_phases: HashMap<ClaimId, Phase>,
}

/// Why a bookkeeper ended. The process ends with it, and the next one reads what is true from the ledger.
#[derive(Debug, Error)]
pub enum BookkeeperError {
    /// The ledger could not be read.
    #[error("the ledger of {0} can't be opened: {1}")]
    Open(DatasetKey, Box<OpenError>),
    /// The ledger could not be written.
    #[error("the ledger of {0}: {1}")]
    Commit(DatasetKey, Box<CommitError>),
    /// Somebody deleted the last entry.
    #[error("the ledger of {0} lacks its last entry, {1}: it was deleted")]
    Lost(DatasetKey, u64),
    /// The ledger was lost midway.
    #[error("the ledger of {0}: {1}")]
    Poisoned(DatasetKey, Poisoned),
}

impl Bookkeeper {
    /// The bookkeeper of a dataset. Its ledger is opened when there is anything to write or to read.
    pub fn new(desk: Desk, dataset: DatasetKey) -> Self {
        Self {
            desk,
            dataset,
            ledger: None,
            object: None,
            blocks: BTreeMap::new(),
            blocks_changed: false,
            fresh: Queue::default(),
            held_by: None,
            unmatched: Queue::default(),
            oversized: HashMap::new(),
            waiting: BTreeSet::new(),
            explained: None,
            phases: HashMap::new(),
            known_phases: HashMap::new(),
        }
    }

    /// Works until nobody can send any more, or the ledger goes with its namespace; gives back whose it was.
    pub async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
    ) -> Result<DatasetKey, BookkeeperError> {
        let mut batch = Vec::new();
        let mut explain = tokio::time::interval(EXPLAIN_EVERY);
        explain.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next_step = self.engine()?.and_then(Engine::next_step);
            tokio::select! {
                taken = messages.recv_many(&mut batch, MOST_MESSAGES) => if taken == 0 { return Ok(self.dataset) },
                () = wait_until(next_step) => {}
                _ = explain.tick() => { self.explain_some()?; continue }
            }
            if let Err(error) = self.take(std::mem::take(&mut batch)).await {
                self.ends(error).await?;
                return Ok(self.dataset);
            }
        }
    }

    /// Takes messages that came together: makes events of them, commits these, and tells what was decided.
    async fn take(&mut self, batch: Vec<Message>) -> Result<(), BookkeeperError> {
        if self.ledger.is_none() && self.may_open(&batch).await {
            self.open().await?;
        }
        let present = if asks(&batch) {
            Some(self.look().await)
        } else {
            None
        };
        let mut flushed = Vec::new();
        let mut pending: Vec<Pending> = Vec::new();
        for message in batch {
            match message {
                Message::Block(object) => self.know_block(object),
                Message::BlockGone(last) => pending.extend(self.forget_block(&last)?),
                Message::Dataset(object) => self.know_dataset(object)?,
                Message::DatasetGone(last) => self.check_ledger(&last).await?,
                Message::Claim { subject, request } => self.ask(Asked { subject, request })?,
                Message::Withdraw(claim) => pending.extend(self.withdraw(claim)?),
                Message::NeverRan(claim) => pending.extend(self.never_ran(claim, &pending)?),
                Message::Spend { claim, reply } => pending.push(Pending::spend(claim, reply)),
                Message::Use { claim, kind, amount } => pending.extend(self.use_of(&claim, kind, &amount)?),
                Message::AllSeen => pending.extend(self.end_what_is_gone()?),
                Message::Flush(reply) => flushed.push(reply),
            }
        }
        if let Some(present) = present {
            pending.extend(self.catch_up(present)?);
        }
        self.keep_to_rules().await?;
        self.tell_all_held();
        pending.extend(self.new_blocks_and_claims(&pending)?);
        self.commit(pending).await?;
        for reply in flushed {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
        }
        Ok(())
    }

    /// Who asks is matched and weighed by what was there when the question came: the watches may be behind, and what
    /// they have told is older than what is `present`.
    fn catch_up(&mut self, present: Present) -> Result<Vec<Pending>, BookkeeperError> {
        for block in &present.blocks {
            self.know_block(Arc::clone(block));
        }
        let there: BTreeSet<_> = present.blocks.iter().map(|block| &block.metadata.name).collect();
        let known = self.blocks.values().map(|known| &known.object);
        let gone: Vec<_> = known
            .filter(|block| !there.contains(&block.metadata.name))
            .map(Arc::clone)
            .collect();
        match present.object {
            None => self.object = None,
            Some(object) => self.know_dataset(object)?,
        }
        let retired = gone.iter().map(|block| self.forget_block(block));
        retired.filter_map(Result::transpose).collect()
    }

    /// The ledger's engine; none while there is no ledger.
    fn engine(&self) -> Result<Option<&Engine>, BookkeeperError> {
        let engine = self.ledger.as_ref().map(Ledger::engine).transpose();
        engine.map_err(|error| BookkeeperError::Poisoned(self.dataset.clone(), error))
    }

    /// The sequence number of the ledger's last entry; none while there is no ledger.
    fn sequence(&self) -> Option<u64> {
        Some(self.ledger.as_ref()?.head().sequence)
    }

    /// The labels of the dataset's metrics.
    fn labels(&self) -> [&str; 2] {
        [&self.dataset.namespace, &self.dataset.name]
    }
}

/// Whether somebody asks in these messages.
fn asks(batch: &[Message]) -> bool {
    batch
        .iter()
        .any(|message| matches!(message, Message::Claim { .. }))
}

async fn wait_until(time: Option<Time>) {
    match time {
        Some(time) => tokio::time::sleep(clock::until(time)).await,
        None => std::future::pending().await,
    }
}
