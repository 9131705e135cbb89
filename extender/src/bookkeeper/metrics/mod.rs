//! What is measured of datasets: budget, claims and ledgers. Each part declares its own metrics, whose series of a dataset
//! end with its ledger.

mod budget;
mod claims;
mod ledger;
mod series;

use std::{sync::Arc, time::Duration};

use privatekube_api::DatasetKey;
use privatekube_ledger::Committed;
use privatekube_policy::{Engine, Time};
use privatekube_view::{BlockView, CommittedState, DatasetObjects, PhaseChange, Publisher};

pub(super) use self::ledger::ReadBack;
use self::{
    budget::{BudgetMetrics, Budgets},
    claims::ClaimMetrics,
    ledger::EntryMetrics,
};
use super::stop::StopCause;
use crate::{handles::Handles, metrics::Declarations};

/// The metrics of all datasets.
#[derive(Clone, Debug)]
pub struct LedgerMetrics {
    budget: BudgetMetrics,
    claims: ClaimMetrics,
    entries: EntryMetrics,
}

impl LedgerMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        Ok(Self {
            budget: BudgetMetrics::declare(declare)?,
            claims: ClaimMetrics::declare(declare)?,
            entries: EntryMetrics::declare(declare)?,
        })
    }

    /// How many claims of a dataset are in a phase.
    #[cfg(test)]
    pub fn claims_in(&self, dataset: &DatasetKey, phase: privatekube_api::ClaimPhase) -> i64 {
        self.claims.in_phase(dataset, phase)
    }
}

/// Measures one dataset.
#[derive(Debug)]
pub(super) struct DatasetMeter {
    handles: Handles,
    dataset: DatasetKey,
    budgets: Budgets,
    /// How many claims the engine knew when it was looked at last.
    arrived: usize,
}

impl DatasetMeter {
    pub(super) fn new(handles: Handles, dataset: DatasetKey) -> Self {
        let bounds = handles.measured;
        let budget = handles.metrics.ledgers.budget.clone();
        Self {
            budgets: Budgets::new(budget, dataset.clone(), bounds.most_blocks, bounds.orders),
            handles,
            dataset,
            arrived: 0,
        }
    }

    fn metrics(&self) -> &LedgerMetrics {
        &self.handles.metrics.ledgers
    }

    fn view(&self, block: &str) -> Option<Arc<BlockView>> {
        self.handles.view.block(&(self.dataset.clone(), block.to_owned()))
    }

    /// Measures a ledger that was opened and published, which took so long.
    pub(super) fn opened(&mut self, state: CommittedState<'_>, time: Time, took: Duration) {
        self.arrived = state.engine.claims().len();
        let entries = &self.metrics().entries;
        entries.opened(&self.dataset, state.engine.rules(), state.sequence, time, took);
        entries.stopped(&self.dataset, None);
    }

    /// Measures an entry that took so long to be committed.
    pub(super) fn committed(&mut self, engine: &Engine, committed: &Committed, took: Duration) {
        let metrics = self.metrics();
        metrics.entries.committed(&self.dataset, committed, took);
        let known = engine.claims().len();
        let new = known.saturating_sub(self.arrived);
        metrics.claims.arrived(&self.dataset, new);
        self.arrived = known;
    }

    /// Counts an entry that somebody else had created.
    pub(super) fn conflict(&self) {
        self.metrics().entries.conflict(&self.dataset);
    }

    /// Counts that the last entry was read back.
    pub(super) fn read_back(&self, outcome: ReadBack) {
        self.metrics().entries.read_back(&self.dataset, outcome);
    }

    /// Measures that the dataset is stopped.
    pub(super) fn stopped(&self, cause: StopCause) {
        self.metrics().entries.stopped(&self.dataset, Some(cause));
    }

    /// Measures a block that has changed. [`publish`](Self::publish) follows.
    pub(super) fn block(&mut self, name: &str) {
        if let Some(view) = self.view(name) {
            self.budgets.measure(name, &view);
        }
    }

    /// Measures every block, after all of them were published.
    pub(super) fn all_blocks(&mut self, objects: &DatasetObjects) {
        for (name, _) in objects.blocks() {
            self.block(name);
        }
        self.publish(objects);
    }

    /// Sets the series of the dataset to what its blocks add up to.
    pub(super) fn publish(&mut self, objects: &DatasetObjects) {
        self.budgets.publish(objects.block_count());
    }

    /// Forgets a block whose object was deleted.
    pub(super) fn forget_block(&mut self, name: &str) {
        let (view, dataset) = (Arc::clone(&self.handles.view), self.dataset.clone());
        self.budgets
            .forget_and_replace(name, |name| view.block(&(dataset.clone(), name.to_owned())));
    }

    /// Measures how many claims are in each phase.
    pub(super) fn phases(&self, publisher: &Publisher) {
        self.metrics().claims.phases(&self.dataset, publisher);
    }

    /// Counts a phase that a claim has reached.
    pub(super) fn phase_reached(&self, change: &PhaseChange) {
        let claims = &self.metrics().claims;
        claims.decided(&self.dataset, change.phase, change.why.reason, change.waited);
    }

    /// Removes all series of the dataset: it has no ledger any more.
    pub(super) fn forget_all(&mut self) {
        self.budgets.forget_all();
        let metrics = self.metrics();
        metrics.claims.forget(&self.dataset);
        metrics.entries.forget(&self.dataset);
        self.handles.metrics.writers.forget(&self.dataset);
        self.arrived = 0;
    }
}
