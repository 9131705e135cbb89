//! The ledger's life: it is opened when there is anything to write or to read, and goes with its namespace.

use std::time::Instant;

use privatekube_api::PrivateDataset;
use privatekube_ledger::{Ledger, Store};
use tracing::{info, warn};

use super::{Bookkeeper, BookkeeperError, Message, asks};
use crate::kubernetes_store::KubernetesStore;

impl Bookkeeper {
    /// Reads the ledger and tells what it says; says whether it is open. A ledger that is going with its namespace
    /// isn't.
    pub async fn open_if_there(&mut self) -> Result<bool, BookkeeperError> {
        match self.open().await {
            Ok(()) => Ok(true),
            Err(error) => self.ends(error).await.map(|()| false),
        }
    }

    /// Whether there is anything to open the ledger for: a block, or the dataset's object.
    pub(super) async fn may_open(&self, batch: &[Message]) -> bool {
        let known = !self.blocks.is_empty()
            || self.object.is_some()
            || batch
                .iter()
                .any(|message| matches!(message, Message::Block(_) | Message::Dataset(_)));
        known || (asks(batch) && !self.look().await.is_empty())
    }

    pub(super) async fn open(&mut self) -> Result<(), BookkeeperError> {
        self.object = self.read_object().await;
        let (rules, problem) = match self.rules() {
            Ok(rules) => (rules, None),
            // Only a ledger that began with other rules is opened.
            Err(problem) => (self.desk.defaults.clone(), Some(problem)),
        };
        let began = Instant::now();
        let ledger = Ledger::open(self.store(), self.desk.writer.clone(), rules)
            .await
            .map_err(|error| BookkeeperError::Open(self.dataset.clone(), Box::new(error)))?;
        let sequence = ledger.head().sequence;
        if let Some(problem) = problem.filter(|_| sequence == 0) {
            // Admission lets no such object in. Begun with the defaults, the ledger would have them for ever.
            warn!(dataset = %self.dataset, %problem, "no ledger begins with rules that make no sense");
            return self.tell_dataset();
        }
        // Grants name their blocks' data sources.
        let blocks = self.list_blocks().await;
        if sequence == 0 && self.object.is_none() && blocks.is_empty() {
            // What the watches told of is gone. Begun now, the ledger would have the defaults for ever.
            self.desk.view.forget_dataset(&self.dataset);
            self.unmeasure_dataset();
            return Ok(());
        }
        info!(dataset = %self.dataset, sequence, took = ?began.elapsed(), "the ledger is open");
        self.ledger = Some(ledger);
        self.held_by = None;
        for block in blocks {
            self.know_block(block);
        }
        self.tell_everything()
    }

    /// A ledger begins with its first entry, and with the rules that hold then: an empty one that was opened with others
    /// is opened again.
    pub(super) async fn keep_to_rules(&mut self) -> Result<(), BookkeeperError> {
        let opened_with = match &self.ledger {
            Some(ledger) if ledger.head().sequence == 0 => ledger.rules(),
            _ => return Ok(()),
        };
        let is_there = self.object.is_some() || !self.blocks.is_empty();
        if is_there && self.rules().is_ok_and(|rules| rules == *opened_with) {
            return Ok(());
        }
        self.ledger = None;
        self.reconsider_blocks();
        self.open().await
    }

    /// The dataset's object is gone. If that is because its namespace is, and nothing else happens, only the missing
    /// ledger tells.
    pub(super) async fn check_ledger(&mut self, gone: &PrivateDataset) -> Result<(), BookkeeperError> {
        self.forget_dataset(gone);
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        let sequence = ledger.head().sequence;
        if sequence == 0 {
            return Ok(());
        }
        match self.store().read(sequence).await {
            Ok(None) => Err(BookkeeperError::Lost(self.dataset.clone(), sequence)),
            Ok(Some(_)) => Ok(()),
            Err(error) => {
                warn!(dataset = %self.dataset, %error, "whether the ledger is still there is unknown");
                Ok(())
            }
        }
    }

    /// After an error nothing can go on. It is none if the ledger goes with its namespace: nothing of it is true any
    /// more. Should the namespace be made again, its datasets begin anew.
    pub(super) async fn ends(&self, error: BookkeeperError) -> Result<(), BookkeeperError> {
        if !self.is_going().await {
            return Err(error);
        }
        info!(dataset = %self.dataset, %error, "the ledger goes with its namespace");
        let view = &self.desk.view;
        for claim in self.known_phases.keys() {
            view.forget_claim(claim);
        }
        for block in self.blocks.keys() {
            view.forget_block(&(self.dataset.clone(), block.clone()));
            self.unmeasure_block(block);
        }
        view.forget_dataset(&self.dataset);
        self.unmeasure_dataset();
        Ok(())
    }

    fn store(&self) -> KubernetesStore {
        KubernetesStore::new(self.desk.client.clone(), self.dataset.clone())
    }
}
